"""tensor_header: limits of the format; the rest is tested through whole files."""

import pytest
import torch

from torchestimator.checkpoint.tensor_header import TensorEntry, TensorHeader, encode_header


def test_a_header_beyond_the_format_is_refused() -> None:
    entry = TensorEntry("n" * 100_000_000, torch.float32, (1,), 0, (0,))
    with pytest.raises(ValueError, match="shorten the names"):
        encode_header(TensorHeader((entry,), {}, {}))


def test_sizes_are_counted_in_bytes() -> None:
    entries = (TensorEntry("a", torch.float64, (3, 2), 0, (0, 0)), TensorEntry("b", torch.bool, (), 48, ()))
    assert [entry.num_bytes for entry in entries] == [48, 1]
    assert TensorHeader(entries, {}, {}).data_bytes == 49

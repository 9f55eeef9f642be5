import numpy as np
import pytest
import torch

from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.vocabulary_table import look_up, vocabulary_tables
from torchestimator.inputs.fingerprint import fingerprint64


def found(tables, values, size):
    values = FeatureValues(torch.from_numpy(values).unsqueeze(1), None)
    return look_up(values, tables, str, size=size, num_oov_buckets=0, default_value=-1).ids.flatten()


def test_a_million_entries_are_found_and_nothing_else():
    size = 1_000_000
    words = [f"word {number}" for number in range(size)]
    tables = vocabulary_tables(words, str, "It")
    keys = fingerprint64(words)
    assert torch.equal(found(tables, keys, size), torch.arange(size))
    assert bool((found(tables, keys + 1, size) == -1).all())
    assert bool((found(tables, fingerprint64([f"other {number}" for number in range(size)]), size) == -1).all())


def test_the_ends_of_int64_are_values_like_others():
    least, greatest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    values = np.array([least, greatest, 0, 5])
    assert found(vocabulary_tables([5, greatest], torch.int64, "It"), values, 2).tolist() == [-1, 1, -1, 0]
    assert found(vocabulary_tables([least, 5], torch.int64, "It"), values, 2).tolist() == [0, -1, -1, 1]


def test_two_entries_of_one_key_are_refused():
    with pytest.raises(ValueError, match=r"It has two entries.*'a', 'a'"):
        vocabulary_tables(["a", "b", "a"], str, "It")

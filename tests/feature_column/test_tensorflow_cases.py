"""Columns and features drawn at random, with what TensorFlow 2.15 gives for them.

`tensorflow_cases.json` was written once by TensorFlow's input_layer and linear_model. Tables and weights are
`table(rows, columns)`, the bias is 0.5.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from torchestimator import feature_column as fc
from torchestimator.inputs.fingerprint import fingerprint64

CASES = json.loads((Path(__file__).parent / "tensorflow_cases.json").read_text(encoding="ascii"))


def table(rows, columns):
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return torch.from_numpy((((row * 5 + column * 3) % 17) / 8 - 1).astype(np.float32))


def build(spec, folder):
    if isinstance(spec, list):
        return [build(each, folder) for each in spec]
    if not isinstance(spec, dict):
        return spec
    if "file" in spec:
        path = folder / "vocabulary.txt"
        path.write_text("".join(f"{word}\n" for word in spec["file"]), encoding="utf-8", newline="\n")
        return path
    return getattr(fc, spec["f"])(*(build(each, folder) for each in spec["a"]), **spec["k"])


def build_all(specs, folder):
    columns = []
    for number, spec in enumerate(specs):
        place = folder / str(number)
        place.mkdir()
        columns.append(build(spec, place))
    return columns


def numbers(values, kind):
    if kind == "string":
        return torch.from_numpy(fingerprint64(np.array(values, dtype=object)))
    return torch.tensor(values, dtype=getattr(torch, kind))


def as_given(feature):
    if "dense" in feature:
        return numbers(feature["dense"], feature["type"])
    offsets = np.cumsum([0, *map(len, feature["ragged"])])
    flat = [value for row in feature["ragged"] for value in row]
    return fc.RaggedFeature(numbers(flat, feature["type"]), torch.from_numpy(offsets))


def as_sparse(feature):
    value = as_given(feature)
    if not isinstance(value, fc.RaggedFeature):
        return value
    lengths = value.offsets.diff()
    rows = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    places = torch.cat([torch.arange(length) for length in lengths.tolist()])
    return torch.sparse_coo_tensor(torch.stack([rows, places]), value.values, (len(lengths), 5), check_invariants=True)


def as_nested(feature):
    value = as_given(feature)
    if not isinstance(value, fc.RaggedFeature):
        return value
    return torch.nested.nested_tensor_from_jagged(value.values, value.offsets)


def layer_of(case, folder):
    columns = build_all(case["columns"], folder)
    if "sparse_combiner" not in case:
        layer = fc.DenseFeatures(columns)
    else:
        layer = fc.LinearModel(columns, 2, case["sparse_combiner"])
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.tensor(0.5) if name == "bias_weights" else table(*parameter.shape))
    return layer


@pytest.mark.parametrize("form", [as_given, as_sparse, as_nested])
def test_columns_give_the_numbers_of_tensorflow(form, tmp_path):
    wrong = []
    for number, case in enumerate(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        layer = layer_of(case, folder)
        values = layer({key: form(feature) for key, feature in case["features"].items()})
        expected = torch.tensor(case["expected"])
        if values.shape != expected.shape or not torch.allclose(values, expected, rtol=2e-5, atol=2e-5):
            wrong.append((number, case, values.tolist()))
    assert not wrong[:3]
    assert len(CASES) > 400

"""signatures.json."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.test_tensor_info import infos
from torchestimator.export.signature import (
    FILE_NAME,
    PREDICT,
    ExportInfo,
    MetaGraph,
    Signature,
    read_export_info,
    versions_in,
)
from torchestimator.export.tensor_info import TensorInfo

keys = st.text(max_size=4)
many_infos = st.dictionaries(keys, infos(), max_size=3)
X = TensorInfo("x", "DT_FLOAT", (-1, 2), ("batch", None))
SERVING = Signature(PREDICT, {"x": X}, {"y": X}, {"onnx": "serving_default/model.onnx"})
INFO = ExportInfo((MetaGraph(("serve",), {"serving_default": SERVING}),), 7, {"torch": "2"}, {"a": {"batches": [1]}})


@st.composite
def signatures(draw):
    parsed = draw(st.booleans())
    spec = draw(st.dictionaries(keys, st.dictionaries(keys, st.integers()))) if parsed else None
    features = draw(many_infos) if parsed else None
    artifacts = draw(st.dictionaries(keys, keys))
    return Signature(draw(keys), draw(many_infos), draw(many_infos), artifacts, spec, features)


@settings(deadline=None, max_examples=50)
@given(signatures())
def test_a_signature_survives_json(signature):
    again = Signature.from_json(json.loads(json.dumps(signature.to_json())))
    assert again == signature
    assert again.graph_inputs == (signature.inputs if signature.features is None else signature.features)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(keys, signatures(), max_size=2), max_size=3), st.integers(0, 10**9))
def test_a_description_survives_json(graphs, step):
    tags = ["train", "eval", "serve"]
    info = ExportInfo(tuple(MetaGraph((tags[index],), graph) for index, graph in enumerate(graphs)), step, {"a": "1"})
    assert ExportInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    assert info.serving == (graphs[2] if len(graphs) == 3 else {})


def write(folder, document):
    folder.mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return folder


def test_reading_what_was_written(tmp_path):
    assert read_export_info(write(tmp_path / "1", INFO.to_json())) == INFO
    assert INFO.serving == {"serving_default": SERVING}


def test_a_folder_without_an_export_says_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        read_export_info(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"it has no signatures.json, which Estimator.export_saved_model writes"
    ):
        read_export_info(tmp_path)
    for version in (2, 10):
        write(tmp_path / str(version), INFO.to_json())
    with pytest.raises(FileNotFoundError, match=r"base folder of 2 exports, not an export. The newest is .*/10"):
        read_export_info(tmp_path)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"format', "is no valid JSON"),
        ("[1]", "has format version None"),
        ({**INFO.to_json(), "format_version": 2}, "has format version 2; this version of torchestimator reads 1"),
        ({"format_version": 1}, "is incomplete: KeyError.*Export the model again"),
        ({**INFO.to_json(), "meta_graphs": [3]}, "is incomplete: TypeError"),
        ({**INFO.to_json(), "versions": None}, "is incomplete: TypeError"),
    ],
)
def test_a_damaged_description_is_reported(tmp_path, document, reason):
    with pytest.raises(ValueError, match=reason):
        read_export_info(write(tmp_path / "1", document))


def test_versions_are_numbers_with_an_export_in_them(tmp_path):
    assert versions_in(tmp_path / "nowhere") == []
    for name in ("9", "10", "temp-11", "12x", "best"):
        write(tmp_path / name, INFO.to_json())
    (tmp_path / "13").mkdir()
    (tmp_path / "14").write_text("a file")
    assert versions_in(tmp_path) == [9, 10]

"""`torchestimator show`."""

import json

import pytest

from tests.cli.conftest import NEW, OLD, write_export
from torchestimator.cli.main import main
from torchestimator.export.signature import ExportInfo, MetaGraph, Signature, read_export_info
from torchestimator.export.tensor_info import TensorInfo


def show(capsys, *arguments):
    assert main(["show", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_versions_of_a_base_folder(exports, capsys):
    assert show(capsys, exports).splitlines() == [
        f"{exports} holds 2 exports, the newest last:",
        f"  {OLD}  2023-11-14 22:13:20 UTC  step 100  serving_default, same",
        f"  {NEW}  2023-11-15 22:13:20 UTC  step 200  serving_default, same",
    ]


def test_versions_that_are_no_timestamps(tmp_path, capsys):
    write_export(tmp_path / "3", 5)
    assert show(capsys, tmp_path).splitlines() == [
        f"{tmp_path} holds 1 export, the newest last:",
        "  3  -  step 5  serving_default, same",
    ]


def test_versions_as_json(exports, capsys):
    versions = json.loads(show(capsys, exports, "--json"))["versions"]
    assert versions[0] == {
        "version": OLD,
        "path": str(exports / str(OLD)),
        "global_step": 100,
        "signatures": {"serve": ["serving_default", "same"]},
    }
    assert [each["version"] for each in versions] == [OLD, NEW]


def test_one_signature_in_saved_model_clis_layout(exports, capsys):
    assert (
        show(capsys, exports, "--signature", "serving_default")
        == """\
MetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:

signature_def['serving_default']:
  The given SavedModel SignatureDef contains the following input(s):
    inputs['x'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 4)
        name: x
  The given SavedModel SignatureDef contains the following output(s):
    outputs['scores'] tensor_info:
        dtype: DT_FLOAT
        shape: (-1, 2)
        name: scores
    outputs['class_ids'] tensor_info:
        dtype: DT_INT64
        shape: (-1, 1)
        name: class_ids
  Method name is: tensorflow/serving/predict
  File for onnx: serving_default/model.onnx
"""
    )


def test_all_signatures_files_checks_and_versions(exports, capsys):
    text = show(capsys, exports / str(OLD), "--all")
    assert show(capsys, exports, "--all") == text
    for name in ("serving_default", "same"):
        assert f"\nsignature_def['{name}']:\n" in text
    assert "        dtype: DT_STRING\n        shape: (-1, 2)\n" in text
    assert "verified: batches 1/2/7, max abs diff 1.2e-07\n" in text
    assert "not verified\n" in text
    assert text.endswith("Written with: torch 2.13.0, opset 18\n")


def test_the_summary_is_short_and_complete(exports, capsys):
    text = show(capsys, exports / str(NEW))
    assert text.startswith(f"{exports / str(NEW)}: exported at step 200\n\nSignatures with the tag serve:\n")
    assert "    in  x  float (-1, 4)\n    out scores     float (-1, 2)\n    out class_ids  int64 (-1, 1)\n" in text
    assert "serving_default/model.onnx" in text


def test_json_is_the_description_itself(exports, capsys):
    folder = exports / str(OLD)
    assert json.loads(show(capsys, folder, "--json")) == json.loads((folder / "signatures.json").read_text())
    one = ExportInfo.from_json(json.loads(show(capsys, folder, "--json", "--signature", "same")))
    assert one.serving == {"same": read_export_info(folder).serving["same"]}


def test_an_unknown_signature(exports, capsys):
    assert main(["show", str(exports), "--signature", "predict"]) == 2
    assert capsys.readouterr().err == (
        "torchestimator show: error: The export has no signature 'predict'. It has: same, serving_default.\n"
    )


@pytest.fixture
def with_examples(tmp_path):
    """An export with two modes, serialised examples, a scalar, a file that was lost, and one with data beside it."""
    text, loss = TensorInfo("examples", "DT_STRING", (-1,)), TensorInfo("loss", "DT_FLOAT", ())
    parsed = Signature(
        "tensorflow/serving/classify",
        {"examples": text},
        {"scores": TensorInfo("scores", "DT_FLOAT", (-1, 3))},
        {"onnx": "big/model.onnx", "torchscript": "torchscript/model.pt#forward"},
        {"age": {}},
        {"age": TensorInfo("age", "DT_FLOAT", (-1, 1))},
    )
    graphs = (
        MetaGraph(("serve",), {"serving_default": parsed}),
        MetaGraph(("eval",), {"eval": Signature("e", {}, {"loss": loss}, {})}),
    )
    (tmp_path / "big").mkdir()
    for model in ("paint", "paint_raw"):
        (tmp_path / "triton" / model).mkdir(parents=True)
    (tmp_path / "big" / "model.onnx").write_bytes(bytes(500))
    (tmp_path / "big" / "model.onnx.data").write_bytes(bytes(2_000_000))
    (tmp_path / "signatures.json").write_text(json.dumps(ExportInfo(graphs, 1).to_json()))
    return tmp_path


def test_modes_examples_scalars_and_data_files(with_examples, capsys):
    text = show(capsys, with_examples, "--all")
    assert "tag-set: 'serve'" in text
    assert "tag-set: 'eval'" in text
    assert "        shape: ()\n" in text
    assert "        shape: (-1)\n" in text
    assert "    features['age'] tensor_info:\n" in text
    assert "  big/model.onnx  2.0 MB  not verified\n" in text
    assert "  torchscript/model.pt#forward  missing  not verified\n" in text
    assert f"Triton repository: {with_examples / 'triton'} with the models paint, paint_raw\n" in text
    assert "Written with" not in text

"""The Triton repository of an export: config.pbtxt and the places of the files."""

import os
import re

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from torchestimator.export.signature import PREDICT, Signature
from torchestimator.export.tensor_info import DATA_TYPES, TensorInfo
from torchestimator.export.triton import triton_config, triton_model_name, write_triton_repository

OTHER_FILE_SYSTEM = "/dev/shm"
X = TensorInfo("x", "DT_FLOAT", (-1, 4), ("batch", None))
SCORES = TensorInfo("scores", "DT_FLOAT", (-1, 3), ("batch", None))
SIGNATURE = Signature(PREDICT, {"x": X}, {"scores": SCORES}, {})


def parsed(signature, name="model", signature_name="serving_default", backend="onnxruntime", **options):
    """The configuration as Triton reads it: by NVIDIA's own protobuf message."""
    text = triton_config(name, signature_name, signature, backend=backend, **options)
    assert text.isascii()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def of(inputs, outputs=None):
    return Signature(PREDICT, inputs, {"scores": SCORES} if outputs is None else outputs, {})


def test_a_configuration_is_complete():
    config = parsed(SIGNATURE, "digits")
    assert (config.name, config.backend, config.platform) == ("digits", "onnxruntime", "onnxruntime_onnx")
    assert config.max_batch_size == 64
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("x", model_config_pb2.TYPE_FP32, [4])
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ("scores", model_config_pb2.TYPE_FP32, [3])
    ]
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "signature_name": "serving_default",
        "method_name": PREDICT,
    }


@pytest.mark.parametrize("dtype", DATA_TYPES)
def test_every_dtype_has_one_in_triton(dtype):
    config = parsed(of({"x": TensorInfo("x", dtype, (-1, 2))}))
    expected = "TYPE_STRING" if dtype == "DT_STRING" else f"TYPE_{DATA_TYPES[dtype].open_inference}"
    assert model_config_pb2.DataType.Name(config.input[0].data_type) == expected
    assert config.input[0].data_type != model_config_pb2.TYPE_INVALID


def test_free_dimensions_stay_free():
    config = parsed(of({"x": TensorInfo("x", "DT_FLOAT", (-1, -1, 8))}))
    assert list(config.input[0].dims) == [-1, 8]


def test_a_batch_of_single_values_is_reshaped():
    config = parsed(of({"x": TensorInfo("x", "DT_STRING", (-1,))}))
    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    assert list(config.input[0].reshape.shape) == []


def test_the_model_starts_at_the_decoded_features():
    examples = TensorInfo("examples", "DT_STRING", (-1,))
    config = parsed(Signature(PREDICT, {"examples": examples}, {"scores": SCORES}, {}, {"x": {}}, {"x": X}))
    assert [each.name for each in config.input] == ["x"]


def test_onnx_has_keys_and_torchscript_identifiers_with_positions():
    infos = {"a/b": TensorInfo("a_b", "DT_FLOAT", (-1, 1)), "class": TensorInfo("_class", "DT_INT64", (-1, 1))}
    signature = of(infos, infos)
    onnx_config = parsed(signature)
    assert [each.name for each in onnx_config.input] == [each.name for each in onnx_config.output] == ["a/b", "class"]
    torch_config = parsed(signature, backend="pytorch")
    assert (torch_config.backend, torch_config.platform) == ("pytorch", "pytorch_libtorch")
    assert [each.name for each in torch_config.input] == ["a_b", "_class"]
    assert [each.name for each in torch_config.output] == ["a_b__0", "_class__1"]


@settings(deadline=None)
@given(names=st.lists(st.text("ab_", min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_positions_are_found_as_pytorch_backend_finds_them(names):
    outputs = {name: TensorInfo(name, "DT_FLOAT", (-1, 1)) for name in names}
    found = [each.name for each in parsed(of({"x": X}, outputs), backend="pytorch").output]
    assert [int(name.partition("__")[2]) for name in found] == list(range(len(names)))


@settings(deadline=None)
@given(text=st.text(min_size=1))
def test_any_text_comes_through(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    config = parsed(of({text: X}, {text: SCORES}), signature_name=text)
    assert (config.input[0].name, config.output[0].name) == (text, text)
    assert config.parameters["signature_name"].string_value == text


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": TensorInfo("x", "DT_FLOAT", (3, 4))},
        {"x": X, "bias": TensorInfo("bias", "DT_FLOAT", (4,))},
        {"x": X, "words": TensorInfo("words", "DT_STRING", (-1,), ("count",))},
    ],
    ids=["fixed", "no batch", "another size"],
)
def test_batching_needs_the_same_free_batch_everywhere(inputs):
    with pytest.raises(ValueError, match=r"'serving_default' with x \[.*max_batch_size=0"):
        triton_config("model", "serving_default", of(inputs), backend="onnxruntime")
    config = parsed(of(inputs), max_batch_size=0)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert [tuple(each.dims) for each in config.input] == [info.shape for info in inputs.values()]


def test_what_triton_cannot_have():
    scalar = of({"x": X}, {"loss": TensorInfo("loss", "DT_FLOAT", ())})
    for size in (0, 64):
        with pytest.raises(ValueError, match=r"without a dimension, as loss; tensor.reshape\(1\)"):
            triton_config("model", "eval", scalar, backend="onnxruntime", max_batch_size=size)
    strings = of({"x": X, "color": TensorInfo("color", "DT_STRING", (-1, 1))})
    with pytest.raises(ValueError, match="TorchScript has no strings, as color"):
        triton_config("model", "serving_default", strings, backend="pytorch")
    with pytest.raises(ValueError, match="Received: -1"):
        triton_config("model", "serving_default", SIGNATURE, backend="onnxruntime", max_batch_size=-1)


@pytest.mark.parametrize(
    ("model", "signature", "expected"),
    [
        ("digits", "serving_default", "digits"),
        ("digits", "predict", "digits_predict"),
        ("my model/2", "a:head/predict", "my_model_2_a_head_predict"),
        ("Br\u00f6tchen-1.0", "serving_default", "Br_tchen-1.0"),
    ],
)
def test_names_are_names_of_folders(model, signature, expected):
    assert triton_model_name(model, signature) == expected
    assert triton_model_name(model, signature, backend="pytorch") == f"{expected}_torchscript"


@pytest.fixture
def files(tmp_path):
    """A repository's folder, and a function that writes a model file."""

    def write(name, content=b"model"):
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return tmp_path / "triton", write


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_repository_has_a_model_per_signature_and_format(files):
    folder, write = files
    onnx_files = {"serving_default": write("a/model.onnx"), "raw": write("b/model.onnx", b"other")}
    scripts = {"serving_default": write("a.pt"), "raw": write("b.pt")}
    signatures = {"serving_default": SIGNATURE, "raw": SIGNATURE}
    write_triton_repository(folder, "digits", onnx_files, scripts, signatures, 1700000000)
    assert contents(folder) == [
        "digits/1700000000/model.onnx",
        "digits/config.pbtxt",
        "digits_raw/1700000000/model.onnx",
        "digits_raw/config.pbtxt",
        "digits_raw_torchscript/1700000000/model.pt",
        "digits_raw_torchscript/config.pbtxt",
        "digits_torchscript/1700000000/model.pt",
        "digits_torchscript/config.pbtxt",
    ]
    for model in folder.iterdir():
        text = (model / "config.pbtxt").read_text()
        assert text_format.Parse(text, model_config_pb2.ModelConfig()).name == model.name
    assert (folder / "digits_raw/1700000000/model.onnx").read_bytes() == b"other"


def test_model_files_are_not_stored_twice(files):
    folder, write = files
    path = write("model.onnx")
    write_triton_repository(folder, "m", {"serving_default": path}, {}, {"serving_default": SIGNATURE}, 1)
    assert os.path.samefile(path, folder / "m/1/model.onnx")


@pytest.mark.skipif(not os.path.isdir(OTHER_FILE_SYSTEM), reason="needs a second file system")
def test_model_files_are_copied_where_links_are_refused(files):
    folder, _ = files
    other = f"{OTHER_FILE_SYSTEM}/torchestimator_test_{os.getpid()}.onnx"
    try:
        with open(other, "wb") as file:
            file.write(b"far away")
        write_triton_repository(folder, "m", {"serving_default": other}, {}, {"serving_default": SIGNATURE}, 1)
    finally:
        os.unlink(other)
    assert (folder / "m/1/model.onnx").read_bytes() == b"far away"


def test_external_data_goes_into_a_folder_and_both_models_load(files):
    folder, write = files
    path = write("big/model.onnx")
    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["scores"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save_model(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    write_triton_repository(folder, "m", {"serving_default": path}, {}, {"serving_default": SIGNATURE}, 7)
    assert contents(folder) == ["m/7/model.onnx/model.onnx", "m/7/model.onnx/model.onnx.data", "m/config.pbtxt"]
    for each in (path, folder / "m/7/model.onnx/model.onnx"):
        assert numpy_helper.to_array(onnx.load(each).graph.initializer[0]).sum() == 12


def test_what_cannot_be_served_is_left_out_with_a_line(files, caplog):
    folder, write = files
    strings = of({"color": TensorInfo("color", "DT_STRING", (-1, 1))})
    scalar = of({"x": X}, {"loss": TensorInfo("loss", "DT_FLOAT", ())})
    path = write("model.onnx")
    write_triton_repository(
        folder,
        "m",
        {"serving_default": path, "eval": path},
        {"serving_default": write("model.pt")},
        {"serving_default": strings, "eval": scalar},
        1,
    )
    assert contents(folder) == ["m/1/model.onnx", "m/config.pbtxt"]
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 2
    assert "onnxruntime model of signature 'eval'" in lines[0]
    assert "pytorch model of signature 'serving_default'" in lines[1]


def test_a_signature_without_a_batch_is_served_without_batching(files):
    folder, write = files
    fixed = of({"x": TensorInfo("x", "DT_FLOAT", (2, 4))})
    signatures = {"serving_default": SIGNATURE, "pair": fixed}
    paths = {name: write(f"{name}.onnx") for name in signatures}
    write_triton_repository(folder, "m", paths, {}, signatures, 1, max_batch_size=8)
    sizes = [
        int(re.search(r"max_batch_size: (\d+)", (folder / model / "config.pbtxt").read_text())[1])
        for model in ("m", "m_pair")
    ]
    assert sizes == [8, 0]


def test_a_version_is_added_and_never_written_over(files):
    folder, write = files
    arguments = ("m", {"serving_default": write("model.onnx")}, {}, {"serving_default": SIGNATURE})
    write_triton_repository(folder, *arguments, 1)
    write_triton_repository(folder, *arguments, 2)
    assert contents(folder) == ["m/1/model.onnx", "m/2/model.onnx", "m/config.pbtxt"]
    with pytest.raises(FileExistsError):
        write_triton_repository(folder, *arguments, 2)


def test_versions_are_positive(files):
    folder, _ = files
    with pytest.raises(ValueError, match="`version` must be a positive number"):
        write_triton_repository(folder, "m", {}, {}, {}, 0)


def test_two_signatures_of_one_name_are_refused(files):
    folder, write = files
    signatures = {"a/b": SIGNATURE, "a:b": SIGNATURE}
    with pytest.raises(ValueError, match="'a/b' and 'a:b' would both be the model 'm_a_b'"):
        write_triton_repository(folder, "m", dict.fromkeys(signatures, write("model.onnx")), {}, signatures, 1)

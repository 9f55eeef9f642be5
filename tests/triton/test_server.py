"""The repositories of real exports in the real tritonserver, asked by NVIDIA's client over HTTP and gRPC.

The server, its reading of config.pbtxt, its checks of requests and its batching are NVIDIA's; the backends are
stand-ins in Python (`backends/`).
"""

import json
import queue
import shutil
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.triton.models import digits, paint
from tests.triton.server import SHARED_MEMORY, TritonServer

REQUESTS = 400
"""Sent at once: more than wait for no one."""


class Client:
    """A client of one protocol that asks with and gets dicts of arrays.

    Args:
        module: tritonclient.http or tritonclient.grpc.
        address: of the server.
        options: of each input, such as binary_data=False for JSON.
    """

    def __init__(self, module, address, **options):
        self.module = module
        self.client = module.InferenceServerClient(address)
        self.options = options

    def infer(self, model, inputs, names=None):
        sent = []
        for name, values in inputs.items():
            tensor = self.module.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values, **self.options)
            sent.append(tensor)
        wanted = None if names is None else [self.module.InferRequestedOutput(name, **self.options) for name in names]
        result = self.client.infer(model, sent, outputs=wanted)
        response = result.get_response()
        if self.module is tritonclient.http:
            found = [output["name"] for output in response["outputs"]]
        else:
            found = [output.name for output in response.outputs]
        return {name: result.as_numpy(name) for name in found}


@pytest.fixture(params=["binary", "json", "grpc"])
def client(request, server):
    if request.param == "grpc":
        made = Client(tritonclient.grpc, server.grpc)
    else:
        made = Client(tritonclient.http, server.http, binary_data=request.param == "binary")
    yield made
    made.client.close()


@pytest.fixture
def http(server):
    made = tritonclient.http.InferenceServerClient(server.http, concurrency=16)
    yield made
    made.close()


def texts(array):
    """The server gives strings as bytes."""
    return [[value if isinstance(value, str) else value.decode() for value in row] for row in array]


def assert_same(found, expected):
    """Equal shapes and strings, and numbers up to what another version of ONNX Runtime may round."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype == object:
            assert texts(found[name]) == texts(values)
        else:
            assert found[name].dtype == values.dtype
            np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_every_signature_is_a_model(http, models):
    found = {each["name"]: each for each in http.get_model_repository_index()}
    versions = {name: each.path.name for name, each in models.items()}
    versions |= {"large": versions["digits"], "flat": "1"}
    names = ("digits", "digits_hidden_scores", "digits_torchscript", "digits_hidden_scores_torchscript")
    assert {name: (each["version"], each["state"]) for name, each in found.items()} == {
        name: (versions[name.partition("_")[0]], "READY") for name in (*names, "paint", "fixed", "large", "flat")
    }


def test_metadata(http):
    digits_model = http.get_model_metadata("digits")
    assert digits_model["platform"] == "onnxruntime_onnx"
    assert digits_model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert http.get_model_metadata("digits_torchscript")["platform"] == "pytorch_libtorch"
    datatypes = {each["name"]: each["datatype"] for each in http.get_model_metadata("paint")["outputs"]}
    assert datatypes == {"probabilities": "FP32", "price": "BYTES", "brush": "BYTES"}


def test_the_configuration_names_the_signature(http):
    config = http.get_model_config("digits_hidden_scores")
    assert config["max_batch_size"] == 64
    assert {key: value["string_value"] for key, value in config["parameters"].items()} == {
        "signature_name": "hidden/scores",
        "method_name": "tensorflow/serving/classify",
    }


@pytest.mark.parametrize("rows", [1, 7])
def test_pictures(rows, client, models):
    features, _ = digits(rows, seed=10 + rows)
    assert_same(client.infer("digits", features), models["digits"].loaded.default(features))
    assert_same(client.infer("digits_hidden_scores", features), models["digits"].loaded["hidden/scores"](features))


@pytest.mark.parametrize("rows", [1, 7])
def test_strings_in_and_out(rows, client, models):
    features, _ = paint(rows, seed=20 + rows)
    found = client.infer("paint", features)
    assert_same(found, models["paint"].loaded.default(features))
    assert texts(found["brush"]) == features["color"].tolist()


def test_the_answers_are_those_of_predict(client, models):
    pictures, _ = digits(4, seed=30)
    found = client.infer("digits", pictures)
    predicted = list(models["digits"].estimator.predict(lambda: [pictures]))
    assert found["class_ids"].ravel().tolist() == [row["class_ids"] for row in predicted]
    np.testing.assert_allclose(found["probabilities"], [row["probabilities"] for row in predicted], atol=1e-6)
    colors, _ = paint(4, seed=31)
    found = client.infer("paint", colors)
    predicted = list(models["paint"].estimator.predict(lambda: [colors]))
    assert texts(found["price"]) == [list(row["price"]) for row in predicted]
    np.testing.assert_allclose(found["probabilities"], [row["probabilities"] for row in predicted], atol=1e-6)


@pytest.mark.parametrize("signature", ["serving_default", "hidden/scores"])
def test_torchscript_gives_the_same_under_numbered_names(signature, client, models):
    model = "digits_torchscript" if signature == "serving_default" else "digits_hidden_scores_torchscript"
    features, _ = digits(3, seed=40)
    found = client.infer(model, features)
    expected = models["digits"].loaded[signature](features)
    names = [f"{key}__{index}" for index, key in enumerate(expected)]
    assert_same(found, dict(zip(names, expected.values(), strict=True)))


def test_only_the_wanted_outputs(client):
    features, _ = paint(2, seed=50)
    assert client.infer("paint", features, ["price"]).keys() == {"price"}


def test_plain_json_without_a_client(server, models):
    body = {
        "inputs": [
            {"name": "color", "shape": [2, 1], "datatype": "BYTES", "data": ["red", "gr\u00fcn"]},
            {"name": "size", "shape": [2, 2], "datatype": "FP32", "data": [[0.5, 1], [2, 0]]},
        ]
    }
    request = urllib.request.Request(f"http://{server.http}/v2/models/paint/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        outputs = {each["name"]: each for each in json.load(response)["outputs"]}
    expected = models["paint"].loaded.default(color=[["red"], ["gr\u00fcn"]], size=[[0.5, 1], [2, 0]])
    assert outputs["price"]["data"] == expected["price"].ravel().tolist()
    assert outputs["brush"]["data"] == ["red", "gr\u00fcn"]
    np.testing.assert_allclose(outputs["probabilities"]["data"], expected["probabilities"].ravel(), atol=1e-6)


def test_the_classification_extension_counts_classes(server):
    features, _ = digits(1, seed=60)
    client = tritonclient.http.InferenceServerClient(server.http)
    tensor = tritonclient.http.InferInput("image", [1, 1, 8, 8], "FP32").set_data_from_numpy(features["image"])
    wanted = tritonclient.http.InferRequestedOutput("probabilities", class_count=3)
    top = client.infer("digits", [tensor], outputs=[wanted]).as_numpy("probabilities")
    client.close()
    assert top.shape == (1, 3)
    values = [float(each.decode().split(":")[0]) for each in top[0]]
    assert values == sorted(values, reverse=True)


def bad_requests():
    pictures, _ = digits(2)
    colors, _ = paint(2)
    return {
        "missing": ("paint", {"color": colors["color"]}, r"expected 2 inputs but got 1|got input\(s\)"),
        "unknown": ("digits", {"picture": pictures["image"]}, "picture|image"),
        "too many": ("digits", {**pictures, "color": colors["color"]}, "color|expected 1 inputs but got 2"),
        "rank": ("digits", {"image": pictures["image"][:, 0]}, "shape"),
        "size": ("digits", {"image": pictures["image"][..., :7]}, "shape"),
        "dtype": ("digits", {"image": pictures["image"].astype(np.float64)}, "data-type|FP64"),
        "numbers for strings": ("paint", {**colors, "color": np.ones((2, 1), np.int64)}, "data-type|INT64"),
        "batches": ("paint", {"color": colors["color"][:1], "size": colors["size"]}, "batch"),
        "rows": ("digits", {"image": np.zeros((65, 1, 8, 8), np.float32)}, "batch-size must be <= 64"),
        "model": ("digit", pictures, "digit"),
    }


@pytest.mark.parametrize("case", bad_requests())
def test_bad_requests_are_refused_and_named(case, client):
    model, inputs, message = bad_requests()[case]
    with pytest.raises(InferenceServerException, match=message):
        client.infer(model, inputs)


def test_an_unknown_output_is_refused(client):
    with pytest.raises(InferenceServerException, match="cost"):
        client.infer("paint", paint(1)[0], ["cost"])


def test_bytes_that_are_no_text_are_refused_and_the_model_goes_on(http, server):
    client = Client(tritonclient.http, server.http, binary_data=True)
    features, _ = paint(1)
    with pytest.raises(InferenceServerException, match="utf-8"):
        client.infer("paint", {**features, "color": np.array([[b"\xff\xfe"]], dtype=object)})
    assert client.infer("paint", features).keys() == {"probabilities", "price", "brush"}
    client.client.close()


@pytest.mark.parametrize(("model", "name"), [("digits", "probabilities"), ("digits_torchscript", "probabilities__1")])
def test_requests_are_batched_and_each_gets_its_own_rows(model, name, http, server, models):
    def counts():
        statistics = http.get_inference_statistics(model)["model_stats"][0]
        return np.array([statistics["inference_count"], statistics["execution_count"]])

    before = counts()
    features, _ = digits(REQUESTS, seed=70)
    answers = queue.SimpleQueue()
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    for row in range(REQUESTS):
        tensor = tritonclient.grpc.InferInput("image", [1, 1, 8, 8], "FP32")
        tensor.set_data_from_numpy(features["image"][row : row + 1])
        client.async_infer(model, [tensor], lambda result, error, row=row: answers.put((row, result, error)))
    found = {}
    for _ in range(REQUESTS):
        row, result, error = answers.get(timeout=30)
        assert error is None
        found[row] = result.as_numpy(name)
    client.close()
    ordered = np.concatenate([found[row] for row in range(REQUESTS)])
    np.testing.assert_allclose(ordered, models["digits"].loaded.default(features)["probabilities"], atol=1e-6)
    rows, calls = counts() - before
    assert rows == REQUESTS
    assert calls < REQUESTS


def test_a_fixed_batch_is_served_without_batching(client, models, http):
    assert http.get_model_config("fixed")["max_batch_size"] == 0
    features, _ = paint(3, seed=80)
    assert_same(client.infer("fixed", features), models["fixed"].loaded.default(features))
    with pytest.raises(InferenceServerException, match="shape"):
        client.infer("fixed", paint(2)[0])


def test_a_model_with_its_data_beside_it(client, models):
    features, _ = digits(2, seed=90)
    assert_same(client.infer("large", features), models["digits"].loaded.default(features))


def test_tensors_of_rank_1_have_a_dimension_more(client):
    texts_sent = np.array([["red"], ["gr\u00fcn"], [""]], dtype=object)
    assert texts(client.infer("flat", {"text": texts_sent})["same"]) == texts_sent.tolist()


@pytest.fixture(scope="module")
def refusal(models, tmp_path_factory):
    """What the server says of a repository in which each model has another fault."""
    repository = tmp_path_factory.mktemp("faulty")
    faults = {
        "dims": ("dims: [10]", "dims: [11]"),
        "free": ("dims: [10]", "dims: [-1]"),
        "dtype": ("TYPE_FP32 dims: [10]", "TYPE_FP64 dims: [10]"),
        "name": ('"probabilities"', '"probability"'),
        "inputs": ("output {", 'input { name: "more" data_type: TYPE_FP32 dims: [1] }\noutput {'),
        "rank": ("TYPE_INT64 dims: [1]", "TYPE_INT64 dims: [1] reshape { shape: [] }"),
    }
    source = models["digits"].path / "triton" / "digits"
    for model, (right, wrong) in faults.items():
        shutil.copytree(source, repository / model)
        config = (source / "config.pbtxt").read_text()
        assert right in config
        broken = config.replace(right, wrong, 1).replace('name: "digits"', f'name: "{model}"', 1)
        (repository / model / "config.pbtxt").write_text(broken)
    with pytest.raises(RuntimeError) as error, TritonServer(repository, tmp_path_factory.mktemp("refusing")):
        pass
    return " ".join(str(error.value).replace("|", " ").split())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("dims", "tensor 'probabilities': the model has [-1, 10], the configuration [-1, 11]"),
        ("free", "tensor 'probabilities': the model has [-1, 10], the configuration [-1, -1]"),
        ("dtype", "the configuration TYPE_FP64"),
        ("name", "unexpected tensor 'probability'"),
        ("inputs", "configuration expects 2 inputs, model provides 1"),
        ("rank", "tensor 'class_ids': the model has [-1, 1], the configuration [-1]"),
    ],
)
def test_the_stand_in_refuses_what_the_real_backend_refuses(model, reason, refusal):
    assert f"unable to load model '{model}': " in refusal
    assert reason in refusal


def test_nothing_is_left_of_a_server(models, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(models["paint"].path / "triton", repository)
    (tmp_path / "server").mkdir()
    before = set(SHARED_MEMORY.glob("triton_*"))
    with TritonServer(repository, tmp_path / "server") as short:
        assert set(SHARED_MEMORY.glob("triton_*")) > before
    assert set(SHARED_MEMORY.glob("triton_*")) == before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://{short.http}/v2/health/live")

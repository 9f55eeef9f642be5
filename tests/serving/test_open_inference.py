import json
import warnings

import numpy as np
import pytest

from torchestimator.io import encode_example

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the packages under it say when they are imported
    import tritonclient.http as triton


@pytest.fixture(scope="module")
def triton_client(shop):
    with triton.InferenceServerClient(shop.address, concurrency=1) as client:
        yield client


def tensors(is_binary, price=((1.5,), (2.0,)), color=(("red",), ("blue",)), dtype="float32"):
    arrays = {"price": np.array(price, dtype), "color": np.array(color, object)}
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, triton.np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array, binary_data=is_binary)
    return inputs


def test_the_client_sees_a_healthy_server(triton_client):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("shop")
    assert triton_client.is_model_ready("shop", "7")
    assert triton_client.is_model_ready("shop_tokens")
    assert not triton_client.is_model_ready("shop", "8")
    assert not triton_client.is_model_ready("store")
    assert "binary_tensor_data" in triton_client.get_server_metadata()["extensions"]


def test_metadata_describe_each_signature_as_a_model(triton_client):
    assert triton_client.get_model_metadata("shop") == {
        "name": "shop",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "price", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "color", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "total", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    }
    assert triton_client.get_model_metadata("shop_tokens", "7")["inputs"][0]["datatype"] == "INT64"


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("is_binary_back", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_infer(triton_client, is_binary, is_binary_back, dtype):
    prices = [[1], [2]] if dtype == "int64" else [[1.5], [2.0]]
    outputs = [triton.InferRequestedOutput(name, binary_data=is_binary_back) for name in ("label", "total")]
    result = triton_client.infer(
        "shop", tensors(is_binary, prices, dtype=dtype), model_version="7", outputs=outputs, request_id="a-1"
    )
    np.testing.assert_array_equal(result.as_numpy("total"), np.float32([[prices[0][0]], [22]]))
    assert result.as_numpy("total").dtype == np.float32
    labels = result.as_numpy("label").reshape(-1).tolist()
    assert [each.decode() if isinstance(each, bytes) else each for each in labels] == ["red", "blue"]
    response = result.get_response()
    assert response["id"] == "a-1"
    assert (response["model_name"], response["model_version"]) == ("shop", "7")
    assert [each["name"] for each in response["outputs"]] == ["label", "total"]


def test_all_outputs_come_where_none_is_asked_for(triton_client):
    result = triton_client.infer("shop", tensors(True))
    assert [each["name"] for each in result.get_response()["outputs"]] == ["total", "label"]
    assert result.as_numpy("label").tolist() == [[b"red"], [b"blue"]]


def test_one_output_as_bytes_and_one_as_json(triton_client):
    outputs = [triton.InferRequestedOutput("label", binary_data=False), triton.InferRequestedOutput("total")]
    result = triton_client.infer("shop", tensors(True), outputs=outputs)
    assert result.as_numpy("label").tolist() == [["red"], ["blue"]]
    assert result.as_numpy("total").tolist() == [[1.5], [22.0]]


def test_a_parameter_chooses_the_signature(triton_client):
    x = triton.InferInput("x", [1, 1], "FP32")
    x.set_data_from_numpy(np.float32([[4]]))
    chosen = triton_client.infer("shop", [x], parameters={"signature_name": "regression"})
    named = triton_client.infer("shop_regression", [x])
    assert chosen.as_numpy("outputs").tolist() == named.as_numpy("outputs").tolist() == [[8]]


def test_text_beyond_ascii_and_an_empty_batch(triton_client):
    with pytest.raises(triton.InferenceServerException, match="can't compute"):
        triton_client.infer("shop", tensors(True, color=(("r\u00f6d",), ("\U0001f600",))))
    x = triton.InferInput("x", [0, 1], "FP32")
    x.set_data_from_numpy(np.zeros((0, 1), "float32"))
    assert triton_client.infer("shop_regression", [x]).as_numpy("outputs").shape == (0, 1)


def test_serialised_examples_are_bytes(triton_client):
    examples = triton.InferInput("examples", [2], "BYTES")
    rows = [{"x": 1.0, "tokens": [1, 2]}, {"tokens": [5]}]
    examples.set_data_from_numpy(np.array([encode_example(row) for row in rows], dtype=object))
    assert triton_client.infer("shop_examples", [examples]).as_numpy("outputs").tolist() == [[5.0], [24.0]]


GOOD = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}


def infer(client, *inputs, model="shop_regression", **document):
    return client.post(f"/v2/models/{model}/infer", json={"inputs": list(inputs), **document})


@pytest.mark.parametrize("data", [[1, 2.5], [[1], [2.5]]])
def test_data_flat_and_nested(client, data):
    answer = infer(client, GOOD | {"data": data})
    assert answer.status_code == 200
    assert answer.json()["outputs"] == [{"name": "outputs", "datatype": "FP32", "shape": [2, 1], "data": [2.0, 5.0]}]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "needs the input 'x'"),
        ([GOOD | {"name": "y"}], "no input 'y'"),
        ([GOOD, GOOD], '"x" is there twice'),
        ([GOOD | {"shape": [3, 1]}], r'"x" has 2 values, which is not its shape \[3, 1\]'),
        ([GOOD | {"shape": [2]}], r"`x` must be float32 \[-1, 1\].*Received: shape \[2\]"),
        ([GOOD | {"shape": [-1, 1]}], '"shape" of the input "x"'),
        ([GOOD | {"shape": None}], '"shape" of the input "x"'),
        ([GOOD | {"datatype": "FP23"}], 'unknown: did you mean "FP32"'),
        ([GOOD | {"datatype": ["FP32"]}], "unknown"),
        ([GOOD | {"datatype": "BYTES", "data": ["a", "b"]}], "`x` must be float32"),
        ([GOOD | {"data": ["1", "2"]}], "`x` must be of its datatype FP32. Received: '1'"),
        ([GOOD | {"shape": [0, 2**63]}], '"shape" of the input "x"'),
        ([GOOD | {"shape": [1] * 100}], '"shape" of the input "x"'),
        ([GOOD | {"shape": [2**30, 2**30]}], '"shape" of the input "x"'),
        ([GOOD | {"data": [True, False]}], '"x" must be of its datatype FP32'),
        ([GOOD | {"data": [[1], [2, 3]]}], "`x`.*rows of equal length"),
        ([GOOD | {"data": [1e300, 0]}], "`x`.*do not fit float32"),
        ([{"name": "x", "shape": [1], "datatype": "FP32"}], 'neither "data" nor'),
        ([GOOD | {"parameters": {"binary_data_size": 8}}], '"binary_data_size" of the input "x"'),
        ([GOOD | {"parameters": [8]}], '"parameters" must be an object'),
        (["x"], 'object with a "name"'),
    ],
)
def test_bad_inputs_are_named(client, inputs, message):
    answer = infer(client, *inputs)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    with pytest.raises(ValueError, match=message):
        raise ValueError(answer.json()["error"])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"outputs": [{"name": "output"}]}, 'no output "output"; did you mean "outputs"'),
        ({"outputs": "outputs"}, '"outputs" must be a list'),
        ({"outputs": [{"name": "outputs", "parameters": {"classification": 1}}]}, "no classification extension"),
        ({"parameters": {"signature_name": "regresion"}}, 'did you mean "regression"'),
    ],
)
def test_bad_requests_are_explained(client, document, message):
    answer = infer(client, GOOD, **document)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_inputs_must_be_there(client):
    answer = client.post("/v2/models/shop/infer", json={"instances": [1]})
    assert answer.status_code == 400
    assert '"inputs" must be a list such as' in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "extra", "message"),
    [("10000", b"", "size of the JSON"), ("many", b"", "size of the JSON"), (None, b"1234", "4 bytes of binary data")],
)
def test_a_wrong_header_length_is_explained(client, length, extra, message):
    head = json.dumps({"inputs": [GOOD]}).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    answer = client.post("/v2/models/shop_regression/infer", content=head + extra, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]

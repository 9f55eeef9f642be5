import base64
import json

import pytest

from torchestimator.io import encode_example


def b64(text):
    return {"b64": base64.b64encode(text.encode()).decode()}


def post(client, document, verb="predict", version=""):
    answer = client.post(f"/v1/models/shop{version}:{verb}", json=document)
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


ROWS = [{"price": [1.5], "color": ["red"]}, {"price": [2], "color": [b64("blue")]}]
COLUMNS = {"price": [[1.5], [2]], "color": [["red"], [b64("blue")]]}


def test_status(client):
    state = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert client.get("/v1/models/shop").json() == {"model_version_status": [state]}
    assert client.get("/v1/models/shop/versions/7").json() == {"model_version_status": [state]}


def test_metadata_are_in_tensorflow_s_spelling(client):
    document = client.get("/v1/models/shop/metadata").json()
    assert document["model_spec"] == {"name": "shop", "signature_name": "", "version": "7"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "classification", "regression", "tokens", "examples"}
    assert signatures["classification"]["method_name"] == "tensorflow/serving/classify"
    assert signatures["serving_default"]["inputs"]["color"] == {
        "dtype": "DT_STRING",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
        "name": "color",
    }


@pytest.mark.parametrize("version", ["", "/versions/7"])
def test_rows_give_rows(client, version):
    status, document = post(client, {"instances": ROWS}, version=version)
    assert status == 200
    assert document == {"predictions": [{"total": [1.5], "label": ["red"]}, {"total": [22.0], "label": ["blue"]}]}


def test_columns_give_columns(client):
    status, document = post(client, {"signature_name": "serving_default", "inputs": COLUMNS})
    assert status == 200
    assert document == {"outputs": {"total": [[1.5], [22.0]], "label": [["red"], ["blue"]]}}


@pytest.mark.parametrize("rows", [[[1], [2.5]], [{"x": [1]}, {"x": [2.5]}]])
def test_the_names_of_a_single_input_and_a_single_output_are_left_out_of_rows(client, rows):
    assert post(client, {"signature_name": "regression", "instances": rows}) == (200, {"predictions": [[2.0], [5.0]]})


@pytest.mark.parametrize("columns", [[[1], [2.5]], {"x": [[1], [2.5]]}])
def test_the_names_of_a_single_input_and_a_single_output_are_left_out_of_columns(client, columns):
    assert post(client, {"signature_name": "regression", "inputs": columns}) == (200, {"outputs": [[2.0], [5.0]]})


def test_integers_of_any_size_of_json(client):
    status, document = post(client, {"signature_name": "tokens", "instances": [[1, 2**52]]})
    assert (status, document) == (200, {"predictions": [[2**52 + 1]]})


@pytest.mark.parametrize("examples", [[{"x": 1}, {"x": [-2]}], [{}, {"x": -2}]])
def test_classify(client, examples):
    document = {"signature_name": "classification", "context": {"x": 1}, "examples": examples}
    expected = [[["no", 1.0], ["yes", -1.0]], [["no", -2.0], ["yes", 2.0]]]
    assert post(client, document, "classify") == (200, {"results": expected})


def test_regress(client):
    document = {"signature_name": "regression", "examples": [{"x": 1}, {"x": [2.5]}]}
    assert post(client, document, "regress") == (200, {"results": [2.0, 5.0]})


ROWS_OF_EXAMPLES = [{"x": 1, "tokens": [1, 2]}, {"tokens": 5}]  # x has the default 10, and rows are padded with -1


def test_regress_decodes_features_as_from_serialised_examples(client):
    document = {"signature_name": "examples", "examples": ROWS_OF_EXAMPLES}
    assert post(client, document, "regress") == (200, {"results": [5.0, 24.0]})
    document = {"signature_name": "examples", "examples": [{}, {"x": [b64("1")]}]}
    status, answer = post(client, document, "regress")
    assert status == 400
    assert "'x'" in answer["error"]
    document = {"signature_name": "examples", "examples": [{"y": 1}]}
    status, answer = post(client, document, "regress")
    assert status == 400
    assert 'no feature "y"; there are: "x", "tokens"' in answer["error"]


def test_predict_takes_serialised_examples_or_their_features(client):
    examples = [encode_example(row) for row in [{"x": 1.0, "tokens": [1, 2]}, {"tokens": [5]}]]
    serialized = [{"b64": base64.b64encode(each).decode()} for each in examples]
    named = [{"examples": each} for each in serialized]
    features = [{"x": [1], "tokens": [1, 2]}, {"x": [10], "tokens": [5, -1]}]
    for rows in (serialized, named, features):
        document = {"signature_name": "examples", "instances": rows}
        assert post(client, document) == (200, {"predictions": [[5.0], [24.0]]})
    status, answer = post(client, {"signature_name": "examples", "instances": ["no example"]})
    assert status == 400
    assert "no tf.Example" in answer["error"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Received: nothing"),
        (
            {"instance": ROWS},
            'either "instances", a list of rows, or "inputs", all rows by input. Received: "instance"',
        ),
        ({"instances": ROWS, "inputs": COLUMNS}, "either"),
        ({"instances": []}, "at least one row"),
        ({"instances": {"price": [1.5]}}, "at least one row"),
        ({"instances": [1.5]}, 'object with the inputs of the signature "serving_default": "price", "color"'),
        ({"inputs": [1.5]}, 'object with the inputs of the signature "serving_default"'),
        ({"instances": [ROWS[0], {"price": [1]}]}, 'Received: "price", "color" in the first, "price" in number 2'),
        ({"instances": [ROWS[0], 3]}, "3 in number 2"),
        ({"instances": [{"price": [1.5]}]}, "needs the input 'color'"),
        ({"instances": [{"price": [1.5], "colour": ["red"]}]}, "no input 'colour'. Did you mean 'color'?"),
        ({"instances": [{"price": ["1.5"], "color": ["red"]}]}, "`price` must be float32 [-1, 1]"),
        ({"instances": [{"price": [None], "color": ["red"]}]}, "`price` must be float32 [-1, 1]"),
        ({"instances": [{"price": [1.5], "color": [3]}]}, "`color` must hold strings. Received: 3 (int)"),
        ({"instances": [{"price": 1.5, "color": ["red"]}]}, "One value per row is [[1], [2]]"),
        ({"instances": [{"price": [1.5, 2], "color": ["red"]}]}, "Received: shape [1, 2]"),
        ({"instances": [{"price": [1], "color": ["a"]}, {"price": [1, 2], "color": ["a"]}]}, "rows of equal length"),
        ({"inputs": {"price": [[1], [2]], "color": [["red"]]}}, "2 in `price`, 1 in `color`"),
        ({"inputs": {"price": [[1]], "color": [[{"b64": "?"}]]}}, '"color" has {"b64": ...} that is no base64'),
        ({"inputs": {"price": [[1]], "color": [[{"b64": "/w=="}]]}}, "`color` must hold text in UTF-8"),
        ({"signature_name": "serving", "instances": ROWS}, 'no signature "serving"; did you mean "serving_default"?'),
        ({"signature_name": ["x"], "instances": ROWS}, "no signature"),
        ({"inputs": {"price": json.loads("[" * 900 + "]" * 900), "color": [["red"]]}}, "`price`"),
        ({"inputs": {"price": [[1]], "color": json.loads("[" * 900 + "]" * 900)}}, "`color`"),
        ({"signature_name": "tokens", "instances": [[1.5]]}, "values of float64 do not become int64"),
        ({"signature_name": "tokens", "instances": [[2**63]]}, "do not fit int64"),
    ],
)
def test_bad_predict_requests_are_explained(client, document, message):
    status, answer = post(client, document)
    assert status == 400
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("verb", "document", "message"),
    [
        ("classify", {"examples": [{"x": 1}]}, "tensorflow/serving/predict, and :classify needs"),
        ("regress", {"signature_name": "classification", "examples": [{"x": 1}]}, ":regress needs"),
        ("classify", {"signature_name": "classification"}, "Received: nothing"),
        ("classify", {"signature_name": "classification", "examples": [1]}, '"examples" must be a list'),
        ("classify", {"signature_name": "classification", "examples": [{"x": 1}], "context": 1}, '"context" must be'),
        ("classify", {"signature_name": "classification", "examples": [{"x": 1}, {}]}, "in the first, nothing in"),
        ("classify", {"signature_name": "classification", "examples": [{"y": 1}]}, 'no feature "y"; there are: "x"'),
        ("classify", {"signature_name": "classification", "examples": [{"x": [1, 2]}]}, "`x` must be float32"),
    ],
)
def test_bad_examples_are_explained(client, verb, document, message):
    status, answer = post(client, document, verb)
    assert status == 400
    assert message in answer["error"]


def test_values_that_the_model_cannot_compute_are_told(client):
    status, answer = post(client, {"instances": [{"price": [1.5], "color": ["purple"]}]})
    assert status == 500
    assert "The model can't compute these inputs" in answer["error"]

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.serving.exports import write_export
from torchestimator.io import encode_example

ROOT = Path(__file__).parents[2]
RUNTIMES = ["onnxruntime", "torch_export", "torchscript"]
COLORS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("shop")
    write_export(base, 1)
    write_export(base, 2, factor=2)
    return base


@pytest.fixture(scope="module")
def shop(base):
    return te.export.load(base / "1", num_threads=1)


def model_fn(features, labels, mode):
    """Prices and hashed colors to scores of three classes; the color is handed on."""
    table = te.get_module("table", lambda: torch.nn.Embedding(16, 3))
    logits = table(features["color"].remainder(16)).sum(1) + te.get_module("dense", lambda: torch.nn.Linear(2, 3))(
        features["price"]
    )
    class_ids = logits.argmax(-1, keepdim=True)
    predictions = {
        "probabilities": logits.softmax(-1),
        "class": te.strings.index_to_string(class_ids, ["low", "middle", "high"]),
        "sent_color": features["color"],
    }
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return te.EstimatorSpec(mode, loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))


FEATURES = {
    "price": np.float32([[1, 2], [3, -4], [0.5, 0]]),
    "color": np.array([["red"], ["gr\u00fcn"], [""]], dtype=object),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Paths of a raw and of a parsing export of one model, and what it predicts for `FEATURES`."""
    folder = tmp_path_factory.mktemp("trained")
    estimator = te.Estimator(model_fn, model_dir=folder / "model", config=te.RunConfig(random_seed=1))
    estimator.train(lambda: (FEATURES, np.array([0, 1, 2])), steps=1)
    raw = estimator.export_saved_model(
        folder / "raw",
        te.export.build_raw_serving_input_receiver_fn(FEATURES),
        formats=("onnx", "torch_export", "torchscript"),
    )
    spec = {
        "price": te.io.FixedLenFeature([2], torch.float32, default_value=[0.5, 0]),
        "color": te.io.FixedLenFeature([1], str),
    }
    parsing = estimator.export_saved_model(
        folder / "parsing", te.export.build_parsing_serving_input_receiver_fn(spec), formats=("onnx",)
    )
    return raw, parsing, estimator.predictor()(FEATURES)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_runtime_gives_what_the_model_predicts(trained, runtime):
    raw, _, expected = trained
    export = te.export.load(raw, runtime=runtime)
    assert export.runtime == runtime
    for result in (export.default(FEATURES), export.default(**{key: each.tolist() for key, each in FEATURES.items()})):
        np.testing.assert_allclose(result["probabilities"], expected["probabilities"], atol=1e-6)
        assert result["class"].tolist() == expected["class"].tolist()
        assert {type(each) for each in result["class"].reshape(-1)} == {str}
        assert result["sent_color"].tolist() == FEATURES["color"].tolist()
    only = export.default.run(export.default.check(FEATURES), ["sent_color"])
    assert list(only) == ["sent_color"]


def test_serialised_examples_and_their_features_give_the_same(trained):
    _, parsing, expected = trained
    signature = te.export.load(parsing).default
    assert list(signature.inputs) == [signature.example_key]
    rows = [
        {"price": [1.0, 2.0], "color": ["red"]},
        {"price": [3.0, -4.0], "color": ["gr\u00fcn"]},
        {"color": [""]},  # the price has a default
    ]
    serialized = [encode_example(row) for row in rows]
    for result in (
        signature({signature.example_key: serialized}),
        signature({signature.example_key: np.array(serialized, dtype=object)}),
        signature(FEATURES),
    ):
        np.testing.assert_allclose(result["probabilities"], expected["probabilities"], atol=1e-6)
        assert result["sent_color"].tolist() == FEATURES["color"].tolist()


def test_serialised_examples_that_are_none_are_refused(trained):
    signature = te.export.load(trained[1]).default
    key = signature.example_key
    with pytest.raises(ValueError, match=r"no tf\.Example"):
        signature({key: [b"\xff\xff"]})
    with pytest.raises(ValueError, match=rf"`{key}` must be a list of serialised tf.Examples, \[batch\].*\[1, 1\]"):
        signature({key: [[b""]]})
    with pytest.raises(ValueError, match=f"`{key}` holds 'price' already"):
        signature({key: [b""], "price": [[1, 2]]})
    with pytest.raises(ValueError, match=rf"needs the input 'color'.*or '{key}'.*Received: 'price'"):
        signature(price=[[1, 2]])
    with pytest.raises(TypeError, match="NumPy's dtype S"):
        signature({key: np.array([b"a"])})


def test_a_base_folder_stands_for_its_newest_export(base, caplog):
    export = te.export.load(base)
    assert export.path == str(base / "2")
    assert "holds 2 exports" in caplog.text
    assert str(base / "2") in caplog.text


def test_an_export_is_a_mapping_of_its_signatures(shop, base):
    assert list(shop) == ["serving_default", "classification", "regression", "tokens", "examples"]
    assert len(shop) == 5
    assert shop["tokens"] is shop["tokens"]
    assert shop.default.name == "serving_default"
    assert shop["regression"].method_name == "tensorflow/serving/regress"
    assert list(shop.default.inputs) == ["price", "color"]
    assert shop.default.outputs["label"].is_string
    assert shop.info.global_step == 100
    assert str(base / "1") in repr(shop)
    assert "'price' (float32 [-1, 1])" in repr(shop.default)
    with pytest.raises(KeyError, match=r"no signature 'token'\. Did you mean 'tokens'"):
        shop["token"]


def test_what_cannot_be_loaded_is_told(base, tmp_path):
    with pytest.raises(ValueError, match="`runtime` must be one of auto, onnxruntime"):
        te.export.load(base, runtime="tensorrt")
    with pytest.raises(ValueError, match="`num_threads` must be at least 1"):
        te.export.load(base, num_threads=0)
    with pytest.raises(ValueError, match=r"no files for runtime='torchscript'.*can be loaded with: 'onnxruntime'"):
        te.export.load(base, runtime="torchscript")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        te.export.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="There is no export in"):
        te.export.load(tmp_path)
    incomplete = shutil.copytree(base / "1", tmp_path / "1")
    (incomplete / "tokens" / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"incomplete: .*tokens.model\.onnx is missing"):
        te.export.load(incomplete)
    document = json.loads((incomplete / "signatures.json").read_text())
    document["meta_graphs"][0]["tags"] = ["eval"]
    (incomplete / "signatures.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"no signatures for serving. Received: .*\['eval'\]"):
        te.export.load(incomplete)


def test_strings_of_every_kind(shop):
    for color in (
        [["red"], ["blue"]],
        [[b"red"], ["blue"]],
        np.array([["red"], ["blue"]]),
        np.array([[b"red"], [b"blue"]]),
        np.array([[np.str_("red")], [np.bytes_(b"blue")]], dtype=object),
    ):
        result = shop.default(price=[[1], [2]], color=color)
        assert result["total"].tolist() == [[1.0], [22.0]]
        assert result["label"].tolist() == [["red"], ["blue"]]
        assert {type(each) for each in result["label"].reshape(-1)} == {str}


@pytest.mark.parametrize(
    "price",
    [
        [[1.5], [2]],
        [[1], [2]],
        np.array([[1], [2]], "int8"),
        np.array([[1.0], [2.0]], "float16"),
        np.array([[1.0], [2.0]], ">f8"),
        torch.tensor([[1.0], [2.0]]),
        np.asfortranarray(np.ones((2, 2), "float32"))[:, :1],
    ],
)
def test_numbers_that_keep_their_value_are_cast(shop, price):
    total = shop.default(price=price, color=[["red"], ["red"]])["total"]
    assert total.dtype == np.float32
    np.testing.assert_array_equal(total, np.asarray(price, "float32"))


@settings(deadline=None, max_examples=50)
@given(value=st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.text(max_size=3), st.none()))
def test_a_number_arrives_as_it_was_or_is_refused(shop, value):
    inputs = {"tokens": [[value]]}
    if type(value) is int and -(2**63) <= value < 2**63:
        assert shop["tokens"].check(inputs)["tokens"].tolist() == [[value]]
    else:
        with pytest.raises((TypeError, ValueError), match="`tokens`"):
            shop["tokens"].check(inputs)


BAD = [
    ({"price": [["1"]]}, TypeError, r"`price` must be float32 \[-1, 1\]. Received: '1' \(str\), element 0"),
    ({"price": [[True]]}, TypeError, "`price`.*values of bool do not become float32"),
    ({"price": [[1.5], [True]]}, TypeError, r"`price`.*Received: True \(bool\), element 1"),
    ({"price": [["x" * 10**6], *[["y"]] * 10**6]}, TypeError, "`price` must be float32"),
    ({"price": np.array([["1"]])}, TypeError, "`price`.*Received: text"),
    ({"price": np.array([[None]])}, TypeError, "`price`.*Received: values such as None"),
    ({"price": [[None]]}, TypeError, r"`price`.*Received: None \(NoneType\)"),
    ({"price": [[2**24 + 1]]}, ValueError, "`price`.*do not fit float32"),
    ({"price": [[1e39]]}, ValueError, "`price`.*do not fit float32. Received: float64 from 1e"),
    ({"price": [[1 + 2j]]}, TypeError, r"`price`.*\(complex\)"),
    ({"price": [[1], [2, 3]]}, ValueError, "`price`.*rows of equal length"),
    ({"price": [1]}, ValueError, r"Received: shape \[1\]. One value per row is \[\[1\], \[2\]\]"),
    (
        {"price": [[1, 2]]},
        ValueError,
        r"`price` must be float32 \[-1, 1\], where -1 is any size. Received: shape \[1, 2",
    ),
    ({"price": 1}, ValueError, r"Received: shape \[\]"),
    ({"price": [[1], [2]]}, ValueError, "agree in the size of 'batch'. Received: 2 in `price`, 1 in `color`"),
    ({"color": [[1]]}, TypeError, r"`color` must hold strings. Received: 1 \(int\), element 0"),
    ({"color": np.array([[1]])}, TypeError, "`color` must hold strings. Received: int64"),
    ({"color": [[None]]}, TypeError, "`color` must hold strings. Received: None"),
    ({"color": [["red"], ["red", "blue"]]}, ValueError, "`color` must have rows of equal length"),
    ({"color": [[b"\xff"]]}, ValueError, "`color` must hold text in UTF-8"),
    ({"colour": [["red"]]}, ValueError, "no input 'colour'. Did you mean 'color'?"),
    ({"x": [["red"]]}, ValueError, "no input 'x'. There are: 'price', 'color'"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_bad_inputs_are_named(shop, changes, error, message):
    with pytest.raises(error, match=message):
        shop.default({"price": [[1.0]], "color": [["red"]], **changes})


def test_missing_inputs_are_named(shop):
    with pytest.raises(ValueError, match=r"needs the input 'color': it takes 'price' \(float32.*Received: 'price'"):
        shop.default(price=[[1]])
    with pytest.raises(ValueError, match=r"needs the inputs 'price', 'color'.*Received: no inputs"):
        shop.default()
    with pytest.raises(TypeError, match="as one dict or as keyword arguments"):
        shop.default({"price": [[1]]}, color=[["red"]])
    with pytest.raises(TypeError, match=r"must be a dict with the keys \['color', 'price'\]. Received: list"):
        shop.default([[1]])


def test_a_batch_without_its_dimension_is_told(shop):
    with pytest.raises(ValueError, match="batch dimension is missing"):
        shop["tokens"](tokens=[1, 2, 3])


def test_calls_from_several_threads(base):
    export = te.export.load(base / "1", num_threads=1)
    wrong = []

    def call(number):
        for step in range(50):
            rows = 1 + (number + step) % 4
            result = export["regression"](x=np.full((rows, 1), number + step, "float32"))["outputs"]
            if result.tolist() != [[2 * (number + step)]] * rows:
                wrong.append((number, step))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_onnx_runtime_the_extra_is_named(base, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torchestimator as te\n"
        f"for runtime in ('auto', 'onnxruntime'):\n"
        f"    try: te.export.load({str(base / '1')!r}, runtime=runtime)\n"
        f"    except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install torchestimator[onnx]") == 2

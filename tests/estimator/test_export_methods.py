"""Exports of trained Estimators."""

import os
import threading
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import torchestimator as te
from tests.models import (
    AtStep,
    config,
    contents,
    linear_data,
    linear_estimator,
    linear_input,
    linear_model_fn,
    restless_estimator,
    restless_input,
)
from torchestimator.export.signature import read_export_info

raw = te.export.build_raw_serving_input_receiver_fn
RUNTIMES = {"onnx": "onnxruntime", "torch_export": "torch_export", "torchscript": "torchscript"}
X = linear_data(5)[0]["x"]


@pytest.fixture(scope="module")
def exported(digits, tmp_path_factory):
    """An export of the digits in all formats."""
    return digits.estimator.export_saved_model(tmp_path_factory.mktemp("exports"), digits.receiver)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear model with checkpoints of the steps 2 and 4."""
    estimator = linear_estimator(tmp_path_factory.mktemp("linear"), save_checkpoints_steps=2)
    estimator.train(linear_input(), steps=4)
    return estimator


def weights(path):
    return te.export.load(path).default(x=np.eye(2, dtype="float32"))["outputs"][:, 0]


@pytest.mark.parametrize("runtime", RUNTIMES.values())
def test_served_values_are_those_of_predict(digits, exported, runtime):
    count = 150
    features = {key: value[:count] for key, value in digits.features.items()}
    rows = list(digits.estimator.predict(te.inputs.numpy_input_fn(features, batch_size=64, shuffle=False)))
    export = te.export.load(exported, runtime=runtime)
    sent = {"raw pixels/8x8": digits.pixels[:count], "row id": features["row id"]}
    got = export.default(sent)
    assert list(got) == ["class_ids", "probabilities", "name of/class", "step", "id out"]
    np.testing.assert_allclose(got["probabilities"], [row["probabilities"] for row in rows], rtol=1e-4, atol=1e-6)
    for key in ("class_ids", "name of/class", "id out"):
        assert got[key].shape == (count, 1)
        assert got[key][:, 0].tolist() == [row[key] for row in rows]
    assert set(got["step"].ravel().tolist()) == {60}
    assert (got["class_ids"][:, 0] == digits.labels[:count]).mean() > 0.8
    np.testing.assert_array_equal(export["classify"](sent)["scores"], got["probabilities"])


def test_signatures_and_their_files(exported):
    serving = read_export_info(exported).serving
    assert list(serving) == ["serving_default", "classify", "predict"]
    assert serving["predict"] == serving["serving_default"]
    assert serving["predict"].artifacts["onnx"] == "serving_default/model.onnx"
    assert serving["classify"].method_name == "tensorflow/serving/classify"
    info = read_export_info(exported)
    assert info.global_step == 60
    assert all(entry["batches"] == [1, 2, 7] for entry in info.verified.values())
    assert len(info.verified) == 6
    assert "the_digits" in os.listdir(os.path.join(exported, "triton"))


def test_onnx_files_have_the_keys_as_names_and_load_in_plain_onnx_runtime(exported, digits):
    path = os.path.join(exported, "serving_default", "model.onnx")
    session = onnxruntime.InferenceSession(path)
    serving = read_export_info(exported).serving["serving_default"]
    assert [each.name for each in session.get_inputs()] == list(serving.inputs) == ["raw pixels/8x8", "row id"]
    assert [each.name for each in session.get_outputs()] == list(serving.outputs)
    assert [each.type for each in session.get_inputs()] == ["tensor(uint8)", "tensor(string)"]
    model = onnx.load(path)
    assert model.ir_version == 8
    assert {each.domain: each.version for each in model.opset_import}[""] == 18
    (names,) = session.run(["name of/class"], {"raw pixels/8x8": digits.pixels[:1], "row id": np.array(["a"], object)})
    assert names.tolist() == [[f"digit {digits.labels[0]}"]]


def test_nothing_of_the_users_source_is_in_any_file(exported, digits):
    secrets = [b"conftest.py\x00", b'conftest.py"', b'File "', b"# ", os.path.dirname(__file__).encode()]
    secrets = [*secrets[:3], secrets[4], b"te.get_module", b"self.head(", digits.estimator.model_dir.encode()]
    num_files = 0
    for folder, _, names in os.walk(exported):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                parts = [file.read()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts += [archive.read(part) for part in archive.namelist()]
            num_files += len(parts)
            assert not [(name, secret) for part in parts for secret in secrets if secret in part]
    assert num_files > 20


@pytest.mark.parametrize(
    "formats", [("onnx",), "torch_export", ["torchscript"], ("onnx", "triton"), ("torchscript", "triton")]
)
def test_each_format_alone(linear, tmp_path, formats):
    path = linear.export_saved_model(tmp_path, raw({"x": X}), formats=formats)
    first = formats if isinstance(formats, str) else formats[0]
    assert list(read_export_info(path).serving["serving_default"].artifacts) == [first]
    export = te.export.load(path)
    assert export.runtime == RUNTIMES[first]
    expected = linear.predictor()({"x": X})
    got = export.default(x=X)
    for key in ("outputs", "double"):
        np.testing.assert_allclose(got[key][:, 0], expected[key], rtol=1e-5, atol=1e-6)
    assert os.path.isdir(os.path.join(path, "triton")) == ("triton" in formats)


def test_the_checkpoint_that_is_exported(linear, tmp_path):
    older = os.path.join(linear.model_dir, "model.ckpt-2")
    fast = {"formats": "torchscript"}
    paths = [
        linear.export_saved_model(tmp_path / "old", raw({"x": X}), checkpoint_path=older, **fast),
        linear.export_saved_model(tmp_path / "new", raw({"x": X}), **fast),
        linear.export_saved_model(tmp_path / "same", raw({"x": X}), checkpoint_path=linear.model_dir, **fast),
    ]
    assert [read_export_info(path).global_step for path in paths] == [2, 4, 4]
    assert weights(paths[0]).tolist() != weights(paths[1]).tolist() == weights(paths[2]).tolist()
    with pytest.raises(FileNotFoundError, match=r"model.ckpt-3"):
        linear.export_saved_model(
            tmp_path, raw({"x": X}), checkpoint_path=os.path.join(linear.model_dir, "model.ckpt-3")
        )


def test_a_model_that_was_not_trained_here(linear, tmp_path):
    fresh = linear_estimator(tmp_path / "fresh")
    with pytest.raises(
        ValueError, match=r"no trained model in .*fresh to export. Call train first, or pass checkpoint_"
    ):
        fresh.export_saved_model(tmp_path / "exports", raw({"x": X}))
    assert not (tmp_path / "exports").exists()
    warm = te.Estimator(linear_model_fn, tmp_path / "warm", config(), {}, warm_start_from=linear.model_dir)
    path = warm.export_saved_model(tmp_path / "exports", raw({"x": X}), formats="torchscript")
    expected = linear.export_saved_model(tmp_path / "expected", raw({"x": X}), formats="torchscript")
    assert weights(path).tolist() == weights(expected).tolist()


def test_further_files(linear, tmp_path):
    (tmp_path / "vocabulary.txt").write_text("a\nb")
    extra = {"words/vocabulary.txt": tmp_path / "vocabulary.txt"}
    path = linear.export_saved_model(tmp_path / "exports", raw({"x": X}), extra, formats="torchscript")
    with open(os.path.join(path, "assets.extra", "words", "vocabulary.txt")) as file:
        assert file.read() == "a\nb"


def test_the_old_name_warns(linear, tmp_path):
    with pytest.warns(DeprecationWarning, match="use export_saved_model") as caught:
        path = linear.export_savedmodel(tmp_path, raw({"x": X}))
    assert caught[0].filename == __file__
    assert set(read_export_info(path).serving["serving_default"].artifacts) == set(RUNTIMES)
    with (
        pytest.warns(DeprecationWarning, match="export_saved_model"),
        pytest.raises(ValueError, match="`strip_default_attrs` has no meaning"),
    ):
        linear.export_savedmodel(tmp_path, raw({"x": X}), strip_default_attrs=True)


def test_all_modes_in_one_export(digits, tmp_path):
    features = {key: value[:8] for key, value in digits.features.items()}
    supervised = te.experimental.build_raw_supervised_input_receiver_fn(features, digits.labels[:8])
    receivers = {"infer": digits.receiver, "train": supervised, "eval": supervised}
    path = digits.estimator.experimental_export_all_saved_models(tmp_path, receivers, formats=("torch_export",))
    info = read_export_info(path)
    assert {graph.tags: list(graph.signature_def) for graph in info.meta_graphs} == {
        ("train",): ["train"],
        ("eval",): ["eval"],
        ("serve",): ["serving_default", "classify", "predict"],
    }
    methods = [signature.method_name for graph in info.meta_graphs[:2] for signature in graph.signature_def.values()]
    assert methods == ["tensorflow/supervised/training", "tensorflow/supervised/eval"]

    evaluation = torch.export.load(os.path.join(path, "torch_export", "eval.pt2")).module()
    images, labels = torch.from_numpy(digits.features["image"]), torch.from_numpy(digits.labels)
    ids = torch.zeros(len(labels), dtype=torch.int64)
    values = evaluation(image=images, row_id=ids, label=labels)
    expected = digits.estimator.evaluate(te.inputs.numpy_input_fn(digits.features, digits.labels, 2000, shuffle=False))
    assert values["loss"].item() == pytest.approx(expected["loss"], rel=1e-4)
    assert values["metrics_accuracy_value"].item() == pytest.approx(expected["accuracy"], rel=1e-6)

    training = torch.export.load(os.path.join(path, "torch_export", "train.pt2")).module()
    one, two = (training(image=images, row_id=ids, label=labels)["loss"] for _ in range(2))
    assert one.item() != two.item()  # dropout
    assert one.item() > values["loss"].item()


def test_modes_that_do_not_fit(linear, tmp_path):
    supervised = te.experimental.build_raw_supervised_input_receiver_fn({"x": X}, np.zeros(5, "float32"))
    with pytest.raises(ValueError, match=r"some of the modes \['train', 'eval', 'infer'\].*Received: \['serve'\]"):
        linear.export_saved_model(tmp_path, raw({"x": X}), experimental_mode="serve")
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        linear.experimental_export_all_saved_models(tmp_path, {})
    with pytest.raises(TypeError, match="`input_receiver_fn_map` must be a dict from mode to receiver function"):
        linear.experimental_export_all_saved_models(tmp_path, supervised)
    with pytest.raises(
        TypeError, match=r"`serving_input_receiver_fn` must return .*SupervisedInputReceiver, which has"
    ):
        linear.export_saved_model(tmp_path, raw({"x": X}), experimental_mode="eval")
    with pytest.raises(TypeError, match=r"`input_receiver_fn_map\['train'\]` must return"):
        linear.experimental_export_all_saved_models(tmp_path, {"train": raw({"x": X}), "infer": raw({"x": X})})
    path = linear.export_saved_model(tmp_path, supervised, experimental_mode="eval", formats="torch_export")
    assert [graph.tags for graph in read_export_info(path).meta_graphs] == [("eval",)]
    with pytest.raises(ValueError, match="has no signatures for serving"):
        te.export.load(path)


def test_an_export_in_the_middle_does_not_disturb_the_training(tmp_path):
    plain = restless_estimator(tmp_path / "plain")
    plain.train(restless_input(), steps=6)
    disturbed = restless_estimator(tmp_path / "disturbed", save_checkpoints_steps=3)
    supervised = te.experimental.build_raw_supervised_input_receiver_fn(
        {"x": np.ones((4, 3), "float32")}, np.zeros(4, "float32")
    )
    paths, formats = [], ("torch_export", "torchscript")

    def export():
        receivers = {"train": supervised, "infer": raw({"x": np.ones((4, 3), "float32")})}
        paths.append(disturbed.experimental_export_all_saved_models(tmp_path / "exports", receivers, formats=formats))

    disturbed.train(restless_input(), hooks=[AtStep(4, export)], steps=6)
    assert read_export_info(paths[0]).global_step == 3
    one, other = contents(tmp_path / "plain"), contents(tmp_path / "disturbed")
    assert len(one) > 10
    assert one == other


def trained(tmp_path, model_fn, features):
    estimator = te.Estimator(model_fn, tmp_path / "model", config())
    estimator.train(lambda: features, steps=1)
    return estimator


def spec(mode, predictions, loss):
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


def check_all_runtimes(tmp_path, model_fn, features, receiver_fn=None):
    """Exports a model after a step and compares all runtimes with `predict`; returns the outputs."""
    estimator = trained(tmp_path, model_fn, features)
    path = estimator.export_saved_model(
        tmp_path / "exports", receiver_fn or raw(features), formats=("onnx", "torch_export", "torchscript")
    )
    expected = estimator.predictor()(features)
    expected = expected if isinstance(expected, dict) else {"output": expected}
    for runtime in RUNTIMES.values():
        got = te.export.load(path, runtime=runtime).default(
            features if isinstance(features, dict) else {"feature": features}
        )
        assert got.keys() == expected.keys()
        for key, value in got.items():
            wanted = np.asarray(expected[key]).reshape(value.shape)
            assert value.dtype == wanted.dtype
            if value.dtype.kind == "f":
                np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-5)
            else:
                assert value.tolist() == wanted.tolist()
    return got


def test_features_and_outputs_of_every_dtype(tmp_path):
    kinds = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
    features = {f"In_{kind}": np.arange(3).astype(kind) for kind in kinds}

    def model_fn(features, mode):
        x = torch.stack([features[name].float() for name in sorted(features)], 1)
        scores = te.get_module("net", lambda: nn.Linear(x.shape[1], 2))(x)
        outputs = {name.removeprefix("In_"): value for name, value in features.items()}
        outputs |= {"positive": scores > 0, "double": scores.double()}
        return spec(mode, outputs, scores.square().mean())

    got = check_all_runtimes(tmp_path, model_fn, features)
    assert got["float64"].dtype == "float32"
    assert got["double"].dtype == "float64"


def test_one_tensor_as_features_and_predictions(tmp_path):
    def model_fn(features, mode):
        outputs = te.get_module("net", lambda: nn.Linear(2, 1))(features)
        return spec(mode, outputs, outputs.square().mean())

    check_all_runtimes(tmp_path, model_fn, np.float32([[1, 2], [3, 4]]))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.out = nn.Linear(4, 9, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids):
        return self.out(self.table(ids).mean(1))


def test_tied_weights_indices_and_strings_that_are_renamed(tmp_path):
    def model_fn(features, mode):
        scores = te.get_module("net", Tied)(features["ids"])
        bags = te.get_module("bags", lambda: nn.EmbeddingBag(9, 3))(features["ids"])
        named = te.identity(features["row"], "row")
        return spec(mode, {"scores": scores, "bags": bags, "row out": named}, scores.logsumexp(1).mean() + bags.mean())

    features = {"ids": np.array([[8, 1], [2, 7], [0, 5]]), "row": np.array(["a", "b", "c"], object)}
    got = check_all_runtimes(tmp_path, model_fn, features)
    assert got["row out"].tolist() == [["a"], ["b"], ["c"]]


def test_recurrent_layers(tmp_path):
    def model_fn(features, mode):
        states, _ = te.get_module("lstm", lambda: nn.LSTM(2, 3, batch_first=True))(features["x"])
        return spec(mode, {"last": states[:, -1]}, states.mean())

    check_all_runtimes(tmp_path, model_fn, {"x": np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")})


def test_attention_over_any_length_with_positions_and_nested_features(tmp_path):
    def model_fn(features, mode):
        text = features["text"]
        x = te.get_module("table", lambda: nn.Embedding(9, 4))(text["tokens"])
        x = x + te.get_parameter("positions", lambda: torch.randn(16, 4))[: x.shape[1]]
        layer = te.get_module("layer", lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
        states = layer(x, src_key_padding_mask=text["pad"])
        return spec(mode, {"states": states, "mean": states.mean(1)}, states.square().mean())

    def receiver_fn():
        tokens = te.export.placeholder(torch.int64, [None, "time"], "Tokens")
        pad = te.export.placeholder(torch.bool, [None, "time"], "pad", example=np.zeros((2, 3)))
        return te.export.ServingInputReceiver({"text": {"tokens": tokens, "pad": pad}}, {"Tokens": tokens, "pad": pad})

    tokens = np.array([[1, 8, 3, 4, 0], [2, 2, 7, 0, 1]])
    estimator = trained(tmp_path, model_fn, {"text": {"tokens": tokens, "pad": tokens > 9}})
    path = estimator.export_saved_model(tmp_path / "exports", receiver_fn)
    expected = estimator.predictor()({"text": {"tokens": tokens, "pad": tokens > 9}})
    for runtime in RUNTIMES.values():
        signature = te.export.load(path, runtime=runtime).default
        assert signature.outputs["states"].shape == (-1, -1, 4)
        got = signature({"Tokens": tokens, "pad": tokens > 9})
        np.testing.assert_allclose(got["states"], expected["states"], rtol=1e-3, atol=1e-5)


def test_serialised_examples(linear, tmp_path):
    receiver_fn = te.export.build_parsing_serving_input_receiver_fn({"x": te.io.FixedLenFeature([2], torch.float32)})
    path = linear.export_saved_model(tmp_path, receiver_fn, formats="torchscript")
    sent = [te.io.encode_example({"x": row.tolist()}) for row in X]
    got = te.export.load(path).default(examples=sent)
    np.testing.assert_allclose(got["outputs"][:, 0], linear.predictor()({"x": X})["outputs"], rtol=1e-5, atol=1e-6)


def test_a_fixed_batch(linear, tmp_path):
    path = linear.export_saved_model(tmp_path, raw({"x": X}, default_batch_size=3), formats="torchscript")
    signature = te.export.load(path).default
    assert signature.inputs["x"].shape == (3, 2)
    assert signature.outputs["outputs"].shape == (3, 1)
    assert signature(x=X[:3])["outputs"].shape == (3, 1)
    with pytest.raises(ValueError, match=r"`x` must be float32 \[3, 2\]"):
        signature(x=X)


def test_exports_from_two_threads(linear, tmp_path):
    made, failed = [], []

    def export():
        try:
            made.append(linear.export_saved_model(tmp_path, raw({"x": X}), formats=("onnx", "torchscript")))
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=export) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(made)) == 2
    assert weights(made[0]).tolist() == weights(made[1]).tolist()


def test_a_check_writes_nothing(linear, tmp_path):
    before = sorted(os.listdir(linear.model_dir))
    linear.check_export(raw({"x": X}), formats="torchscript")
    linear.check_export(raw({"x": X}), checkpoint_path=linear.model_dir, formats="torchscript")
    fresh = linear_estimator(tmp_path / "fresh")
    fresh.check_export(raw({"x": X}), formats="torchscript")
    with pytest.raises(ValueError, match="asks for the feature 'x'"):
        fresh.check_export(raw({"y": X}), formats="torchscript")
    assert sorted(os.listdir(linear.model_dir)) == before

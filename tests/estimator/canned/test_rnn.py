"""RNN*: TensorFlow's numbers from TensorFlow's initial weights, and what else may be relied on.

`tensorflow_rnn.json` holds, for each of the CASES, what tf.estimator.experimental.RNNClassifier of TensorFlow 2.15 drew
as initial weights, and then gave on the batches of `steps`: the losses of 20 steps of training, the metrics of all
batches and the logits of the first.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import torchestimator as te
from tests.models import config, contents
from torchestimator import feature_column as fc
from torchestimator.estimator.canned.rnn import RNNClassifier, RNNEstimator
from torchestimator.head import MultiClassHead, RegressionHead, SequentialHeadWrapper
from torchestimator.hooks.hook import SessionRunArgs

RECORDED = json.loads((Path(__file__).parent / "tensorflow_rnn.json").read_text(encoding="utf-8"))
CASES = {
    "simple": {"units": [4]},
    "lstm_list": {"units": [4, 3], "cell_type": "lstm"},
    "gru_int": {"units": 4, "cell_type": "gru"},
    "lstm_int_seq": {"units": 4, "cell_type": "lstm", "return_sequences": True, "n_classes": 3},
}
BATCHES, ROWS, STEPS = 20, 6, 5


def columns():
    tokens = fc.sequence_categorical_column_with_identity("t", 7)
    return [fc.sequence_numeric_column("n"), fc.embedding_column(tokens, 2)]


def context():
    kinds = fc.categorical_column_with_identity("kind", 3)
    return [fc.numeric_column("age"), fc.embedding_column(kinds, 2)]


def sparse(values, inside):
    """The values that are inside, as a sparse tensor."""
    places = torch.from_numpy(np.stack(inside.nonzero()))
    return torch.sparse_coo_tensor(places, torch.from_numpy(values[inside]), values.shape, check_invariants=True)


def data(by_step=False):
    """The batches that TensorFlow was given, in the same order of draws."""
    draw = np.random.RandomState(7)
    lengths = draw.randint(1, STEPS + 1, size=(BATCHES, ROWS))
    lengths[:, 0] = STEPS
    numbers = draw.randn(BATCHES, ROWS, STEPS).astype(np.float32)
    tokens = draw.randint(0, 7, size=(BATCHES, ROWS, STEPS))
    ages = draw.randn(BATCHES, ROWS, 1).astype(np.float32)
    labels = draw.randint(0, 2, size=(BATCHES, ROWS, 1))
    kinds = draw.randint(0, 3, size=(BATCHES, ROWS, 1))
    step_labels = draw.randint(0, 3, size=(BATCHES, ROWS, STEPS))
    for index in range(BATCHES):
        inside = np.arange(STEPS) < lengths[index][:, None]
        features = {
            "n": sparse(numbers[index], inside),
            "t": sparse(tokens[index], inside),
            "age": ages[index],
            "kind": kinds[index],
        }
        yield features, (step_labels if by_step else labels)[index]


def padded(rows=ROWS, steps=STEPS):
    """Features of ordinary tensors, with -1 where there is no token."""
    draw = np.random.RandomState(3)
    ends = draw.randint(1, steps + 1, size=(rows, 1))
    tokens = np.where(np.arange(steps) < ends, draw.randint(0, 7, size=(rows, steps)), -1)
    return {"t": tokens, "age": draw.randn(rows, 1).astype(np.float32)}


def token_columns():
    return [fc.embedding_column(fc.sequence_categorical_column_with_identity("t", 7), 2)]


def our_name(name):
    """The name here of a variable of TensorFlow's, and whether it is transposed."""
    if name.startswith("rnn_model/logits/"):
        return name.replace("/kernel", ".weight").replace("/bias", ".bias"), name.endswith("kernel")
    layer, _, parameter = name.rpartition("/")
    if parameter == "embedding_weights":
        return f"{layer.replace('/', '.')}.{parameter}", False
    return f"{layer}.{parameter}", False


class Begin(te.SessionRunHook):
    """Starts from given weights, and keeps the losses."""

    def __init__(self, weights):
        self.weights = weights
        self.losses = []

    def after_create_session(self, session, coord):
        state = session.module.state_dict()
        for name, values in self.weights.items():
            ours, is_transposed = our_name(name)
            tensor = torch.tensor(values)
            state[ours].copy_(tensor.T if is_transposed else tensor)
        assert len(state) == len(self.weights)

    def before_run(self, run_context):
        return SessionRunArgs("loss")

    def after_run(self, run_context, run_values):
        self.losses.append(float(run_values.results))


@pytest.mark.parametrize("name", CASES)
def test_training_equals_tensorflow(name, tmp_path):
    arguments, recorded = CASES[name], RECORDED[name]
    by_step = "return_sequences" in arguments
    estimator = RNNClassifier(columns(), context(), **arguments, model_dir=tmp_path, config=config())
    begin = Begin(recorded["init"])
    estimator.train(lambda: data(by_step), hooks=[begin], steps=20)
    np.testing.assert_allclose(begin.losses, recorded["losses"], rtol=1e-4)
    got = estimator.evaluate(lambda: data(by_step))
    assert {key: got[key] for key in recorded["metrics"]} == pytest.approx(recorded["metrics"], rel=1e-4)
    rows = list(estimator.predict(lambda: itertools.islice(data(by_step), 1)))
    for row, expected in zip(rows, recorded["pred"], strict=True):
        np.testing.assert_allclose(row["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
        if by_step:
            assert row["sequence_mask"].tolist() == expected["sequence_mask"]


@pytest.mark.slow
def test_captured_steps_equal_eager_ones(tmp_path):
    features, labels = padded(steps=2), np.array([0, 1, 1, 0, 1, 0])
    results = []
    for way in ("off", "step"):
        estimator = RNNClassifier(
            token_columns(),
            [fc.numeric_column("age")],
            units=[3],
            model_dir=tmp_path / way,
            config=config(compile=way),
        )
        estimator.train(lambda: itertools.repeat((features, labels), 4))
        results.append({name: estimator.get_variable_value(name) for name in estimator.get_variable_names()})
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-4, atol=1e-6)


def test_what_follows_a_sequence_changes_nothing(tmp_path):
    estimator = RNNClassifier(token_columns(), units=[3], cell_type="lstm", model_dir=tmp_path, config=config())
    short, long = np.array([[1, 2, 3]]), np.array([[1, 2, 3, -1, -1, -1]])
    estimator.train(lambda: [({"t": short}, np.array([1]))])
    logits = [
        next(estimator.predict(lambda tokens=tokens: iter([{"t": tokens}])))["logits"] for tokens in (short, long)
    ]
    np.testing.assert_allclose(*logits, rtol=1e-6)


def test_batches_without_any_step(tmp_path):
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    estimator = RNNClassifier(token_columns(), units=2, model_dir=tmp_path, config=config())
    estimator.train(lambda: [({"t": nothing}, np.array([0, 1]))])
    rows = list(estimator.predict(lambda: iter([{"t": nothing}])))
    bias = estimator.get_variable_value("rnn_model/logits.bias")
    assert [row["logits"].tolist() for row in rows] == [bias.tolist()] * 2


class Decay(nn.Module):
    """A cell of one's own: a running sum that fades."""

    def __init__(self, width):
        super().__init__()
        self.rate = nn.Parameter(torch.full((width,), 0.5))
        self.state_size = width

    def forward(self, inputs, states):
        total = states[0] * self.rate + inputs
        return total, (total,)


def test_cells_of_ones_own(tmp_path):
    estimator = RNNEstimator(
        RegressionHead(),
        fc.sequence_numeric_column("n"),
        rnn_cell_fn=Decay,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
        model_dir=tmp_path,
        config=config(),
    )
    numbers = np.array([[1.0, 2.0, 4.0]], np.float32)
    estimator.train(lambda: [({"n": numbers}, np.array([0.0], np.float32))])
    weight = estimator.get_variable_value("rnn_model/logits.weight").item()
    (row,) = estimator.predict(lambda: iter([{"n": numbers}]))
    assert row["predictions"].item() == pytest.approx(weight * (0.25 + 1 + 4), rel=1e-6)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_of_torch_learn(kind, tmp_path):
    estimator = RNNClassifier(
        token_columns(), rnn_cell_fn=lambda width: kind(width, 8), optimizer="Adam", model_dir=tmp_path, config=config()
    )
    features = padded(64)
    labels = (features["t"][:, 0] > 3).astype(np.int64)
    begin = Begin({})
    begin.after_create_session = lambda session, coord: None
    estimator.train(lambda: itertools.repeat((features, labels), 60), hooks=[begin])
    assert begin.losses[-1] < 0.5 * begin.losses[0]


def test_labels_and_weights_of_steps(tmp_path):
    features = {**padded(), "w": np.ones((ROWS, STEPS), np.float32)}
    estimator = RNNClassifier(
        token_columns(),
        units=[3],
        return_sequences=True,
        n_classes=3,
        weight_column="w",
        label_vocabulary=["x", "y", "z"],
        sequence_mask="steps",
        model_dir=tmp_path,
        config=config(),
    )
    labels = np.array(["x", "y", "z", "x", "y", "z"])[:, None].repeat(STEPS, 1)
    estimator.train(lambda: itertools.repeat((features, labels), 3))
    rows = list(estimator.predict(lambda: iter([features])))
    assert [row["steps"].tolist() for row in rows] == (features["t"] >= 0).tolist()
    assert set(rows[0]["classes"].ravel().tolist()) <= {"x", "y", "z"}


def test_exports_take_any_batch(tmp_path):
    estimator = RNNClassifier(
        token_columns(),
        [fc.numeric_column("age")],
        units=[4, 3],
        cell_type="lstm",
        model_dir=tmp_path / "model",
        config=config(),
    )
    features = padded()
    estimator.train(lambda: [(features, np.array([0, 1, 1, 0, 1, 0]))])
    receiver_fn = te.export.build_raw_serving_input_receiver_fn(features)
    folder = Path(estimator.export_saved_model(tmp_path / "exports", receiver_fn, formats=("onnx", "torchscript")))
    session = onnxruntime.InferenceSession(folder / "predict" / "model.onnx")
    sent = padded(11)
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(None, sent), strict=True))
    rows = list(estimator.predict(lambda: iter([sent])))
    np.testing.assert_allclose(got["logits"], [row["logits"] for row in rows], rtol=1e-5, atol=1e-6)
    script = te.export.load(folder, runtime="torchscript")["predict"](sent)
    np.testing.assert_allclose(script["logits"], got["logits"], rtol=1e-5, atol=1e-6)


def test_the_number_of_steps_of_an_export_is_fixed(tmp_path):
    estimator = RNNClassifier(token_columns(), units=2, model_dir=tmp_path / "model", config=config())
    tokens = padded()["t"]
    estimator.train(lambda: [({"t": tokens}, np.array([0, 1, 1, 0, 1, 0]))])

    def receiver_fn():
        sent = te.export.placeholder(torch.int64, [None, None], "t", example=tokens)
        return te.export.ServingInputReceiver({"t": sent}, {"t": sent})

    with pytest.raises(ValueError, match="is exported with a fixed number of steps"):
        estimator.export_saved_model(tmp_path / "exports", receiver_fn, formats=("torch_export",))


def test_going_on_equals_not_stopping(tmp_path):
    def train(folder, first, last):
        estimator = RNNClassifier(
            columns(), context(), units=[4], cell_type="gru", model_dir=tmp_path / folder, config=config()
        )
        estimator.train(lambda: itertools.islice(data(), first, last))
        return contents(tmp_path / folder)

    whole = train("whole", 0, 7)
    train("parts", 0, 3)
    parts = train("parts", 3, 7)
    assert {name: value for name, value in parts.items() if name != "state"} == {
        name: value for name, value in whole.items() if name != "state"
    }


def test_names_are_those_of_tensorflow(tmp_path):
    estimator = RNNClassifier(columns(), context(), units=4, cell_type="lstm", model_dir=tmp_path, config=config())
    estimator.train(data, steps=1)
    wanted = {our_name(name)[0] for name in RECORDED["lstm_int_seq"]["init"]}
    assert {name for name in estimator.get_variable_names() if "Adagrad" not in name} >= wanted


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "either `units` or `rnn_cell_fn`"),
        ({"units": []}, ValueError, r"`units` must be .* Received: \[\]"),
        ({"units": [4, 0]}, ValueError, r"Received: \[4, 0\]"),
        ({"units": True}, ValueError, "Received: True"),
        ({"units": 4, "cell_type": "elman"}, ValueError, "`cell_type` must be one of .* Received: 'elman'"),
        ({"units": 4, "rnn_cell_fn": Decay}, ValueError, "must not be given beside it"),
        ({"rnn_cell_fn": 4}, TypeError, "`rnn_cell_fn` must be a function"),
        ({"units": 4, "return_sequences": True}, ValueError, "SequentialHeadWrapper"),
        ({"units": 4, "optimizer": "sgd"}, ValueError, "Write: optimizer='SGD'"),
        ({"units": 4, "context_feature_columns": columns()}, TypeError, "is a sequence"),
        ({"units": 4, "head": SequentialHeadWrapper(MultiClassHead(3))}, ValueError, "return_sequences=True"),
        ({"units": 4, "head": "binary"}, TypeError, "`head` must be a head"),
        ({"units": 4, "sequence_feature_columns": fc.numeric_column("n")}, TypeError, "sequence columns"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        RNNEstimator(**{"head": RegressionHead(), "sequence_feature_columns": columns(), **arguments})


def test_what_is_no_cell(tmp_path):
    estimator = RNNClassifier(columns(), rnn_cell_fn=lambda width: nn.Linear(width, 3), model_dir=tmp_path)
    with pytest.raises(TypeError, match="`rnn_cell_fn` must return a cell"):
        estimator.train(data, steps=1)

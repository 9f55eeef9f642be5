"""pandas_input_fn: columns to features, labels, errors at creation."""

import subprocess
import sys

import pandas as pd
import pytest
import torch

from torchestimator.inputs import InputContext, fingerprint64, pandas_input_fn

FRAME = pd.DataFrame(
    {
        "age": [1, 2, 3],
        "height": [1.5, 2.5, 3.5],
        "city": ["Rome", "Oslo", "Rome"],
        "kind": pd.Categorical(["u", "v", "u"]),
        "level": pd.array([1, 2, 3], dtype="Int8"),
        "member": [True, False, True],
    }
)


def test_columns_become_features_of_rank_one():
    features, labels = next(pandas_input_fn(FRAME, FRAME["age"] * 10, shuffle=False)())
    assert list(features) == sorted(FRAME.columns)
    assert all(tensor.shape == (3,) for tensor in features.values())
    assert features["age"].tolist() == [1, 2, 3]
    assert features["height"].dtype is torch.float32
    assert features["city"].tolist() == fingerprint64(["Rome", "Oslo", "Rome"]).tolist()
    assert features["kind"].tolist() == fingerprint64(["u", "v", "u"]).tolist()
    assert features["level"].dtype is torch.int8
    assert features["member"].dtype is torch.bool
    assert labels.tolist() == [10, 20, 30]


def test_a_frame_of_labels_becomes_a_dict():
    _, labels = next(pandas_input_fn(FRAME, FRAME[["age", "height"]], shuffle=False)())
    assert list(labels) == ["age", "height"]


def test_without_labels_and_for_prediction_strings_stay():
    features, labels = next(pandas_input_fn(FRAME, shuffle=False)(mode="infer"))
    assert labels is None
    assert features["city"].tolist() == ["Rome", "Oslo", "Rome"]
    assert features["kind"].tolist() == ["u", "v", "u"]


def test_batches_run_across_epochs():
    input_fn = pandas_input_fn(FRAME[["age"]], batch_size=2, num_epochs=2, shuffle=False)
    assert [features["age"].tolist() for features, _ in input_fn()] == [[1, 2], [3, 1], [2, 3]]


def test_a_filtered_frame_keeps_its_rows_together():
    part = FRAME[FRAME["city"] == "Rome"]
    features, labels = next(pandas_input_fn(part[["age"]], part["height"], shuffle=False)())
    assert features["age"].tolist() == [1, 3]
    assert labels.tolist() == [1.5, 3.5]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"x": FRAME["age"]}, TypeError, r"`x` must be a pandas DataFrame.*Series.*to_frame"),
        ({"x": {"a": [1]}}, TypeError, "`x` must be a pandas DataFrame"),
        ({"x": FRAME[:0]}, ValueError, r"at least one row.*\[0, 6\]"),
        ({"x": FRAME[[]]}, ValueError, r"at least one row.*\[3, 0\]"),
        ({"y": [1, 2, 3]}, TypeError, r"`y` must be a pandas Series.*index=x\.index"),
        ({"y": pd.Series([1, 2, 3], index=[0, 2, 1])}, ValueError, r"same index.*\[0, 1, 2\].*\[0, 2, 1\].*y\.loc"),
        ({"y": pd.Series([1, 2])}, ValueError, "same index"),
        ({"y": FRAME["age"], "target_column": "age"}, ValueError, "`target_column` must not be.*'age'"),
        ({"target_column": 3}, TypeError, "`target_column` must be a string"),
        ({"shuffle": None}, ValueError, "`shuffle` must be given"),
        ({"queue_capacity": 10}, ValueError, "`queue_capacity` has no meaning"),
        ({"x": pd.concat([FRAME, FRAME[["age"]]], axis=1)}, ValueError, r"different names.*\['age'\]"),
        ({"x": FRAME.assign(city=["a", None, "b"])}, TypeError, r'`x\["city"\]` .*position 1'),
        ({"x": FRAME.assign(day=pd.Timestamp("2020"))}, TypeError, r'`x\["day"\]` holds dates'),
        ({"x": FRAME.assign(level=pd.array([1, None, 3], dtype="Int8"))}, TypeError, r"missing value at position 1"),
    ],
)
def test_wrong_arguments_are_refused_at_creation(arguments, kind, message):
    with pytest.raises(kind, match=message):
        pandas_input_fn(**{"x": FRAME, "shuffle": False} | arguments)


def test_without_pandas_the_extra_is_named():
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from torchestimator.inputs import pandas_input_fn\n"
        "try: pandas_input_fn(None, shuffle=True)\n"
        "except ImportError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install torchestimator[pandas]" in shown


def test_importing_the_inputs_does_not_import_pandas():
    code = "import sys, torchestimator.inputs, torchestimator.inputs.input_fn; print('pandas' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"


def test_processes_share_the_rows():
    frame = pd.DataFrame({"x": range(11), "s": [f"s{i}" for i in range(11)]})
    input_fn = pandas_input_fn(frame, batch_size=2, shuffle=True, seed=1)
    inputs = [input_fn("train", None, InputContext(3, index, 3)) for index in range(3)]
    for features, _ in pandas_input_fn(frame, batch_size=6, shuffle=True, seed=1)():
        parts = [next(each)[0] for each in inputs]
        assert all(torch.equal(torch.cat([part[name] for part in parts]), features[name]) for name in frame)
    assert [list(each) for each in inputs] == [[], [], []]

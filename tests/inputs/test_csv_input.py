import builtins

import numpy as np
import pytest
import torch

from torchestimator.inputs import InputContext
from torchestimator.inputs.csv_input import csv_input_fn

pytest.importorskip("pyarrow")
ADULT = "39, State-gov, 2174.5, <=50K\n50, ?, 0, >50K\n\n38, Private, 0, <=50K\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("age,city,income\n39,K\u00f6ln,1.5\n40,NA,2\n41,null,-3\n", encoding="utf-8")
    return path


def all_of(input_fn, mode="infer"):
    (batch,) = input_fn(mode)
    return batch


def test_columns_and_labels(path):
    features, labels = all_of(csv_input_fn(path, "income", shuffle=False))
    assert list(features) == ["age", "city"]
    assert features["age"].tolist() == [39, 40, 41]
    assert features["city"].tolist() == ["K\u00f6ln", "NA", "null"]
    assert (str(labels.dtype), labels.tolist()) == ("torch.float32", [1.5, 2.0, -3.0])
    features, labels = all_of(csv_input_fn(path, ["income", "city"], shuffle=False))
    assert sorted(labels) == ["city", "income"]
    assert all_of(csv_input_fn(path, shuffle=False))[1] is None
    assert list(all_of(csv_input_fn(path, columns=["age"], shuffle=False))[0]) == ["age"]


def test_files_without_header_with_spaces(tmp_path):
    path = tmp_path / "adult.data"
    path.write_text("|1x3 Cross validator\n" + ADULT)
    names = ["age", "work", "gain", "label"]
    features, labels = all_of(csv_input_fn(path, "label", column_names=names, skip_rows=1, shuffle=False))
    assert features["age"].tolist() == [39, 50, 38]
    assert features["work"].tolist() == ["State-gov", "?", "Private"]
    assert labels.tolist() == ["<=50K", ">50K", "<=50K"]
    assert features["gain"].tolist() == [2174.5, 0, 0]


def test_missing_values(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a;b;c;d\n1;;x;1\n2;4;  ;2\n")
    with pytest.raises(ValueError, match=r"'b' has 1 missing values, the first in row 0.*defaults="):
        csv_input_fn(path, delimiter=";", shuffle=False)
    defaults = {"b": 0.5, "c": "none", "d": 0.0}
    features, _ = all_of(csv_input_fn(path, delimiter=";", defaults=defaults, shuffle=False))
    assert {key: np.asarray(value).tolist() for key, value in features.items()} == {
        "a": [1, 2],
        "b": [0.5, 4.0],
        "c": ["x", "none"],
        "d": [1.0, 2.0],
    }
    assert features["d"].is_floating_point()


def test_several_files_are_one_table(tmp_path):
    (tmp_path / "b.csv").write_text("x\n1\n2\n")
    (tmp_path / "a.csv").write_text("x\n0.5\n")
    batches = csv_input_fn(str(tmp_path / "*.csv"), batch_size=2, num_epochs=2, shuffle=False)()
    assert [features["x"].tolist() for features, _ in batches] == [[0.5, 1], [2, 0.5], [1, 2]]


def test_resuming(path):
    make = csv_input_fn(path, batch_size=2, num_epochs=None, shuffle=True, seed=3)
    first, second = make(), make()
    for _ in range(5):
        next(first)
    assert second.load_state_dict(first.state_dict())
    assert next(first)[0]["age"].tolist() == next(second)[0]["age"].tolist()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b\n1\n", {}, r"a\.csv cannot be read as CSV"),
        ("a,b\nx,1\n", {"defaults": {"a": 0}}, r"a\.csv cannot be read as CSV"),
        ("a,b\n1,2\n", {"columns": ["z"]}, r"a\.csv cannot be read as CSV.*z"),
        ("a,b\n1,2\n", {"label_key": "z"}, r"`label_key` must be a column. Received: \['z'\]"),
        ("a,b\n1,2\n", {"label_key": ["a", "b"]}, "leaves no feature"),
        ("a,a\n1,2\n", {}, r"different names. Received more than once: \['a'\]"),
        ("a,b\n1,2\n", {"defaults": {"z": 1}}, r"`defaults` has names that are no columns. Received: \['z'\]"),
        ("a,b\n", {}, "hold no row"),
    ],
)
def test_bad_files_and_arguments(tmp_path, content, options, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        csv_input_fn(tmp_path / "a.csv", shuffle=False, **options)


def test_columns_that_are_no_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("day\n2020-01-01\n")
    with pytest.raises(TypeError, match=r"'day' must hold numbers or strings. Received: date32"):
        csv_input_fn(tmp_path / "a.csv", shuffle=False)
    with pytest.raises(TypeError, match="`defaults` must hold numbers, bools or strings"):
        csv_input_fn(tmp_path / "a.csv", defaults={"day": None}, shuffle=False)


def test_without_pyarrow(path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"`csv_input_fn` needs pyarrow: pip install torchestimator\[arrow\]"):
        csv_input_fn(path, shuffle=False)


def test_processes_share_the_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i * 10}\n" for i in range(11)))
    input_fn = csv_input_fn(path, "y", batch_size=2, shuffle=True, seed=1)
    inputs = [input_fn("train", None, InputContext(3, index, 3)) for index in range(3)]
    for features, labels in csv_input_fn(path, "y", batch_size=6, shuffle=True, seed=1)():
        parts = [next(each) for each in inputs]
        assert torch.equal(torch.cat([part["x"] for part, _ in parts]), features["x"])
        assert torch.equal(torch.cat([part for _, part in parts]), labels)
    assert [list(each) for each in inputs] == [[], [], []]

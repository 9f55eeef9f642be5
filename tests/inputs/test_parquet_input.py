import pytest
import torch

from torchestimator.inputs import InputContext
from torchestimator.inputs.parquet_input import parquet_input_fn

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def all_of(input_fn):
    (batch,) = input_fn("infer")
    return batch


def test_columns_of_every_kind(tmp_path):
    path = write(
        tmp_path / "a",
        age=[1, 2],
        weight=pa.array([0.5, 1.5], pa.float32()),
        city=["a", "gr\u00fcn"],
        color=pa.array(["red", "red"]).dictionary_encode(),
        fixed=pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        listed=[[1, 2, 3], [4, 5, 6]],
        flag=[True, False],
    )
    features, labels = all_of(parquet_input_fn(path, "flag", shuffle=False))
    assert labels.tolist() == [True, False]
    assert features["city"].tolist() == ["a", "gr\u00fcn"]
    assert features["color"].tolist() == ["red", "red"]
    assert features["fixed"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert features["listed"].tolist() == [[1, 2, 3], [4, 5, 6]]
    dtypes = {name: str(features[name].dtype) for name in ("age", "weight", "fixed", "listed")}
    assert dtypes == {
        "age": "torch.int64",
        "weight": "torch.float32",
        "fixed": "torch.float32",
        "listed": "torch.int64",
    }


def test_several_files_and_some_columns(tmp_path):
    write(tmp_path / "b", x=[2, 3], y=[0, 0])
    write(tmp_path / "a", x=[1], y=[0])
    batches = parquet_input_fn(str(tmp_path / "*"), columns=["x"], batch_size=2, shuffle=False)()
    assert [{name: value.tolist() for name, value in features.items()} for features, _ in batches] == [
        {"x": [1, 2]},
        {"x": [3]},
    ]


def test_missing_values(tmp_path):
    path = write(tmp_path / "a", x=[1, None])
    with pytest.raises(ValueError, match=r"'x' has 1 missing values, the first in row 1.*defaults="):
        parquet_input_fn(path, shuffle=False)
    assert all_of(parquet_input_fn(path, defaults={"x": -1}, shuffle=False))[0]["x"].tolist() == [1, -1]


def test_bad_files(tmp_path):
    path = write(tmp_path / "a", x=[1])
    with pytest.raises(ValueError, match=r"`columns` has names that .*a lacks. Received: \['z'\]; it has \['x'\]"):
        parquet_input_fn(path, columns=["z"], shuffle=False)
    with pytest.raises(ValueError, match=r"lists of different lengths.*1 to 2"):
        parquet_input_fn(write(tmp_path / "b", x=[[1], [1, 2]]), shuffle=False)
    with pytest.raises(ValueError, match=r"must have the same columns. Received: \[.x.\] and \[.y.\]"):
        parquet_input_fn([path, write(tmp_path / "c", y=[1])], shuffle=False)
    with pytest.raises(ValueError, match="columns of different types"):
        parquet_input_fn([path, write(tmp_path / "e", x=["a"])], shuffle=False)
    (tmp_path / "d").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match="d cannot be read as Parquet"):
        parquet_input_fn(tmp_path / "d", shuffle=False)


def test_processes_share_the_rows(tmp_path):
    path = write(tmp_path / "a", x=list(range(11)), y=[i * 10 for i in range(11)])
    input_fn = parquet_input_fn(path, "y", batch_size=2, shuffle=True, seed=1)
    inputs = [input_fn("train", None, InputContext(3, index, 3)) for index in range(3)]
    for features, labels in parquet_input_fn(path, "y", batch_size=6, shuffle=True, seed=1)():
        parts = [next(each) for each in inputs]
        assert torch.equal(torch.cat([part["x"] for part, _ in parts]), features["x"])
        assert torch.equal(torch.cat([part for _, part in parts]), labels)
    assert [list(each) for each in inputs] == [[], [], []]

"""`torchestimator run`."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.cli.conftest import NEW
from tests.triton.models import exported, paint, paint_fn
from torchestimator.cli.main import main
from torchestimator.cli.run import read_inputs, write_npz
from torchestimator.export.loader import load

ROWS = [
    {"price": 1.5, "count": 3, "sold": True, "color": "red", "image": [[1, 2, 3], [4, 5, 6]], "words": ["a", "b"]},
    {"price": 2, "count": -4, "sold": False, "color": "[blue]", "image": [[0, 0, 0], [0, 0, 1]], "words": ["", "d,e"]},
]
COLUMNS = {key: [row[key] for row in ROWS] for key in ROWS[0]}
AS_CSV = (
    "price,count,sold,color,image[0][0],image[0][1],image[0][2],image[1][0],image[1][1],image[1][2],words\n"
    '1.5,3,true,red,1,2,3,4,5,6,"[""a"", ""b""]"\n'
    '2,-4,0,[blue],0,0,0,0,0,1,"["""", ""d,e""]"\n'
)


@pytest.fixture(scope="module")
def signature(exports):
    return load(exports / str(NEW))["same"]


def run(capsys, *arguments):
    assert main(["run", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def fails(capsys, *arguments):
    assert main(["run", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def rows_given(capsys, exports, *arguments):
    """The rows that come out of the signature that gives what it takes."""
    text = run(capsys, exports / str(NEW), "--signature", "same", "--output", "json", *arguments)
    return [{key.removeprefix("same/"): value for key, value in row.items()} for row in json.loads(text)]


@pytest.fixture
def expected():
    return [{key: value if isinstance(value, list) else [value] for key, value in row.items()} for row in ROWS]


@pytest.mark.parametrize(
    "document",
    [ROWS, COLUMNS, {"instances": ROWS}, {"inputs": COLUMNS}],
    ids=["rows", "columns", "instances", "inputs"],
)
def test_json(document, exports, expected, tmp_path, capsys):
    file = tmp_path / "in.json"
    file.write_text(json.dumps(document))
    assert rows_given(capsys, exports, "--inputs", file) == expected


@pytest.mark.parametrize("text", [AS_CSV, json.dumps(ROWS)], ids=["csv", "json"])
def test_standard_input(text, exports, expected, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert rows_given(capsys, exports, "--inputs", "-") == expected


def test_csv(exports, expected, tmp_path, capsys):
    file = tmp_path / "in.CSV"
    file.write_text(AS_CSV, encoding="utf-8-sig")
    assert rows_given(capsys, exports, "--inputs", file) == expected


def test_npz(exports, expected, tmp_path, capsys):
    columns = {key: np.array(value) for key, value in COLUMNS.items()}
    arrays = {key: column.reshape(2, 1) if column.ndim == 1 else column for key, column in columns.items()}
    np.savez(tmp_path / "in.npz", **arrays)
    assert rows_given(capsys, exports, "--inputs", tmp_path / "in.npz") == expected


def test_values_on_the_command_line_add_to_a_file(exports, expected, tmp_path, capsys):
    file = tmp_path / "in.json"
    file.write_text(json.dumps({key: value for key, value in COLUMNS.items() if key != "color"} | {"count": [0, 0]}))
    given = ["--inputs", file, "--input", 'color=["red", "[blue]"]', "--input", "count=[3, -4]"]
    assert rows_given(capsys, exports, *given) == expected


def test_one_row_on_the_command_line(exports, expected, capsys):
    given = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in ROWS[0].items()]
    assert rows_given(capsys, exports, *(part for each in given for part in ("--input", each))) == expected[:1]


@pytest.mark.parametrize("extension", ["npy", "json"])
def test_the_only_input_needs_no_name(extension, exports, tmp_path, capsys):
    file = tmp_path / f"x.{extension}"
    values = np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    if extension == "npy":
        np.save(file, values)
    else:
        file.write_text(json.dumps(values.tolist()))
    assert run(capsys, exports, "--inputs", file).splitlines() == ["scores  class_ids", "[3 7]   1", "[7 3]   0"]


def test_a_table_lines_up(exports, capsys):
    assert run(capsys, exports, "--input", "x=[[1e-7,0,0.123456789,0],[1000000,0,0,0]]").splitlines() == [
        "scores            class_ids",
        "[1e-07 0.123457]  1",
        "[1e+06 0]         0",
    ]


def test_strings_in_a_table(exports, tmp_path, capsys):
    (tmp_path / "in.json").write_text(json.dumps(ROWS[:1]))
    table = run(capsys, exports, "--signature", "same", "--inputs", tmp_path / "in.json").splitlines()
    assert table[0].split() == [f"same/{key}" for key in ROWS[0]]
    cells = [cell.strip() for cell in table[1].split("  ") if cell]
    assert cells == ["1.5", "3", "True", "red", "[[1 2 3] [4 5 6]]", "[a b]"]


def test_csv_that_comes_out_goes_in(exports, signature, tmp_path, capsys):
    (tmp_path / "in.json").write_text(json.dumps(ROWS))
    text = run(capsys, exports, "--signature", "same", "--inputs", tmp_path / "in.json", "--output", "csv")
    (tmp_path / "again.csv").write_text(text.replace("same/", ""))
    again = signature(read_inputs(str(tmp_path / "again.csv"), signature))
    first = signature(read_inputs(str(tmp_path / "in.json"), signature))
    assert all(np.array_equal(again[key], first[key]) for key in first)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
rows_of_cells = st.fixed_dictionaries(
    {
        "price": st.floats(width=32, allow_nan=False, allow_infinity=False),
        "count": st.integers(-(2**63), 2**63 - 1),
        "sold": st.booleans(),
        "color": texts,
        "image": st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=2, max_size=2),
        "words": st.lists(texts, min_size=2, max_size=2),
    }
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(rows_of_cells, min_size=1, max_size=4))
def test_json_and_csv_mean_the_same(rows, signature, tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow({key: cell if isinstance(cell, str) else json.dumps(cell) for key, cell in row.items()})
    from_json = signature.check(read_inputs(str(folder / "rows.json"), signature))
    from_csv = signature.check(read_inputs(str(folder / "rows.csv"), signature))
    assert all(np.array_equal(from_json[key], from_csv[key]) for key in from_json)
    assert [row["color"] for row in rows] == from_csv["color"][:, 0].tolist()


def test_outputs_as_arrays(exports, tmp_path, capsys):
    (tmp_path / "in.json").write_text(json.dumps(ROWS))
    arguments = ["--signature", "same", "--inputs", tmp_path / "in.json", "--outdir", tmp_path / "out" / "new"]
    assert run(capsys, exports, *arguments) == f"{tmp_path / 'out' / 'new' / 'same.npz'}\n"
    with np.load(tmp_path / "out" / "new" / "same.npz", allow_pickle=False) as arrays:
        assert arrays["same/words"].tolist() == COLUMNS["words"]
        assert arrays["same/image"].dtype == np.float32
    assert "same.npz already" in fails(capsys, exports, *arguments)


def test_names_that_numpy_uses_itself(tmp_path):
    path = write_npz(str(tmp_path / "out.npz"), {"file": np.arange(2), "allow_pickle": np.ones(1)})
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["file"].tolist() == [0, 1]
        assert arrays["allow_pickle"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.json", "{", "is no valid JSON"),
        ("in.json", "3", "must hold a list of rows or an object of columns"),
        ("in.json", "[]", "must hold a list of rows or an object of columns"),
        ("in.json", '[{"price": 1}, {"prize": 1}]', "row 1 is"),
        ("in.json", "[1, 2]", "does not say which input"),
        ("in.json", json.dumps([ROWS[0] | {"price": "dear"}]), "`price` must be float32"),
        ("in.json", json.dumps([ROWS[0] | {"price": None}]), "`price` must be float32"),
        ("in.json", json.dumps([ROWS[0] | {"count": 2**70}]), "`count` must be int64"),
        ("in.json", json.dumps({**COLUMNS, "image": [[1, 2], [3]]}), "`image` must be float32"),
        ("in.json", json.dumps([{**ROWS[0], "colour": "red"}]), "has no input 'colour'. Did you mean 'color'?"),
        ("in.json", json.dumps([{"price": 1}]), "needs the inputs 'count'"),
        ("in.csv", "", "must have a header"),
        ("in.csv", "price,count\n", "must have a header"),
        ("in.csv", "price,count\n1\n", "has 2 columns. Received: 1 cells in row 2"),
        ("in.csv", "price,price\n1,2\n", "'price' twice"),
        ("in.csv", "price\ndear\n", "The column 'price' must hold float32 values. Received: 'dear'"),
        ("in.csv", "image[0][0],image[1][2]\n1,2\n", "must number all elements of a row from 0"),
        ("in.csv", "image[0],image[0][1]\n1,2\n", "must number all elements of a row from 0"),
        ("in.csv", b"color\n\xff\n", "is no text in UTF-8"),
        ("in.npz", b"nothing", "can't be read as arrays"),
        ("in.npz", b"PK\x03\x04 and more", "can't be read as arrays"),
        ("in.npy", b"", "can't be read as arrays"),
        ("in.parquet", b"", "must be a file that ends in .json, .csv, .npz or .npy"),
    ],
)
def test_bad_files_are_explained(name, content, message, exports, tmp_path, capsys):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in fails(capsys, exports / str(NEW), "--signature", "same", "--inputs", tmp_path / name)


def test_arrays_of_objects_are_not_read(exports, tmp_path, capsys):
    np.save(tmp_path / "in.npy", np.array([{}], dtype=object))
    assert "dtype such as '<U10'" in fails(capsys, exports, "--inputs", tmp_path / "in.npy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Pass --inputs FILE or --input NAME=VALUE"),
        (["--input", "x"], "must be NAME=VALUE. Received: 'x'"),
        (["--input", "x=abc"], "`--input x` must be JSON"),
        (["--input", "x=[1, 2]"], "`x` must be float32 [-1, 4]"),
        (["--inputs", "/nowhere/x.json"], "No such file"),
        (["--input", "x=[1,2,3,4]", "--runtime", "torchscript"], "runtime='torchscript'"),
    ],
)
def test_bad_arguments_are_explained(arguments, message, exports, capsys):
    assert message in fails(capsys, exports / str(NEW), *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An estimator with strings as features and predictions, and its export."""
    return exported(paint_fn, paint, tmp_path_factory.mktemp("paint"), formats=("onnx", "torch_export", "torchscript"))


@pytest.mark.parametrize("runtime", ["auto", "onnxruntime", "torch_export", "torchscript"])
def test_a_real_export_answers_as_predict_does(runtime, trained, tmp_path, capsys):
    estimator, path = trained
    features, _ = paint(4, seed=5)
    (tmp_path / "in.json").write_text(json.dumps({key: column.tolist() for key, column in features.items()}))
    text = run(capsys, path, "--inputs", tmp_path / "in.json", "--output", "json", "--runtime", runtime)
    expected = list(estimator.predict(lambda: [features]))
    for found, row in zip(json.loads(text), expected, strict=True):
        assert (found["price"], found["brush"]) == (list(row["price"]), list(row["brush"]))
        np.testing.assert_allclose(found["probabilities"], row["probabilities"], atol=1e-6)


def test_decoded_features_instead_of_serialised_examples(trained, tmp_path, capsys):
    estimator, _ = trained
    spec = {"color": te.io.FixedLenFeature([1], str), "size": te.io.FixedLenFeature([2], torch.float32)}
    receiver_fn = te.export.build_parsing_serving_input_receiver_fn(spec)
    path = estimator.export_saved_model(tmp_path, receiver_fn, formats=("onnx",))
    table = run(capsys, path, "--input", "color=red", "--input", "size=[0.5, 1]").splitlines()
    assert table[0].split() == ["probabilities", "price", "brush"]
    assert table[1].split()[-1] == "red"

"""The census recipe: files of the census's format, read, learnt from and answered about by the exported model."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes import census

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_folder_of_files_becomes_a_model_that_takes_strings(tmp_path):
    census.write_census(tmp_path / "adult.data", 2000, seed=3)
    census.write_census(tmp_path / "adult.test", 500, seed=4)
    command = [sys.executable, ROOT / "recipes" / "census.py", "--data-dir", tmp_path, "--max-steps", "150"]
    command += ["--model-dir", tmp_path / "model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rows: 2000 to train with, 500 held out" in done.stdout
    found = re.search(r"accuracy +([0-9.]+) at step 150 \(([0-9.]+) if one", done.stdout)
    assert float(found[1]) > float(found[2]) + 0.03
    assert float(re.search(r"AUC +([0-9.]+)", done.stdout)[1]) > 0.8
    assert re.search(r"ONNX Runtime +>50K \([0-9.]+% sure\)", done.stdout)
    (export,) = re.findall(r"^export +(.*)$", done.stdout, re.MULTILINE)
    assert Path(export, "predict", "model.onnx").is_file()


def test_both_files_of_the_census_are_read(tmp_path):
    row = census.SOMEONE.rsplit(", ", 1)[0]
    (tmp_path / "adult.data").write_text(f"{row}, >50K\n{row.replace('Self-emp-inc', '?')}, <=50K\n\n")
    (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n{row}, >50K.\n{row}, <=50K.\n\n")
    features, incomes = census.load(tmp_path / "adult.data")
    assert incomes.tolist() == [">50K", "<=50K"]
    assert features["workclass"].tolist() == ["Self-emp-inc", "?"]
    assert features["age"].tolist() == [38, 38]
    assert features["capital_gain"].dtype == np.float32
    assert sorted(features) == sorted([*census.NUMBERS, *census.WORDS])
    assert census.load(tmp_path / "adult.test")[1].tolist() == [">50K", "<=50K"]


def test_the_generated_files_have_the_format(tmp_path):
    for name in ("adult.data", "adult.test"):
        census.write_census(tmp_path / name, 300, seed=0)
        lines = (tmp_path / name).read_text().splitlines()
        assert (lines[0] == "|1x3 Cross validator") == (name == "adult.test")
        assert {line.count(", ") for line in lines[-301:-1]} == {14}
        assert lines[-1] == ""
        assert all(line.endswith("K." if name == "adult.test" else "K") for line in lines[-301:-1])
        features, incomes = census.load(tmp_path / name)
        assert set(incomes) == set(census.INCOMES)
        assert set(features["education"]) <= set(census.EDUCATION)
        assert "?" in features["occupation"]


def test_a_wrong_row_is_named(tmp_path):
    (tmp_path / "adult.data").write_text(f"{census.SOMEONE}\n39, Private\n")
    with pytest.raises(SystemExit, match=r"adult.data, line 2 has 2 fields, not 15: '39, Private'"):
        census.load(tmp_path / "adult.data")
    with pytest.raises(SystemExit, match="--data-dir is the folder with your"):
        census.load(tmp_path / "adult.test")

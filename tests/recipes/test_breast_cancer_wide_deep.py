"""The wide-and-deep recipe, cut short: three models compared, and the best exported."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes import breast_cancer_wide_deep as recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_models_are_compared_and_the_best_is_exported(tmp_path):
    command = [sys.executable, ROOT / "recipes" / "breast_cancer_wide_deep.py", "--model-dir", tmp_path]
    done = subprocess.run([*command, "--max-steps", "200"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^  (baseline|linear|wide_and_deep) +([0-9.]+) +([0-9.]+) ", done.stdout, re.MULTILINE)
    areas = {name: float(area) for name, _, area in rows}
    assert areas["baseline"] == 0.5
    assert min(areas["linear"], areas["wide_and_deep"]) > 0.95
    assert f"best by AUC       {max(areas, key=lambda name: areas[name])}\n" in done.stdout
    assert float(re.search(r"143 rows, probabilities within ([0-9.e-]+)", done.stdout)[1]) < 1e-5
    (export,) = re.findall(r"^export +(.*)$", done.stdout, re.MULTILINE)
    assert Path(export, "predict", "model.onnx").is_file()


def test_columns_are_standardised_and_bucketized_by_the_training_rows():
    train, test = recipe.split(recipe.load_sklearn())
    assert (len(train.labels), len(test.labels), len(train.features)) == (426, 143, 10)
    assert abs(train.labels.mean() - test.labels.mean()) < 0.01
    wide, deep = recipe.feature_columns(train)
    assert len(wide) == recipe.WIDE_COLUMNS + 1
    assert {column.key for column in deep} == set(train.features)
    for column in deep:
        values = column.normalizer_fn(train.features[column.key])
        assert abs(values.mean()) < 1e-4
        assert values.std() == pytest.approx(1, abs=1e-4)
    for column in wide[:-1]:
        ids = np.digitize(train.features[column.source_column.key], column.boundaries)
        assert np.bincount(ids).min() > 426 / recipe.BUCKETS - 10
    assert wide[-1].keys == tuple(wide[:2])


def test_rows_of_your_own(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("size, kind, weight\n1.5, good, 2\n2.5, bad, 3\n")
    rows = recipe.load_csv(path, "kind", "bad")
    assert rows.labels.tolist() == [0, 1]
    assert {name: values.tolist() for name, values in rows.features.items()} == {"size": [1.5, 2.5], "weight": [2, 3]}
    with pytest.raises(SystemExit, match="has no column 'diagnosis'"):
        recipe.load_csv(path, "diagnosis", "bad")
    with pytest.raises(SystemExit, match="never says 'awful'"):
        recipe.load_csv(path, "kind", "awful")
    with pytest.raises(SystemExit, match=r"see the columns \['kind'\]"):
        recipe.load_csv(path, "weight", "2")

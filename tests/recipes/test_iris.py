"""The iris recipe: trained, evaluated on flowers it has not seen, and asked for the names of three more."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes import iris

ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    """What the recipe prints."""
    command = [sys.executable, ROOT / "recipes" / "iris.py", "--model-dir", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_names_flowers_that_it_has_not_seen(tmp_path):
    printed = run(tmp_path / "model", "--max-steps", "600")
    assert "120 to train with, 30 held out" in printed
    assert float(re.search(r"accuracy +([0-9.]+)", printed)[1]) >= 0.9
    assert re.findall(r"cm: (\w+) \(", printed) == ["setosa", "versicolor", "virginica"]
    assert (tmp_path / "model" / "eval").is_dir()


def test_it_reads_flowers_of_your_own(tmp_path):
    columns, species = iris.load_sklearn()
    path = tmp_path / "flowers.csv"
    rows = [["species", *reversed(iris.COLUMNS)]]
    rows += [[species[row], *(columns[name][row] for name in reversed(iris.COLUMNS))] for row in range(len(species))]
    path.write_text("\n".join(", ".join(map(str, row)) for row in rows))
    own, names = iris.load_csv(path)
    np.testing.assert_array_equal(names, species)
    for name in iris.COLUMNS:
        np.testing.assert_array_equal(own[name], columns[name])


def test_a_file_without_the_columns_says_which_are_missing(tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_text("species,petal_length,petal_width\nsetosa,1.4,0.2\n")
    with pytest.raises(SystemExit, match=r"lacks the columns \['sepal_length', 'sepal_width'\]"):
        iris.load_csv(path)


def test_every_species_has_its_share_of_the_held_out_flowers():
    (train_x, train_y), (test_x, test_y) = iris.split(*iris.load_sklearn())
    assert {column.shape for column in train_x.values()} == {(120,)}
    assert {column.shape for column in test_x.values()} == {(30,)}
    assert np.unique(test_y, return_counts=True)[1].tolist() == [10, 10, 10]
    assert sorted(set(train_y)) == ["setosa", "versicolor", "virginica"]

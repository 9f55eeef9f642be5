"""The recipe of moving over: the numbers are those of TensorFlow, before and after training on."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes import tf_migration
from tests.parity import problem

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests" / "parity" / "tensorflow.json").read_text())["DNNLinearCombinedClassifier"]


def test_the_moved_model_goes_on_as_it_does_in_tensorflow(tmp_path):
    command = [sys.executable, ROOT / "recipes" / "tf_migration.py", "--model-dir", tmp_path, "--steps", "25"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = re.search(r"trained further +50 +([0-9.]+) ([0-9.]+) ([0-9.]+)", done.stdout)
    expected = [RECORDED["metrics"][key] for key in ("accuracy", "auc", "average_loss")]
    np.testing.assert_allclose([float(each) for each in row.groups()], expected, atol=2e-4)
    assert re.search(r"imported +25 ", done.stdout)
    assert "dnn/hiddenlayer_0/kernel" in done.stdout
    assert "-> dnn/hiddenlayer_0.weight [8, 12] (transposed)" in done.stdout
    assert float(re.search(r"within ([0-9.e-]+) of predict", done.stdout)[1]) < 1e-5
    (export,) = re.findall(r"^export +(.*)$", done.stdout, re.MULTILINE)
    assert Path(export, "predict", "model.onnx").is_file()


def test_the_recipe_reads_the_data_that_tensorflow_was_given():
    people, answers = tf_migration.load_people()
    features, labels = problem.data()
    for name, values in people.items():
        np.testing.assert_array_equal(values, features[name])
    np.testing.assert_array_equal(answers, labels["binary"])


def test_a_missing_checkpoint_says_what_is_wanted(tmp_path):
    with pytest.raises(SystemExit, match=r"no TensorFlow checkpoint(.|\n)*without that ending"):
        tf_migration.read(str(tmp_path / "model.ckpt-5"))


def test_the_variables_are_told(tmp_path, capsys):
    for path in tf_migration.CHECKPOINT.parent.glob("model.ckpt-25.*"):
        shutil.copy(path, tmp_path)
    tf_migration.report_variables(tf_migration.read(str(tmp_path / "model.ckpt-25")))
    printed = capsys.readouterr().out
    assert f"{tmp_path}/model.ckpt-25, step 25" in printed
    assert printed.count(" -> ") == 12
    assert "and 17 accumulators" in printed
    assert "global_step" in printed.splitlines()[-2]

import argparse

import numpy as np
import pytest

import torchestimator as te
from tests.checkpoint.tensorflow.stored import DATA
from torchestimator.checkpoint import Checkpoint
from torchestimator.cli import convert
from torchestimator.cli.main import main


def run(*arguments):
    parser = argparse.ArgumentParser()
    convert.add_parser(parser.add_subparsers())
    return convert.run(parser.parse_args(["convert", *map(str, arguments)]))


def test_a_checkpoint_is_written(tmp_path, capsys):
    assert run(DATA / "dnn_v2", tmp_path) == 0
    path = tmp_path / "model.ckpt-3"
    assert capsys.readouterr().out == f"{path}: 15 weights and 11 optimizer slots of step 3\n"
    assert Checkpoint(tmp_path).path == str(path)


def test_a_list_alone_writes_nothing(tmp_path, capsys):
    assert run(DATA / "linear_v1_partitioned" / "model.ckpt-3", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("model.ckpt-3, step 3")
    assert "  linear/linear_model.bias_weights  [1]  from linear/linear_model/bias_weights" in lines
    c = "linear/linear_model/c/weights"
    joined = f"  linear/linear_model.c.weights/accumulator     [3, 1]  from {c}/part_0/Ftrl + {c}/part_1/Ftrl"
    assert joined in lines
    assert lines[-1] == "Left out: global_step"
    run(DATA / "dnn_v2", "--list")
    assert "dnn/logits/kernel, transposed" in capsys.readouterr().out


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="OUT is missing"):
        run(DATA / "dnn_v2")
    with pytest.raises(FileNotFoundError, match="no TensorFlow checkpoint at"):
        run(tmp_path / "none", tmp_path)


def test_what_was_converted_goes_on_as_a_model(tmp_path, capsys):
    source = DATA / "linear_v1_partitioned"
    assert main(["convert", str(source), str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'model.ckpt-3'}: 3 weights and 6 optimizer slots of step 3")
    columns = [
        te.feature_column.numeric_column("n", shape=(2,)),
        te.feature_column.categorical_column_with_vocabulary_list("c", ["a", "b", "x"]),
    ]
    estimator = te.LinearClassifier(columns, tmp_path, config=te.RunConfig(progress_bar=False))
    batch = {"n": np.float32([[1, 2]]), "c": np.array(["b"])}
    (row,) = estimator.predict(lambda: iter([batch]))
    n, c, bias = (
        estimator.get_variable_value(f"linear/linear_model.{name}")
        for name in ("n.weights", "c.weights", "bias_weights")
    )
    assert row["logits"].item() == pytest.approx((n[0] + 2 * n[1] + c[1] + bias).item(), rel=1e-6)
    estimator.train(lambda: [(batch, np.array([1]))])
    assert estimator.latest_checkpoint().endswith("model.ckpt-4")


def test_the_command_explains_itself(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["convert", "--help"])
    assert end.value.code == 0
    assert "torchestimator convert old/model.ckpt-1000 new" in capsys.readouterr().out.partition("examples:")[2]
    assert main(["convert", str(tmp_path / "none"), str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("torchestimator convert: error: ")
    assert error.count("\n") == 1
    assert main(["convert", str(DATA / "dnn_v2")]) == 2
    assert "OUT is missing" in capsys.readouterr().err

import argparse

import pytest

from tests.checkpoint.tensorflow.stored import DATA
from torchestimator.checkpoint import Checkpoint
from torchestimator.cli import convert


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

"""What is said about steps that are slow on XLA devices."""

import numpy as np
import torch

import torchestimator as te
from tests.xla.models import estimator_on, input_fn, model_fn


def messages_of(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelname == level]


def test_steps_without_fault_are_passed_over(tmp_path, strategy, caplog):
    estimator_on(strategy, tmp_path).train(input_fn, steps=8)
    assert not messages_of(caplog, "WARNING")


def test_what_hooks_look_at_is_passed_over(tmp_path, strategy, caplog):
    def summarising(features, labels, mode):
        te.summary.scalar("mean", features["x"].mean())
        return model_fn(features, labels, mode)

    settings = {"save_summary_steps": 5, "log_step_count_steps": 3, "save_checkpoints_steps": 4}
    estimator_on(strategy, tmp_path, summarising, **settings).train(input_fn, steps=12)
    assert not messages_of(caplog, "WARNING")


def test_a_read_in_a_step_is_told_once(tmp_path, strategy, caplog):
    def reading(features, labels, mode):
        float(features["x"].sum())
        return model_fn(features, labels, mode)

    estimator_on(strategy, tmp_path, reading).train(input_fn, steps=6)
    (message,) = messages_of(caplog, "WARNING")
    assert "reads a value of the device in a training step" in message


def test_an_operation_on_the_host_is_named(tmp_path, strategy, caplog):
    def counting(features, labels, mode):
        torch.unique(features["x"])
        return model_fn(features, labels, mode)

    estimator_on(strategy, tmp_path, counting).train(input_fn, steps=6)
    assert [message for message in messages_of(caplog, "WARNING") if "run on the host" in message] == [
        "These operations run on the host in each step, since XLA has none such: ['_unique2']."
    ]


def test_a_number_that_changes_is_found(tmp_path, strategy, caplog):
    def slicing(features, labels, mode):
        calls.append(mode)
        rows = 1 + len(calls) % 8
        spec = model_fn(features, labels, mode)
        extra = features["x"][:rows].sum() * 0
        return spec._replace(loss=spec.loss + extra, train_op=spec.train_op._replace(loss=spec.loss + extra))

    calls = []
    estimator_on(strategy, tmp_path, slicing).train(input_fn, steps=8)
    (message,) = messages_of(caplog, "WARNING")
    assert "keep being compiled anew" in message


def test_changing_shapes_are_named(tmp_path, strategy, caplog):
    def changing():
        for rows in (8, 8, 7, 6, 5, 4):
            yield {"x": np.ones((rows, 4), dtype=np.float32)}, np.zeros(rows, dtype=np.int64)

    caplog.set_level("INFO", logger="torchestimator")
    estimator_on(strategy, tmp_path).train(changing, steps=6)
    told = [message for message in messages_of(caplog, "INFO") if "compiled once more" in message]
    assert told == [
        f'features["x"] has the shape [{rows}, 4] instead of [8, 4], labels has the shape [{rows}] instead of [8]: '
        "compiled once more."
        for rows in (7, 6)
    ]
    (warning,) = [message for message in messages_of(caplog, "WARNING") if "keep changing" in message]
    assert "has the shape [5, 4]" in warning

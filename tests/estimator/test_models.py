"""Which models are kept, so that nothing is built or read twice."""

import gc
import sys
import weakref

import pytest
import torch

import torchestimator as te
from tests.models import (
    AtStep,
    config,
    linear_estimator,
    linear_input,
    linear_model_fn,
    restless_estimator,
    restless_input,
)
from torchestimator.checkpoint import tensor_file


class Reads:
    """Counts the checkpoint files whose tensors are read, from the calls that happen."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _note(self, frame, event, argument):
        if event == "call" and frame.f_code is tensor_file.TensorFile.read_into.__code__:
            self.count += 1


def building(calls):
    """A model_fn that notes each making of its weight."""

    def model_fn(features, labels, mode, params):
        te.get_module("note", lambda: calls.append(mode) or torch.nn.Identity())
        return linear_model_fn(features, labels, mode, params)

    return model_fn


def test_a_trained_model_is_evaluated_and_predicts_without_being_built_or_read_again(tmp_path):
    calls = []
    estimator = te.Estimator(building(calls), tmp_path, config(), {})
    estimator.train(linear_input(), steps=3)
    with Reads() as reads:
        for _ in range(3):
            estimator.evaluate(linear_input(num_epochs=1))
            list(estimator.predict(linear_input(num_epochs=1)))
            estimator.evaluate(linear_input(num_epochs=1), checkpoint_path=str(tmp_path / "model.ckpt-3"))
    assert calls == ["train"]
    assert reads.count == 0


def test_a_checkpoint_is_read_once_for_evaluation_and_prediction(tmp_path):
    linear_estimator(tmp_path).train(linear_input(), steps=3)
    calls = []
    estimator = te.Estimator(building(calls), tmp_path, config(), {})
    with Reads() as reads:
        for _ in range(3):
            estimator.evaluate(linear_input(num_epochs=1))
            list(estimator.predict(linear_input(num_epochs=1)))
    assert calls == ["eval"]
    assert reads.count == 1


def test_a_checkpoint_that_changed_is_read_again(tmp_path):
    linear_estimator(tmp_path).train(linear_input(), steps=3)
    reader = linear_estimator(tmp_path)
    assert reader.evaluate(linear_input(num_epochs=1))["global_step"] == 3
    linear_estimator(tmp_path).train(linear_input(), steps=1)
    assert reader.evaluate(linear_input(num_epochs=1))["global_step"] == 4
    before = reader.evaluate(linear_input(num_epochs=1), checkpoint_path=str(tmp_path / "model.ckpt-4"))
    for step in (0, 3, 4):
        for file in (tmp_path / f"model.ckpt-{step}").iterdir():
            file.unlink()
        (tmp_path / f"model.ckpt-{step}").rmdir()
    linear_estimator(tmp_path, {"lr": 0.01}).train(linear_input(), steps=4)  # the same step, other weights
    after = reader.evaluate(linear_input(num_epochs=1))
    assert after["global_step"] == 4
    assert after["loss"] > before["loss"]


def test_another_processs_training_is_seen_by_an_estimator_that_trained(tmp_path):
    estimator = linear_estimator(tmp_path)
    estimator.train(linear_input(), steps=2)
    linear_estimator(tmp_path).train(linear_input(), steps=2)
    assert estimator.evaluate(linear_input(num_epochs=1))["global_step"] == 4


def test_a_mode_with_names_of_its_own_is_built_further_and_filled(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        if mode == te.ModeKeys.EVAL:
            return spec
        scale = te.get_parameter("scale", lambda: torch.ones(()))
        if mode == te.ModeKeys.PREDICT:
            return spec._replace(predictions=scale * spec.predictions["outputs"])
        loss = spec.loss + (scale - 3).square()
        return spec._replace(loss=loss, train_op=te.minimize(loss, lambda p: torch.optim.SGD(p, lr=0.1)))

    te.Estimator(model_fn, tmp_path, config(), {}).train(linear_input(), steps=5)
    estimator = te.Estimator(model_fn, tmp_path, config(), {})
    error = estimator.evaluate(linear_input(num_epochs=1))
    rows = list(estimator.predict(linear_input(num_epochs=1)))
    assert rows == list(te.Estimator(model_fn, tmp_path, config(), {}).predict(linear_input(num_epochs=1)))
    assert estimator.get_variable_value("scale") > 1.5
    assert estimator.evaluate(linear_input(num_epochs=1)) == error


def test_in_the_middle_of_a_training_the_newest_checkpoint_counts_and_evaluate_live_the_weights_of_now(tmp_path):
    estimator = linear_estimator(tmp_path, save_checkpoints_steps=2)
    seen = []

    def look():
        seen.append(estimator.evaluate(linear_input(num_epochs=1))["global_step"])
        seen.append(estimator.evaluate_live(linear_input(num_epochs=1))["global_step"])

    estimator.train(linear_input(), hooks=[AtStep(2, look), AtStep(3, look)], steps=4)
    assert seen == [2, 2, 2, 3]


def test_training_on_lets_go_of_the_old_model(tmp_path):
    estimator = restless_estimator(tmp_path)
    modules = []

    class Keep(te.SessionRunHook):
        def begin(self):
            gc.collect()
            modules.append([module for module in modules_made if module() is not None])

        def after_create_session(self, session, coord):
            modules_made.append(weakref.ref(session.module))

    modules_made = []
    for _ in range(3):
        estimator.train(restless_input(), hooks=[Keep()], steps=1)
        estimator.evaluate(restless_input(num_epochs=1))
    assert modules == [[], [], []]


def test_after_a_failed_step_the_last_checkpoint_counts(tmp_path):
    """Half an update is in the model in memory, which is of no use any more."""

    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["params"][0].data.add_(100)
            raise RuntimeError("half an update")

    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        if mode != te.ModeKeys.TRAIN or not params["broken"]:
            return spec
        return spec._replace(train_op=te.minimize(spec.loss, lambda p: Broken(p, lr=0.1)))

    estimator = te.Estimator(model_fn, tmp_path, config(), {"broken": True})
    with pytest.raises(RuntimeError, match="half an update"):
        estimator.train(linear_input(), steps=1)
    assert next(iter(estimator.predict(linear_input(num_epochs=1), ["outputs"])))["outputs"] == 0

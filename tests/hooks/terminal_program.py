"""Trains on whatever standard error is, in several situations; test_progress.py runs it on a terminal."""

import contextlib
import logging
import os
import sys
import tempfile
import time

import torchestimator as te
from tests.hooks.training import input_fn, linear_model_fn
from torchestimator.log import TERMINAL


class Slow(te.SessionRunHook):
    """Gives the bar time to be drawn, and speaks in between."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def after_run(self, run_context, run_values):
        time.sleep(0.02)
        logging.getLogger("torchestimator").info("word at %d", run_context.global_step)
        if run_context.global_step == self.fails_at:
            raise ZeroDivisionError


def train(steps=15, hooks=(), progress_bar=None, **settings):
    folder = tempfile.mkdtemp()
    config = te.RunConfig(random_seed=1, progress_bar=progress_bar, log_step_count_steps=5, **settings)
    estimator = te.Estimator(linear_model_fn, folder, config)
    estimator.train(input_fn(), hooks=[*(hooks or [Slow()])], steps=steps)
    return estimator


def say(title):
    print(f"== {title}", file=sys.stderr, flush=True)


def usual():
    estimator = train()
    say("resumed")
    estimator.train(input_fn(), hooks=[Slow()], max_steps=20)
    say("unknown end")
    estimator.train(input_fn(), hooks=[Slow(), te.StopAtStepHook(num_steps=8)])
    say("evaluated")
    spec = te.TrainSpec(input_fn(), max_steps=32, hooks=[Slow()])
    te.train_and_evaluate(estimator, spec, te.EvalSpec(input_fn(3), steps=3))


def error():
    with contextlib.suppress(ZeroDivisionError):
        train(hooks=[Slow(fails_at=8)])
    logging.getLogger("torchestimator").info("after the error")


def switched_off():
    train(progress_bar=False)


def dumb():
    os.environ["TERM"] = "dumb"
    train()
    os.environ["TERM"] = "xterm"


def configured():
    logging.basicConfig(format="%(name)s %(message)s")
    train()
    logging.getLogger("other").warning("after the bar")
    (handler,) = logging.getLogger().handlers
    print("streams are back:", handler.stream is sys.stderr, TERMINAL.stream is None, file=sys.stderr)


if __name__ == "__main__":
    for situation in sys.argv[1:]:
        say(situation)
        {"usual": usual, "error": error, "off": switched_off, "dumb": dumb, "configured": configured}[situation]()

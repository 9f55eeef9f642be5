"""How fast training goes."""

import logging
import re
import time

import pytest

import torchestimator as te
from tests.hooks.training import input_fn, linear_model_fn, lines, make_estimator
from torchestimator.summary.reader import read_scalars
from torchestimator.summary.writer import EventWriter


def steps_of_lines(caplog):
    """Of each rate in the log, the step that was logged before it."""
    steps, last = [], None
    for line in lines(caplog):
        if line.startswith("global_step/sec: "):
            steps.append(last)
        elif found := re.match(r"after (\d+)", line):
            last = int(found[1])
    return steps


class Says(te.SessionRunHook):
    """Logs the step before the hooks that follow it."""

    def after_run(self, run_context, run_values):
        logging.getLogger("torchestimator").info("after %d", run_context.global_step)


def test_rates_come_at_one_plus_multiples_of_n(tmp_path, caplog):
    hook = te.StepCounterHook(every_n_steps=3, output_dir=str(tmp_path))
    make_estimator(tmp_path).train(input_fn(), hooks=[Says(), hook], steps=8)
    assert steps_of_lines(caplog) == [4, 7]
    scalars = read_scalars(tmp_path)
    assert list(scalars) == [4, 7]
    shown = [float(line.split()[1].rstrip(",")) for line in lines(caplog) if "global_step/sec" in line]
    assert [scalars[step]["global_step/sec"] for step in (4, 7)] == pytest.approx(shown, rel=1e-4)
    assert all(0 <= scalars[step]["input_wait"] <= 1 for step in (4, 7))


def test_the_default_hook_writes_into_the_model_dir(tmp_path, caplog):
    make_estimator(tmp_path, log_step_count_steps=2).train(input_fn(), hooks=[Says()], steps=6)
    # The default hook comes before those of the user.
    assert steps_of_lines(caplog) == [2, 4]
    assert [step for step, values in read_scalars(tmp_path).items() if "global_step/sec" in values] == [3, 5]


def test_a_resumed_training_counts_from_its_first_step(tmp_path, caplog):
    settings = {"log_step_count_steps": 3, "save_checkpoints_steps": 100}
    make_estimator(tmp_path, **settings).train(input_fn(), steps=5)
    make_estimator(tmp_path, **settings).train(input_fn(), steps=5)
    assert [step for step, values in read_scalars(tmp_path).items() if "global_step/sec" in values] == [4, 9]


def test_waiting_for_input_is_told_where_it_takes_long(tmp_path, caplog):
    def slow():
        for batch in iter(input_fn(12)()):
            time.sleep(0.01)
            yield batch

    hook = te.StepCounterHook(every_n_steps=5, output_dir=str(tmp_path))
    make_estimator(tmp_path, prefetch_batches=0).train(slow, hooks=[hook])
    (rate, *_) = [line for line in lines(caplog) if "global_step/sec" in line]
    assert re.fullmatch(r"global_step/sec: [\d.]+, \d+% of the time waiting for input", rate)
    assert read_scalars(tmp_path)[6]["input_wait"] > 0.1


def test_no_line_about_waiting_where_there_is_none(tmp_path, caplog):
    def slow_model_fn(features, labels, mode):
        time.sleep(0.01)
        return linear_model_fn(features, labels, mode)

    hook = te.StepCounterHook(every_n_steps=3)
    make_estimator(tmp_path, slow_model_fn).train(input_fn(), hooks=[hook], steps=5)
    assert "global_step/sec" in caplog.text
    assert "waiting" not in caplog.text


def test_seconds_may_be_the_cadence(tmp_path, caplog):
    hook = te.StepCounterHook(every_n_steps=None, every_n_secs=0)
    make_estimator(tmp_path).train(input_fn(), hooks=[Says(), hook], steps=3)
    assert steps_of_lines(caplog) == [2, 3]


def test_a_writer_can_be_given_and_lines_left_out(tmp_path, caplog):
    writer = EventWriter(tmp_path / "rates")
    hook = te.StepCounterHook(every_n_steps=2, summary_writer=writer, log=False)
    make_estimator(tmp_path).train(input_fn(), hooks=[hook], steps=3)
    writer.close()
    assert list(read_scalars(tmp_path / "rates")) == [3]
    assert "global_step/sec" not in caplog.text


def test_a_hook_may_be_used_again(tmp_path, caplog):
    hook = te.StepCounterHook(every_n_steps=2)
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    for _ in range(2):
        estimator.train(input_fn(), hooks=[Says(), hook], steps=4)
    assert steps_of_lines(caplog) == [3, 7]

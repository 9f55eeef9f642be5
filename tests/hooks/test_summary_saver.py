"""Summaries in event files."""

import pytest
import torch

import torchestimator as te
from tests.hooks.training import Fetch, input_fn, linear_model_fn, make_estimator
from torchestimator.summary import protos
from torchestimator.summary.reader import read_scalars
from torchestimator.summary.records import RecordTail
from torchestimator.summary.writer import EventWriter


def summarised_model_fn(features, labels, mode):
    spec = linear_model_fn(features, labels, mode)
    if spec.loss is not None:
        te.summary.scalar("double", 2 * spec.loss)
        with te.name_scope("tower"):
            te.summary.scalar("labels mean", labels.mean())
    return spec


def events(logdir):
    found = []
    for path in sorted(logdir.glob("*.tfevents.*")):
        found += [protos.parse_event(record) for record in RecordTail(path).read()]
    return found


def test_summaries_come_at_one_plus_multiples_of_m(tmp_path):
    losses = Fetch("loss")
    estimator = make_estimator(tmp_path, summarised_model_fn, save_summary_steps=3)
    estimator.train(input_fn(), hooks=[losses], steps=8)
    scalars = read_scalars(tmp_path)
    assert list(scalars) == [1, 4, 7]
    for step, values in scalars.items():
        loss = float(losses.results[step - 1])
        assert values == {"double": 2 * loss, "tower/labels_mean": 1.0, "loss": loss}


def test_a_step_is_one_event_and_the_session_starts_before_the_first(tmp_path):
    estimator = make_estimator(tmp_path, summarised_model_fn, save_summary_steps=2, save_checkpoints_steps=100)
    estimator.train(input_fn(), steps=3)
    kinds = [
        (event.step, event.WhichOneof("what"), len(event.summary.value))
        for event in events(tmp_path)
        if event.WhichOneof("what") != "file_version"
    ]
    log = "session_log"
    assert kinds == [(0, log, 0), (1, log, 0), (1, "summary", 3), (3, "summary", 3), (3, log, 0)]


def test_a_resumed_training_goes_on_with_the_next_step(tmp_path):
    settings = {"save_summary_steps": 2, "save_checkpoints_steps": 100}
    for _ in range(2):
        make_estimator(tmp_path, **settings).train(input_fn(), steps=4)
    assert list(read_scalars(tmp_path)) == [1, 3, 5, 7]


def test_steps_of_an_interrupted_run_are_dropped(tmp_path):
    class Fails(te.SessionRunHook):
        def after_run(self, run_context, run_values):
            if run_context.global_step == 6:
                # Of all errors this one alone saves nothing, so training goes on from step 0.
                raise te.NanLossDuringTrainingError

    settings = {"save_summary_steps": 1, "save_checkpoints_steps": 100}
    with pytest.raises(te.NanLossDuringTrainingError):
        make_estimator(tmp_path, **settings).train(input_fn(), hooks=[Fails()])
    assert list(read_scalars(tmp_path)) == [1, 2, 3, 4, 5, 6]
    make_estimator(tmp_path, **settings).train(input_fn(), steps=3)
    assert list(read_scalars(tmp_path)) == [1, 2, 3]


def test_a_loss_of_the_model_itself_is_not_written_twice(tmp_path):
    def model_fn(features, labels, mode):
        te.summary.scalar("loss", torch.tensor(5.0))
        return linear_model_fn(features, labels, mode)

    make_estimator(tmp_path, model_fn, save_summary_steps=1).train(input_fn(), steps=1)
    assert read_scalars(tmp_path) == {1: {"loss": 5.0}}
    summaries = [event.summary for event in events(tmp_path) if event.summary.value]
    assert [len(summary.value) for summary in summaries] == [1]


@pytest.mark.parametrize("steps", [0, None])
def test_no_summaries_where_none_are_wanted(tmp_path, steps):
    recorded = []

    def model_fn(features, labels, mode):
        te.summary.scalar("seen", labels.mean())
        recorded.append(features)
        return linear_model_fn(features, labels, mode)

    make_estimator(tmp_path, model_fn, save_summary_steps=steps).train(input_fn(), steps=2)
    assert recorded
    assert read_scalars(tmp_path) == {}


def test_a_hook_of_the_user_writes_elsewhere(tmp_path):
    hook = te.SummarySaverHook(save_steps=2, output_dir=tmp_path / "mine")
    make_estimator(tmp_path, summarised_model_fn).train(input_fn(), hooks=[hook], steps=3)
    assert list(read_scalars(tmp_path / "mine")) == [1, 3]
    assert read_scalars(tmp_path) == {}


def test_two_savers_with_cadences_of_their_own(tmp_path):
    hook = te.SummarySaverHook(save_steps=3, output_dir=tmp_path / "mine")
    estimator = make_estimator(tmp_path, summarised_model_fn, save_summary_steps=2)
    estimator.train(input_fn(), hooks=[hook], steps=5)
    mine, usual = read_scalars(tmp_path / "mine"), read_scalars(tmp_path)
    assert (list(mine), list(usual)) == ([1, 4], [1, 3, 5])
    assert mine[1] == usual[1]


def test_seconds_may_be_the_cadence_and_a_writer_given(tmp_path):
    writer = EventWriter(tmp_path / "mine")
    hook = te.SummarySaverHook(save_secs=0, summary_writer=writer)
    estimator = make_estimator(tmp_path, save_checkpoints_steps=100)
    for _ in range(2):
        estimator.train(input_fn(), hooks=[hook], steps=2)
    writer.close()
    assert list(read_scalars(tmp_path / "mine")) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scaffold": object(), "output_dir": "x"}, "`scaffold` and `summary_op` have no meaning here"),
        ({"summary_op": object(), "output_dir": "x"}, "`scaffold` and `summary_op` have no meaning here"),
        ({}, "One of `output_dir` and `summary_writer` must be given"),
        ({"output_dir": "x", "save_secs": 1}, "Exactly one of `save_steps` and `save_secs`"),
    ],
)
def test_arguments_without_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        te.SummarySaverHook(save_steps=1, **arguments)

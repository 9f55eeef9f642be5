"""The judges of the drills: what must not be is reported, and makes the run fail."""

import shutil
import types

import pytest
import torch

from tests.drills import __main__ as program
from tests.drills import judge
from tests.drills.drill_flip import flip
from tests.drills.library import TorchEstimator
from tests.drills.plan import Entry, Journal, Plan, read_journal, read_plan
from tests.drills.report import fault_lines, line
from tests.drills.training import Trainings
from tests.drills.trial import IDENTICAL, SAMPLE, Trial
from torchestimator.checkpoint import Checkpoint, CheckpointStore


def entries(*events):
    return [Entry(float(index), 0, 0, event, value) for index, (event, value) in enumerate(events)]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    return Trainings(TorchEstimator(), tmp_path_factory.mktemp("drills"))


@pytest.fixture(scope="module")
def peaceful(trainings):
    """The plan of a training that was left in peace, and its folder."""
    plan = trainings.plan(steps=8)
    return plan, trainings.undisturbed_folder(plan)


def saved_again(folder, target, change):
    """A copy of a folder whose newest checkpoint was changed before it was saved, so that it is valid."""
    opened = Checkpoint(folder)
    model = {name: opened.read_model(name) for name in opened.model_shapes}
    optimizer = {name: opened.read_optimizer(name) for name in opened.optimizer_shapes}
    state = opened.state
    change(model, optimizer, state)
    CheckpointStore(target).save(opened.step, model, optimizer, state)
    return TorchEstimator().end_state(target)


def one_ulp(tensor):
    tensor.view(-1).view(torch.int32)[0] += 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda model, optimizer, state: one_ulp(model["net.layers.0.weight"]), "model/net.layers.0.weight"),
        (
            lambda model, optimizer, state: one_ulp(optimizer["net.layers.0.bias/exp_avg"]),
            "optimizer/net.layers.0.bias/exp_avg",
        ),
        (lambda model, optimizer, state: state.update(global_step=7), "state/global_step"),
        (lambda model, optimizer, state: model.pop("net.layers.0.weight"), "model/net.layers.0.weight"),
    ],
)
def test_the_smallest_difference_at_the_end_is_a_fault(trainings, peaceful, tmp_path, change, part):
    plan, folder = peaceful
    expected = trainings.undisturbed(plan)
    assert judge.end_faults(expected, saved_again(folder, tmp_path / "same", lambda *parts: None)) == []
    (fault,) = judge.end_faults(expected, saved_again(folder, tmp_path / "other", change))
    assert "differs in 1 of" in fault
    assert part in fault


def test_a_training_without_an_end_is_a_fault(trainings, peaceful, tmp_path):
    expected = trainings.undisturbed(peaceful[0])
    assert judge.end_faults(expected, None) == ["the training did not come to its end"]
    assert judge.end_faults(expected, trainings.end_of(peaceful[0], 1)) != []
    assert TorchEstimator().end_state(tmp_path) is None


def test_lost_steps_are_faults():
    before = entries(("restored", 0), ("step", 4), ("saved", 4), ("step", 7))
    assert judge.loss_faults(before, entries(("restored", 4))) == []
    assert judge.loss_faults(before, entries(("started", 1))) == []
    assert "4 saved steps are lost" in judge.loss_faults(before, entries(("restored", 0)))[0]
    assert "3 steps are lost" in judge.loss_faults(before, entries(("restored", 4)), every_step=True)[0]
    assert judge.loss_faults(before, entries(("restored", 7)), every_step=True) == []


def test_messages_times_and_statuses_are_judged():
    assert judge.message_faults("needs 5 bytes", r"needs \d+ bytes") == []
    assert judge.message_faults("no space", r"needs \d+ bytes", "space") == [r"no message like 'needs \\d+ bytes'"]
    assert judge.time_faults(1.0, 2) == []
    assert judge.time_faults(3.0, 2) == ["it took 3.0 s, more than 2"]
    assert judge.time_faults(None, 2) == ["it had not ended after 2 s"]
    assert judge.status_faults(143, 143) == []
    assert judge.status_faults(0, 143, -15) == ["exit status 0, not 143 or -15"]


def test_a_damaged_folder_is_not_opened_as_its_newest_checkpoint(peaceful, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(peaceful[1], folder)
    library = TorchEstimator()
    assert library.open_folders([folder, tmp_path / "none"]) == [8, -1]
    for checkpoint in folder.glob("model.ckpt-*"):
        flip(checkpoint / "state.json", 100)
    (answer,) = library.open_folders([folder])
    assert "none of its checkpoints can be restored" in answer


def drill_of(*trials):
    def run(trainings, counts):
        yield from trials
        if not trials:
            raise OSError("nothing works")

    return types.SimpleNamespace(run=run, __doc__="a drill")


GOOD, BAD = Trial("a case", IDENTICAL, (), {"seconds": 1.0}), Trial("another", IDENTICAL, ("the end differs",))


def test_a_bad_trial_is_shown_and_counted():
    assert "1 of 2" in line("kill", "a library", [GOOD, BAD])
    assert fault_lines([GOOD, BAD, BAD]) == ["    2 x another: the end differs"]
    assert program.bad([GOOD, BAD])
    assert program.bad([])
    assert not program.bad([GOOD])


def test_a_drill_that_breaks_is_a_bad_trial(trainings):
    (trial,) = program.run_one(drill_of(), trainings, SAMPLE)
    assert trial.faults == ("OSError: nothing works",)


@pytest.mark.parametrize(("trials", "status"), [((GOOD,), 0), ((GOOD, BAD), 1), ((), 1)])
def test_the_exit_status_tells_of_bad_trials(monkeypatch, capsys, trials, status):
    monkeypatch.setattr(program, "DRILLS", {"kill": drill_of(*trials)})
    monkeypatch.setattr("sys.argv", ["drills", "--short"])
    monkeypatch.setattr(program.logging.getLogger("torchestimator"), "level", 0)  # what it sets is put back
    assert program.main() == status
    assert ("failed: kill" in capsys.readouterr().out) == bool(status)


def test_plans_and_journals_come_back_as_they_were_written(tmp_path):
    plan = Plan(str(tmp_path), str(tmp_path / "journal"), slow_phase="step", slow_step=3)
    assert read_plan(plan.to_json()) == plan
    assert read_journal(plan.journal) == []
    Journal(plan.journal).note("saved", 4)
    with open(plan.journal, "a") as file:
        file.write("1.5 0 0 step")  # a line that is just being written
    assert [entry.event for entry in read_journal(plan.journal)] == ["started", "saved"]

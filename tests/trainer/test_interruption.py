"""Signals: a step and a save are never cut in two, and a wait for input is."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import torchestimator as te
from tests.models import (
    AtStep,
    contents,
    linear_data,
    linear_estimator,
    linear_input,
    restless_estimator,
    restless_input,
    restless_model_fn,
    steps_saved,
)
from torchestimator.trainer.interruption import Interruption

STEPS = 20


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_held_signal_is_raised_at_release_and_a_free_one_at_once(number, kind):
    with Interruption() as interruption:
        interruption.held = True
        send(number)
        with pytest.raises(kind):
            interruption.release()
        interruption.release()
        with pytest.raises(kind):
            send(number)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_is_raised_at_once(first):
    with Interruption() as interruption:
        interruption.held = True
        send(first)
        assert interruption.is_pending
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        interruption.drop()
        interruption.release()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_sigterm_after_a_signal_waits_as_well(first):
    with Interruption() as interruption:
        interruption.held = True
        send(first)
        send(signal.SIGTERM)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            interruption.release()


def test_the_handlers_from_before_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def own_handler():
    """A SIGTERM handler of the program, which notes its calls."""
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGTERM, before)


def test_a_handler_of_the_program_runs_and_decides(own_handler):
    with Interruption() as interruption:
        send(signal.SIGTERM)
        assert own_handler == [15]
        interruption.held = True
        send(signal.SIGTERM)
        assert own_handler == [15]
        interruption.release()
        assert own_handler == [15, 15]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            send(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def child_handler():
    """A SIGCHLD handler that raises an error, as that of torch's DataLoader does for a dead worker."""

    def handler(number, frame):
        raise RuntimeError("a worker has died")

    before = signal.signal(signal.SIGCHLD, handler)
    yield handler
    signal.signal(signal.SIGCHLD, before)


def let_a_child_die():
    """Returns when this process has got SIGCHLD."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def test_the_death_of_a_child_waits_for_the_end_of_the_step(child_handler):
    with Interruption() as interruption:
        with pytest.raises(RuntimeError, match="a worker has died"):
            let_a_child_die()
        interruption.watch_children()
        interruption.watch_children()
        with pytest.raises(RuntimeError, match="a worker has died"):
            let_a_child_die()
        interruption.held = True
        let_a_child_die()
        let_a_child_die()
        with pytest.raises(RuntimeError, match="a worker has died"):
            interruption.release()
        interruption.held = True
        let_a_child_die()
        send(signal.SIGTERM)
        with pytest.raises(SystemExit):
            interruption.release()
    assert signal.getsignal(signal.SIGCHLD) is child_handler


@pytest.fixture
def no_child_handler():
    """A DataLoader of another test may have left one of its own."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("no_child_handler")
def test_a_child_that_nobody_watches_is_left_alone():
    with Interruption() as interruption:
        interruption.watch_children()
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL


def test_a_handler_that_is_set_meanwhile_stays(own_handler):
    with Interruption():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_worker_that_dies_in_the_middle_of_a_step_costs_no_step(child_handler, tmp_path):
    """With accumulation, where half a backward pass could not be undone."""
    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(mode)
        if len(calls) == 9:
            let_a_child_die()
        return restless_model_fn(features, labels, mode, params)

    with pytest.raises(RuntimeError, match="a worker has died"):
        restless_estimator(tmp_path / "failed", 3, model_fn).train(restless_input(), steps=STEPS)
    assert steps_saved(tmp_path / "failed") == [0, 8]
    for folder in ("failed", "whole"):
        restless_estimator(tmp_path / folder, 3).train(restless_input(), max_steps=STEPS)
    assert contents(tmp_path / "failed") == contents(tmp_path / "whole")


def test_outside_the_main_thread_training_works_without_signals(tmp_path):
    errors = []

    def train():
        try:
            linear_estimator(tmp_path).train(linear_input(), steps=3)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not errors
    assert steps_saved(tmp_path) == [0, 3]


def train_with_ctrl_c_in_a_save(estimator, presses):
    """Trains, pressing Ctrl-C that many times in the save of step 4: at the main thread's first calls of os.fsync."""
    left = presses

    def watch(frame, event, argument):
        nonlocal left
        if left and event == "c_call" and argument is os.fsync:
            left -= 1
            send(signal.SIGINT)

    try:
        estimator.train(restless_input(), hooks=[AtStep(3, lambda: sys.setprofile(watch))], steps=STEPS)
    finally:
        sys.setprofile(None)
        assert not left


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_in_a_save_waits_for_its_end_and_twice_is_made_up_for(tmp_path, presses):
    estimator = restless_estimator(tmp_path, save_checkpoints_steps=4)
    with pytest.raises(KeyboardInterrupt):
        train_with_ctrl_c_in_a_save(estimator, presses)
    assert steps_saved(tmp_path) == [0, 4]
    estimator.train(restless_input(), max_steps=STEPS)
    restless_estimator(tmp_path / "whole").train(restless_input(), steps=STEPS)
    assert contents(tmp_path) == contents(tmp_path / "whole")


@pytest.mark.parametrize("in_thread", [True, False])
def test_ctrl_c_ends_a_wait_for_input_at_once(tmp_path, in_thread):
    """Step 7 waits for data; had the signal waited for it too, the checkpoint would be that of step 7."""
    x, y = linear_data(4)
    six_done, goes_on = threading.Event(), threading.Event()

    def batches():
        for number in range(20):
            if number == 6:
                goes_on.wait()
            time.sleep(0.001)  # slow enough to be read in a thread
            yield x, y

    def press():
        six_done.wait()
        time.sleep(0.1)  # until the loop waits: a signal in the instant before is noticed by Python only afterwards
        send(signal.SIGINT)
        give_up = time.monotonic() + 5
        while not (tmp_path / "model.ckpt-6").exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        goes_on.set()

    presses = threading.Thread(target=press)
    presses.start()
    estimator = linear_estimator(tmp_path, prefetch_batches=2 if in_thread else 0)
    with pytest.raises(KeyboardInterrupt):
        estimator.train(batches, hooks=[AtStep(6, six_done.set)])
    presses.join()
    assert steps_saved(tmp_path) == [0, 6]


class PressedWhileReading:
    """An iterable with a state that is ahead of the batch being read, as that of a loader with a sampler is."""

    def __init__(self):
        self.next = 0

    def __iter__(self):
        while self.next < 8:
            self.next += 1
            if self.next == 5:
                send(signal.SIGINT)
            yield {"x": np.full((4, 2), self.next, np.float32)}, np.full(4, self.next, np.float32)

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def test_a_batch_that_could_not_be_read_again_is_not_lost(tmp_path):
    class Labels(te.SessionRunHook):
        def before_run(self, run_context):
            return te.SessionRunArgs("labels")

        def after_run(self, run_context, run_values):
            seen.append(int(run_values.results[0]))

    seen = []
    with pytest.raises(KeyboardInterrupt):
        linear_estimator(tmp_path, {"lr": 1e-6}).train(PressedWhileReading, hooks=[Labels()])
    assert steps_saved(tmp_path) == [0, 5]
    linear_estimator(tmp_path, {"lr": 1e-6}).train(PressedWhileReading, hooks=[Labels()])
    assert seen == [1, 2, 3, 4, 6, 7, 8]  # of step 5 the hook is not told any more


PROGRAM = """
    import os, sys, time
    import torchestimator as te
    from tests.models import AtStep, restless_estimator, restless_input

    def wait():
        print("ready", flush=True)
        time.sleep(60)

    class WaitAt(te.SessionRunHook):
        def before_run(self, run_context):
            if run_context.global_step == 12:
                wait()

    estimator = restless_estimator(sys.argv[1], accumulate=3, save_checkpoints_steps=5)
    estimator.train(restless_input(), hooks=[WaitAt()], max_steps=20)
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Three real processes, each stopped by another signal after step 12; one while another wants its folder."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    folders = {number: tmp_path_factory.mktemp(number.name) for number in numbers}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = {}
    processes = {
        number: subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            text=True,
        )
        for number, folder in folders.items()
    }
    try:
        for number, process in processes.items():
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 120)[0]
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            refusal = None
            if number == signal.SIGKILL:
                with pytest.raises(RuntimeError) as refusal:
                    restless_estimator(folders[number], accumulate=3).train(restless_input(), steps=1)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
            found[number] = (folders[number], process.pid, process.returncode, errors, refusal)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return found


@pytest.mark.parametrize(
    ("number", "code", "saved"),
    [(signal.SIGINT, -2, [0, 5, 10, 12]), (signal.SIGTERM, 143, [0, 5, 10, 12]), (signal.SIGKILL, -9, [0, 5, 10])],
)
def test_a_real_process_that_is_stopped_goes_on_exactly(interrupted, tmp_path, number, code, saved):
    folder, _, returned, errors, _ = interrupted[number]
    assert returned == code, errors
    assert steps_saved(folder) == saved
    restless_estimator(folder, accumulate=3).train(restless_input(), max_steps=STEPS)
    restless_estimator(tmp_path, accumulate=3).train(restless_input(), max_steps=STEPS)
    assert contents(folder) == contents(tmp_path)


def test_two_processes_do_not_train_in_one_model_dir(interrupted):
    _, pid, _, _, refusal = interrupted[signal.SIGKILL]
    assert f"pid {pid}" in str(refusal.value)
    assert "another training is using `model_dir`" in str(refusal.value)

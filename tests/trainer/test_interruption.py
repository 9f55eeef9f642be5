"""Signals: a step and a save are never cut in two, and a wait for input is."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from tests.models import (
    AtStep,
    contents,
    linear_data,
    linear_estimator,
    linear_input,
    restless_estimator,
    restless_input,
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


def test_the_second_signal_is_raised_at_once():
    with Interruption() as interruption:
        interruption.held = True
        send(signal.SIGINT)
        with pytest.raises(SystemExit) as caught:
            send(signal.SIGTERM)
        assert caught.value.code == 143
        interruption.drop()
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

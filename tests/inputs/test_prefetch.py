"""Reading ahead: order, errors, positions, and ends without hanging."""

import gc
import json
import subprocess
import sys
import threading
import time
import traceback
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.inputs import numpy_input_fn
from torchestimator.inputs.iterator import InputIterator
from torchestimator.inputs.prefetch import InlineBatches, Prefetcher, batches_of
from torchestimator.inputs.sources import IterableInput

BY_THREAD = {"depth": 2, "slow_secs": 0.0}


def same(raw):
    return raw[0]


def counting(count, then=None):
    yield from range(count)
    if then is not None:
        raise then


def drain(batches):
    """What comes until the end or an error, and the error."""
    seen = []
    try:
        for batch in batches:
            seen.append(batch)
    except Exception as error:  # noqa: BLE001
        return seen, error
    return seen, None


def make(kind, iterable, transform=same):
    source = IterableInput(iterable)
    if kind == "inline":
        return InlineBatches(source, transform)
    return Prefetcher(source, transform, depth=3, slow_secs={"thread": 0.0, "adaptive": 1e-9, "in place": 1e9}[kind])


KINDS = ["inline", "thread", "adaptive", "in place"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 5
    while any(thread.name == "torchestimator-input" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a reader's thread is still there"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_all_batches_come_in_order_and_the_end_stays_the_end(kind):
    batches = make(kind, counting(50))
    assert list(batches) == list(range(50))
    assert list(batches) == []
    assert batches.state_dict() == {"exhausted": True}
    batches.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_good_batches_come_before_the_error_with_its_own_traceback(kind, count):
    batches = make(kind, counting(count, then=KeyError("lost")))
    seen, error = drain(batches)
    assert seen == list(range(count))
    assert isinstance(error, KeyError)
    assert "counting" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    batches.close()


@pytest.mark.parametrize("kind", ["thread", "adaptive", "in place"])
def test_an_error_is_not_followed_by_an_ordinary_end(kind):
    batches = make(kind, counting(3, then=KeyError("lost")))
    drain(batches)
    with pytest.raises(KeyError):
        next(batches)
    batches.close()


@pytest.mark.parametrize("kind", KINDS)
def test_errors_of_the_conversion_come_at_their_batch(kind):
    def convert(raw):
        return 10 // (3 - raw[0])

    batches = make(kind, counting(10), convert)
    seen, error = drain(batches)
    assert seen == [3, 5, 10]
    assert isinstance(error, ZeroDivisionError)
    assert "convert" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    batches.close()


@pytest.mark.parametrize("kind", KINDS)
def test_stop_iteration_inside_a_generator_is_an_error_not_the_end(kind):
    def generator():
        yield 0
        yield next(iter([]))

    batches = make(kind, generator())
    seen, error = drain(batches)
    assert seen == [0]
    assert isinstance(error, RuntimeError)
    batches.close()


@pytest.mark.parametrize("kind", KINDS)
def test_stop_iteration_in_the_conversion_is_an_error_not_the_end(kind):
    batches = make(kind, counting(3), lambda raw: next(iter([])))
    seen, error = drain(batches)
    assert seen == []
    assert isinstance(error, RuntimeError)
    batches.close()


def test_the_thread_reads_ahead_but_no_further_than_its_depth():
    read = []
    allowed = threading.Semaphore(0)

    def generator():
        for i in range(20):
            read.append(i)
            allowed.release()
            yield i

    batches = Prefetcher(IterableInput(generator()), same, depth=4, slow_secs=0.0)
    for _ in range(4):
        assert allowed.acquire(timeout=10)
    assert not allowed.acquire(timeout=0.05)
    assert [next(batches) for _ in range(2)] == [0, 1]
    for _ in range(2):
        assert allowed.acquire(timeout=10)
    assert not allowed.acquire(timeout=0.05)
    assert read == list(range(6))
    batches.close()


def test_fast_sources_are_read_in_place_and_slow_ones_by_a_thread():
    readers = set()

    def generator(pause):
        for i in range(12):
            time.sleep(pause)
            readers.add(threading.current_thread().name)
            yield i

    with_pause = Prefetcher(IterableInput(generator(0.002)), same, depth=2)
    assert list(with_pause) == list(range(12))
    assert readers == {"MainThread", "torchestimator-input"}
    with_pause.close()
    readers.clear()
    without = Prefetcher(IterableInput(generator(0.0)), same, depth=2, slow_secs=1.0)
    assert list(without) == list(range(12))
    assert readers == {"MainThread"}
    without.close()


def array_input(seed=1):
    return numpy_input_fn(np.arange(23), batch_size=2, num_epochs=2, shuffle=True, seed=seed)()


@settings(deadline=None, max_examples=25)
@given(taken=st.integers(0, 23), depth=st.integers(1, 5), kind=st.sampled_from(["thread", "adaptive", "inline"]))
def test_the_position_is_that_of_the_batches_taken(taken, depth, kind):
    whole = [features.tolist() for features, _ in array_input()]
    if kind == "inline":
        batches = InlineBatches(array_input(), same)
    else:
        batches = Prefetcher(array_input(), same, depth, 0.0 if kind == "thread" else 1e-9)
    seen = [next(batches).tolist() for _ in range(taken)]
    state = json.loads(json.dumps(batches.state_dict()))
    batches.close()
    resumed = array_input()
    assert resumed.load_state_dict(state) is True
    rest = [features.tolist() for features, _ in resumed]
    if taken < 23:
        assert seen + rest == whole
    else:
        assert seen == whole
        assert len(rest) == 23


def test_a_source_that_tells_its_own_position_is_not_run_ahead():
    class Source(InputIterator):
        runs_ahead = False

        def __next__(self):
            return 1, None

    assert isinstance(batches_of(Source(), same, 4), InlineBatches)
    assert isinstance(batches_of(IterableInput([]), same, 0), InlineBatches)
    assert isinstance(batches_of(IterableInput([]), same, 4), Prefetcher)


def test_waiting_is_counted_only_when_there_is_something_to_wait_for():
    main = threading.main_thread().ident

    def generator():
        yield 0
        while sys._current_frames()[main].f_code.co_name != "__next__":
            time.sleep(0.001)
        time.sleep(0.05)
        yield 1

    batches = Prefetcher(IterableInput(generator()), same, depth=1, slow_secs=0.0)
    next(batches)
    before = batches.wait_secs
    assert next(batches) == 1
    assert batches.wait_secs > before
    batches.close()

    inline = InlineBatches(IterableInput(time.sleep(0.05) for _ in range(1)), same)
    list(inline)
    assert inline.wait_secs >= 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_at_any_moment_ends_and_closes_the_source(kind, taken):
    closed = []

    def generator():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread())

    batches = make(kind, generator())
    for _ in range(taken):
        next(batches)
    batches.close()
    batches.close()
    assert len(closed) == 1 or taken == 0  # nobody may have begun it
    with pytest.raises(StopIteration):
        next(batches)


def test_a_forgotten_prefetcher_is_collected_and_its_thread_ends():
    batches = Prefetcher(IterableInput(counting(1000)), same, **BY_THREAD)
    next(batches)
    reference = weakref.ref(batches)
    del batches
    gc.collect()
    assert reference() is None


def test_closing_does_not_wait_for_ever_for_a_blocked_reader(caplog, monkeypatch):
    monkeypatch.setattr("torchestimator.inputs.prefetch._JOIN_SECS", 0.05)
    release = threading.Event()

    def generator():
        yield 0
        release.wait(30)
        yield 1

    batches = Prefetcher(IterableInput(generator()), same, **BY_THREAD)
    assert next(batches) == 0
    batches.close()
    assert "left behind" in caplog.text
    release.set()


BLOCKED = """
import threading, time, sys
from torchestimator.inputs.prefetch import Prefetcher
from torchestimator.inputs.sources import IterableInput
def generator():
    yield 0
    threading.Event().wait()
batches = Prefetcher(IterableInput(generator()), lambda raw: raw[0], 2, 0.0)
assert next(batches) == 0
"""


def test_a_blocked_reader_does_not_keep_the_process_alive():
    result = subprocess.run([sys.executable, "-c", BLOCKED], timeout=60, check=False)
    assert result.returncode == 0


def test_ctrl_c_ends_the_wait_for_a_blocked_reader():
    code = BLOCKED + (
        "import signal, os\n"
        "threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try: next(batches)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "interrupted"

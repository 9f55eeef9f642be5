"""What one of several processes gets of an input that was written for one."""

import inspect
import itertools
import json
import logging
import random
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from torchestimator.inputs import InputContext, numpy_input_fn
from torchestimator.inputs.input_fn import open_input
from torchestimator.inputs.iterator import InputMismatchError
from torchestimator.inputs.sharding import ShardedLoader
from torchestimator.inputs.sources import IterableInput

CONFIG = types.SimpleNamespace(random_seed=3)


def shares(num, input_fn, state=None, mode="train", config=CONFIG):
    """The inputs of all processes, at a saved position if there is one."""
    inputs = [open_input(input_fn, mode, None, config, InputContext(num, index, num)) for index in range(num)]
    if state is not None:
        assert len({each.load_state_dict(state) for each in inputs}) == 1
    return inputs


def step(inputs):
    """The examples of the next step, process by process, as lists; [] where a process has ended."""
    return [[] if batch is None else batch[0].tolist() for batch in (next(each, None) for each in inputs)]


def steps(inputs, count=None):
    """The examples of each step, all processes together."""
    rounds = iter(lambda: list(itertools.chain(*step(inputs))), [])
    return list(itertools.islice(rounds, count))


def position(inputs):
    """The position, which has to be the same in all processes."""
    states = [json.loads(json.dumps(each.state_dict())) for each in inputs]
    assert all(state == states[0] for state in states)
    return states[0]


def examples(rows, label=0):
    return TensorDataset(torch.arange(rows), torch.full((rows,), label))


def flat(lists):
    return list(itertools.chain(*lists))


class Watched(Dataset):
    """Remembers which examples were read."""

    def __init__(self, rows):
        self.rows = rows
        self.read = []

    def __len__(self):
        return self.rows

    def __getitem__(self, index):
        self.read.append(index)
        return torch.tensor(index)


class Stream(IterableDataset):
    """Batches; each worker gives every so many."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        start, stride = (0, 1) if info is None else (info.id, info.num_workers)
        return (torch.tensor([i]) for i in range(start, self.size, stride))


class DrawsAllAlong(Sampler):
    """Draws from the three global generators for each index; knows its length, if `rows` comes with one."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        left = list(range(self.rows))
        while left:
            draw = random.random() + np.random.rand() + torch.rand(()).item()
            yield left.pop(int(draw / 3 * len(left)))

    def __len__(self):
        return self.rows


class Endless(Sampler):
    def __iter__(self):
        return itertools.count()


class Configured(DataLoader):
    """A subclass that only knows its own arguments."""

    def __init__(self, rows):
        super().__init__(Watched(rows), batch_size=2)


class Doubled(DataLoader):
    """A subclass that iterates in its own way."""

    def __iter__(self):
        return (batch * 2 for batch in super().__iter__())


class Stateful(DataLoader):
    """Tells its position, as torchdata's StatefulDataLoader does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.given = 0

    def __iter__(self):
        for batch in itertools.islice(super().__iter__(), self.given, None):
            self.given += 1
            yield batch

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]


LOADERS = {
    "in order": lambda rows, b: DataLoader(examples(rows), b),
    "shuffled": lambda rows, b: DataLoader(examples(rows), b, shuffle=True),
    "generator": lambda rows, b: DataLoader(
        examples(rows), b, shuffle=True, generator=torch.Generator().manual_seed(7)
    ),
    "subset": lambda rows, b: DataLoader(examples(rows), b, sampler=SubsetRandomSampler(range(rows))),
    "weighted": lambda rows, b: DataLoader(
        examples(rows), b, sampler=WeightedRandomSampler([1.0] * rows, rows, replacement=False)
    ),
    "list": lambda rows, b: DataLoader(examples(rows), b, sampler=list(range(rows))[::-1]),
    "own sampler": lambda rows, b: DataLoader(examples(rows), b, sampler=DrawsAllAlong(rows)),
    "batch sampler": lambda rows, b: DataLoader(
        examples(rows), batch_sampler=BatchSampler(RandomSampler(range(rows)), b, drop_last=False)
    ),
    "own batch sampler": lambda rows, b: DataLoader(
        examples(rows), batch_sampler=list(BatchSampler(range(rows), b, drop_last=False))
    ),
    "any order": lambda rows, b: DataLoader(examples(rows), b, shuffle=True, in_order=False),
    "stateful": lambda rows, b: Stateful(examples(rows), b, shuffle=True),
}
LIKE_ONE_PROCESS = ("in order", "generator", "list", "own batch sampler")
RESUMES = ("in order", "shuffled", "subset", "weighted", "batch sampler")


@pytest.mark.parametrize("kind", LOADERS)
@settings(deadline=None, max_examples=15)
@given(num=st.integers(2, 4), rows=st.integers(1, 40), batch_size=st.integers(1, 6))
def test_each_example_of_a_loader_comes_once(kind, num, rows, batch_size):
    inputs = shares(num, lambda: LOADERS[kind](rows, batch_size))
    seen = []
    while parts := [part for part in step(inputs) if part]:
        position(inputs)
        assert len(parts) == num or sum(map(len, parts)) < num * batch_size
        seen.append(flat(parts))
    assert sorted(flat(seen)) == list(range(rows))
    assert all(len(each) == num * batch_size for each in seen[:-1])
    assert position(inputs)["exhausted"]
    if kind in LIKE_ONE_PROCESS:
        assert seen == [x.tolist() for x, _ in LOADERS[kind](rows, num * batch_size)]


@pytest.mark.parametrize("kind", RESUMES)
@settings(deadline=None, max_examples=20)
@given(
    num=st.integers(2, 4), later_num=st.integers(2, 4), rows=st.integers(1, 40), batch_size=st.integers(1, 6),
    later_batch_size=st.integers(1, 6), taken=st.integers(0, 8),
)  # fmt: skip
def test_a_loader_of_any_number_of_processes_goes_on(kind, num, later_num, rows, batch_size, later_batch_size, taken):
    whole = flat(steps(shares(2, lambda: LOADERS[kind](rows, 1))))
    inputs = shares(num, lambda: LOADERS[kind](rows, batch_size))
    seen = flat(steps(inputs, taken))
    state = position(inputs)
    if state.get("exhausted"):
        assert seen == whole
        return
    other_seed = types.SimpleNamespace(random_seed=99)
    inputs = shares(later_num, lambda: LOADERS[kind](rows, later_batch_size), state, config=other_seed)
    assert seen + flat(steps(inputs)) == whole


@settings(deadline=None, max_examples=40)
@given(
    num=st.integers(1, 4), rows=st.integers(1, 40), batch_size=st.integers(1, 6), shuffle=st.booleans(),
    own=st.booleans(),
)  # fmt: skip
def test_incomplete_steps_are_dropped_as_one_process_drops_them(num, rows, batch_size, shuffle, own):
    def loader(size):
        sampler = DrawsAllAlong(rows) if own else None
        return DataLoader(examples(rows), size, shuffle=shuffle and not own, sampler=sampler, drop_last=True)

    inputs = shares(num, lambda: loader(batch_size))
    rounds = steps(inputs)
    assert [len(each) for each in rounds] == [len(batch) for batch, _ in loader(num * batch_size)]
    assert position(inputs)["exhausted"]


def test_a_position_at_the_end_of_whole_steps_is_the_end():
    inputs = shares(2, lambda: DataLoader(examples(7), 2, drop_last=True))
    assert step(inputs) == [[0, 1], [2, 3]]
    assert position(inputs) == {"exhausted": True, "pass": 0}
    inputs = shares(2, lambda: DataLoader(examples(7), 2))
    assert step(inputs) == [[0, 1], [2, 3]]
    assert position(inputs) == {"example": 4, "examples": 7, "pass": 0, "seed": 3}
    assert step(inputs) == [[4, 5], [6]]
    assert position(inputs) == {"exhausted": True, "pass": 0}


@pytest.mark.parametrize("kind", ["shuffled", "own sampler", "stateful"])
def test_each_pass_has_an_order_of_its_own_that_all_processes_know(kind):
    orders, state = [], None
    for _ in range(3):
        inputs = shares(2, lambda: LOADERS[kind](30, 4), state)
        orders.append(flat(steps(inputs)))
        state = position(inputs)
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(30)) for order in orders)


def test_where_no_position_is_told_the_next_run_begins_in_another_order():
    inputs = shares(2, lambda: LOADERS["own sampler"](30, 4))
    first = flat(steps(inputs, 2))
    state = position(inputs)
    assert state == {"pass": 0}
    assert [each.load_state_dict(state) for each in inputs] == [False, False]
    again = shares(2, lambda: LOADERS["own sampler"](30, 4), state)
    assert flat(steps(again, 2)) != first


def test_the_order_does_not_depend_on_the_global_generators_and_leaves_them_alone():
    orders = []
    for seed in range(2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        source = shares(2, lambda: LOADERS["own sampler"](30, 4))[1]
        orders.append([batch[0].tolist() for batch in source])
        assert torch.equal(torch.get_rng_state(), before)
    assert orders[0] == orders[1]


def test_a_process_loads_only_its_own_examples():
    datasets = [Watched(20), Watched(20)]
    inputs = [
        open_input(lambda index=index: DataLoader(datasets[index], 3), "train", None, CONFIG, InputContext(2, index, 2))
        for index in range(2)
    ]
    next(inputs[0])
    assert datasets[0].read == [0, 1, 2]
    for each in inputs:
        list(each)
    assert datasets[0].read == [0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19]
    assert datasets[1].read == [3, 4, 5, 9, 10, 11, 15, 16, 17]


def test_loaders_of_whole_batches_and_subclasses():
    assert steps(shares(2, lambda: DataLoader([torch.tensor([i]) for i in range(5)], batch_size=None))) == [
        [0, 1], [2, 3], [4],
    ]  # fmt: skip
    inputs = shares(3, lambda: Configured(5))
    assert all(isinstance(each, ShardedLoader) for each in inputs)
    assert step(inputs) == [[0, 1], [2, 3], [4]]
    assert steps(shares(2, lambda: Doubled(Watched(5), 2))) == [[0, 2, 4, 6], [8]]


def test_a_sampler_without_end():
    inputs = shares(2, lambda: DataLoader(range(100), 2, sampler=Endless()))
    assert steps(inputs, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def with_worker_seed(items):
    return torch.tensor(items), torch.tensor([get_worker_info().seed - get_worker_info().id])


def test_worker_processes():
    def loader():
        return DataLoader(range(11), 2, num_workers=2, collate_fn=with_worker_seed, persistent_workers=True)

    inputs = shares(2, loader)
    batches = [list(each) for each in inputs]
    assert [[x.tolist() for x, _ in each] for each in batches] == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10]]]
    seeds = [{int(seed) for _, seed in each} for each in batches]
    assert len(seeds[0]) == len(seeds[1]) == 1
    assert seeds[0] != seeds[1]
    for each in inputs:
        each.close()


def test_a_stream_read_by_worker_processes():
    inputs = shares(2, lambda: DataLoader(Stream(7), batch_size=None, num_workers=2))
    assert steps(inputs) == [[0, 1], [2, 3], [4, 5], [6]]
    assert position(inputs) == {"exhausted": True, "pass": 0}


def one(number):
    return {"seed": number}, number


def test_the_copy_of_a_loader_takes_all_its_arguments():
    given = {
        "num_workers": 1,
        "collate_fn": one,
        "timeout": 9.0,
        "worker_init_fn": one,
        "multiprocessing_context": "spawn",
        "generator": torch.Generator(),
        "prefetch_factor": 5,
        "persistent_workers": True,
        "in_order": False,
    }
    of_order = {"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
    not_here = {"self", "dataset", "pin_memory", "pin_memory_device"}  # they need a device
    assert set(inspect.signature(DataLoader.__init__).parameters) == {*given, *of_order, *not_here}
    loader = DataLoader(examples(4), **given)
    copy = ShardedLoader(loader, InputContext(2, 0, 2), 3)._own_loader()
    for name in [*given, "dataset", "pin_memory", "pin_memory_device"]:
        assert getattr(copy, name) is getattr(loader, name)


GENERATORS = {
    "generator": lambda size: lambda: ({"x": torch.tensor([i])} for i in range(size)),
    "iterable dataset": lambda size: lambda: Stream(size),
    "loader of a stream": lambda size: lambda: DataLoader(Stream(size), batch_size=None),
}


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("size", range(8))
def test_every_nth_batch_of_what_is_read_as_a_whole(kind, size):
    inputs = shares(3, GENERATORS[kind](size))
    seen = []
    while any(batches := [next(each, None) for each in inputs]):
        parts = [batch[0] for batch in batches if batch]
        seen += [int(part["x"] if isinstance(part, dict) else part) for part in parts]
        position(inputs)
    assert seen == list(range(size))
    assert position(inputs)["exhausted"]
    assert all(next(each, None) is None for each in inputs)


def test_what_a_generator_shuffles_first_is_the_same_in_all_processes():
    def input_fn():
        order = list(range(20))
        random.shuffle(order)
        yield from (torch.tensor([i]) for i in order)

    inputs = shares(2, input_fn)
    first = flat(steps(inputs))
    assert sorted(first) == list(range(20))
    assert first != list(range(20))
    assert flat(steps(shares(2, input_fn))) == first
    assert flat(steps(shares(2, input_fn, position(inputs)))) != first


def test_a_function_called_for_each_batch():
    def make():
        numbers = iter(range(7))
        return lambda: (torch.tensor([next(numbers)]), None)

    inputs = [open_input(make(), "train", None, CONFIG, InputContext(3, index, 3)) for index in range(3)]
    assert steps(inputs) == [[0, 1, 2], [3, 4, 5], [6]]
    assert position(inputs) == {"exhausted": True, "pass": 0}


@pytest.mark.parametrize("later_num", [1, 2, 3])
@pytest.mark.parametrize("taken", range(4))
def test_a_loader_that_tells_its_position_goes_on_in_any_number_of_processes(taken, later_num):
    def loader():
        return Stateful(examples(13), 2)

    inputs = shares(2, loader)
    assert not any(each.runs_ahead for each in inputs)
    seen = flat(steps(inputs, taken))
    state = position(inputs)
    if taken < 4 and not state.get("exhausted"):
        later = shares(later_num, loader, state)
        assert seen + flat(steps(later)) == list(range(13))
    alone = IterableInput(loader())
    next(alone)
    assert flat(steps(shares(2, loader, alone.state_dict()))) == list(range(2, 13))


def test_closing_ends_what_is_read():
    ended = []

    def input_fn():
        try:
            yield from (torch.tensor([i]) for i in range(9))
        finally:
            ended.append(True)

    for each in shares(2, input_fn):
        next(each)
        each.close()
    assert ended == [True, True]
    loader = shares(2, lambda: DataLoader(examples(9)))[0]
    next(loader)
    loader.close()
    assert list(loader) == []


def test_reading_as_a_whole_is_said_once(caplog):
    with caplog.at_level(logging.INFO, logger="torchestimator"):
        shares(3, lambda: iter([]))
        shares(3, lambda: DataLoader(examples(3)))
    assert len(caplog.records) == 1
    assert "name `input_context`" in caplog.text


@pytest.mark.parametrize("num", [2, 3])
def test_a_distributed_sampler_is_left_alone(num, caplog):
    def loader(index):
        dataset = examples(10)
        return DataLoader(dataset, 2, sampler=DistributedSampler(dataset, num, index, shuffle=False))

    for index in range(num):
        context = InputContext(num, index, num)
        source = open_input(lambda index=index: loader(index), "train", None, CONFIG, context)
        assert [batch[0].tolist() for batch in source] == [batch[0].tolist() for batch in loader(index)]
    assert not caplog.records
    open_input(lambda: loader(0), "eval", None, CONFIG, InputContext(num, 0, num))
    assert "repeats examples" in caplog.text


def test_a_distributed_sampler_of_another_process_is_refused():
    def input_fn():
        return DataLoader(range(4), sampler=DistributedSampler(range(4), 2, 0))

    with pytest.raises(ValueError, match=r"num_replicas=2, rank=0; this is process 1 of 2\. Leave the Distributed"):
        open_input(input_fn, "train", None, CONFIG, InputContext(2, 1, 2))


def test_batches_that_come_in_any_order_cannot_be_dealt_out():
    with pytest.raises(ValueError, match="`in_order=False` cannot be dealt out"):
        shares(2, lambda: DataLoader(Stream(4), batch_size=None, num_workers=1, in_order=False))


def test_without_a_common_seed_there_is_no_common_order():
    with pytest.raises(ValueError, match="2 processes share needs a seed"):
        shares(2, lambda: DataLoader(examples(4), shuffle=True), config=None)
    items = [(torch.tensor([i]), None) for i in range(3)]
    assert steps(shares(2, lambda: items, config=None)) == [[0, 1], [2]]


def test_positions_in_other_data():
    state = {"example": 4, "examples": 9, "pass": 0, "seed": 3}
    with pytest.raises(InputMismatchError, match="a position in 9 examples, for 8"):
        shares(2, lambda: DataLoader(examples(8)), state)
    for other in (None, {"row": 3}, {"loader": {}}):
        source = shares(2, lambda: DataLoader(examples(8)))[0]
        assert source.load_state_dict(other) is False
        assert len(list(source)) == 4
    alone = IterableInput(DataLoader(examples(8)))
    assert alone.load_state_dict(state) is False


def test_an_error_in_a_dataset_reaches_its_process():
    inputs = shares(2, lambda: DataLoader([0, 1, 2, "three"], 2, collate_fn=torch.tensor))
    assert next(inputs[0])[0].tolist() == [0, 1]
    with pytest.raises((TypeError, ValueError)):
        next(inputs[1])


def test_an_input_fn_that_names_the_context_is_trusted():
    def input_fn(input_context):
        return ((torch.tensor([input_context.input_pipeline_id]), None) for _ in range(2))

    assert steps(shares(2, input_fn)) == [[0, 1], [0, 1]]


@pytest.mark.parametrize("context", [False, True])
def test_our_own_inputs_are_shared_wherever_they_are_made(context):
    def without_context():
        return made()

    made = numpy_input_fn(np.arange(50), batch_size=4, shuffle=True)
    inputs = shares(3, made if context else without_context)
    alone = made("train", CONFIG)
    assert flat(steps(inputs)) == flat(batch[0].tolist() for batch in alone)

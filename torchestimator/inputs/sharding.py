"""The share of one of several processes in an input that was written for one."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from torchestimator.inputs.arrays import ArrayBatches, no_common_seed
from torchestimator.inputs.input_context import InputContext
from torchestimator.inputs.iterator import InputIterator, InputMismatchError, is_exhausted
from torchestimator.inputs.sources import DatasetItems, IterableInput
from torchestimator.log import LOG
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.seeds import derive_seed, forked_random

_KNOWN_SAMPLERS = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers that draw from the global generator when they begin, and never again: their order follows from a seed."""

_ITERATION = frozenset({"__iter__", "_get_iterator", "_index_sampler", "_auto_collation"})
"""What a subclass of DataLoader overrides to give other batches than its attributes say."""


def shard(source: InputIterator, mode: str, input_context: InputContext, random_seed: int | None) -> InputIterator:
    """Returns every N-th batch of a source, beginning with the r-th, for process r of N.

    In this way step k of all processes together sees what step k of one process with N times the batch size would.

    - `numpy_input_fn` and its like: the slice of each step's rows that they would give to this process.
    - A list or map-style Dataset: every N-th item; the others are not read.
    - A DataLoader over a map-style dataset: a copy that loads only the batches of this process (`ShardedLoader`).
    - A DataLoader whose sampler already belongs to one of N processes (DistributedSampler): as it is.
    - Everything else (IterableDatasets, generators, subclasses of DataLoader, a function called for each batch): read
      as a whole by each process, which drops the batches of the others (`EveryNth`).

    Args:
        source: the input as one process sees it.
        mode: a value of `ModeKeys`.
        input_context: which process this is.
        random_seed: that of the run's configuration: what is shuffled comes in the same order in all processes.

    Raises:
        ValueError: a DistributedSampler is for another number of processes or another rank, a loader has
            `in_order=False` and cannot be divided, or something is shuffled and `random_seed` is None.
    """
    if isinstance(source, ArrayBatches):
        return source.share(input_context, random_seed)
    if isinstance(source, DatasetItems):
        return source.share(input_context)
    loader = source.iterable if isinstance(source, IterableInput) else None
    if isinstance(loader, DataLoader):
        sampler = _distributed_sampler(loader)
        if sampler is not None:
            _check_distributed(sampler, mode, input_context)
            return source
    if random_seed is None:
        raise no_common_seed(input_context)
    if isinstance(loader, DataLoader) and _can_be_copied(loader):
        return ShardedLoader(loader, input_context, random_seed)
    if isinstance(loader, DataLoader) and not getattr(loader, "in_order", True):
        raise ValueError(
            "A DataLoader with `in_order=False` cannot be dealt out to several processes: its batches come in another "
            "order in each. Received: in_order=False. Remove it; or let input_fn name `input_context` and give each "
            "process its own part of the dataset."
        )
    if input_context.input_pipeline_id == 0:
        LOG.info(
            "Each of the %d processes reads the whole input and uses one batch in %d. To read only a part, or if each "
            "process has its own part already, let input_fn name `input_context` among its arguments: its batches are "
            "then used as they are.",
            *[input_context.num_input_pipelines] * 2,
        )
    return EveryNth(source, input_context, random_seed)


class EveryNth(InputIterator):
    """Every N-th batch of an input that has no parts: all of it is read, N batches for each one that is used.

    Whole rounds of N batches are read, so that the position is the same in all processes, and another number of
    processes can go on from it.

    What the source shuffles as it begins is the same in all processes. If it draws from global generators later, too
    (a generator that shuffles in each of several epochs), it has to have a generator of its own, with a fixed seed.

    Args:
        source: the whole input.
        input_context: which process this is.
        random_seed: from which the global generators start, with which the source begins.
    """

    def __init__(self, source: InputIterator, input_context: InputContext, random_seed: int) -> None:
        self._source = source
        self._num = input_context.num_input_pipelines
        self._index = input_context.input_pipeline_id
        self._random_seed = random_seed
        self._pass = 0
        self._begun = False
        self._ended = False
        self.runs_ahead = source.runs_ahead

    def __next__(self) -> tuple[Any, Any]:
        own = None
        with nullcontext() if self._begun else forked_random(seed=pass_seed(self._random_seed, self._pass)):
            self._begun = True
            for index in range(self._num):
                batch = None if self._ended else next(self._source, None)
                if batch is None:
                    self._ended = True
                elif index == self._index:
                    own = batch
        if own is None:
            raise StopIteration
        return own

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the whole input, if it can tell it, and how often it was begun."""
        return {**(self._source.state_dict() or {}), "pass": self._pass}

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Gives the whole input its position back; where that cannot be, it begins, in another order than before.

        Raises:
            InputMismatchError: if the position belongs to other data.
        """
        if state is None:
            return self._source.load_state_dict(None)
        inner = {key: value for key, value in state.items() if key != "pass"}
        found = self._source.load_state_dict(inner or None)
        begins = not found or is_exhausted(inner)
        self._pass = state.get("pass", 0) + begins
        return found

    def close(self) -> None:
        self._source.close()


class ShardedLoader(InputIterator):
    """Those batches of a DataLoader over a map-style dataset that one of several processes gets; no others are loaded.

    The batches are dealt out by turns. An incomplete last round goes to the first processes, as far as it reaches; with
    `drop_last` there is none: the steps are those of one process with N times the batch size.

    All processes see one order. Samplers of torch without a generator of their own draw it from (`random_seed`, how
    often the input was begun), and the position in it is told: it counts the examples of all processes, so that another
    number of processes, or batch size, can go on. Other samplers are run under the same seed and as far as their length
    says as the input begins, so that what they draw from global generators is the same in all processes; where such a
    sampler has stopped is not known. Worker processes have seeds of their own in each process, unless the loader has a
    `generator`.

    Args:
        loader: the loader of the whole input; it is not iterated itself.
        input_context: which process this is.
        random_seed: from which the order is derived.
    """

    def __init__(self, loader: DataLoader[Any], input_context: InputContext, random_seed: int) -> None:
        self._loader = loader
        self._context = input_context
        self._random_seed = random_seed
        self._pass = 0
        self._example = 0  # examples given to all processes in this pass; counted only if the sampler is known
        self._batches: IterableInput | None = None
        self._exhausted = False
        self._closed = False
        sampler, batch_size, drop_last = _examples(loader)
        self._sampler = sampler if loader.in_order and _follows_from_seed(sampler) else None
        self._num_examples = 0 if self._sampler is None else len(self._sampler)
        self._num_left: int | None = None  # batches to come in all processes, where that is known
        self._step_examples = (batch_size or 1) * input_context.num_input_pipelines
        self._drop_last = drop_last

    def __next__(self) -> tuple[Any, Any]:
        if self._batches is None:
            if self._exhausted or self._closed:
                raise StopIteration
            self._batches = IterableInput(self._own_loader())
        try:
            batch = next(self._batches)
        except StopIteration:
            self._exhausted = True
            raise
        self._example = min(self._example + self._step_examples, self._num_examples)
        if self._num_left is not None:
            num = self._context.num_input_pipelines
            self._num_left -= num
            self._exhausted = self._num_left < (num if self._drop_last else 1)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Returns the number of examples given to all processes, or that the end has come, and the order's number."""
        if self._exhausted:
            return {"exhausted": True, "pass": self._pass}
        if self._sampler is None:
            return {"pass": self._pass}
        return {
            "example": self._example,
            "examples": self._num_examples,
            "pass": self._pass,
            "seed": self._random_seed,
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> bool:
        """Goes on after the examples that the state counts; otherwise begins, in another order than before.

        Raises:
            InputMismatchError: if the number of examples is another.
        """
        if state is None:
            return False
        if is_exhausted(state) or self._sampler is None or "example" not in state:
            self._pass = state.get("pass", 0) + 1
            return is_exhausted(state)
        if state["examples"] != self._num_examples:
            raise InputMismatchError(
                "The checkpoint's input position belongs to another input. Received: a position in "
                f"{state['examples']} examples, for {self._num_examples}. To go on where the input stopped, give it "
                "the same dataset."
            )
        self._example, self._pass, self._random_seed = state["example"], state["pass"], state["seed"]
        return True

    def close(self) -> None:
        self._closed = True
        if self._batches is not None:
            self._batches.close()

    def _own_loader(self) -> DataLoader[Any]:
        """A copy of the loader, whose sampler gives the batches of this process."""
        loader, seed = self._loader, pass_seed(self._random_seed, self._pass)
        elements = self._elements()
        self._num_left = _length(elements)
        num_ahead = 1 if self._sampler is not None or self._num_left is None else self._num_left
        turns = _Turns(elements, self._context, seed, self._drop_last, num_ahead)
        generator = loader.generator
        if generator is None:
            own = f"workers/{self._context.input_pipeline_id}/{self._example}"
            generator = torch.Generator().manual_seed(derive_seed(seed, own))
        return DataLoader(
            loader.dataset,
            **({"batch_size": None, "sampler": turns} if loader.batch_sampler is None else {"batch_sampler": turns}),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            pin_memory_device=loader.pin_memory_device,
            in_order=loader.in_order,
        )

    def _elements(self) -> Iterable[Any]:
        """What the loader's workers are to be given, for all processes: lists of indices; or indices, one a batch."""
        if self._sampler is None:
            return self._loader.sampler if self._loader.batch_sampler is None else self._loader.batch_sampler
        left = _After(self._sampler, self._example)
        if self._loader.batch_sampler is None:
            return left
        batch_size = self._step_examples // self._context.num_input_pipelines
        return BatchSampler(left, batch_size, self._drop_last)


class _After:
    """What a sampler gives after its first few indices."""

    def __init__(self, sampler: Any, first: int) -> None:
        self._sampler = sampler
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._sampler, self._first, None)

    def __len__(self) -> int:
        return len(self._sampler) - self._first


class _Turns(Sampler[Any]):
    """Every N-th element of a sampler, whose order is the same in all processes.

    Args:
        elements: the whole sampler.
        input_context: which process this is.
        seed: from which the global generators start as the sampler begins.
        whole_rounds: whether elements that are left over at the end, fewer than N, are left out.
        num_ahead: how many elements are drawn at once, at the beginning.
    """

    def __init__(
        self,
        elements: Iterable[Any],
        input_context: InputContext,
        seed: int,
        whole_rounds: bool,
        num_ahead: int,
    ) -> None:
        self._elements = elements
        self._num = input_context.num_input_pipelines
        self._index = input_context.input_pipeline_id
        self._seed = seed
        self._whole_rounds = whole_rounds
        self._num_ahead = num_ahead

    def __iter__(self) -> Iterator[Any]:
        # The global generators are changed and put back here, at the beginning, alone: later batches are read in a
        # background thread, while the model draws from them.
        with forked_random(seed=self._seed):
            rest = iter(self._elements)
            elements = itertools.chain(list(itertools.islice(rest, self._num_ahead)), rest)
        while turn := list(itertools.islice(elements, self._num)):
            if len(turn) <= self._index or (self._whole_rounds and len(turn) < self._num):
                return
            yield turn[self._index]


def pass_seed(random_seed: int, number: int) -> int:
    """Returns the seed of the global generators as an input begins for the `number`-th time."""
    return derive_seed(random_seed, f"input/pass {number}")


def _examples(loader: DataLoader[Any]) -> tuple[Any, int | None, bool]:
    """What gives the indices of a loader one by one (None: only its batches are given), batch size and `drop_last`."""
    batches = loader.batch_sampler
    if batches is None:
        return loader.sampler, None, False
    if type(batches) is BatchSampler:
        return batches.sampler, batches.batch_size, batches.drop_last
    return None, None, False


def _can_be_copied(loader: DataLoader[Any]) -> bool:
    """Whether a loader does no more than its attributes say: subclasses may iterate in a way of their own."""
    subclasses = itertools.takewhile(lambda each: each is not DataLoader, type(loader).__mro__)
    is_plain = all(_ITERATION.isdisjoint(vars(each)) for each in subclasses)
    return is_plain and not isinstance(loader.dataset, IterableDataset)


def _follows_from_seed(sampler: Any) -> bool:
    return type(sampler) in _KNOWN_SAMPLERS and getattr(sampler, "generator", None) is None


def _length(elements: Any) -> int | None:
    """How many elements there are; None where that is not known."""
    try:
        return len(elements)
    except (TypeError, NotImplementedError):
        return None


def _distributed_sampler(loader: DataLoader[Any]) -> Any:
    """The sampler by which a loader already gives the share of one process, or None."""
    batches = loader.batch_sampler
    for sampler in (loader.sampler, batches, getattr(batches, "sampler", None)):
        if isinstance(sampler, DistributedSampler) or (hasattr(sampler, "num_replicas") and hasattr(sampler, "rank")):
            return sampler
    return None


def _check_distributed(sampler: Any, mode: str, input_context: InputContext) -> None:
    """Checks that a loader's sampler is meant for this process, and says where it counts examples twice."""
    expected = (input_context.num_input_pipelines, input_context.input_pipeline_id)
    if (sampler.num_replicas, sampler.rank) != expected:
        name = type(sampler).__name__
        raise ValueError(
            f"The {name} of the DataLoader is for another process. Received: num_replicas={sampler.num_replicas}, "
            f"rank={sampler.rank}; this is process {expected[1]} of {expected[0]}. Leave the {name} out: the batches "
            "are dealt out by themselves. If the processes' inputs are meant to overlap, let input_fn name "
            "`input_context`."
        )
    if mode != ModeKeys.TRAIN and input_context.input_pipeline_id == 0:
        LOG.warning(
            "The %s repeats examples where they cannot be divided evenly, and changes their order: results of "
            "evaluation and prediction differ from those of one process. Leave it out: the batches are dealt out by "
            "themselves, each example once.",
            type(sampler).__name__,
        )

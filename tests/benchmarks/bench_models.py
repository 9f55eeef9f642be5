"""A training step and its memory for several models: eager, captured, with torch.compile and in the peers."""

import statistics
from collections.abc import Iterator

from tests.benchmarks.contender import Contender, measure, ratio
from tests.benchmarks.contenders.models import MODELS

_THREADS = {1: "", 2: ", 2 threads"}
"""What a row's name ends with, by the number of threads."""
_STEPS = {"MLP": 200, "convnet": 20, "transformer": 3, "ResNet": 5}
_MOST_SECS = 30
_IN_MEMORY = ("MLP", "transformer")
_MEMORY_ROUNDS = 3
_MEGABYTE = 1e6

Figure = tuple[str, float, str] | tuple[str, float, str, tuple[str, str]]


def run(num_rounds: int = 15) -> Iterator[Figure]:
    """Measures with one thread and with two.

    Args:
        num_rounds: how often each contender is asked for some steps; less often where that takes long.

    Yields:
        Rows of (name, ratio or number, note) and, for those of the table, their cell.
    """
    for threads in _THREADS:
        for model in MODELS:
            yield from _steps(model, threads, num_rounds)
    for model in _IN_MEMORY:
        yield from _memory(model)


def _steps(model: str, threads: int, num_rounds: int) -> list[Figure]:
    contenders = _contenders(model, threads)
    micros = measure(contenders, dict.fromkeys(contenders, _STEPS[model]), num_rounds, _MOST_SECS)
    bare, suffix = micros.pop("bare loop"), _THREADS[threads]
    row = f"{model}, {threads} thread{'s' if threads > 1 else ''}"
    speed = (f"{model}, bare loop{suffix}", statistics.median(bare), "us a step", (row, "bare loop, us"))
    return [
        speed,
        *(
            (f"{model}, {name} against the bare loop{suffix}", *ratio(theirs, bare), (row, name))
            for name, theirs in micros.items()
        ),
    ]


def _contenders(model: str, threads: int) -> dict[str, Contender]:
    task = f"train {model}"
    contenders = {
        "bare loop": Contender("bare_models", task, threads),
        "torch.compile": Contender("bare_models", f"train_compiled {model}", threads),
        "Lightning": Contender("lightning_models", task, threads, environment=".venv-lightning"),
        "Accelerate": Contender("accelerate_models", task, threads, environment=".venv-lightning"),
        "eager": Contender("estimator_models", task, threads),
        "captured": Contender("estimator_models", f"train_captured {model}", threads),
    }
    if model == "MLP":
        contenders["tf.estimator"] = Contender("tf_estimator", "train", threads, environment=".venv-tf")
    return contenders


def _memory(model: str) -> list[Figure]:
    contenders = {
        "bare loop": Contender("bare_models", f"remember {model}"),
        "torch.compile": Contender("bare_models", f"remember_compiled {model}"),
        "eager": Contender("estimator_models", f"remember {model}"),
        "captured": Contender("estimator_models", f"remember_captured {model}"),
    }
    peaks = measure(contenders, dict.fromkeys(contenders, _STEPS[model]), _MEMORY_ROUNDS, _MOST_SECS)
    megabytes = {name: [peak / _MEGABYTE for peak in each] for name, each in peaks.items()}
    bare = megabytes.pop("bare loop")
    return [
        (f"{model}, peak memory, {name} against the bare loop", *ratio(ours, bare, "MB"))
        for name, ours in megabytes.items()
    ]

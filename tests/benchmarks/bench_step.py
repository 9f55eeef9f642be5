"""A training step against a bare loop, tf.estimator and Lightning, and the Python calls that it costs."""

from tests.benchmarks.contender import Contender, measure, ratio

_STEPS = 200


def run(num_rounds: int = 31) -> list[tuple[str, float, str]]:
    """Measures with one thread, on one core, and with two threads.

    Args:
        num_rounds: how often each contender is asked for 200 steps: many short rounds, since what else the machine
            does then hits all contenders alike.

    Returns:
        Rows of (name, ratio or number, note).
    """
    fewer_rounds = max(2, num_rounds // 3)
    return [
        *_steps(_contenders() | _variants(), num_rounds),
        *_steps(_contenders(shares_core=True), fewer_rounds, ", one core"),
        *_steps(_contenders(threads=2), fewer_rounds, ", 2 threads"),
        *_calls(),
    ]


def _contenders(threads: int = 1, shares_core: bool = False) -> dict[str, Contender]:
    return {
        "ours": Contender("estimator", "train", threads, shares_core),
        "the bare loop": Contender("bare", "train", threads, shares_core),
        "tf.estimator": Contender("tf_estimator", "train", threads, shares_core, ".venv-tf"),
        "Lightning": Contender("lightning_trainer", "train", threads, shares_core, ".venv-lightning"),
    }


def _variants() -> dict[str, Contender]:
    silent = Contender("lightning_trainer", "train_silently", environment=".venv-lightning")
    return {
        "Lightning without bar, logger, checkpoints": silent,
        "the bare loop with a DataLoader": Contender("bare", "train_from_loader"),
    }


def _steps(contenders: dict[str, Contender], num_rounds: int, suffix: str = "") -> list[tuple[str, float, str]]:
    # An epoch is 100 steps: what is done at the end of each counts in full.
    micros = measure(contenders, dict.fromkeys(contenders, _STEPS), num_rounds)
    ours = micros.pop("ours")
    return [(f"step against {name}{suffix}", *ratio(ours, theirs)) for name, theirs in micros.items()]


def _calls() -> list[tuple[str, float, str]]:
    calls = measure({"ours": Contender("estimator", "count_calls")}, {"ours": _STEPS}, 1)["ours"][0]
    return [("Python calls of the package per step", calls, f"counted over {_STEPS} steps, hooks included")]

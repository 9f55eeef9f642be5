"""A training step against a bare loop, tf.estimator and Lightning, and the Python calls that it costs."""

from tests.benchmarks.contender import Contender, measure, ratio

_STEPS = 200


def run(num_rounds: int = 31) -> list[tuple[str, float, str]]:
    """Measures with one thread, then with two.

    Args:
        num_rounds: how often each contender is asked for 200 steps: many short rounds, since what else the machine
            does then hits all contenders alike.

    Returns:
        Rows of (name, ratio or number, note).
    """
    return [*_steps(1, num_rounds), *_steps(2, max(2, num_rounds // 3)), *_calls()]


def _steps(threads: int, num_rounds: int) -> list[tuple[str, float, str]]:
    contenders = {
        "ours": Contender("estimator", "train", threads),
        "the bare loop": Contender("bare", "train", threads),
        "tf.estimator": Contender("tf_estimator", "train", threads, ".venv-tf"),
        "Lightning": Contender("lightning_trainer", "train", threads, ".venv-lightning"),
    }
    if threads == 1:
        silent = Contender("lightning_trainer", "train_silently", environment=".venv-lightning")
        contenders["Lightning without bar, logger, checkpoints"] = silent
        contenders["the bare loop with a DataLoader"] = Contender("bare", "train_from_loader")
    # An epoch is 100 steps: what is done at the end of each counts in full.
    micros = measure(contenders, dict.fromkeys(contenders, _STEPS), num_rounds)
    ours = micros.pop("ours")
    suffix = "" if threads == 1 else f", {threads} threads"
    return [(f"step against {name}{suffix}", *ratio(ours, theirs)) for name, theirs in micros.items()]


def _calls() -> list[tuple[str, float, str]]:
    calls = measure({"ours": Contender("estimator", "count_calls")}, {"ours": _STEPS}, 1)["ours"][0]
    return [("Python calls of the package per step", calls, f"counted over {_STEPS} steps, hooks included")]

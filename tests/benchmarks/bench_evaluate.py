"""Evaluation: what a batch costs, with mean loss and accuracy, against a bare loop and tf.estimator."""

import statistics

from tests.benchmarks.contender import Contender, measure, ratio

_BATCHES = 1000


def run(num_rounds: int = 7) -> list[tuple[str, float, str]]:
    """Measures with one thread.

    Args:
        num_rounds: how often each contender is asked for 1,000 batches.

    Returns:
        Rows of (name, ratio or number, note).
    """
    contenders = {
        "ours": Contender("estimator", "evaluate"),
        "the bare loop": Contender("bare", "evaluate"),
        "tf.estimator": Contender("tf_estimator", "evaluate", environment=".venv-tf"),
    }
    micros = measure(contenders, dict.fromkeys(contenders, _BATCHES), num_rounds)
    ours = micros.pop("ours")
    ratios = [(f"evaluation against {name}", *ratio(ours, theirs)) for name, theirs in micros.items()]
    return [*ratios, ("evaluation of a batch", statistics.median(ours), "us, loss and accuracy of 128 rows")]

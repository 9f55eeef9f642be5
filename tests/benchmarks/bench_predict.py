"""Prediction: the latency of one row, and the throughput of many, against tf.estimator on the same model."""

import statistics
from collections.abc import Iterable

from tests.benchmarks.contender import Contender, measure, ratio
from tests.benchmarks.contenders.problem import NUM_ROWS

_ROWS = 64_000


def run(num_rounds: int = 7) -> list[tuple[str, float, str]]:
    """Measures with one thread.

    Args:
        num_rounds: how often each contender is asked.

    Returns:
        Rows of (name, ratio or number, note).
    """
    contenders = {
        "ours": Contender("estimator", "predict"),
        "tf": Contender("tf_estimator", "predict", environment=".venv-tf"),
        "our epoch": Contender("estimator", "predict_whole"),
        "tf epoch": Contender("tf_estimator", "predict_whole", environment=".venv-tf"),
        "predictor": Contender("estimator", "call_predictor"),
        "our predict": Contender("estimator", "predict_one_row"),
        "tf predict": Contender("tf_estimator", "predict_one_row", environment=".venv-tf"),
    }
    calls = {"predictor": 1000, "our predict": 20, "tf predict": 3}
    counts = {"ours": _ROWS, "tf": _ROWS, "our epoch": NUM_ROWS, "tf epoch": NUM_ROWS, **calls}
    micros = measure(contenders, counts, num_rounds)
    ours, predictor = micros["ours"], micros["predictor"]
    rows = []
    if "tf" in micros:
        rows += [
            ("predict throughput against tf.estimator", *_ratio_of_rates(ours, micros["tf"])),
            (
                f"predict of {NUM_ROWS:,} rows against tf.estimator",
                *_ratio_of_rates(micros["our epoch"], micros["tf epoch"]),
            ),
            ("predictor, one row, against tf.estimator's predict", *ratio(predictor, micros["tf predict"])),
            ("predict call, one row, against tf.estimator's", *ratio(micros["our predict"], micros["tf predict"])),
        ]
    return [
        *rows,
        ("predict throughput", 1e6 / statistics.median(ours), "rows/s, one at a time, batches of 128"),
        ("predictor, one row", statistics.median(predictor), "us, resident model"),
        ("predict call, one row", statistics.median(micros["our predict"]), "us, input opened and closed"),
    ]


def _ratio_of_rates(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, str]:
    """The ratio of rows/s, from microseconds per row."""
    return ratio([1e6 / each for each in ours], [1e6 / each for each in theirs], "rows/s")

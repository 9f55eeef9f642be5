"""Wide and deep with tf.estimator 2.15's ready-made estimator."""

import collections
import itertools
import tempfile
from typing import Any

from tests.benchmarks.contenders import wide_deep_problem as problem
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main
from tests.benchmarks.contenders.tf_estimator import set_threads, ticks


def train(requests: Requests) -> None:
    """Training steps."""
    _estimator().train(_input_fn(shuffle=True), hooks=[ticks(Stopwatch(requests))])


def predict(requests: Requests) -> None:
    """Rows of one `predict` that does not end."""
    estimator = _estimator().train(_input_fn(shuffle=True), steps=10)
    predictions = estimator.predict(_input_fn(shuffle=False))
    next(predictions)
    requests.serve(lambda rows: collections.deque(itertools.islice(predictions, rows), maxlen=0))


def _estimator() -> Any:
    import tensorflow as tf

    folder = tempfile.mkdtemp(prefix="tf-estimator-benchmark-")
    return problem.estimator(tf.estimator, tf.feature_column, folder, tf.estimator.RunConfig())


def _input_fn(shuffle: bool) -> Any:
    import tensorflow as tf

    def input_fn() -> Any:
        dataset = tf.data.Dataset.from_tensor_slices(problem.data())
        dataset = dataset.shuffle(problem.NUM_ROWS) if shuffle else dataset
        return dataset.repeat().batch(problem.BATCH).prefetch(1)

    return input_fn


if __name__ == "__main__":
    main({"train": train, "predict": predict}, set_threads)

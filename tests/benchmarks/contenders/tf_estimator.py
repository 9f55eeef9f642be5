"""tf.estimator 2.15, with a tf.data.Dataset in memory and a default RunConfig."""

import collections
import itertools
import os
import tempfile
from collections.abc import Iterable
from typing import Any

from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.requests import Requests, Stopwatch, main


def set_threads(threads: int) -> None:
    """Limits the runtime's threads; has to come before TensorFlow is imported."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)


def train(requests: Requests) -> None:
    """Training steps."""
    _estimator().train(_input_fn(shuffle=True), hooks=[ticks(Stopwatch(requests))])


def evaluate(requests: Requests) -> None:
    """Batches of an evaluation: mean loss and accuracy."""
    _trained().evaluate(_input_fn(shuffle=False), hooks=[ticks(Stopwatch(requests))])


def predict(requests: Requests) -> None:
    """Rows of one `predict` that does not end."""
    predictions = _trained().predict(_input_fn(shuffle=False))
    next(predictions)
    requests.serve(lambda rows: _drain(itertools.islice(predictions, rows)))


def predict_whole(requests: Requests) -> None:
    """Rows of one `predict` of all the data, from its call to its end."""
    import tensorflow as tf

    x, _ = problem.arrays()
    estimator = _trained()

    def input_fn() -> Any:
        return tf.data.Dataset.from_tensor_slices({"x": x}).batch(problem.BATCH)

    requests.serve(lambda rows: _drain(itertools.islice(estimator.predict(input_fn), rows)))


def predict_one_row(requests: Requests) -> None:
    """Calls of `predict` with one row."""
    import tensorflow as tf

    x, _ = problem.arrays()
    estimator = _trained()

    def input_fn() -> Any:
        return tf.data.Dataset.from_tensors({"x": x[:1]})

    requests.serve(lambda calls: [list(estimator.predict(input_fn)) for _ in range(calls)])


def _model_fn(features: Any, labels: Any, mode: str) -> Any:
    import tensorflow as tf

    dense = tf.compat.v1.layers.dense
    hidden = dense(features["x"], problem.HIDDEN, tf.nn.relu)
    logits = dense(dense(hidden, problem.HIDDEN, tf.nn.relu), problem.CLASSES)
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(
            mode, predictions={"class_ids": tf.argmax(logits, -1), "probabilities": tf.nn.softmax(logits)}
        )
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if mode == tf.estimator.ModeKeys.EVAL:
        accuracy = tf.compat.v1.metrics.accuracy(labels, tf.argmax(logits, -1))
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={"accuracy": accuracy})
    optimizer = tf.compat.v1.train.AdamOptimizer(problem.LEARNING_RATE)
    train_op = optimizer.minimize(loss, tf.compat.v1.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def _estimator() -> Any:
    import tensorflow as tf

    return tf.estimator.Estimator(_model_fn, model_dir=tempfile.mkdtemp(prefix="tf-estimator-benchmark-"))


def _trained() -> Any:
    estimator = _estimator()
    return estimator.train(_input_fn(shuffle=True), steps=10)


def _drain(predictions: Iterable[object]) -> None:
    collections.deque(predictions, maxlen=0)


def _input_fn(shuffle: bool) -> Any:
    import tensorflow as tf

    def input_fn() -> Any:
        x, y = problem.arrays()
        dataset = tf.data.Dataset.from_tensor_slices(({"x": x}, y))
        if shuffle:
            dataset = dataset.shuffle(problem.NUM_ROWS)
        return dataset.repeat().batch(problem.BATCH).prefetch(1)

    return input_fn


def ticks(stopwatch: Stopwatch) -> Any:
    import tensorflow as tf

    class Ticks(tf.estimator.SessionRunHook):
        """Tells a stopwatch of each step."""

        def after_run(self, run_context: Any, run_values: Any) -> None:
            """Stops when the harness has seen enough."""
            if not stopwatch.tick():
                run_context.request_stop()

    return Ticks()


if __name__ == "__main__":
    main(
        {
            "train": train,
            "evaluate": evaluate,
            "predict": predict,
            "predict_whole": predict_whole,
            "predict_one_row": predict_one_row,
        },
        set_threads,
    )

"""Columns in graphs: exported with strings, captured and compiled."""

import numpy as np
import pytest
import torch

import torchestimator as te
from torchestimator import feature_column as fc
from torchestimator.capture.tracing import trace
from torchestimator.inputs.batch import to_tensors

WORDS = ["red", "gr\u00fcn", "", "\u65e5\u672c", "x" * 200, "other", "\u2603 snow", "1"]
ROWS = 16


def columns():
    color = fc.categorical_column_with_vocabulary_list("color", WORDS[:2], num_oov_buckets=2)
    tags = fc.categorical_column_with_hash_bucket("tags", 20)
    ages = fc.bucketized_column(fc.numeric_column("age"), [18, 50])
    deep = [
        fc.numeric_column("age"),
        ages,
        fc.indicator_column(color),
        fc.embedding_column(tags, 3, combiner="sqrtn", max_norm=0.4),
        fc.embedding_column(fc.crossed_column([ages, "color", "tags"], 64), 2),
    ]
    numbers = fc.categorical_column_with_hash_bucket("number", 50, dtype=torch.int64)
    listed = fc.categorical_column_with_vocabulary_list("color", [f"w{number}" for number in range(500)] + ["red"])
    return deep, [color, tags, numbers, fc.crossed_column(["color", "number"], 64), fc.indicator_column(listed)]


DEEP, WIDE = columns()


def model_fn(features, labels, mode):
    cache = fc.FeatureTransformationCache(features)
    deep = fc.input_layer(cache, DEEP)
    logits = te.get_module("logits", lambda: torch.nn.Linear(deep.shape[1], 1))(deep) + fc.linear_model(cache, WIDE)
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions={"logits": logits, "deep": deep})
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.squeeze(1), labels)
    train_op = te.minimize(loss, lambda parameters: torch.optim.Adagrad(parameters, 0.1))
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op)


def data():
    random = np.random.default_rng(0)
    return {
        "color": random.choice(WORDS, (ROWS, 1)).astype(object),
        "tags": random.choice(WORDS, (ROWS, 3)).astype(object),
        "age": random.uniform(0, 80, ROWS).astype(np.float32),
        "number": random.integers(-(10**9), 10**18, (ROWS, 1)),
    }


def trained(folder):
    labels = (np.arange(ROWS) % 2).astype(np.float32)
    input_fn = te.inputs.numpy_input_fn(data(), labels, batch_size=8, num_epochs=None, shuffle=False)
    estimator = te.Estimator(model_fn, str(folder), te.RunConfig(random_seed=1))
    return estimator.train(input_fn, max_steps=6)


def test_exported_models_take_strings(tmp_path):
    pytest.importorskip("onnxruntime")
    estimator = trained(tmp_path)
    features = data()
    rows = list(estimator.predict(te.inputs.numpy_input_fn(features, batch_size=5, shuffle=False)))
    receiver_fn = te.export.build_raw_serving_input_receiver_fn({key: value[:4] for key, value in features.items()})
    path = estimator.export_saved_model(str(tmp_path / "export"), receiver_fn, formats=("onnx", "torchscript"))
    for runtime in ("onnxruntime", "torchscript"):
        found = te.export.load(path, runtime=runtime).default(**features)
        for key in ("logits", "deep"):
            np.testing.assert_allclose(found[key], [row[key] for row in rows], rtol=1e-5, atol=1e-5)


def test_layers_are_captured_with_their_gradients():
    deep, wide = fc.DenseFeatures(DEEP), fc.LinearModel(WIDE)
    parameters = [*deep.parameters(), *wide.parameters()]
    given = to_tensors(data())[0]

    def gradients(*tensors):
        cache = fc.FeatureTransformationCache(dict(zip(given, tensors, strict=True)))
        loss = deep(cache).square().sum() + (wide(cache) - 1).square().sum()
        return loss, *torch.autograd.grad(loss, parameters)

    graph = trace(gradients, list(given.values()))
    for found, expected in zip(graph(*given.values()), gradients(*given.values()), strict=True):
        torch.testing.assert_close(found, expected)


def test_layers_compile_as_one_graph():
    layer = fc.LinearModel(WIDE)
    features = to_tensors(data())[0]
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features), layer(features))

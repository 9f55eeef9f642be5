"""Functions that run on the host with values of a step."""

import torch

from tests.tpu.models import config, endless, model_fn
from torchestimator import tpu


def estimator_with(tmp_path, host_call_of, **settings):
    def calling(features, labels, mode, params):
        spec = model_fn(features, labels, mode, params)
        return spec._replace(host_call=host_call_of(spec.loss, labels)) if labels is not None else spec

    return tpu.TPUEstimator(
        calling, config=config(tmp_path, **settings), use_tpu=False, train_batch_size=8, eval_batch_size=8
    )


def test_it_gets_the_values_of_every_step(tmp_path):
    seen = []

    def host(loss, labels):
        seen.append((loss, labels))

    estimator = estimator_with(tmp_path, lambda loss, labels: (host, [loss, labels]))
    estimator.train(endless, steps=3)
    assert [type(loss) for loss, _ in seen] == [torch.Tensor] * 3
    assert len({float(loss) for loss, _ in seen}) == 3
    assert {labels.shape for _, labels in seen} == {(8,)}


def test_it_may_be_called_more_rarely_and_by_name(tmp_path):
    seen = []
    settings = {"tpu_config": tpu.TPUConfig(experimental_host_call_every_n_steps=2)}
    estimator = estimator_with(
        tmp_path, lambda loss, labels: (lambda *, value: seen.append(float(value)), {"value": loss}), **settings
    )
    estimator.train(endless, steps=5)
    assert len(seen) == 3
    estimator.train(endless, steps=2)
    assert len(seen) == 4


def test_it_counts_batches_in_evaluation(tmp_path):
    seen = []
    settings = {"tpu_config": tpu.TPUConfig(experimental_host_call_every_n_steps=2)}
    estimator = estimator_with(tmp_path, lambda loss, labels: (seen.append, [loss]), **settings)
    estimator.evaluate(endless)
    assert len(seen) == 3


def test_predictions_have_none(tmp_path):
    def predicting(features, labels, mode, params):
        spec = model_fn(features, labels, mode, params)
        return spec._replace(host_call=(print, [features["x"]]))

    estimator = tpu.TPUEstimator(predicting, config=config(tmp_path), use_tpu=False, predict_batch_size=8)
    assert len(list(estimator.predict(endless, predict_keys="class_ids"))) == 40

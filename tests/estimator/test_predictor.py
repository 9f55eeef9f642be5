"""A resident model: the numbers of predict, from many threads, beside trainings."""

import threading

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import AtStep, config, linear_data, linear_estimator, linear_input, restless_estimator, restless_input


def rows(count, seed=0):
    return {"x": np.random.RandomState(seed).standard_normal((count, 3)).astype(np.float32)}


def predicted(estimator, features, **arguments):
    (batch,) = estimator.predict(lambda: [features], yield_single_examples=False, **arguments)
    return batch


@pytest.fixture
def trained(tmp_path):
    estimator = restless_estimator(tmp_path)
    estimator.train(restless_input(), steps=5)
    return estimator


def test_it_predicts_what_predict_does(trained):
    predictor = trained.predictor()
    for count in (1, 7):
        assert np.array_equal(predictor(rows(count)), predicted(trained, rows(count)))
    assert predictor.checkpoint_path == trained.latest_checkpoint()


def test_a_chosen_checkpoint(trained, tmp_path):
    old = str(tmp_path / "model.ckpt-0")
    predictor = trained.predictor(tmp_path / "model.ckpt-0")
    assert np.array_equal(predictor(rows(2)), predicted(trained, rows(2), checkpoint_path=old))
    assert not np.array_equal(predictor(rows(2)), predicted(trained, rows(2)))
    assert predictor.checkpoint_path == old


def test_tensors_dicts_and_strings_go_in(tmp_path):
    def model_fn(features, mode):
        scale = te.get_parameter("scale", lambda: torch.full((), 3.0))
        return te.EstimatorSpec(
            mode,
            predictions={"name": features["user"]["name"], "value": scale * features["value"]},
            loss=scale.square(),
            train_op=te.minimize(scale.square(), lambda p: torch.optim.SGD(p, lr=1e-3)),
        )

    features = {"user": {"name": ["a", "b"]}, "value": torch.tensor([1.0, 2.0])}
    estimator = te.Estimator(model_fn, tmp_path, config())
    estimator.train(lambda: [features], steps=1)
    found = estimator.predictor()(features)
    assert found["name"].tolist() == ["a", "b"]
    assert found["value"] == pytest.approx([3 * 0.998, 6 * 0.998])


def test_many_threads_get_their_own_answers(trained):
    predictor = trained.predictor()
    inputs = [rows(1 + number % 5, seed=number) for number in range(8)]
    expected = [predicted(trained, features) for features in inputs]
    wrong = []

    def work(number):
        for _ in range(50):
            if not np.array_equal(predictor(inputs[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_training_on_does_not_change_it_until_it_reloads(trained):
    predictor, seen = trained.predictor(), []
    before = predictor(rows(3))
    trained.train(restless_input(), hooks=[AtStep(7, lambda: seen.append(predictor(rows(3))))], steps=5)
    assert predictor.checkpoint_path != trained.latest_checkpoint()
    seen.append(predictor(rows(3)))
    assert np.array_equal(seen, [before, before])
    assert predictor.reload() is True
    assert predictor.reload() is False
    assert predictor.checkpoint_path == trained.latest_checkpoint()
    assert np.array_equal(predictor(rows(3)), predicted(trained, rows(3)))


def test_it_can_go_back_to_a_checkpoint(trained, tmp_path):
    predictor = trained.predictor()
    newest = predictor(rows(3))
    assert predictor.reload(str(tmp_path / "model.ckpt-0")) is True
    assert not np.array_equal(predictor(rows(3)), newest)
    assert predictor.reload() is True
    assert np.array_equal(predictor(rows(3)), newest)


def test_reloading_before_the_first_call(trained):
    predictor = trained.predictor()
    trained.train(restless_input(), steps=1)
    assert predictor.reload() is True
    assert np.array_equal(predictor(rows(3)), predicted(trained, rows(3)))


def test_a_checkpoint_that_retention_deleted_before_the_first_call(tmp_path):
    estimator = linear_estimator(tmp_path, keep_checkpoint_max=1)
    estimator.train(linear_input(), steps=1)
    newest, chosen = estimator.predictor(), estimator.predictor(str(tmp_path / "model.ckpt-1"))
    estimator.train(linear_input(), steps=1)
    x = linear_data(2)[0]
    assert np.array_equal(newest(x)["outputs"], predicted(estimator, x)["outputs"])
    assert newest.checkpoint_path == str(tmp_path / "model.ckpt-2")
    with pytest.raises(FileNotFoundError, match=r"model\.ckpt-1"):
        chosen(x)


def test_there_must_be_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="Call train first"):
        linear_estimator(tmp_path).predictor()
    with pytest.raises(FileNotFoundError, match=r"model\.ckpt-5"):
        linear_estimator(tmp_path).predictor(str(tmp_path / "model.ckpt-5"))


def test_a_failed_reload_leaves_it_as_it_was(trained, tmp_path):
    predictor = trained.predictor()
    before = predictor(rows(2))
    weights = tmp_path / "model.ckpt-0" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(te.CheckpointDamagedError):
        predictor.reload(str(tmp_path / "model.ckpt-0"))
    assert predictor.checkpoint_path == trained.latest_checkpoint()
    assert np.array_equal(predictor(rows(2)), before)


def test_features_that_are_no_batch_are_refused(trained):
    with pytest.raises(ValueError, match="the batch as its first dimension"):
        trained.predictor()({"x": 3.0})


def test_gradients_are_not_kept_and_answers_belong_to_the_caller(trained):
    predictor = trained.predictor()
    answer = predictor(rows(2))
    answer += 1
    assert not np.array_equal(predictor(rows(2)), answer)


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_mixed_precision(tmp_path, precision):
    estimator = restless_estimator(tmp_path, precision=precision)
    estimator.train(restless_input(), steps=2)
    answer = estimator.predictor()(rows(4))
    assert np.array_equal(answer, predicted(estimator, rows(4)))
    plain = restless_estimator(tmp_path).predictor()(rows(4))
    assert np.allclose(answer, plain, atol=0.05)
    assert not np.array_equal(answer, plain)

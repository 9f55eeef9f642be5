"""TPUEstimator on the device of torch_xla."""

import numpy as np
import pytest

import torchestimator as te
from tests.tpu.models import Losses, config, data, endless, model_fn
from torchestimator import tpu

SIZES = {"train_batch_size": 8, "eval_batch_size": 10, "predict_batch_size": 16}


def estimator_with(model_dir, use_tpu=True, function=model_fn, **arguments):
    settings = {"tpu_config": tpu.TPUConfig(iterations_per_loop=5), **arguments.pop("settings", {})}
    return tpu.TPUEstimator(function, config=config(model_dir, **settings), use_tpu=use_tpu, **{**SIZES, **arguments})


def test_the_same_script_with_and_without_cores(tmp_path):
    losses, results, rows = {}, {}, {}
    for use_tpu in (True, False):
        estimator, hook = estimator_with(tmp_path / str(use_tpu), use_tpu), Losses()
        estimator.train(endless, hooks=[hook], max_steps=32)
        losses[use_tpu] = hook.values
        results[use_tpu] = estimator.evaluate(endless, steps=4)
        rows[use_tpu] = [row["probabilities"] for row in estimator.predict(endless)]
    # On cores hooks run once per loop; the last loop has two steps.
    assert losses[True] == pytest.approx([losses[False][index] for index in (*range(4, 30, 5), 31)], abs=1e-5)
    assert results[True] == pytest.approx(results[False], abs=1e-5)
    np.testing.assert_allclose(rows[True], rows[False], atol=1e-5)


def test_functions_know_where_they_run(tmp_path):
    seen = []

    def noting(features, labels, mode, params):
        seen.append((mode, params["batch_size"], params["use_tpu"], params["context"].num_replicas))
        return model_fn(features, labels, mode, params)

    estimator = estimator_with(tmp_path, function=noting)
    estimator.train(endless, steps=1)
    assert set(seen) == {("train", 8, True, 1)}


# torch 2.9 warns of its own way of reading the file.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_it_exports_for_any_machine(tmp_path):
    estimator = estimator_with(tmp_path)
    estimator.train(endless, steps=5)
    rows = data()[0]["x"][:3]
    receiver_fn = te.export.build_raw_serving_input_receiver_fn({"x": rows})
    path = estimator.export_saved_model(tmp_path / "export", receiver_fn, formats=["torch_export"])
    found = te.export.load(path).default(x=rows)["probabilities"]
    np.testing.assert_allclose(np.asarray(found), estimator.predictor()({"x": rows})["probabilities"], atol=1e-5)


def test_evaluation_on_the_host(tmp_path):
    seen = []

    def noting(features, labels, mode, params):
        seen.append((mode, params["use_tpu"], features["x"].device.type))
        return model_fn(features, labels, mode, params)

    estimator = estimator_with(tmp_path, function=noting, eval_on_tpu=False)
    estimator.train(endless, steps=5)
    results = estimator.evaluate(endless)
    assert results["global_step"] == 5
    assert set(seen) == {("train", True, "xla"), ("eval", False, "cpu")}
    assert results == pytest.approx(estimator_with(tmp_path).evaluate(endless, steps=4), abs=1e-5)


def test_evaluation_on_the_host_needs_a_checkpoint(tmp_path):
    estimator = estimator_with(tmp_path, eval_on_tpu=False, settings={"save_checkpoints_steps": None})
    estimator.train(endless, steps=1)
    with pytest.raises(ValueError, match="`eval_on_tpu=False` evaluates a checkpoint, and there is none"):
        estimator.evaluate(endless)


def test_host_calls_get_tensors_of_the_host(tmp_path):
    seen = []

    def calling(features, labels, mode, params):
        spec = model_fn(features, labels, mode, params)
        return spec._replace(host_call=(lambda loss: seen.append((loss.device.type, float(loss))), [spec.loss]))

    hook = Losses()
    estimator_with(tmp_path, function=calling).train(endless, hooks=[hook], steps=15)
    assert seen == [("cpu", loss) for loss in hook.values]
    assert len(seen) == 3


def test_what_cores_need(tmp_path):
    estimator = estimator_with(tmp_path, eval_batch_size=None, predict_batch_size=None)
    with pytest.raises(ValueError, match="One of `steps` and `max_steps` is needed to train on TPU cores"):
        estimator.train(endless)
    with pytest.raises(ValueError, match="`steps` is needed to evaluate on TPU cores"):
        estimator.evaluate(endless)
    with pytest.raises(ValueError, match="`eval_batch_size` is needed to evaluate on TPU cores"):
        estimator.evaluate(endless, steps=1)
    with pytest.raises(ValueError, match="`predict_batch_size` is needed to predict on TPU cores"):
        next(estimator.predict(endless))

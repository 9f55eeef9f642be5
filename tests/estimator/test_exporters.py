"""Exporters of train_and_evaluate."""

import json
import os

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import config, linear_data, linear_input, linear_model_fn, messages
from torchestimator.export.signature import read_export_info, versions_in

X = linear_data(5)[0]["x"]
receiver_fn = te.export.build_raw_serving_input_receiver_fn({"x": X})
FAST = {"formats": "torchscript"}


class Clock:
    """A time that goes on by a second at each look, so that exports need not wait for the next one."""

    def __init__(self):
        self.now = 1_700_000_000

    def __call__(self):
        self.now += 1
        return float(self.now)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("torchestimator.export.export_dir.time.time", Clock())


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    """A linear model with checkpoints of the steps 0, 2 and 4."""
    made = te.Estimator(linear_model_fn, tmp_path_factory.mktemp("linear"), config(save_checkpoints_steps=2), {})
    made.train(linear_input(), steps=4)
    return made


def checkpoint(estimator, step):
    return os.path.join(estimator.model_dir, f"model.ckpt-{step}")


def run(exporter, estimator, folder, results, step=2, is_final=False):
    """Calls an exporter as train_and_evaluate does."""
    results = results if isinstance(results, dict) else {"loss": results}
    return exporter.export(
        estimator=estimator,
        export_path=str(folder),
        checkpoint_path=checkpoint(estimator, step),
        eval_result=results,
        is_the_final_export=is_final,
    )


def test_the_final_exporter_waits_for_the_end(estimator, tmp_path):
    exporter = te.FinalExporter("final", receiver_fn, **FAST)
    assert exporter.name == "final"
    assert run(exporter, estimator, tmp_path, 1.0) is None
    assert os.listdir(tmp_path) == []
    path = run(exporter, estimator, tmp_path, 2.0, is_final=True)
    assert os.path.dirname(path) == str(tmp_path)
    assert read_export_info(path).global_step == 2


def test_the_latest_exporter_keeps_the_newest_and_touches_nothing_else(estimator, tmp_path):
    others = ["keep me", "temp-1600000000", "1600000001", "v7"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / "1600000002").write_text("a file")
    exporter = te.LatestExporter("latest", receiver_fn, exports_to_keep=2, **FAST)
    paths = [run(exporter, estimator, tmp_path, 1.0) for _ in range(4)]
    assert versions_in(tmp_path) == [int(os.path.basename(path)) for path in paths[2:]]
    assert set(os.listdir(tmp_path)) == {*others, "1600000002", *map(os.path.basename, paths[2:])}


def test_all_exports_are_kept_where_none_is_to_go(estimator, tmp_path):
    exporter = te.LatestExporter("latest", receiver_fn, exports_to_keep=None, **FAST)
    for _ in range(7):
        run(exporter, estimator, tmp_path, 1.0)
    assert len(versions_in(tmp_path)) == 7


def test_the_best_exporter_exports_what_is_better_also_after_a_restart(estimator, tmp_path):
    exported = []
    for losses in ([3.0, 4.0, 3.0, 2.0], [2.5, 2.0, float("nan"), 1.0]):
        exporter = te.BestExporter("best", receiver_fn, **FAST)  # as a new process makes it
        exported += [run(exporter, estimator, tmp_path, loss) is not None for loss in losses]
    assert exported == [True, False, False, True, False, False, False, True]
    record = json.loads((tmp_path / "best.json").read_text())
    assert record["eval_result"] == {"loss": 1.0}
    assert record["export"] == str(versions_in(tmp_path)[-1])


def test_a_metric_and_its_direction(estimator, tmp_path):
    exporter = te.BestExporter("best", receiver_fn, metric="accuracy", higher_is_better=True, **FAST)
    values = [np.float32(0.5), 0.4, float("nan"), 0.6]
    exported = [run(exporter, estimator, tmp_path, {"loss": 1.0, "accuracy": value}) is not None for value in values]
    assert exported == [True, False, False, True]
    with pytest.raises(
        ValueError, match=r"compares the metric 'accuracy', which the evaluation does not have.*Write: te"
    ):
        run(exporter, estimator, tmp_path, {"loss": 1.0})
    nan = te.BestExporter("best", receiver_fn, **FAST)
    assert run(nan, estimator, tmp_path / "nan", float("nan")) is None
    assert run(nan, estimator, tmp_path / "nan", 5.0) is not None


def test_a_function_that_compares(estimator, tmp_path):
    seen = []

    def compare_fn(best_eval_result, current_eval_result):
        seen.append((best_eval_result["auc"], current_eval_result["auc"]))
        return current_eval_result["auc"] > best_eval_result["auc"]

    exporter = te.BestExporter("best", receiver_fn, compare_fn=compare_fn, exports_to_keep=1, **FAST)
    results = [{"auc": value, "curve": np.array([1.0, 2.0])} for value in (0.5, 0.4, 0.7)]
    exported = [run(exporter, estimator, tmp_path, result) is not None for result in results]
    assert exported == [True, False, True]
    assert seen == [(0.5, 0.4), (0.5, 0.7)]
    assert len(versions_in(tmp_path)) == 1
    assert json.loads((tmp_path / "best.json").read_text())["eval_result"] == {"auc": 0.7, "curve": [1, 2]}


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"eval_result": 3}', '{"eval_result": null}', "\x00"])
def test_a_damaged_record_is_reported_and_replaced(estimator, tmp_path, caplog, damage):
    (tmp_path / "best.json").write_text(damage)
    assert run(te.BestExporter("best", receiver_fn, **FAST), estimator, tmp_path, 9.0) is not None
    assert "best.json can't be read; the next evaluation counts as the best" in caplog.text
    assert json.loads((tmp_path / "best.json").read_text())["eval_result"] == {"loss": 9.0}


def test_a_failed_export_leaves_the_record_alone(estimator, tmp_path):
    assert run(te.BestExporter("best", receiver_fn, **FAST), estimator, tmp_path, 3.0) is not None
    wrong = te.export.build_raw_serving_input_receiver_fn({"y": X})
    with pytest.raises(ValueError, match="'x'"):
        run(te.BestExporter("best", wrong, **FAST), estimator, tmp_path, 1.0)
    assert json.loads((tmp_path / "best.json").read_text())["eval_result"] == {"loss": 3.0}
    assert len(versions_in(tmp_path)) == 1


@pytest.mark.parametrize("cls", [te.FinalExporter, te.LatestExporter, te.BestExporter])
def test_a_receiver_must_be_a_function(cls):
    with pytest.raises(TypeError, match=r"`serving_input_receiver_fn` must be a function.*Received: 3.*Write: "):
        cls("a", 3)


def test_arguments_that_can_not_be():
    for cls in (te.LatestExporter, te.BestExporter):
        with pytest.raises(ValueError, match=r"`exports_to_keep` must be above 0, or None for all. Received: 0"):
            cls("a", receiver_fn, exports_to_keep=0)
    with pytest.raises(TypeError, match="`serving_input_receiver_fn` must be a function"):
        te.BestExporter()
    with pytest.raises(ValueError, match="`event_file_pattern` has no meaning here"):
        te.BestExporter("a", receiver_fn, "eval/*.tfevents.*")
    with pytest.raises(TypeError, match="`compare_fn` must be a function"):
        te.BestExporter("a", receiver_fn, compare_fn=3)
    with pytest.raises(
        ValueError, match=r"must take the arguments best_eval_result and current_eval_result.*\['a', 'b'\]"
    ):
        te.BestExporter("a", receiver_fn, compare_fn=lambda a, b: True)
    with pytest.raises(ValueError, match="Either `compare_fn` or `metric` decides"):
        te.BestExporter("a", receiver_fn, compare_fn=lambda **results: True, metric="auc")
    assert te.BestExporter("a", receiver_fn, compare_fn=lambda **results: True).name == "a"


def new_estimator(model_dir, model_fn=linear_model_fn, **params):
    return te.Estimator(model_fn, model_dir, config(save_checkpoints_steps=2), params)


def eval_spec(exporters, **arguments):
    return te.EvalSpec(
        linear_input(num_epochs=1), **{"steps": None, "throttle_secs": 0, **arguments}, exporters=exporters
    )


def exports_in(model_dir, name):
    folder = os.path.join(model_dir, "export", name)
    return [read_export_info(os.path.join(folder, str(version))).global_step for version in versions_in(folder)]


def test_training_with_all_exporters(tmp_path):
    exporters = [
        te.BestExporter("best", receiver_fn, **FAST),
        te.LatestExporter("latest", receiver_fn, exports_to_keep=2, **FAST),
        te.FinalExporter("final", receiver_fn, **FAST),
    ]
    estimator = new_estimator(tmp_path)
    spec = eval_spec(exporters, name="holdout")
    results, exports = te.train_and_evaluate(estimator, te.TrainSpec(linear_input(), max_steps=6), spec)
    assert results["global_step"] == 6
    assert exports_in(tmp_path, "best") == [2, 4, 6]
    assert exports_in(tmp_path, "latest") == [4, 6]
    assert exports_in(tmp_path, "final") == [6]
    newest = [versions_in(tmp_path / "export" / name)[-1] for name in ("best", "latest", "final")]
    assert [os.path.basename(path) for path in exports] == [str(version) for version in newest]
    got = te.export.load(tmp_path / "export" / "final").default(x=X)["outputs"][:, 0]
    np.testing.assert_allclose(got, estimator.predictor()({"x": X})["outputs"], rtol=1e-6, atol=1e-6)

    # Another process goes on with a learning rate that makes everything worse.
    worse = new_estimator(tmp_path, lr=5.0)
    exporters[0] = te.BestExporter("best", receiver_fn, **FAST)
    _, exports = te.train_and_evaluate(worse, te.TrainSpec(linear_input(), max_steps=8), spec)
    assert exports_in(tmp_path, "best") == [2, 4, 6]
    assert exports_in(tmp_path, "final") == [6, 8]
    assert exports[0] is None
    assert te.train_and_evaluate(worse, te.TrainSpec(linear_input(), max_steps=8), spec) == (None, None)


def test_the_final_export_happens_once_where_the_end_was_not_foreseen(tmp_path):
    final = te.FinalExporter("final", receiver_fn, **FAST)
    spec = te.TrainSpec(linear_input(num_epochs=1))
    _, exports = te.train_and_evaluate(new_estimator(tmp_path), spec, eval_spec(final))
    assert exports_in(tmp_path, "final") == [6]
    assert exports == [str(tmp_path / "export" / "final" / str(versions_in(tmp_path / "export" / "final")[0]))]


def untraceable(features, labels, mode, params):
    spec = linear_model_fn(features, labels, mode, params)
    if mode != te.ModeKeys.PREDICT:
        return spec
    outputs = spec.predictions["outputs"]
    return te.EstimatorSpec(mode, predictions=outputs if outputs.max().item() > 0 else -outputs)


def lacking(features, labels, mode, params):
    spec = linear_model_fn(features, labels, mode, params)
    if mode != te.ModeKeys.PREDICT:
        return spec
    return te.EstimatorSpec(mode, predictions=torch.lgamma(spec.predictions["outputs"].abs() + 1))


def scalar(features, labels, mode, params):
    spec = linear_model_fn(features, labels, mode, params)
    return te.EstimatorSpec(mode, predictions=spec.predictions["outputs"].mean()) if mode == "infer" else spec


misspelt = te.export.build_raw_serving_input_receiver_fn({"X": X})


@pytest.mark.parametrize(
    ("model_fn", "receiver", "formats", "reason"),
    [
        (
            linear_model_fn,
            misspelt,
            "torchscript",
            r"asks for the feature 'x'.*Is 'X' meant\?|asks for the feature 'x'",
        ),
        (untraceable, receiver_fn, "torchscript", r"test_exporters.py, line \d+, `return .*outputs.max\(\).item\(\)"),
        (lacking, receiver_fn, "onnx", r"test_exporters.py, line \d+, `return .*lgamma.*ONNX has no operator"),
        (scalar, receiver_fn, "torchscript", r"does not have the batch as its first dimension"),
    ],
)
def test_what_can_not_be_exported_fails_before_the_first_step(tmp_path, model_fn, receiver, formats, reason):
    estimator = new_estimator(tmp_path, model_fn)
    exporter = te.FinalExporter("final", receiver, formats=formats)
    with pytest.raises(ValueError, match=reason):
        te.train_and_evaluate(estimator, te.TrainSpec(linear_input(), max_steps=4), eval_spec(exporter))
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("model.ckpt")) == ["model.ckpt-0"]
    assert not (tmp_path / "export").exists()


def test_the_dry_run_is_in_the_log_and_leaves_the_training_alone(tmp_path, caplog):
    spec = te.TrainSpec(linear_input(), max_steps=2)
    te.train_and_evaluate(new_estimator(tmp_path / "a"), spec, eval_spec(te.FinalExporter("f", receiver_fn, **FAST)))
    assert "The model can be exported: tried in" in " ".join(messages(caplog))
    te.train_and_evaluate(new_estimator(tmp_path / "b"), spec, eval_spec(None))
    one, other = (te.Estimator(linear_model_fn, tmp_path / name, config(), {}) for name in "ab")
    assert one.get_variable_value("weight").tolist() == other.get_variable_value("weight").tolist()


def test_exporters_of_one_name_over_two_evaluations(tmp_path):
    specs = [eval_spec(te.LatestExporter("same", receiver_fn, **FAST), name=name) for name in "ab"]
    with pytest.raises(ValueError, match=r"Exporters of all evaluations must have different names.*\['same', 'same'\]"):
        te.train_and_evaluate(new_estimator(tmp_path), te.TrainSpec(linear_input(), max_steps=2), specs)
    assert not list(tmp_path.glob("model.ckpt*"))


def test_results_of_several_evaluations(tmp_path):
    specs = [eval_spec(te.LatestExporter(f"latest {name}", receiver_fn, **FAST), name=name) for name in "ab"]
    results, exports = te.train_and_evaluate(new_estimator(tmp_path), te.TrainSpec(linear_input(), max_steps=2), specs)
    assert set(results) == {"a", "b"}
    assert [os.path.basename(os.path.dirname(path)) for path in exports] == ["latest a", "latest b"]

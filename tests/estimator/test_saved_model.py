"""A model built for its clients."""

import os

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import linear_data, linear_estimator, linear_input, messages
from torchestimator.export.conversion_error import ExportError
from torchestimator.export.signature import read_export_info

raw = te.export.build_raw_serving_input_receiver_fn
X = linear_data(5)[0]["x"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    estimator = linear_estimator(tmp_path_factory.mktemp("linear") / "my model")
    estimator.train(linear_input(), steps=2)
    return estimator


def test_a_misspelt_feature_is_named_with_what_is_meant(linear, tmp_path):
    with pytest.raises(
        ValueError, match=r"asks for the feature 'x', which `serving_input_receiver_fn` does not give."
    ) as a:
        linear.export_saved_model(tmp_path, raw({"xx": X, "zebra": X}))
    assert "Is 'xx' meant? Received: features ['xx', 'zebra'], made of ['xx', 'zebra']." in str(a.value)
    with pytest.raises(ValueError, match=r"does not give. Received: features") as caught:
        linear.export_saved_model(tmp_path, raw({"zebra": X}))
    assert isinstance(caught.value.__cause__, KeyError)
    assert os.listdir(tmp_path) == []


def test_a_wrong_shape_is_shown(linear, tmp_path):
    with pytest.raises(ValueError, match=r"weight.*\[2\].*\[3\]|\[3\].*\[2\]") as caught:
        linear.export_saved_model(tmp_path, raw({"x": np.zeros((2, 3), "float32")}))
    assert any("'x' (float32 [2, 3])" in note for note in caught.value.__notes__)


def test_one_tensor_where_a_dict_is_needed(linear, tmp_path):
    with pytest.raises((TypeError, IndexError)) as caught:
        linear.export_saved_model(tmp_path, raw(X))
    assert "made of what `serving_input_receiver_fn` declares: 'feature' (float32 [2, 2])." in caught.value.__notes__[0]


def test_errors_of_the_users_functions_come_through(linear, tmp_path):
    def broken():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        linear.export_saved_model(tmp_path, broken)
    with pytest.raises(TypeError, match="`serving_input_receiver_fn` must be a function"):
        linear.export_saved_model(tmp_path, {"x": X})


def test_layers_that_only_predictions_have(tmp_path):
    def model_fn(features, labels, mode):
        outputs = te.get_module("net", lambda: torch.nn.Linear(2, 1))(features["x"])
        if mode == te.ModeKeys.PREDICT:
            return te.EstimatorSpec(mode, predictions=te.get_module("late", lambda: torch.nn.Linear(1, 1))(outputs))
        train_op = te.minimize(outputs.mean(), lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        return te.EstimatorSpec(mode, loss=outputs.mean(), train_op=train_op)

    estimator = te.Estimator(model_fn, tmp_path / "model")
    estimator.train(linear_input(), steps=1)
    with pytest.raises(
        ValueError, match=r"lacks 2 tensors .*'late.weight'.*must be asked for in the TRAIN call as well"
    ):
        estimator.export_saved_model(tmp_path / "exports", raw({"x": X}))


def test_models_that_can_not_be_exported_name_the_line(tmp_path):
    def model_fn(features, labels, mode):
        outputs = te.get_module("net", lambda: torch.nn.Linear(2, 1))(features["x"])
        if mode == te.ModeKeys.PREDICT:
            return te.EstimatorSpec(mode, predictions=outputs * outputs.max().item())
        train_op = te.minimize(outputs.mean(), lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        return te.EstimatorSpec(mode, loss=outputs.mean(), train_op=train_op)

    estimator = te.Estimator(model_fn, tmp_path / "model")
    estimator.train(linear_input(), steps=1)
    with pytest.raises(ExportError, match=r"test_saved_model.py, line \d+, `return .*outputs.max\(\).item"):
        estimator.export_saved_model(tmp_path / "exports", raw({"x": X}), formats="torchscript")
    assert os.listdir(tmp_path / "exports") == []


def test_exports_draw_no_random_numbers_and_leave_the_models_alone(linear, tmp_path):
    before = linear.predictor()({"x": X})["outputs"]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    linear.export_saved_model(tmp_path, raw({"x": X}), formats="torchscript")
    assert torch.equal(torch.rand(2), expected)
    assert linear.predictor()({"x": X})["outputs"].tolist() == before.tolist()
    assert torch.is_grad_enabled()


def test_the_model_of_the_repository_is_called_as_its_folder(linear, tmp_path):
    path = linear.export_saved_model(tmp_path, raw({"x": X}), formats=("torchscript", "triton"))
    assert os.listdir(os.path.join(path, "triton")) == ["my_model_torchscript"]


def test_the_log_says_what_was_written_and_where(linear, tmp_path, caplog):
    path = linear.export_saved_model(tmp_path, raw({"x": X}), formats="torchscript")
    line = messages(caplog)[-1]
    assert line.startswith("Exported serving_default (torchscript; largest difference from the model ")
    assert f") to {path} in " in line
    linear.check_export(raw({"x": X}), formats="torchscript")
    assert "The model can be exported: tried in" in messages(caplog)[-1]
    assert read_export_info(path).global_step == 2

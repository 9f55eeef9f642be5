import pytest
import torch

import torchestimator as te
from torchestimator import feature_column as fc

IDS = fc.categorical_column_with_identity("i", 3)
FEATURES = {"i": torch.tensor([0, 2]), "n": torch.tensor([1.0, 2.0])}


def built(model):
    """A module whose model_fn is a loss of what `model` returns."""

    def model_fn(features, labels, mode):
        values = model(features)
        return te.EstimatorSpec(mode, loss=values.sum(), train_op=te.minimize(values.sum(), torch.optim.Adam))

    module = te.ModelFnModule(model_fn)
    module.build(FEATURES, None, te.ModeKeys.TRAIN)
    return module


def test_names_are_those_of_tensorflow():
    seen = {}

    def model(features):
        with te.name_scope("dnn/input_from_feature_columns"):
            values = fc.input_layer(features, [fc.embedding_column(IDS, 2), fc.numeric_column("n")])
        with te.name_scope("linear"):
            columns = {}
            seen.update(shape=values.shape, columns=columns)
            return values.sum(1, keepdim=True) + fc.linear_model(features, [IDS], cols_to_vars=columns)

    module = built(model)
    names = [name.replace(".", "/") for name, _ in module.named_parameters()]
    assert names == [
        "dnn/input_from_feature_columns/input_layer/i_embedding/embedding_weights",
        "linear/linear_model/bias_weights",
        "linear/linear_model/i/weights",
    ]
    assert seen["shape"] == (2, 3)
    assert [tuple(value.shape) for value in seen["columns"][IDS]] == [(3, 1)]
    assert [tuple(value.shape) for value in seen["columns"]["bias"]] == [(1,)]


def test_columns_may_stay_as_they_are():
    found, outputs = {}, {}

    def model(features):
        columns = [fc.embedding_column(IDS, 2)]
        fixed = fc.input_layer(features, columns, trainable=False, cols_to_vars=found, cols_to_output_tensors=outputs)
        return fc.linear_model(features, [IDS]) + fixed.sum(1, keepdim=True)

    built(model)
    ((parameter,),) = found.values()
    assert not parameter.requires_grad
    assert [tuple(value.shape) for value in outputs.values()] == [(2, 2)]


def test_other_columns_need_another_scope():
    def model(features):
        fc.linear_model(features, [IDS])
        return fc.linear_model(features, [fc.numeric_column("n")])

    with pytest.raises(ValueError, match=r"Received: \['n'\], after \['i'\].*te.name_scope"):
        built(model)


def test_there_are_no_collections():
    with pytest.raises(ValueError, match="`weight_collections`"):
        fc.input_layer(FEATURES, [fc.numeric_column("n")], weight_collections=["x"])


def test_they_are_for_model_fns():
    with pytest.raises(RuntimeError, match="outside a model_fn"):
        fc.linear_model(FEATURES, [IDS])

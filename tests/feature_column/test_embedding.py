import math

import pytest
import torch

import torchestimator as te
from torchestimator import feature_column as fc
from torchestimator.feature_column.embedding_lookup import SPARSE_GRADIENT_ELEMENTS

IDS = fc.categorical_column_with_identity("i", 2)
ROWS = torch.tensor([[0.0, 1.0], [2.0, 3.0]])


def fill(table):
    table.copy_(ROWS)


def embedded(features, column=IDS, **options):
    return fc.DenseFeatures([fc.embedding_column(column, 2, initializer=fill, **options)])(features)


@pytest.mark.parametrize(
    ("combiner", "row"), [("mean", [1.0, 2.0]), ("sum", [2.0, 4.0]), ("sqrtn", [1.41421, 2.82843])]
)
def test_combiners(combiner, row):
    values = embedded({"i": [[0, 1], [1, -1], [-1, -1]]}, combiner=combiner)
    torch.testing.assert_close(values, torch.tensor([row, [2.0, 3.0], [0.0, 0.0]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("combiner", "row"), [("mean", [1.6, 2.6]), ("sum", [4.0, 6.5]), ("sqrtn", [1.940285, 3.152963])]
)
def test_weighted_combiners(combiner, row):
    column = fc.weighted_categorical_column(IDS, "w")
    values = embedded({"i": [[0, 1]], "w": [[0.5, 2.0]]}, column, combiner=combiner)
    torch.testing.assert_close(values, torch.tensor([row]), rtol=1e-6, atol=1e-6)


def test_weights_of_zero_or_less_count_in_sums_only():
    column = fc.weighted_categorical_column(IDS, "w")
    features = {"i": [[0, 1], [0, 1]], "w": [[1.0, -1.0], [0.0, -1.0]]}
    assert embedded(features, column, combiner="mean").tolist() == [[0.0, 1.0], [0.0, 0.0]]
    assert embedded(features, column, combiner="sum").tolist() == [[-2.0, -2.0], [-2.0, -3.0]]


def test_rows_are_scaled_down_to_max_norm():
    values = embedded({"i": [[0, 1]]}, combiner="sum", max_norm=1.0)
    torch.testing.assert_close(values, torch.tensor([[0.5547, 1.83205]]), rtol=1e-5, atol=1e-5)
    assert embedded({"i": [1]}, max_norm=9.0).tolist() == [[2.0, 3.0]]


def test_the_default_table_is_normal_and_cut_off():
    column = fc.embedding_column(fc.categorical_column_with_identity("i", 20_000), 4)
    table = fc.DenseFeatures([column]).state_dict()["i_embedding.embedding_weights"]
    assert float(table.abs().max()) <= 2 / math.sqrt(4)
    # The deviation of a normal distribution that is cut off at two deviations.
    assert float(table.std()) == pytest.approx(0.8796 / math.sqrt(4), rel=0.02)


def test_a_table_may_stay_as_it_is():
    layer = fc.DenseFeatures([fc.embedding_column(IDS, 2, trainable=False)])
    assert [parameter.requires_grad for parameter in layer.parameters()] == [False]
    assert not layer({"i": [1]}).requires_grad


@pytest.mark.parametrize("combiner", ["mean", "sum"])
def test_large_tables_have_sparse_gradients_with_the_same_values(combiner):
    size = SPARSE_GRADIENT_ELEMENTS // 2
    gradients = []
    ids = torch.tensor([[3, 5], [5, -1], [-1, -1]])
    for buckets in (size, size - 1):
        column = fc.embedding_column(fc.categorical_column_with_identity("i", buckets), 2, combiner)
        layer = fc.DenseFeatures([column])
        torch.nn.init.ones_(layer.get_parameter("i_embedding.embedding_weights"))
        layer({"i": ids}).sum().backward()
        gradients.append(layer.get_parameter("i_embedding.embedding_weights").grad)
    sparse, dense = gradients
    assert sparse.layout is torch.sparse_coo
    assert dense.layout is torch.strided
    assert sparse._nnz() == ids.numel()
    assert torch.equal(sparse.to_dense()[: size - 1], dense)


def test_a_table_comes_from_a_checkpoint(tmp_path):
    def model_fn(features, labels, mode):
        values = te.get_module("net", lambda: fc.DenseFeatures([fc.embedding_column(IDS, 2)]))(features)
        loss = values.square().sum()
        train_op = te.minimize(loss, lambda parameters: torch.optim.SGD(parameters, 0.1))
        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    estimator = te.Estimator(model_fn, str(tmp_path))
    estimator.train(lambda: ({"i": torch.tensor([0, 1])}, torch.zeros(2)), max_steps=1)
    name = "net.i_embedding.embedding_weights"
    column = fc.embedding_column(
        IDS, 2, ckpt_to_load_from=str(tmp_path / "model.ckpt-1"), tensor_name_in_ckpt=name, combiner="sum"
    )
    table = fc.DenseFeatures([column]).state_dict()["i_embedding.embedding_weights"]
    assert table.numpy() == pytest.approx(estimator.get_variable_value(name))
    wrong = fc.embedding_column(IDS, 3, ckpt_to_load_from=str(tmp_path / "model.ckpt-1"), tensor_name_in_ckpt=name)
    with pytest.raises(ValueError, match=r"of shape \[2, 3\]. Received: .* of shape \[2, 2\]"):
        fc.DenseFeatures([wrong])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 0}, "`dimension`"),
        ({"combiner": "max"}, "'mean', 'sum', 'sqrtn'. Received: 'max'"),
        ({"initializer": 1.0}, "`initializer`"),
        ({"ckpt_to_load_from": "x"}, "belong together"),
        ({"max_norm": 0.0}, "`max_norm`"),
        ({"use_safe_embedding_lookup": False}, "can only be True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        fc.embedding_column(IDS, **{"dimension": 2, **arguments})


def test_only_categories_are_embedded():
    with pytest.raises(TypeError, match="`categorical_column` of embedding_column"):
        fc.embedding_column(fc.numeric_column("n"), 2)

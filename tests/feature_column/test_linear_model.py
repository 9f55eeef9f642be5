import pytest
import torch

from torchestimator import feature_column as fc

IDS = fc.categorical_column_with_identity("i", 3)
NUMBERS = fc.numeric_column("n", shape=(2,))
FEATURES = {"i": [[0, 1], [2, -1]], "n": [[1.0, 2.0], [3.0, 4.0]]}


def model(columns, **options):
    layer = fc.LinearModel(columns, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.arange(1.0, 1 + parameter.numel()).view_as(parameter) * (10 if name[0] == "i" else 1))
    return layer


def test_weights_are_zero_at_first():
    layer = fc.LinearModel([IDS, NUMBERS], units=2)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "bias_weights": (2,),
        "i.weights": (3, 2),
        "n.weights": (2, 2),
    }
    assert layer.variable_names == {
        "bias_weights": "bias_weights",
        "i.weights": "i/weights",
        "n.weights": "n/weights",
    }
    assert not any(parameter.any() for parameter in layer.parameters())
    assert layer(FEATURES).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(("combiner", "first"), [("sum", 30.0), ("mean", 15.0), ("sqrtn", 30 / 2**0.5)])
def test_categories_are_combined(combiner, first):
    values = model([IDS], sparse_combiner=combiner)(FEATURES)
    torch.testing.assert_close(values, torch.tensor([[first + 1], [30.0 + 1]]))


def test_columns_are_summed_up():
    ranges = fc.bucketized_column(fc.numeric_column("m"), [0])
    layer = model([IDS, NUMBERS, ranges, fc.numeric_column("m")])
    values = layer({**FEATURES, "m": [-1.0, 5.0]})
    # bias + ids + numbers + range + m
    assert values.tolist() == [[1 + 30 + 5 + 1 - 1.0], [1 + 30 + 11 + 2 + 5.0]]


def test_dense_columns_have_a_weight_for_each_value():
    layer = fc.LinearModel([fc.embedding_column(IDS, 4), fc.indicator_column(IDS)])
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "bias_weights": (1,),
        "i_embedding.embedding_weights": (3, 4),
        "i_embedding.weights": (4, 1),
        "i_indicator.weights": (3, 1),
    }
    assert layer(FEATURES).shape == (2, 1)


def test_layers_share_what_they_compute():
    calls = []

    def seen(values):
        calls.append(values)
        return values

    ranges = fc.bucketized_column(fc.numeric_column("n", normalizer_fn=seen), [0.0])
    other = fc.bucketized_column(fc.numeric_column("n", normalizer_fn=seen), [0.0])
    cache = fc.FeatureTransformationCache({"n": [1.0, -1.0]})
    first, second = fc.DenseFeatures([ranges]), fc.LinearModel([other])
    first(cache), second(cache)
    assert len(calls) == 1


def test_weights_may_stay_as_they_are():
    assert not any(parameter.requires_grad for parameter in fc.LinearModel([IDS], trainable=False).parameters())


def test_bad_arguments():
    with pytest.raises(ValueError, match="`units`"):
        fc.LinearModel([IDS], units=0)
    with pytest.raises(ValueError, match="`sparse_combiner`"):
        fc.LinearModel([IDS], sparse_combiner="max")
    with pytest.raises(TypeError, match="is a sequence"):
        fc.LinearModel([fc.sequence_categorical_column_with_identity("i", 3)])
    with pytest.raises(TypeError, match="is a sequence"):
        fc.LinearModel([fc.sequence_numeric_column("n")])

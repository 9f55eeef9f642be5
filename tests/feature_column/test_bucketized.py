import numpy as np
import pytest
import torch

from tests.feature_column.ids import flat_ids_of, ids_of
from torchestimator import feature_column as fc

NUMBERS = [-1, 0, 9.99, 10, 20, 25, float("nan")]


def test_numbers_at_a_boundary_go_up_and_nan_to_the_end():
    column = fc.bucketized_column(fc.numeric_column("n"), [0, 10, 20])
    assert column == fc.bucketized_column(fc.numeric_column("n"), np.array([0, 10, 20]))
    assert (column.name, column.num_buckets) == ("n_bucketized", 4)
    assert flat_ids_of(column, {"n": NUMBERS}) == [0, 1, 1, 2, 3, 3, 3]
    values = fc.DenseFeatures([column])({"n": NUMBERS})
    assert values.argmax(1).tolist() == [0, 1, 1, 2, 3, 3, 3]
    assert values.sum(1).tolist() == [1.0] * 7


def test_each_place_has_ids_of_its_own():
    column = fc.bucketized_column(fc.numeric_column("n", shape=(2,)), [0.0, 10.0])
    assert column.num_buckets == 6
    assert ids_of(column, {"n": [[-1.0, -1.0], [10.0, 5.0]]}) == [[0, 3], [2, 4]]
    expected = [[1.0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0]]
    assert fc.DenseFeatures([column])({"n": [[-1.0, -1.0], [10.0, 5.0]]}).tolist() == expected


def test_the_normalizer_of_the_source_is_used():
    column = fc.bucketized_column(fc.numeric_column("n", normalizer_fn=lambda x: x / 10), [1.0])
    assert flat_ids_of(column, {"n": torch.tensor([9, 11])}) == [0, 1]


def test_bad_arguments():
    numbers = fc.numeric_column("n")
    with pytest.raises(TypeError, match=r"`source_column` must be a numeric_column. Received: 'n'"):
        fc.bucketized_column("n", [1])
    with pytest.raises(ValueError, match="one dimension"):
        fc.bucketized_column(fc.numeric_column("n", (2, 2)), [1])
    for boundaries in ([], [2, 1], [1, 1], 3, ["a"]):
        with pytest.raises(ValueError, match="`boundaries` must be a list of one or more rising numbers"):
            fc.bucketized_column(numbers, boundaries)

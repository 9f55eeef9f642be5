import pytest
import torch

from torchestimator import feature_column as fc
from torchestimator import io


def test_all_features_are_in_the_spec():
    identity = fc.categorical_column_with_identity("i", 3)
    columns = [
        fc.numeric_column("n", shape=(2,)),
        fc.bucketized_column(fc.numeric_column("m"), [0]),
        fc.embedding_column(fc.weighted_categorical_column(identity, "w"), 2),
        fc.crossed_column(["a", identity], 5),
        fc.sequence_numeric_column("s"),
        *fc.shared_embeddings([fc.categorical_column_with_hash_bucket("h", 3)], 2),
        fc.indicator_column(fc.sequence_categorical_column_with_identity("t", 3)),
    ]
    assert fc.make_parse_example_spec(columns) == {
        "n": io.FixedLenFeature((2,), torch.float32),
        "m": io.FixedLenFeature((1,), torch.float32),
        "i": io.VarLenFeature(torch.int64),
        "w": io.VarLenFeature(torch.float32),
        "a": io.VarLenFeature(str),
        "s": io.VarLenFeature(torch.float32),
        "h": io.VarLenFeature(str),
        "t": io.VarLenFeature(torch.int64),
    }


def test_columns_must_agree():
    columns = [fc.numeric_column("n"), fc.categorical_column_with_hash_bucket("n", 3)]
    with pytest.raises(ValueError, match="the feature 'n' in different forms"):
        fc.make_parse_example_spec(columns)
    with pytest.raises(TypeError, match=r"must be feature columns.*Received: 'n'"):
        fc.make_parse_example_spec(["n"])


def test_decoded_examples_are_features():
    columns = [
        fc.numeric_column("n", default_value=7.0),
        fc.indicator_column(fc.categorical_column_with_identity("i", 3)),
    ]
    rows = [io.encode_example({"n": 1.0, "i": [0, 2]}), io.encode_example({"i": [1]})]
    features = io.parse_example(rows, fc.make_parse_example_spec(columns))
    assert fc.DenseFeatures(columns)(features).tolist() == [[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 7.0]]

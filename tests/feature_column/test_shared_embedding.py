import pytest
import torch

from torchestimator import feature_column as fc

WATCHED = fc.categorical_column_with_identity("watched", 3)
WANTED = fc.categorical_column_with_identity("wanted", 3)


def test_columns_share_a_table():
    columns = fc.shared_embeddings([WATCHED, WANTED], 2)
    assert [column.name for column in columns] == ["watched_shared_embedding", "wanted_shared_embedding"]
    layer = fc.DenseFeatures(columns)
    assert list(layer.state_dict()) == ["wanted_watched_shared_embedding.embedding_weights"]
    values = layer({"watched": torch.tensor([1]), "wanted": torch.tensor([1])})
    assert torch.equal(values[:, :2], values[:, 2:])
    assert list(fc.LinearModel(columns).state_dict()) == [
        "bias_weights",
        "wanted_watched_shared_embedding.embedding_weights",
        "wanted_shared_embedding.weights",
        "watched_shared_embedding.weights",
    ]


def test_columns_that_can_not_share():
    with pytest.raises(ValueError, match=r"equally many ids. Received: {'watched': 3, 'other': 4}"):
        fc.shared_embeddings([WATCHED, fc.categorical_column_with_identity("other", 4)], 2)
    with pytest.raises(TypeError, match="of one kind"):
        fc.shared_embeddings([WATCHED, fc.categorical_column_with_hash_bucket("other", 3)], 2)
    with pytest.raises(ValueError, match="one or more"):
        fc.shared_embeddings([], 2)
    weighted = fc.weighted_categorical_column(WANTED, "w")
    assert len(fc.shared_embeddings([WATCHED, weighted], 2, shared_embedding_collection_name="films")) == 2

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator import feature_column as fc

WORDS = st.sampled_from(["", "a", "b", "red", "gr\u00fcn", "x" * 80])


def columns():
    words = fc.categorical_column_with_hash_bucket("words", 7)
    listed = fc.categorical_column_with_vocabulary_list("words", ["a", "red"], num_oov_buckets=2)
    numbers = fc.numeric_column("number")
    ranges = fc.bucketized_column(numbers, [0, 1])
    return [
        numbers,
        ranges,
        fc.embedding_column(words, 3, "sqrtn"),
        fc.indicator_column(fc.crossed_column([ranges, listed], 9)),
        fc.embedding_column(fc.crossed_column(["words", "number_of"], 9), 2, max_norm=0.5),
    ]


LAYER = fc.DenseFeatures(columns())
BATCH = st.lists(
    st.tuples(st.lists(WORDS, min_size=2, max_size=2), st.floats(-9, 9, width=32), st.integers(-3, 3)),
    min_size=1,
    max_size=6,
)


def features(batch):
    words, number, number_of = zip(*batch, strict=True)
    return {"words": list(words), "number": torch.tensor(number), "number_of": torch.tensor(number_of)}


@settings(deadline=None, max_examples=30)
@given(BATCH, st.randoms())
def test_rows_do_not_depend_on_their_batch(batch, random):
    together = LAYER(features(batch))
    order = random.sample(range(len(batch)), len(batch))
    torch.testing.assert_close(LAYER(features([batch[place] for place in order])), together[order])
    torch.testing.assert_close(torch.cat([LAYER(features([row])) for row in batch]), together)


@settings(deadline=None, max_examples=30)
@given(BATCH)
def test_the_order_of_values_does_not_matter(batch):
    turned = [(words[::-1], *rest) for words, *rest in batch]
    torch.testing.assert_close(LAYER(features(turned)), LAYER(features(batch)))


def test_batches_without_any_value():
    empty = {"words": torch.zeros(2, 0, dtype=torch.int64), "number": [0.5, 2.0], "number_of": [1, 2]}
    values = LAYER(empty)
    assert values.shape == (2, LAYER.width)
    assert int((values != 0).sum()) == 4  # the number itself and its range


def test_columns_are_ordered_by_name():
    layer = fc.DenseFeatures([fc.numeric_column("b"), fc.numeric_column("a"), fc.numeric_column("c")])
    found = {}
    values = layer({"a": [1], "b": [2], "c": [3]}, cols_to_output_tensors=found)
    assert values.tolist() == [[1.0, 2.0, 3.0]]
    assert [(column.name, value.tolist()) for column, value in found.items()] == [
        ("a", [[1.0]]),
        ("b", [[2.0]]),
        ("c", [[3.0]]),
    ]
    assert layer.width == 3


def test_names_are_those_of_tensorflow_as_far_as_a_module_allows():
    names = ["type", "forward", "my col", "v1.2", "plain"]  # "type" and "forward" are attributes of modules
    layer = fc.DenseFeatures(
        [fc.embedding_column(fc.categorical_column_with_identity(name, 2), 1) for name in names]
        + fc.shared_embeddings(
            [fc.categorical_column_with_identity("x", 2)], 1, shared_embedding_collection_name="type"
        )
    )
    assert layer.variable_names == {
        "forward_embedding.embedding_weights": "forward_embedding/embedding_weights",
        "my_col_embedding.embedding_weights": "my_col_embedding/embedding_weights",
        "plain_embedding.embedding_weights": "plain_embedding/embedding_weights",
        "type_embedding.embedding_weights": "type_embedding/embedding_weights",
        "v1_2_embedding.embedding_weights": "v1.2_embedding/embedding_weights",
        "type_.embedding_weights": "type/embedding_weights",
    }


def test_layers_move_with_their_constants():
    layer = fc.DenseFeatures(columns()).to("meta")
    assert {buffer.device.type for buffer in layer.buffers()} == {"meta"}
    assert [name for name in layer.state_dict() if "table" in name] == []


@pytest.mark.parametrize(
    ("given_columns", "error", "message"),
    [
        ([], ValueError, "one or more columns"),
        ({"a": 1}, TypeError, "must be a list of feature columns"),
        (["a"], TypeError, r"numeric_column\('a'\)"),
        ([fc.numeric_column("a"), fc.numeric_column("a")], ValueError, r"more than once: \['a'\]"),
        ([fc.categorical_column_with_identity("a", 2)], TypeError, r"embedding_column\(\.\.\., dimension=8\)"),
        ([fc.sequence_numeric_column("a")], TypeError, "is a sequence. Use SequenceFeatures"),
        (
            [fc.indicator_column(fc.sequence_categorical_column_with_identity("a", 2))],
            TypeError,
            "is a sequence. Use SequenceFeatures",
        ),
    ],
)
def test_bad_columns(given_columns, error, message):
    with pytest.raises(error, match=message):
        fc.DenseFeatures(given_columns)


def test_a_single_column_is_a_list_of_one():
    assert fc.DenseFeatures(fc.numeric_column("a"))({"a": [1.0]}).tolist() == [[1.0]]


def test_features_must_be_a_dict():
    with pytest.raises(TypeError, match=r"`features` must be a dict.*Received: Tensor"):
        LAYER(torch.zeros(3))

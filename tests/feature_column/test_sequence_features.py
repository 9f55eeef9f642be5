import pytest
import torch
from torch import tensor

from torchestimator import feature_column as fc
from torchestimator import io

WORDS = fc.sequence_categorical_column_with_vocabulary_list("words", ["a", "b"])


def ragged(rows):
    lengths = tensor([0, *map(len, rows)])
    return fc.RaggedFeature(tensor([value for row in rows for value in row]), lengths.cumsum(0))


def test_steps_and_lengths():
    values, lengths = fc.SequenceFeatures([fc.indicator_column(WORDS)])({"words": [["a", "b", ""], ["b", "", ""]]})
    assert values.tolist() == [[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]
    assert lengths.tolist() == [2, 1]


def test_embeddings_are_zero_where_there_is_no_value():
    layer = fc.SequenceFeatures([fc.embedding_column(WORDS, 2, initializer=torch.nn.init.ones_)])
    values, lengths = layer({"words": [["a", "other", "b"], ["", "", ""]]})
    assert values.tolist() == [[[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0]] * 3]
    assert lengths.tolist() == [3, 0]
    assert layer.variable_names == {"words_embedding.embedding_weights": "words_embedding/embedding_weights"}


def test_numbers_are_grouped_by_shape():
    column = fc.sequence_numeric_column("n", shape=(2,))
    values, lengths = fc.SequenceFeatures([column])({"n": ragged([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0], []])})
    assert values.tolist() == [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert lengths.tolist() == [2, 1, 0]
    values, lengths = fc.SequenceFeatures([column])({"n": ragged([[1.0, 2.0, 3.0], [5.0]])})
    assert values.tolist() == [[[1.0, 2.0], [3.0, 0.0]], [[5.0, 0.0], [0.0, 0.0]]]
    assert lengths.tolist() == [2, 1]


def test_numbers_may_come_step_by_step():
    layer = fc.SequenceFeatures([fc.sequence_numeric_column("n", shape=(2,), default_value=-1.0)])
    nested = torch.nested.nested_tensor([torch.ones(2, 2), torch.ones(1, 2)], layout=torch.jagged)
    values, lengths = layer({"n": nested})
    assert values.tolist() == [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [-1.0, -1.0]]]
    assert lengths.tolist() == [2, 1]
    assert layer({"n": torch.ones(1, 3, 2)}).lengths.tolist() == [3]
    with pytest.raises(ValueError, match=r"steps of shape \(2,\). Received: a feature of shape \[1, 3, 4\]"):
        layer({"n": torch.ones(1, 3, 4)})


def test_the_places_of_sparse_values_are_steps():
    sparse = torch.sparse_coo_tensor([[0, 0, 1], [0, 2, 1]], [7.0, 8.0, 9.0], (2, 4), check_invariants=True)
    column = fc.sequence_numeric_column("n", normalizer_fn=lambda values: values / 2)
    values, lengths = fc.SequenceFeatures([column])({"n": sparse})
    assert values.squeeze(2).tolist() == [[3.5, 0.0, 4.0, 0.0], [0.0, 4.5, 0.0, 0.0]]
    assert lengths.tolist() == [3, 2]


def test_columns_stand_side_by_side():
    columns = [fc.sequence_numeric_column("n"), fc.indicator_column(WORDS)]
    features = {"words": [["a", "b", ""]], "n": ragged([[5.0, 6.0]])}
    values, lengths = fc.SequenceFeatures(columns)(features)
    assert values.tolist() == [[[5.0, 1.0, 0.0], [6.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    assert lengths.tolist() == [2]
    with pytest.raises(ValueError, match="example 0: 1 steps of 'n' and 2 of 'words_indicator'"):
        fc.SequenceFeatures(columns)({**features, "n": ragged([[5.0]])})


def test_sequences_without_any_value():
    column = fc.embedding_column(fc.sequence_categorical_column_with_identity("i", 3), 2)
    empty = fc.RaggedFeature(torch.zeros(0, dtype=torch.int64), tensor([0, 0]))
    values, lengths = fc.SequenceFeatures([column])({"i": empty})
    assert values.shape == (1, 0, 2)
    assert lengths.tolist() == [0]


def test_the_functions_make_the_same_ids(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb\n")
    pairs = [
        (fc.sequence_categorical_column_with_hash_bucket("f", 9), fc.categorical_column_with_hash_bucket("f", 9)),
        (
            fc.sequence_categorical_column_with_vocabulary_file("f", path, 2, 3),
            fc.categorical_column_with_vocabulary_file("f", path, 2, num_oov_buckets=3),
        ),
        (
            fc.sequence_categorical_column_with_vocabulary_list("f", ["a"], None, -1, 2),
            fc.categorical_column_with_vocabulary_list("f", ["a"], None, -1, 2),
        ),
    ]
    features = {"f": [["a"], ["x"], ["c"]]}
    for sequence, single in pairs:
        steps = fc.SequenceFeatures([fc.indicator_column(sequence)])(features).values.squeeze(1)
        assert torch.equal(steps, fc.DenseFeatures([fc.indicator_column(single)])(features))
        assert sequence.parse_example_spec == single.parse_example_spec == {"f": io.VarLenFeature(str)}
        assert sequence.num_buckets == single.num_buckets


def test_other_columns_are_refused():
    for column in (fc.numeric_column("n"), WORDS, fc.categorical_column_with_identity("i", 2)):
        with pytest.raises(TypeError, match="SequenceFeatures takes sequence columns"):
            fc.SequenceFeatures([column])
    with pytest.raises(ValueError, match="`default_value`"):
        fc.sequence_numeric_column("n", default_value="x")
    with pytest.raises(TypeError, match="seems to hold strings"):
        fc.SequenceFeatures([fc.sequence_numeric_column("n")])({"n": [["a", "b", "c"]]})

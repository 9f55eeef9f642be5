"""Feature columns: how raw features become the input of a model (tf.feature_column).

    ages = numeric_column("age")
    jobs = categorical_column_with_hash_bucket("job", 1000)
    layer = DenseFeatures([ages, embedding_column(jobs, 8)])
    layer({"age": torch.tensor([30.0, 41.0]), "job": ["baker", "pilot"]})  # [2, 9]

Columns only describe; the layers compute. Names, ids and numbers are TensorFlow's.
"""

from torchestimator.feature_column.bucketized import bucketized_column
from torchestimator.feature_column.column import CategoricalColumn, DenseColumn, FeatureColumn
from torchestimator.feature_column.crossed import crossed_column
from torchestimator.feature_column.dense_features import DenseFeatures
from torchestimator.feature_column.embedding import embedding_column
from torchestimator.feature_column.hash_bucket import categorical_column_with_hash_bucket
from torchestimator.feature_column.identity import categorical_column_with_identity
from torchestimator.feature_column.indicator import indicator_column
from torchestimator.feature_column.input_layer import input_layer, linear_model
from torchestimator.feature_column.linear_model import LinearModel
from torchestimator.feature_column.numeric import numeric_column
from torchestimator.feature_column.parse_example_spec import make_parse_example_spec
from torchestimator.feature_column.sequence_categorical import (
    sequence_categorical_column_with_hash_bucket,
    sequence_categorical_column_with_identity,
    sequence_categorical_column_with_vocabulary_file,
    sequence_categorical_column_with_vocabulary_list,
)
from torchestimator.feature_column.sequence_features import SequenceFeatures
from torchestimator.feature_column.sequence_numeric import sequence_numeric_column
from torchestimator.feature_column.shared_embedding import shared_embeddings
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.feature_column.vocabulary_file import categorical_column_with_vocabulary_file
from torchestimator.feature_column.vocabulary_list import categorical_column_with_vocabulary_list
from torchestimator.feature_column.weighted import weighted_categorical_column
from torchestimator.inputs.ragged import RaggedFeature

__all__ = [
    "CategoricalColumn",
    "DenseColumn",
    "DenseFeatures",
    "FeatureColumn",
    "FeatureTransformationCache",
    "LinearModel",
    "RaggedFeature",
    "SequenceFeatures",
    "bucketized_column",
    "categorical_column_with_hash_bucket",
    "categorical_column_with_identity",
    "categorical_column_with_vocabulary_file",
    "categorical_column_with_vocabulary_list",
    "crossed_column",
    "embedding_column",
    "indicator_column",
    "input_layer",
    "linear_model",
    "make_parse_example_spec",
    "numeric_column",
    "sequence_categorical_column_with_hash_bucket",
    "sequence_categorical_column_with_identity",
    "sequence_categorical_column_with_vocabulary_file",
    "sequence_categorical_column_with_vocabulary_list",
    "sequence_numeric_column",
    "shared_embeddings",
    "weighted_categorical_column",
]

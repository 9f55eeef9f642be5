import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import config
from torchestimator import feature_column as fc
from torchestimator.io import FixedLenFeature, VarLenFeature

COLUMNS = [
    fc.numeric_column("age", default_value=3.0),
    fc.embedding_column(fc.categorical_column_with_hash_bucket("job", 9), 2),
]
FEATURES = {"age": FixedLenFeature((1,), torch.float32, (3.0,)), "job": VarLenFeature(str)}


def test_a_classifier():
    assert te.classifier_parse_example_spec(COLUMNS, "level") == {
        **FEATURES,
        "level": FixedLenFeature((1,), torch.int64),
    }
    assert te.classifier_parse_example_spec(COLUMNS, "level", str, "low", weight_column="w") == {
        **FEATURES,
        "level": FixedLenFeature((1,), str, "low"),
        "w": FixedLenFeature((1,), torch.float32),
    }


def test_a_regression():
    assert te.regressor_parse_example_spec(COLUMNS, "y") == {**FEATURES, "y": FixedLenFeature((1,), torch.float32)}
    weight = fc.numeric_column("w", default_value=1.0)
    found = te.regressor_parse_example_spec(COLUMNS, "y", torch.int64, [0, 1], 2, weight)
    assert found == {
        **FEATURES,
        "y": FixedLenFeature((2,), torch.int64, [0, 1]),
        "w": FixedLenFeature((1,), torch.float32, (1.0,)),
    }


@pytest.mark.parametrize("make", [te.classifier_parse_example_spec, te.regressor_parse_example_spec])
def test_wrong_arguments(make):
    with pytest.raises(ValueError, match=r"Received: label_key='age', features \['age', 'job'\]"):
        make(COLUMNS, "age")
    for weight in ("job", "y", fc.numeric_column("age")):
        with pytest.raises(ValueError, match="The weight must not be a feature or the label as well"):
            make(COLUMNS, "y", weight_column=weight)
    for weight in (3, fc.categorical_column_with_identity("w", 2)):
        with pytest.raises(TypeError, match="`weight_column` must be a name or a numeric column"):
            make(COLUMNS, "y", weight_column=weight)


def test_examples_train_a_model(tmp_path):
    spec = te.classifier_parse_example_spec(COLUMNS, "level", str, weight_column="w")
    rows = [(20.0, ["baker"], "low", 1.0), (60.0, ["clerk", "pilot"], "high", 2.0)]
    names = ("age", "job", "level", "w")
    encoded = [
        te.io.encode_example({name: np.atleast_1d(value) for name, value in zip(names, row, strict=True)})
        for row in rows
    ]
    features = te.io.parse_example(encoded, spec)
    labels = features.pop("level")
    assert labels.shape == (2, 1)
    estimator = te.DNNClassifier(
        [4], COLUMNS, tmp_path, label_vocabulary=["low", "high"], weight_column="w", config=config()
    )
    estimator.train(lambda: [(features, labels)] * 3)
    assert np.isfinite(estimator.evaluate(lambda: iter([(features, labels)]))["loss"])

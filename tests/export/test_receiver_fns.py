"""Ready-made receiver functions."""

import numpy as np
import pandas as pd
import pytest
import torch

import torchestimator as te
from torchestimator.export.serving_inputs import open_receiver

raw = te.export.build_raw_serving_input_receiver_fn
parsing = te.export.build_parsing_serving_input_receiver_fn
supervised = te.experimental.build_raw_supervised_input_receiver_fn
EXAMPLES = {"x": np.float32([[1, 2], [3, 4]]), "color": np.array(["red", "blue"], object)}


def test_raw_features_have_the_dtypes_and_shapes_of_the_examples():
    receiver = raw(EXAMPLES)()
    assert isinstance(receiver, te.export.ServingInputReceiver)
    assert receiver.features == receiver.receiver_tensors
    assert receiver.features is not receiver.receiver_tensors
    inputs = open_receiver(raw(EXAMPLES))[""]
    assert {key: info.shape for key, info in inputs.infos().items()} == {"x": (-1, 2), "color": (-1,)}
    assert np.array_equal(inputs.rows(2)["x"], EXAMPLES["x"])


def test_one_tensor_is_for_a_model_fn_of_one_tensor():
    receiver = raw(torch.zeros(3, 4))()
    assert isinstance(receiver, te.export.TensorServingInputReceiver)
    assert receiver.features is receiver.receiver_tensors["feature"]


def test_a_data_frame_is_a_dict_of_columns():
    frame = pd.DataFrame({"price": [1.5, 2.0, 3.0], "color": ["red", "blue", "red"]})
    inputs = open_receiver(raw(frame))[""]
    assert {key: (info.dtype, info.shape) for key, info in inputs.infos().items()} == {
        "price": ("DT_FLOAT", (-1,)),
        "color": ("DT_STRING", (-1,)),
    }
    receiver = supervised(frame[["price"]], frame["color"])()
    assert list(receiver.receiver_tensors) == ["price", "label"]
    assert list(receiver.features) == ["price"]


def test_a_fixed_batch():
    assert open_receiver(raw(EXAMPLES, default_batch_size=5))[""].batch_sizes((1, 2)) == (5,)


def test_examples_that_are_none():
    with pytest.raises(ValueError, match=r"at least one feature. Received: {}"):
        raw({})
    with pytest.raises(TypeError, match=r"Names of features must be strings to be sent by a client. Received: 1"):
        raw({1: torch.zeros(2)})
    with pytest.raises(TypeError, match=r"'a' is a dict of several.*te.export.placeholder"):
        raw({"a": {"b": torch.zeros(2)}})
    with pytest.raises(ValueError, match=r"example of 'x'.*at least one row"):
        raw({"x": torch.zeros(0, 2)})


def test_serialised_examples():
    spec = {"words": te.io.VarLenFeature(str), "price": te.io.FixedLenFeature([2], torch.float32)}
    receiver = parsing(spec)()
    assert list(receiver.receiver_tensors) == ["examples"]
    assert list(receiver.features) == ["price", "words"]
    inputs = open_receiver(parsing(spec))[""]
    assert inputs.sent()["examples"].dtype == "DT_STRING"
    assert list(inputs.sent()) == ["examples"]
    assert {key: info.shape for key, info in inputs.infos().items()} == {"price": (-1, 2), "words": (-1, -1)}
    assert inputs.example_spec() == {key: feature.to_json() for key, feature in sorted(spec.items())}
    assert open_receiver(parsing(spec, default_batch_size=3))[""].batch_sizes((1, 2)) == (3,)
    with pytest.raises(ValueError, match="`feature_spec` must name at least one feature"):
        parsing({})


def test_serialised_examples_need_features_of_the_right_kind():
    with pytest.raises(TypeError, match=r"`feature_spec`.*FixedLenFeature.*Received: x="):
        parsing({"x": torch.float32})
    with pytest.raises(TypeError, match="`feature_spec` must be a dict"):
        parsing([te.io.VarLenFeature(str)])


def test_features_and_labels():
    receiver = supervised(EXAMPLES, np.zeros(2, np.int64))()
    assert isinstance(receiver, te.export.SupervisedInputReceiver)
    assert list(receiver.receiver_tensors) == ["x", "color", "label"]
    assert receiver.labels is receiver.receiver_tensors["label"]
    bare = supervised(torch.zeros(2, 1), {"a": torch.ones(2), "b": torch.ones(2)})()
    assert list(bare.receiver_tensors) == ["input", "a", "b"]
    assert bare.features is bare.receiver_tensors["input"]
    assert list(bare.labels) == ["a", "b"]
    with pytest.raises(ValueError, match=r"must have different names. Received in both: \['x'\]"):
        supervised(EXAMPLES, {"x": torch.zeros(2)})

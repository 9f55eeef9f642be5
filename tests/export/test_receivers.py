"""What a serving_input_receiver_fn may return."""

import pytest
import torch

import torchestimator as te

X, Y = torch.zeros(2, 3), torch.ones(2, 1)


def test_single_tensors_get_names():
    receiver = te.export.ServingInputReceiver(X, Y)
    assert receiver.features == {"feature": X}
    assert receiver.receiver_tensors == {"input": Y}
    assert receiver.receiver_tensors_alternatives is None
    features, tensors, alternatives = te.export.ServingInputReceiver({"x": X}, {"y": Y}, {"direct": X})
    assert (features, tensors, alternatives) == ({"x": X}, {"y": Y}, {"direct": {"input": X}})


def test_a_bare_tensor_stays_bare_where_that_is_asked_for():
    receiver = te.export.TensorServingInputReceiver(X, {"y": Y})
    assert receiver.features is X
    with pytest.raises(TypeError, match=r"must be one tensor. Received: dict.*use te.export.ServingInputReceiver"):
        te.export.TensorServingInputReceiver({"x": X}, {"x": X})


def test_features_and_labels_keep_their_structure():
    receiver = te.export.SupervisedInputReceiver({"x": X, "deep": {"y": Y}}, Y, {"x": X})
    assert receiver.features["deep"]["y"] is Y
    assert receiver.labels is Y
    with pytest.raises(ValueError, match=r"`labels` of a receiver must hold at least one tensor. Received: None"):
        te.export.SupervisedInputReceiver(X, None, X)


@pytest.mark.parametrize("features", [None, {}, 3, {"x": 1}])
def test_features_must_hold_tensors(features):
    with pytest.raises(ValueError, match=r"`features` of a receiver must hold at least one tensor. Received: "):
        te.export.ServingInputReceiver(features, X)


def test_each_feature_must_be_a_tensor():
    with pytest.raises(TypeError, match=r"`features` must hold tensors. Received: y=3"):
        te.export.ServingInputReceiver({"x": X, "y": 3}, X)


@pytest.mark.parametrize("tensors", [None, {}, [X], "x"])
def test_receiver_tensors_must_be_a_dict(tensors):
    with pytest.raises(
        TypeError, match=r"(?s)`receiver_tensors` must be a dict from name to placeholder.*Write: x = te"
    ):
        te.export.ServingInputReceiver({"x": X}, tensors)


def test_keys_and_values_of_receiver_tensors():
    with pytest.raises(TypeError, match=r"Keys of `receiver_tensors` must be strings. Received: 1"):
        te.export.ServingInputReceiver({"x": X}, {1: X})
    with pytest.raises(TypeError, match=r"Values of `receiver_tensors` must be tensors. Received: x=3"):
        te.export.ServingInputReceiver({"x": X}, {"x": 3})


def test_alternatives_must_be_a_dict_of_receiver_tensors():
    with pytest.raises(TypeError, match="`receiver_tensors_alternatives` must be a dict from name to tensors"):
        te.export.ServingInputReceiver({"x": X}, X, X)
    with pytest.raises(TypeError, match=r"`receiver_tensors_alternatives\['a'\]` must be a dict"):
        te.export.ServingInputReceiver({"x": X}, X, {"a": 3})

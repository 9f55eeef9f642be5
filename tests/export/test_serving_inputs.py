"""What a receiver function declares, as the exporter sees it."""

import keyword

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.export.models import ROWS, placeholder, raw
from torchestimator.export.serving_inputs import ServingInputs, identifier_of, open_receiver
from torchestimator.inputs.fingerprint import fingerprint64

Receiver = te.export.ServingInputReceiver


@settings(deadline=None, max_examples=200)
@given(st.text(min_size=1, max_size=8))
def test_any_key_has_an_identifier(key):
    found = identifier_of(key)
    assert found.isidentifier()
    assert found.isascii()
    assert not keyword.iskeyword(found)
    assert identifier_of(found) == found
    if key.isidentifier() and key.isascii() and not keyword.iskeyword(key) and key != "self":
        assert found == key


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("a b/_1", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
def test_identifiers_are_distinct(keys):
    with_keys = open_receiver(raw(**{key: torch.zeros(1) for key in keys}))[""]
    assert list(with_keys.identifiers) == keys
    assert len(set(with_keys.identifiers.values())) == len(keys)
    assert [info.name for info in with_keys.infos().values()] == list(with_keys.identifiers.values())


def pixels_receiver():
    pixels = placeholder(torch.uint8, [None, 4], "pixels")
    words = placeholder(str, [None], "words")
    return Receiver({"x": pixels.float() / 255, "words": words}, {"raw pixels": pixels, "words": words})


def test_features_are_computed_anew_from_what_is_sent():
    inputs = open_receiver(pixels_receiver)[""]
    assert list(inputs.placeholders) == ["raw pixels", "words"]
    assert inputs.identifiers == {"raw pixels": "raw_pixels", "words": "words"}
    rows = {"raw pixels": np.uint8([[0, 255, 51, 0]]), "words": np.array(["a"], object)}
    features, labels = inputs.features_and_labels(inputs.tensors(rows))
    assert labels is None
    np.testing.assert_allclose(features["x"], [[0, 1, 0.2, 0]])
    assert torch.equal(features["words"], torch.from_numpy(fingerprint64(rows["words"])))


def test_rows_and_sizes_of_a_batch():
    inputs = open_receiver(raw(x=ROWS, ids=np.array([1, 2, 3])))[""]
    assert {key: rows.shape for key, rows in inputs.rows(7).items()} == {"x": (7, 4), "ids": (7,)}
    assert inputs.batch_sizes((1, 2, 7)) == (1, 2, 7)
    assert inputs.sizes(7) == {"batch": 7}
    assert inputs.sent() == inputs.infos()
    assert inputs.example_spec() is None


def test_a_fixed_batch_is_the_only_one():
    def receiver_fn():
        x = placeholder(torch.float32, [3, 4], "x")
        return Receiver({"x": x}, {"x": x})

    inputs = open_receiver(receiver_fn)[""]
    assert inputs.batch_sizes((1, 2, 7)) == (3,)
    assert inputs.rows(7)["x"].shape == (3, 4)


def test_a_setting_beside_the_batch_does_not_fix_it():
    def receiver_fn():
        scale, x = placeholder(torch.float32, [1], "scale"), placeholder(torch.float32, [None, 4], "x")
        return Receiver({"x": x * scale}, {"scale": scale, "x": x})

    inputs = open_receiver(receiver_fn)[""]
    assert inputs.batch_sizes((1, 2, 7)) == (1, 2, 7)
    tensors = inputs.tensors(inputs.rows(7))
    assert {key: tensor.shape[0] for key, tensor in tensors.items()} == {"scale": 1, "x": 7}
    assert inputs.batch_of(tensors) == 7


def test_free_sizes_of_one_name_are_one():
    def receiver_fn():
        x = placeholder(torch.float32, [None, "time", 2], "x")
        mask = placeholder(torch.bool, [None, "time"], "mask")
        return Receiver({"x": x * mask.unsqueeze(-1)}, {"x": x, "mask": mask})

    inputs = open_receiver(receiver_fn)[""]
    shapes = [tuple(rows.shape for rows in inputs.rows(size).values()) for size in (2, 7)]
    assert shapes[0][0][1] == shapes[0][1][1] == inputs.sizes(2)["time"]
    assert shapes[0][0][1] != shapes[1][0][1]


def test_plain_tensors_are_examples():
    x = torch.tensor([[1.0, 2.0]])
    inputs = open_receiver(lambda: Receiver({"renamed": x}, {"x": x}))[""]
    assert inputs.infos()["x"].shape == (-1, 2)
    assert inputs.rows(2)["x"].tolist() == [[1, 2], [1, 2]]
    sent = torch.zeros(3, 2)
    features, _ = inputs.features_and_labels({"x": sent})
    assert features["renamed"] is sent
    with pytest.raises(ValueError, match=r"computed from te.export.placeholder.*Received: 1 other tensors"):
        open_receiver(lambda: Receiver({"x": x * 2}, {"x": x}))


def test_alternatives_are_the_features_sent_directly():
    def receiver_fn():
        x = placeholder(torch.float32, [None, 8], "x")
        half = {"x": x[:, :4], "y": x[:, 4:]}
        return Receiver(half, {"x": x}, {"direct": half})

    found = open_receiver(receiver_fn)
    assert list(found) == ["", "direct"]
    assert {key: info.shape for key, info in found["direct"].infos().items()} == {"x": (-1, 4), "y": (-1, 4)}
    x, y = torch.zeros(3, 4), torch.ones(3, 4)
    features, _ = found["direct"].features_and_labels({"x": x, "y": y})
    assert features["x"] is x
    assert features["y"] is y


def test_alternatives_must_have_all_features():
    def receiver_fn():
        x = placeholder(torch.float32, [None, 8], "x")
        return Receiver({"x": x[:, :4], "y": x[:, 4:]}, {"x": x}, {"other": {"x": x}})

    with pytest.raises(ValueError, match=r"`receiver_tensors_alternatives\['other'\]` must hold all tensors of `feat"):
        open_receiver(receiver_fn)


def test_labels_come_with_supervised_receivers():
    receiver_fn = te.experimental.build_raw_supervised_input_receiver_fn({"x": ROWS}, np.array([1, 2, 3]))
    inputs = open_receiver(receiver_fn)[""]
    features, labels = inputs.features_and_labels(inputs.tensors(inputs.rows(2)))
    assert features["x"].tolist() == ROWS[:2].tolist()
    assert labels.tolist() == [1, 2]


def test_serialised_examples_stay_outside_of_the_graph():
    def receiver_fn():
        receiver = te.export.build_parsing_serving_input_receiver_fn({"x": te.io.FixedLenFeature([4], "float32")})()
        scale = placeholder(torch.float32, [None, 1], "scale")
        return Receiver({"x": receiver.features["x"] * scale}, {**receiver.receiver_tensors, "scale": scale})

    inputs = open_receiver(receiver_fn)[""]
    assert isinstance(inputs, ServingInputs)
    assert list(inputs.sent()) == ["examples", "scale"]
    assert sorted(inputs.infos()) == ["scale", "x"]
    sent = {"x": torch.ones(2, 4), "scale": torch.tensor([[2.0], [3.0]])}
    features, _ = inputs.features_and_labels({key: sent[key] for key in inputs.placeholders})
    assert features["x"][:, 0].tolist() == [2, 3]


def test_receiver_functions_that_are_none():
    with pytest.raises(TypeError, match=r"`serving_input_receiver_fn` must be a function that returns.*Received: 3"):
        open_receiver(3)
    with pytest.raises(TypeError, match=r"`mine` must return a te.export.ServingInputReceiver.*Received: dict"):
        open_receiver(lambda: {"x": torch.zeros(1)}, "mine")


def test_receiver_tensors_must_be_what_clients_can_send():
    def computed():
        x = placeholder(torch.float32, [None, 4], "x")
        return Receiver({"x": x}, {"x": x * 2})

    def forgotten():
        x, z = placeholder(torch.float32, [None, 4], "x"), placeholder(torch.float32, [None, 4], "z")
        return Receiver({"x": x + z}, {"x": x})

    with pytest.raises(ValueError, match="The receiver tensor 'x' is no placeholder: clients can't send what is comp"):
        open_receiver(computed)
    with pytest.raises(ValueError, match=r"placeholders \['z'\] are not among `receiver_tensors`.*Received: \['x'\]"):
        open_receiver(forgotten)

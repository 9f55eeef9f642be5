"""Strings that come with their fingerprints become the same batches as plain ones."""

import numpy as np
import pytest
import torch

import torchestimator as te
from torchestimator.inputs.batch import to_tensors
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.hashed_strings import HashedStrings, with_fingerprints

WORDS = np.array([["red", "gr\u00fcn"], ["", "blue"]])


@pytest.mark.parametrize("strings", [WORDS, WORDS.astype(object)])
def test_batches_are_those_of_plain_strings(strings):
    hashed = with_fingerprints(strings.copy(), fingerprint64(strings))
    tensors, kept = to_tensors({"word": hashed}, True)
    plain, plain_kept = to_tensors({"word": strings}, True)
    assert torch.equal(tensors["word"], plain["word"])
    np.testing.assert_array_equal(kept[("word",)], plain_kept[("word",)])
    assert type(kept[("word",)]) is np.ndarray
    assert to_tensors({"word": hashed})[1] == {}


def test_other_strings_made_of_them_are_hashed_anew():
    hashed = with_fingerprints(WORDS.copy(), fingerprint64(WORDS))
    for other in (hashed[:1], np.char.upper(hashed), hashed.copy()):
        found = to_tensors({"word": other})[0]["word"]
        assert torch.equal(found, torch.from_numpy(fingerprint64(np.asarray(other))))


def test_inputs_hand_them_out_for_predictions():
    seen = []

    def model_fn(features, labels, mode):
        seen.append(features["word"])
        bias = te.get_parameter("bias", lambda: torch.zeros(()))
        return te.EstimatorSpec(mode, predictions={"word": features["word"], "sum": features["x"] + bias})

    words = np.array([f"w{number}" for number in range(7)])
    input_fn = te.inputs.numpy_input_fn({"word": words, "x": np.ones(7)}, batch_size=3, shuffle=False)
    rows = list(te.Estimator(model_fn).predict(input_fn))
    assert [row["word"] for row in rows] == list(words)
    assert torch.equal(torch.cat(seen[-3:]), torch.from_numpy(fingerprint64(words)))
    assert issubclass(HashedStrings, np.ndarray)

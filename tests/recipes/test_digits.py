"""The digits recipe, cut short: trained, interrupted, resumed, evaluated, and shown in TensorBoard."""

import re
import sys

import numpy as np
import pytest
import torch

from recipes import digits
from tests.models import steps_saved
from tests.summary.event_files import load

STEPS = 72


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The model_dir after a run and what it printed."""
    folder = tmp_path_factory.mktemp("digits")
    printed = []
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["digits.py", "--model-dir", str(folder), "--max-steps", str(STEPS), "--fresh"])
        patch.setattr("builtins.print", lambda *parts, **_: printed.append(" ".join(map(str, parts))))
        torch.set_num_threads(1)  # on a busy machine more threads wait for each other
        digits.main()
    torch.set_num_threads(threads)
    return folder, "\n".join(printed)


def test_it_is_interrupted_and_goes_on(run):
    folder, printed = run
    assert "--- interrupted at step 40;" in printed
    assert steps_saved(folder) == [0, 40, STEPS]


def test_it_reads_digits_that_it_has_not_seen(run):
    _, printed = run
    accuracy = float(re.search(r"accuracy +([0-9.]+)", printed)[1])
    wrong = int(re.search(r"held-out digits +360, of which (\d+) are misread", printed)[1])
    assert accuracy == pytest.approx(1 - wrong / 360, abs=1e-4)
    assert accuracy > 0.9
    assert f"at step {STEPS}" in printed


def test_losses_accuracy_and_a_confusion_matrix_are_in_tensorboard(run):
    folder, _ = run
    training, evaluation = load(folder), load(folder / "eval")
    assert {event.step for event in training.Scalars("loss")} >= {1, 41}
    assert training.Tags()["histograms"] == ["logits"]
    assert training.Tags()["images"]
    assert [event.step for event in evaluation.Scalars("accuracy")][-1] == STEPS
    picture = evaluation.Images("confusion_matrix/image/0")[-1]
    assert picture.step == STEPS
    assert min(picture.width, picture.height) > 100


def test_the_export_agrees_with_predict_in_every_runtime(run):
    folder, printed = run
    found = dict(
        re.findall(r"^  (onnxruntime|torchscript|torch_export) +360 digits, .* within ([0-9.e+-]+)", printed, re.M)
    )
    assert len(found) == 3
    assert all(float(difference) < 1e-5 for difference in found.values())
    assert f"serve {folder}/export" in printed


def test_the_data_are_split_by_class_and_scaled():
    (train_x, train_y), (test_x, test_y) = digits.load_digits()
    assert train_x.shape == (1437, 1, 8, 8)
    assert test_x.shape == (360, 1, 8, 8)
    assert train_x.dtype == np.float32
    assert (train_x.min(), train_x.max()) == (0, 1)
    assert np.abs(np.bincount(train_y) / 1437 - np.bincount(test_y) / 360).max() < 0.01


def test_the_net_takes_other_sizes_of_batch():
    net = digits.ConvNet(1, 4).eval()
    assert [net(torch.zeros(count, 1, 8, 8)).shape for count in (1, 7)] == [(1, 10), (7, 10)]

"""What surrounds a model that is used beside a training."""

import pytest
import torch

import torchestimator as te
from torchestimator.estimator.inference import RandomStream, inference
from torchestimator.strategy.single_device import SingleDevice


def test_the_mode_is_set_and_put_back_whatever_happens():
    module = te.ModelFnModule(lambda features: features)
    with inference(module, te.ModeKeys.EVAL):
        assert module.mode == te.ModeKeys.EVAL
        assert not module.training
        with pytest.raises(ValueError, match="inside"), inference(module, te.ModeKeys.PREDICT):
            raise ValueError("inside")
        assert module.mode == te.ModeKeys.EVAL
    assert module.mode == te.ModeKeys.TRAIN
    assert module.training


def test_random_numbers_go_on_from_block_to_block_and_leave_the_others_alone():
    torch.manual_seed(5)
    expected_inside = [torch.rand(1).item() for _ in range(3)]
    torch.manual_seed(6)
    expected_outside = [torch.rand(1).item() for _ in range(3)]
    torch.manual_seed(5)
    stream = RandomStream(SingleDevice("cpu"))
    torch.manual_seed(6)
    inside, outside = [], []
    for _ in range(3):
        with stream.block():
            inside.append(torch.rand(1).item())
        outside.append(torch.rand(1).item())
    assert inside == expected_inside
    assert outside == expected_outside


def test_a_block_that_fails_leaves_the_others_alone_too():
    torch.manual_seed(6)
    before = torch.get_rng_state()

    def fail():
        with RandomStream(SingleDevice("cpu")).block():
            torch.rand(1)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.equal(torch.get_rng_state(), before)

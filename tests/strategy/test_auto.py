"""The choice that is made where the user makes none."""

import pytest
import torch

import torchestimator as te
from torchestimator.strategy.auto import resolve_strategy


def test_a_given_strategy_is_used():
    strategy = te.SingleDevice("cpu")
    assert resolve_strategy(te.RunConfig(strategy=strategy)) is strategy


def test_auto_is_one_device():
    strategy = resolve_strategy(te.RunConfig())
    assert isinstance(strategy, te.SingleDevice)
    assert strategy.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_several_processes_are_not_ignored(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert isinstance(resolve_strategy(te.RunConfig()), te.SingleDevice)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"describes 4 processes \(WORLD_SIZE, as torchrun sets it\)"):
        resolve_strategy(te.RunConfig())


def test_a_cluster_is_not_ignored(monkeypatch):
    cluster = '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(ValueError, match=r"TF_CONFIG describes a cluster: .*chief"):
        resolve_strategy(te.RunConfig())
    assert isinstance(resolve_strategy(te.RunConfig(strategy=te.SingleDevice("cpu"))), te.SingleDevice)

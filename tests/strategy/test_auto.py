"""The choice that is made where the user makes none."""

import json

import pytest
import torch

import torchestimator as te
from torchestimator.strategy.auto import resolve_strategy

TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}
CLUSTER = {"chief": ["a:1"], "worker": ["b:1"]}


def test_a_given_strategy_is_used():
    strategy = te.SingleDevice("cpu")
    assert resolve_strategy(te.RunConfig(strategy=strategy)) is strategy


def test_auto_is_one_device():
    strategy = resolve_strategy(te.RunConfig())
    assert isinstance(strategy, te.SingleDevice)
    assert strategy.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_several_processes_train_data_parallel(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert isinstance(resolve_strategy(te.RunConfig()), te.DDP)


def test_an_incomplete_environment_is_refused(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RANK")
    with pytest.raises(ValueError, match="RANK"):
        resolve_strategy(te.RunConfig())


def test_a_cluster_trains_data_parallel_and_its_evaluator_alone(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 0}}))
    assert isinstance(resolve_strategy(te.RunConfig()), te.DDP)
    with pytest.raises(ValueError, match="is for one process, and this is process 1 of 2"):
        resolve_strategy(te.RunConfig(strategy=te.SingleDevice("cpu")))
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}}))
    assert isinstance(resolve_strategy(te.RunConfig()), te.SingleDevice)

"""The same global batches give the same numbers, whatever the number of processes and the strategy."""

import pytest
import torch

from tests.replicas.job import results_of
from tests.replicas.program import run
from torchestimator.checkpoint.reader import Checkpoint

CASES = {
    2: [
        {"model": "plain"},
        {"model": "plain", "accumulate": 4, "rows": 530},
        {"model": "plain", "async": True},
        {"model": "scheduled", "input": "loader", "rows": 330},
        {"model": "sparse", "epochs": 1},
        {"model": "branching", "strategy": "unused", "epochs": 1},
        {"model": "adversarial", "epochs": 1},
        {"model": "weighted", "rows": 330},
        {"model": "weighted", "input": "list", "rows": 300},
        {"model": "plain", "strategy": "fsdp"},
        {"model": "plain", "strategy": "fsdp", "accumulate": 4, "rows": 530},
        {"model": "weighted", "strategy": "fsdp", "rows": 330, "async": True},
        {"model": "plain", "strategy": "auto", "max_steps": [5, 12, 20]},
        {"model": "plain", "strategy": "fsdp", "max_steps": [5, 12, 20]},
        {"model": "plain", "accumulate": 4, "max_steps": [5, 11, 23], "epochs": 3},
    ],
    4: [
        {"model": "plain", "rows": 401},
        {"model": "weighted", "input": "list", "rows": 70},
        {"model": "sparse", "rows": 200, "epochs": 1},
        {"model": "plain", "strategy": "fsdp", "rows": 401},
        {"model": "plain", "strategy": "fsdp", "rows": 20},
        {"model": "plain", "input": "list", "rows": 20},
    ],
}


def close(one, other):
    return torch.allclose(torch.tensor(one), torch.tensor(other), rtol=2e-5, atol=2e-6)


@pytest.fixture(scope="module", params=[2, 4])
def job(request, tmp_path_factory):
    """The cases of one job size, with what each process got for them."""
    folder = tmp_path_factory.mktemp(f"job{request.param}")
    cases = [{**case, "folder": str(folder / str(index))} for index, case in enumerate(CASES[request.param])]
    return cases, results_of(cases, request.param)


def test_losses_metrics_predictions_and_checkpoints_are_those_of_one_process(job, tmp_path):
    cases, by_rank = job
    for index, case in enumerate(cases):
        alone = run({**case, "strategy": "single"}, tmp_path / str(index), 1)
        results = [results[index] for results in by_rank]
        assert len(results[0]["losses"]) == len(alone["losses"]) > 0, case
        for result in results:
            assert close(result["losses"], alone["losses"]), case
            assert result["evaluated"].keys() == alone["evaluated"].keys()
            assert close(list(result["evaluated"].values()), list(alone["evaluated"].values())), case
        assert close(results[0]["predicted"], alone["predicted"]), case
        assert not any(result["predicted"] for result in results[1:]), case
        one, other = Checkpoint(tmp_path / str(index)), Checkpoint(case["folder"])
        assert one.step == other.step
        assert one.model_shapes == other.model_shapes
        assert one.optimizer_shapes.keys() == other.optimizer_shapes.keys()
        for name in one.model_shapes:
            assert close(one.read_model(name).tolist(), other.read_model(name).tolist()), (case, name)
        for name in one.optimizer_shapes:
            slot, replicated = one.read_optimizer(name), other.read_optimizer(name)
            if replicated.dim() > slot.dim():
                replicated = replicated.mean(0)  # gradients that wait for an update are each replica's own
            assert close(slot.tolist(), replicated.tolist()), (case, name)


def test_any_number_of_processes_goes_on_from_any_checkpoint(tmp_path):
    whole = {"model": "plain", "epochs": 4}
    alone = run({**whole, "strategy": "single"}, tmp_path / "alone", 1)
    parts = [{**whole, "folder": str(tmp_path / name), "strategy": name} for name in ("ddp", "fsdp")]
    results_of([{**part, "max_steps": [9]} for part in parts], 2)
    for part in parts:
        run({**part, "max_steps": [20], "strategy": "single"}, part["folder"], 1)
    for last in results_of(parts, 2)[0]:
        assert close(last["losses"], alone["losses"][20:])
        assert close(last["predicted"], alone["predicted"])

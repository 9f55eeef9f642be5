"""What each process of a job runs: the trainings that its argument, a JSON list, describes."""

import json
import logging
import os
import signal
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import torchestimator as te
from tests.replicas.models import MODELS

GLOBAL_BATCH = 32
FEATURES = 6


def data(rows):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, FEATURES)).astype(np.float32)
    return x, (x[:, :3].argmax(1) + (generator.random(rows) < 0.1)) % 3


def input_of(kind, rows, epochs, num_replicas):
    """An input_fn whose batches are the replica's part of a global batch."""
    x, y = data(rows)
    size = GLOBAL_BATCH // num_replicas
    if kind in ("arrays", "shuffled"):
        return te.inputs.numpy_input_fn({"x": x}, y, size, epochs, shuffle=kind == "shuffled")
    if kind == "loader":

        def collate(items):
            return {"x": torch.stack([item[0] for item in items])}, torch.stack([item[1] for item in items])

        dataset = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        return lambda: DataLoader(dataset, batch_size=size, collate_fn=collate)
    batches = [({"x": x[i : i + size]}, y[i : i + size]) for i in range(0, rows, size)]
    return lambda: batches


def strategy_of(name, num_replicas):
    if name == "fsdp":
        return te.FSDP("cpu", min_unit_parameters=20)
    if num_replicas > 1 or name == "auto":
        return te.DDP("cpu", find_unused_parameters=name == "unused") if name != "auto" else "auto"
    return te.SingleDevice("cpu")


def estimator_of(case, folder, num_replicas):
    params = {"accumulate": case.get("accumulate", 1)}
    model_fn = MODELS[case["model"]]
    config = te.RunConfig(
        random_seed=5,
        save_checkpoints_steps=case.get("save_steps", 7),
        log_step_count_steps=None,
        progress_bar=False,
        compile="off",
        async_checkpoints=case.get("async", False),
        watchdog_secs=120,
        strategy=strategy_of(case.get("strategy", "ddp"), num_replicas),
    )
    return te.Estimator(model_fn, folder, config, params if model_fn is MODELS["plain"] else None)


class Losses(te.SessionRunHook):
    """Keeps the loss of each step, which is that of all replicas."""

    def __init__(self):
        self.losses = []

    def before_run(self, run_context):
        return te.SessionRunArgs("loss")

    def after_run(self, run_context, run_values):
        self.losses.append(float(run_values.results))


def run(case, folder, num_replicas):
    """Trains, evaluates and predicts; returns what came out, the same on every process but for predictions."""
    rows = case.get("rows", 500)
    kind = case.get("input", "shuffled")
    estimator = estimator_of(case, folder, num_replicas)
    losses = Losses()
    for max_steps in case.get("max_steps", [None]):
        train_input = input_of(kind, rows, case.get("epochs", 2), num_replicas)
        estimator.train(train_input, hooks=[losses], max_steps=max_steps)
    evaluated = estimator.evaluate(input_of("loader" if kind == "loader" else "arrays", rows, 1, num_replicas))
    predicted = list(estimator.predict(input_of("arrays", rows, 1, num_replicas)))
    return {
        "losses": losses.losses,
        "evaluated": {name: float(value) for name, value in evaluated.items()},
        "predicted": [float(row["probabilities"][0]) for row in predicted],
    }


def main():
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING)
    rank, num_replicas = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    signal.alarm(240)
    results = [run(case, case["folder"], num_replicas) for case in json.loads(sys.argv[1])]
    print(f"RESULTS {rank} {json.dumps(results)}", flush=True)


if __name__ == "__main__":
    main()

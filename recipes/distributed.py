"""Handwritten digits in several processes: one script for one device, a machine of several, or a cluster.

Trains a small convolutional net on scikit-learn's 1,797 real scanned digits, with evaluations and checkpoints on the
way. The number of processes changes how long it takes, and nothing else: a step sees the same 96 examples, and losses,
accuracy and checkpoints come out the same, to float32 rounding.

    python recipes/distributed.py                                  one process
    python recipes/distributed.py --num-devices 2                  two, which this one starts and waits for
    torchrun --standalone --nproc-per-node=2 recipes/distributed.py
    torchrun --standalone --nproc-per-node=2 recipes/distributed.py --strategy fsdp

Stop it with Ctrl-C or SIGTERM, and start the same command again, with any number of processes: it goes on from the last
step. recipes/clusters has job files for SLURM and Kubernetes; docs/distributed.md explains the rest.

For digits of your own, change `load_digits` in digits.py.
"""

import argparse
import time
from typing import Any

import torch
import torch.nn.functional as F
from digits import CLASSES, load_digits
from torch import nn

import torchestimator as te

STRATEGIES = {"ddp": te.DDP, "fsdp": te.FSDP}


class ConvNet(nn.Module):
    """Two convolutions and two dense layers: [batch, 1, 8, 8] -> [batch, classes].

    GroupNorm takes its means over an example. BatchNorm would take them over the part of a step that a process sees,
    and the numbers would depend on how many processes there are.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, CLASSES),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 8, 8] -> [batch, classes]."""
        return self.layers(images)


def model_fn(features: dict, labels: torch.Tensor, mode: str, params: dict) -> te.EstimatorSpec:
    """A classifier, which knows nothing of processes: features["image"] is [batch, 1, 8, 8], labels are [batch]."""
    images = features["image"]
    net = te.get_module("net", lambda: ConvNet(images.shape[1], params["width"]))
    logits = net(images)
    predictions = {"class_ids": logits.argmax(-1), "probabilities": logits.softmax(-1)}
    if mode == te.ModeKeys.PREDICT:
        return te.EstimatorSpec(mode, predictions=predictions)
    loss = F.cross_entropy(logits, labels)
    train_op = te.minimize(
        loss,
        lambda parameters: torch.optim.AdamW(parameters, lr=params["learning_rate"]),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params["max_steps"]),
        clip_norm=1.0,
    )
    metrics = {"accuracy": te.metrics.accuracy(labels, predictions["class_ids"])}
    return te.EstimatorSpec(mode, loss=loss, train_op=train_op, eval_metric_ops=metrics)


def input_fn_of(images: Any, labels: Any, global_batch_size: int, epochs: int | None) -> Any:
    """An input_fn whose batches are one process's part of `global_batch_size` examples; endless without `epochs`."""

    def input_fn(mode: str, config: te.RunConfig, input_context: te.inputs.InputContext) -> Any:
        batch_size = input_context.get_per_replica_batch_size(global_batch_size)
        shuffle = mode == te.ModeKeys.TRAIN
        whole = te.inputs.numpy_input_fn({"image": images}, labels, batch_size, epochs, shuffle)
        # Handing on the context lets it cut this process's share out of each step's examples.
        return whole(mode, config, input_context)

    return input_fn


def main() -> None:
    """Runs the recipe; the chief prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", default="runs/distributed", help="on a file system that all processes share")
    parser.add_argument("--max-steps", type=int, default=600, help="training steps in all (%(default)s)")
    parser.add_argument("--save-steps", type=int, default=200, help="steps between checkpoints (%(default)s)")
    parser.add_argument("--global-batch-size", type=int, default=96, help="examples of a step (%(default)s)")
    parser.add_argument("--num-devices", type=int, help="processes to start on this machine; leave out under torchrun")
    parser.add_argument("--strategy", choices=["auto", *STRATEGIES], default="auto", help="(%(default)s)")
    parser.add_argument("--watchdog-secs", type=float, default=300, help="end a process that hangs (%(default)s)")
    arguments = parser.parse_args()

    (train_x, train_y), (test_x, test_y) = load_digits()
    train_input = input_fn_of(train_x, train_y, arguments.global_batch_size, None)
    test_input = input_fn_of(test_x, test_y, arguments.global_batch_size, 1)
    config = te.RunConfig(
        model_dir=arguments.model_dir,
        random_seed=7,
        save_checkpoints_steps=arguments.save_steps,
        strategy="auto" if arguments.strategy == "auto" else STRATEGIES[arguments.strategy](),
        num_devices=arguments.num_devices,
        async_checkpoints=True,
        watchdog_secs=arguments.watchdog_secs,
    )
    params = {"width": 24, "learning_rate": 3e-3, "max_steps": arguments.max_steps}
    estimator = te.Estimator(model_fn, config=config, params=params)
    started = time.perf_counter()
    # With `num_devices` the program ends in here, when the processes that it has started have ended.
    results, _ = te.train_and_evaluate(
        estimator,
        te.TrainSpec(train_input, arguments.max_steps),
        te.EvalSpec(test_input, steps=None, throttle_secs=0),
    )
    if results is None:  # nothing was left to train, or the evaluator of a TF_CONFIG cluster evaluates
        results = estimator.evaluate(test_input)
    if config.is_chief:
        report(estimator, results, arguments.global_batch_size, time.perf_counter() - started)


def report(estimator: te.Estimator, results: dict, global_batch_size: int, secs: float) -> None:
    """Prints how it went."""
    replicas = estimator.strategy.num_replicas
    print("\n=== Distributed digits ===")
    print(f"ran as            {replicas} process(es), {estimator.strategy!r}")
    print(f"a step            {global_batch_size} examples, {global_batch_size // replicas} in each process")
    print(f"accuracy          {results['accuracy']:.4f} of the held-out digits, each counted once")
    print(f"loss              {results['loss']:.6f} at step {results['global_step']}")
    print(f"time              {secs:.1f} s with evaluations and checkpoints")
    print(f"newest checkpoint {estimator.latest_checkpoint()}", flush=True)


if __name__ == "__main__":
    main()

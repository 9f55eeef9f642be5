"""Records what TensorFlow 2.15 computes: run with its interpreter, `.venv-tf/bin/python -m tests.parity.record`.

For each estimator: the checkpoint of the initial weights, for some also one of the middle with slots, the loss of each
of 50 training steps, the metrics of an evaluation afterwards and the first predictions.
"""

import glob
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.parity import problem

HERE = Path(__file__).parent


def main() -> None:
    """Writes `tensorflow.json` and `checkpoints/`."""
    features, labels = problem.data()
    shutil.rmtree(HERE / "checkpoints", ignore_errors=True)
    recorded = {}
    for number, (name, (make, label)) in enumerate(problem.estimators(tf.estimator, tf.feature_column).items()):
        folder = tempfile.mkdtemp()
        config = tf.estimator.RunConfig(tf_random_seed=3, save_summary_steps=1, save_checkpoints_steps=problem.HALF)
        estimator = make(folder, config)

        # The original's Baseline estimators fail with more than one feature.
        given = {"age": features["age"]} if name.startswith("Baseline") else features

        def input_fn(batch, repeat, given=given, label=label):
            dataset = tf.data.Dataset.from_tensor_slices((given, labels[label]))
            return (dataset.repeat() if repeat else dataset).batch(batch)

        estimator.train(lambda: input_fn(problem.BATCH, True), steps=problem.STEPS)
        kept = HERE / "checkpoints" / str(number)
        kept.mkdir(parents=True)
        steps = (0, problem.HALF) if name in problem.CONTINUED else (0,)
        for step in steps:
            for path in glob.glob(os.path.join(folder, f"model.ckpt-{step}.*")):
                if not path.endswith(".meta"):
                    shutil.copy(path, kept)
        results = estimator.evaluate(lambda: input_fn(problem.EVALUATION_BATCH, False))
        rows = list(estimator.predict(lambda: input_fn(problem.EVALUATION_BATCH, False)))[:5]
        key = "logits" if "logits" in rows[0] else "predictions"
        recorded[name] = {
            "checkpoint": f"{number}/model.ckpt-0",
            "losses": losses(folder),
            "metrics": {key: float(value) for key, value in results.items()},
            "predictions": {key: np.array([row[key] for row in rows]).tolist()},
        }
        print(name, recorded[name]["losses"][0], recorded[name]["losses"][-1])
    (HERE / "tensorflow.json").write_text(json.dumps(recorded, indent=0))


def losses(folder: str) -> list[float]:
    """The loss of each step, out of the event files."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "events*"))):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                if value.tag == "loss":
                    found[event.step] = value.simple_value
    return [found[step] for step in sorted(found)]


if __name__ == "__main__":
    main()

"""Moving a trained model over from TensorFlow: its checkpoint, read without TensorFlow, goes on here.

Shows what each of the checkpoint's variables becomes; evaluates and exports the model with TensorFlow's weights as they
are; trains it further from them, the optimizers' accumulators included; and asks the exported ONNX model with strings:

    python recipes/tf_migration.py
    python recipes/tf_migration.py --checkpoint old_model_dir/model.ckpt-1000

The default checkpoint is a tiny `tf.estimator.DNNLinearCombinedClassifier` of TensorFlow 2.15 that comes with the
repository's tests. For one of your own, change `make_estimator`, with the columns that it was trained with, and
`load_people`.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import torchestimator as te
from torchestimator.checkpoint.tensorflow import Translation, convert_checkpoint, translate_checkpoint

CHECKPOINT = Path(__file__).parents[1] / "tests" / "parity" / "checkpoints" / "7" / "model.ckpt-25"
JOBS = ["baker", "clerk", "farmer"]
PEOPLE = 320
BATCH = 32

Features = dict[str, np.ndarray]


def load_people() -> tuple[Features, np.ndarray]:
    """Invented people and whether they said yes: the data that the checkpoint's model was made for.

    Returns:
        age [people], score [people, 2] float32, job and city [people] strings; and the answers [people], 0 or 1.
    """
    random = np.random.default_rng(11)
    age = random.uniform(18, 80, PEOPLE).astype(np.float32)
    score = random.standard_normal((PEOPLE, 2)).astype(np.float32)
    job = random.choice([*JOBS, "smith", "na\u00efve"], PEOPLE)
    city = random.choice([f"city {number}" for number in range(40)], PEOPLE)
    answers = (score[:, 0] + 0.05 * (age - 50) + (job == "baker") > 0).astype(np.int64)
    return {"age": age / 50, "score": score, "job": job, "city": city}, answers


def make_estimator(model_dir: str) -> te.Estimator:
    """The model as it was in TensorFlow; `fc` was tf.feature_column, `te` was tf.estimator."""
    fc = te.feature_column
    age, score = fc.numeric_column("age"), fc.numeric_column("score", shape=(2,))
    decades = fc.bucketized_column(age, [0.6, 0.9, 1.2])
    job = fc.categorical_column_with_vocabulary_list("job", JOBS, num_oov_buckets=2)
    city = fc.categorical_column_with_hash_bucket("city", 30)
    return te.DNNLinearCombinedClassifier(
        linear_feature_columns=[decades, job, city, fc.crossed_column([decades, "job"], 50)],
        dnn_feature_columns=[age, score, fc.indicator_column(job), fc.embedding_column(city, 4)],
        dnn_hidden_units=[8, 4],
        config=te.RunConfig(model_dir=model_dir),
    )


def read(checkpoint: str) -> Translation:
    """What becomes of the checkpoint's variables; the same as `torchestimator convert CHECKPOINT --list`."""
    try:
        return translate_checkpoint(checkpoint)
    except FileNotFoundError as error:
        raise SystemExit(
            f"{error}\n--checkpoint is what tf.train.latest_checkpoint(model_dir) gives: the path of the .index file "
            "without that ending."
        ) from error


def report_variables(translation: Translation) -> None:
    """Prints which variables became what."""
    print(f"\n=== {translation.path}, step {translation.step} ===")
    width = max(len(" + ".join(origin.variables)) for origin in translation.model.values())
    for name, origin in translation.model.items():
        note = " (transposed)" if origin.is_transposed else ""
        print(f"  {' + '.join(origin.variables):{width}} -> {name} {list(origin.shape)}{note}")
    print(f"  and {len(translation.optimizer)} accumulators of the optimizers")
    print(f"left out          {', '.join(translation.ignored)}\n", flush=True)


def report_evaluations(evaluations: dict[str, dict[str, Any]]) -> None:
    """Prints the metrics of each model."""
    print(f"  {'model':17} step accuracy    AUC   loss")
    for name, found in evaluations.items():
        print(f"  {name:17} {found['global_step']:4} {found['accuracy']:8.4f} {found['auc']:6.4f}", end="")
        print(f" {found['average_loss']:6.4f}")


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="TensorFlow's, its prefix (%(default)s)")
    parser.add_argument("--model-dir", default="runs/tf_migration", help="checkpoints and the export go here")
    parser.add_argument("--steps", type=int, default=1000, help="steps of training on (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    started = time.perf_counter()
    translation = read(arguments.checkpoint)
    report_variables(translation)
    imported = f"{arguments.model_dir}/model.ckpt-{translation.step}"
    people, answers = load_people()
    # TensorFlow's checkpoint does not tell where in the data it was; these batches were of the people in order.
    done = translation.step * BATCH
    later = {name: np.roll(rows, -done, axis=0) for name, rows in people.items()}
    train_input = te.inputs.numpy_input_fn(later, np.roll(answers, -done), BATCH, num_epochs=None, shuffle=False)
    test_input = te.inputs.numpy_input_fn(people, answers, batch_size=100, shuffle=False)

    # The converted checkpoint has the optimizers' accumulators, too, so that training goes on as it would have there.
    # warm_start_from=arguments.checkpoint, in an Estimator with a new model_dir, takes the weights alone.
    if not Path(imported).exists():
        convert_checkpoint(arguments.checkpoint, arguments.model_dir)
    estimator = make_estimator(arguments.model_dir)
    evaluations = {"imported": estimator.evaluate(test_input, checkpoint_path=imported)}
    estimator.train(train_input, max_steps=translation.step + arguments.steps)
    evaluations["trained further"] = estimator.evaluate(test_input)

    receiver = te.export.build_raw_serving_input_receiver_fn({name: rows[:8] for name, rows in people.items()})
    export = estimator.export_saved_model(f"{arguments.model_dir}/export", receiver, formats=("onnx",))
    served = te.export.load(export, runtime="onnxruntime")["predict"](people)["probabilities"]
    expected = np.stack([row["probabilities"] for row in estimator.predict(test_input, ["probabilities"])])

    sys.stderr.flush()
    print("\n=== Moved over ===")
    report_evaluations(evaluations)
    print(f"export            {export}")
    difference = np.abs(served - expected).max()
    print(f"  ONNX Runtime    {len(served)} people, probabilities within {difference:.1e} of predict")
    print(f"serve it          torchestimator serve {arguments.model_dir}/export")
    print(f"time              {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

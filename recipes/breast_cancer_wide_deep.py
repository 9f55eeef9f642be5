"""Breast cancer, wide and deep: numbers, buckets of them and a cross, against simpler models.

Trains `te.BaselineClassifier`, `te.LinearClassifier` and `te.DNNLinearCombinedClassifier` on scikit-learn's 569 real
biopsies (ten measurements of cell nuclei each; malignant or benign), compares them on biopsies that they have not seen,
exports the best and asks the exported model in ONNX Runtime:

    python recipes/breast_cancer_wide_deep.py
    python recipes/breast_cancer_wide_deep.py --csv biopsies.csv --label diagnosis --positive malignant

A file of your own has a header, a column with the label, and otherwise numbers only.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import torchestimator as te

Columns = dict[str, np.ndarray]

WIDE_COLUMNS = 4
BUCKETS = 5
CROSS_BUCKETS = 50


@dataclass(frozen=True)
class Rows:
    """Examples and their labels."""

    features: Columns
    """Each [rows] float32."""
    labels: np.ndarray
    """[rows] int64: 1 is what is looked for."""


def load_sklearn() -> Rows:
    """scikit-learn's biopsies, of each measurement what it is for a biopsy's worst nuclei; 1 is malignant."""
    from sklearn import datasets

    data = datasets.load_breast_cancer()
    features = {
        name.removeprefix("worst ").replace(" ", "_"): values.astype(np.float32)
        for name, values in zip(data.feature_names, data.data.T, strict=True)
        if name.startswith("worst ")
    }
    return Rows(features, (data.target_names[data.target] == "malignant").astype(np.int64))


def load_csv(path: str, label: str, positive: str) -> Rows:
    """Rows of a file of your own: the column `label` says `positive` where the label is 1; the others are numbers."""
    import pandas as pd

    table = pd.read_csv(path, skipinitialspace=True)
    if label not in table:
        raise SystemExit(f"{path} has no column {label!r}; its header has {list(table.columns)}. Name it with --label.")
    answers = table.pop(label).astype(str)
    if positive not in set(answers):
        raise SystemExit(
            f"The column {label!r} never says {positive!r}, only {sorted(set(answers))[:5]}: see --positive."
        )
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    if words or table.isna().any().any():
        raise SystemExit(f"{path} must hold a number in every field beside the label; see the columns {words}.")
    features = {str(name): table[name].to_numpy(np.float32) for name in table}
    return Rows(features, (answers == positive).to_numpy(np.int64))


def split(rows: Rows) -> tuple[Rows, Rows]:
    """Three quarters to train with, one quarter to test with, each with its share of both labels."""
    from sklearn.model_selection import train_test_split

    places = np.arange(len(rows.labels))
    train, test = train_test_split(places, test_size=0.25, random_state=0, stratify=rows.labels)
    parts = [Rows({name: x[part] for name, x in rows.features.items()}, rows.labels[part]) for part in (train, test)]
    return parts[0], parts[1]


def feature_columns(train: Rows) -> tuple[list[Any], list[Any]]:
    """Columns of the wide and of the deep part; means, deviations and boundaries are those of the training rows.

    The deep part gets every measurement, standardised. The wide part gets the few that say most by themselves, in
    buckets with as many rows in each, and the cross of the first two.
    """
    fc = te.feature_column
    standardised = {name: (x - x.mean()) / max(x.std(), 1e-6) for name, x in train.features.items()}
    strength = {name: abs(float((x * (train.labels - train.labels.mean())).mean())) for name, x in standardised.items()}
    strongest = sorted(strength, key=lambda name: strength[name], reverse=True)[:WIDE_COLUMNS]

    def standardise(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        mean, deviation = float(train.features[name].mean()), max(float(train.features[name].std()), 1e-6)
        return lambda x: (x - mean) / deviation

    def buckets(name: str) -> Any:
        edges = np.unique(np.quantile(train.features[name], np.arange(1, BUCKETS) / BUCKETS))
        return fc.bucketized_column(fc.numeric_column(name), edges.tolist())

    wide = [buckets(name) for name in strongest]
    deep = [fc.numeric_column(name, normalizer_fn=standardise(name)) for name in train.features]
    return [*wide, fc.crossed_column(wide[:2], CROSS_BUCKETS)], deep


def classifiers(train: Rows, model_dir: str) -> dict[str, te.Estimator]:
    """The models that are compared, by name."""
    wide, deep = feature_columns(train)

    def config(name: str) -> te.RunConfig:
        return te.RunConfig(model_dir=f"{model_dir}/{name}", random_seed=7)

    return {
        "baseline": te.BaselineClassifier(config=config("baseline")),
        "linear": te.LinearClassifier(wide, config=config("linear")),
        "wide_and_deep": te.DNNLinearCombinedClassifier(
            linear_feature_columns=wide,
            dnn_feature_columns=deep,
            dnn_hidden_units=[32, 16],
            dnn_optimizer="Adam",
            dnn_dropout=0.2,
            config=config("wide_and_deep"),
        ),
    }


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="rows of your own; without it, scikit-learn's biopsies")
    parser.add_argument("--label", default="diagnosis", help="the CSV's column with the label (%(default)s)")
    parser.add_argument(
        "--positive", default="malignant", help="what the label says where it counts as 1 (%(default)s)"
    )
    parser.add_argument("--model-dir", default="runs/breast_cancer", help="checkpoints and the export go here")
    parser.add_argument("--max-steps", type=int, default=500, help="training steps of each model (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    started = time.perf_counter()
    rows = load_csv(arguments.csv, arguments.label, arguments.positive) if arguments.csv else load_sklearn()
    train, test = split(rows)
    train_input = te.inputs.numpy_input_fn(train.features, train.labels, batch_size=64, num_epochs=None, shuffle=True)
    test_input = te.inputs.numpy_input_fn(test.features, test.labels, shuffle=False)
    models = classifiers(train, arguments.model_dir)
    results = {}
    for name, model in models.items():
        model.train(train_input, max_steps=arguments.max_steps)
        results[name] = model.evaluate(test_input)
    best = max(results, key=lambda name: results[name]["auc"])

    receiver = te.export.build_raw_serving_input_receiver_fn({name: x[:8] for name, x in train.features.items()})
    export = models[best].export_saved_model(f"{arguments.model_dir}/export", receiver, formats=("onnx",))
    expected = np.stack([row["probabilities"] for row in models[best].predict(test_input, ["probabilities"])])
    served = te.export.load(export, runtime="onnxruntime")["predict"](test.features)["probabilities"]

    sys.stderr.flush()
    print("\n=== Breast cancer ===")
    print(f"rows              {len(train.labels)} to train with, {len(test.labels)} held out")
    print(f"  {'model':15} accuracy     AUC    loss")
    for name, found in results.items():
        print(f"  {name:15} {found['accuracy']:8.4f} {found['auc']:7.4f} {found['average_loss']:7.4f}")
    print(f"best by AUC       {best}")
    print(f"export            {export}")
    difference = np.abs(served - expected).max()
    print(f"  ONNX Runtime    {len(served)} rows, probabilities within {difference:.1e} of predict")
    print(f"serve it          torchestimator serve {arguments.model_dir}/export")
    print(f"time              {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

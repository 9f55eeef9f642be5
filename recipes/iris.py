"""Iris flowers with a ready-made classifier: three species told apart by four lengths.

Trains `te.DNNClassifier` on scikit-learn's 150 real flowers, evaluates it on flowers that it has not seen, and
names three made-up ones:

    python recipes/iris.py
    python recipes/iris.py --csv flowers.csv     # your own: a header, four columns of centimetres, and the species

The file's columns are those of `COLUMNS` and `species`, in any order; a part of the rows is held out.
"""

import argparse
import shutil
import sys
import time

import numpy as np

import torchestimator as te

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")

Flowers = dict[str, np.ndarray]

MADE_UP: Flowers = {
    "sepal_length": np.array([5.1, 5.9, 6.9], np.float32),
    "sepal_width": np.array([3.3, 3.0, 3.1], np.float32),
    "petal_length": np.array([1.7, 4.2, 5.4], np.float32),
    "petal_width": np.array([0.5, 1.5, 2.1], np.float32),
}
"""In centimetres; the first is small, the last is large."""


def load_sklearn() -> tuple[Flowers, np.ndarray]:
    """The 150 flowers of scikit-learn: four columns [flowers] float32 in centimetres, and species [flowers] strings."""
    from sklearn import datasets

    iris = datasets.load_iris()
    columns = {name: iris.data[:, place].astype(np.float32) for place, name in enumerate(COLUMNS)}
    return columns, iris.target_names[iris.target].astype(str)


def load_csv(path: str) -> tuple[Flowers, np.ndarray]:
    """The same out of a file of your own, with a header."""
    import pandas as pd

    table = pd.read_csv(path, skipinitialspace=True)
    missing = sorted({*COLUMNS, "species"} - set(table.columns))
    if missing:
        raise SystemExit(f"{path} lacks the columns {missing}; its header has {list(table.columns)}.")
    columns = {name: table[name].to_numpy(np.float32) for name in COLUMNS}
    return columns, table["species"].to_numpy(str)


def split(columns: Flowers, species: np.ndarray) -> tuple[tuple[Flowers, np.ndarray], tuple[Flowers, np.ndarray]]:
    """Four fifths to train with and one fifth to test with, each with its share of every species."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(species)), test_size=0.2, random_state=0, stratify=species)
    parts = [({name: column[rows] for name, column in columns.items()}, species[rows]) for rows in (train, test)]
    return parts[0], parts[1]


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", help="flowers of your own; without it, scikit-learn's")
    parser.add_argument("--model-dir", default="runs/iris", help="checkpoints and TensorBoard events go here")
    parser.add_argument("--max-steps", type=int, default=1000, help="training steps in all (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    started = time.perf_counter()
    (train_x, train_y), (test_x, test_y) = split(*(load_csv(arguments.csv) if arguments.csv else load_sklearn()))
    classifier = te.DNNClassifier(
        hidden_units=[30, 10],
        feature_columns=[te.feature_column.numeric_column(name) for name in COLUMNS],
        n_classes=len(set(train_y)),
        label_vocabulary=sorted(set(train_y)),
        optimizer="Adam",
        config=te.RunConfig(model_dir=arguments.model_dir, random_seed=7),
    )
    train_input = te.inputs.numpy_input_fn(train_x, train_y, batch_size=32, num_epochs=None, shuffle=True)
    test_input = te.inputs.numpy_input_fn(test_x, test_y, shuffle=False)
    classifier.train(train_input, max_steps=arguments.max_steps)
    results = classifier.evaluate(test_input)
    predictions = list(classifier.predict(te.inputs.numpy_input_fn(MADE_UP, shuffle=False)))

    sys.stderr.flush()
    print("\n=== Iris ===")
    print(f"flowers           {len(train_y)} to train with, {len(test_y)} held out")
    print(f"accuracy          {results['accuracy']:.4f} of the held-out flowers")
    print(f"loss              {results['average_loss']:.4f} at step {results['global_step']}")
    for number, row in enumerate(predictions):
        lengths = ", ".join(f"{MADE_UP[name][number]:.1f}" for name in COLUMNS)
        (name,), sure = row["classes"], row["probabilities"].max()
        print(f"  {lengths} cm: {name} ({sure:.1%} sure)")
    print(f"time              {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

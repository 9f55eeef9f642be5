"""Who earns more than 50,000 dollars: wide and deep on the Adult census data, from the files to a served model.

Reads `adult.data` and `adult.test` of the UCI Machine Learning Repository as they are, trains
`te.DNNLinearCombinedClassifier` over vocabularies, hash buckets, age buckets, two crosses and an embedding, exports the
model whenever an evaluation is better than all before, and asks the export about a row of raw strings:

    python recipes/census.py                                          # a small generated census of the same format
    python recipes/census.py --data-dir census --max-steps 5000      # the folder with your adult.data and adult.test

For a table of your own, change `COLUMNS`, `NUMBERS` and `feature_columns`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import torchestimator as te

COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
)
NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
WORDS = ("workclass", "education", "marital_status", "occupation", "relationship")
INCOMES = ["<=50K", ">50K"]
EDUCATION = (
    *("Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college"),
    *("Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate"),
)
MARITAL_STATUS = (
    *("Married-civ-spouse", "Never-married", "Divorced", "Separated", "Widowed", "Married-spouse-absent"),
    "Married-AF-spouse",
)
RELATIONSHIP = ("Husband", "Wife", "Own-child", "Unmarried", "Not-in-family", "Other-relative")
WORKCLASS = (
    *("Private", "Self-emp-not-inc", "Self-emp-inc", "Local-gov", "State-gov", "Federal-gov", "Without-pay"),
    *("Never-worked", "?"),
)
OCCUPATION = ("Exec-managerial", "Prof-specialty", "Sales", "Craft-repair", "Other-service", "Adm-clerical", "?")
SOMEONE = (
    "38, Self-emp-inc, 120000, Masters, 14, Married-civ-spouse, Exec-managerial, Wife, White, Female, "
    "0, 0, 50, United-States, >50K"
)

Features = dict[str, np.ndarray]


def parse(lines: Iterable[str], source: str) -> tuple[Features, np.ndarray]:
    """Rows of the census: numbers [rows] float32 and words [rows], and incomes [rows], all by the name of the column.

    Empty lines and those that start with `|` are no rows, and `<=50K.` of adult.test is `<=50K`. A missing word is the
    word `?`: not to tell is telling, too.

    Args:
        lines: of 15 fields, with a comma and a space between them.
        source: where they are from, for errors.
    """
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("|"):
            continue
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(COLUMNS):
            raise SystemExit(f"{source}, line {number} has {len(fields)} fields, not {len(COLUMNS)}: {line.strip()!r}")
        for name, field in zip(COLUMNS, fields, strict=True):
            columns[name].append(field)
    features: Features = {name: np.array(columns[name], np.float32) for name in NUMBERS}
    features |= {name: np.array(columns[name]) for name in WORDS}
    return features, np.array([income.removesuffix(".") for income in columns["income"]])


def load(path: Path) -> tuple[Features, np.ndarray]:
    """The rows of adult.data or adult.test."""
    if not path.is_file():
        raise SystemExit(f"There is no {path}. --data-dir is the folder with your adult.data and adult.test.")
    with path.open(encoding="utf-8") as lines:
        return parse(lines, str(path))


def write_census(path: Path, rows: int, seed: int) -> None:
    """Writes an invented census in the format of adult.data, or of adult.test if that is the file's name."""
    random = np.random.default_rng(seed)
    is_test = path.name == "adult.test"
    lines = ["|1x3 Cross validator"] if is_test else []
    for _ in range(rows):
        age, education, hours = random.integers(17, 80), random.integers(1, 17), random.integers(20, 61)
        work, status, relationship = (random.choice(words) for words in (WORKCLASS, MARITAL_STATUS, RELATIONSHIP))
        place = random.integers(len(OCCUPATION))
        gain = random.integers(1000, 20000) if random.random() < 0.1 else 0
        wealth = 0.4 * (education - 9) - 0.004 * (age - 50) ** 2 + 0.05 * (hours - 40) + gain / 4000 - 0.5 * place
        wealth += 2 * (status == "Married-civ-spouse") + 2 * (place == 2 and education > 12)
        income = INCOMES[int(wealth + random.logistic() > 0)] + "." * is_test
        fields = [age, work, random.integers(20000, 400000), EDUCATION[education - 1], education, status]
        fields += [OCCUPATION[place], relationship, random.choice(["White", "Black", "Other"])]
        fields += [random.choice(["Female", "Male"]), gain, 0, hours, random.choice(["United-States", "?"]), income]
        lines.append(", ".join(map(str, fields)))
    path.write_text("\n".join([*lines, "", ""]), encoding="utf-8")


def feature_columns() -> tuple[list[Any], list[Any]]:
    """Columns of the wide part, which remembers combinations, and of the deep part, which generalises."""
    fc = te.feature_column
    education = fc.categorical_column_with_vocabulary_list("education", EDUCATION)
    status = fc.categorical_column_with_vocabulary_list("marital_status", MARITAL_STATUS)
    relationship = fc.categorical_column_with_vocabulary_list("relationship", RELATIONSHIP)
    work = fc.categorical_column_with_vocabulary_list("workclass", WORKCLASS)
    occupation = fc.categorical_column_with_hash_bucket("occupation", 1000)
    ages = fc.bucketized_column(fc.numeric_column("age"), [18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
    wide = [education, status, relationship, work, occupation, ages]
    wide.append(fc.crossed_column(["education", "occupation"], 1000))
    wide.append(fc.crossed_column([ages, "education", "occupation"], 1000))
    deep = [
        fc.numeric_column("age", normalizer_fn=lambda years: (years - 40) / 15),
        fc.numeric_column("education_num", normalizer_fn=lambda years: (years - 10) / 3),
        fc.numeric_column("hours_per_week", normalizer_fn=lambda hours: (hours - 40) / 12),
        fc.numeric_column("capital_gain", normalizer_fn=lambda dollars: torch.log1p(dollars) / 4),
        fc.numeric_column("capital_loss", normalizer_fn=lambda dollars: torch.log1p(dollars) / 4),
        *(fc.indicator_column(each) for each in (education, status, relationship, work)),
        fc.embedding_column(occupation, 8),
    ]
    return wide, deep


def train(folder: Path, model_dir: str, max_steps: int) -> None:
    """Trains, and exports the model with the best AUC to `model_dir/export/best`."""
    (train_x, train_y), (test_x, test_y) = load(folder / "adult.data"), load(folder / "adult.test")
    print(f"rows: {len(train_y)} to train with, {len(test_y)} held out", flush=True)
    train_input = te.inputs.numpy_input_fn(train_x, train_y, batch_size=64, num_epochs=None, shuffle=True)
    test_input = te.inputs.numpy_input_fn(test_x, test_y, batch_size=512, shuffle=False)
    wide, deep = feature_columns()
    estimator = te.DNNLinearCombinedClassifier(
        linear_feature_columns=wide,
        dnn_feature_columns=deep,
        dnn_hidden_units=[100, 75, 50, 25],
        dnn_optimizer="Adam",
        dnn_dropout=0.1,
        label_vocabulary=INCOMES,
        config=te.RunConfig(model_dir=model_dir, save_checkpoints_steps=1000, random_seed=7),
    )
    receiver = te.export.build_raw_serving_input_receiver_fn({name: rows[:8] for name, rows in train_x.items()})
    best = te.BestExporter("best", receiver, metric="auc", higher_is_better=True, formats=("onnx",))
    evaluation = te.EvalSpec(test_input, steps=None, throttle_secs=0, exporters=best)
    te.train_and_evaluate(estimator, te.TrainSpec(train_input, max_steps), evaluation)


def main() -> None:
    """Runs the recipe and prints a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of adult.data and adult.test; without it, generated ones")
    parser.add_argument("--model-dir", default="runs/census", help="checkpoints and exports go here")
    parser.add_argument("--max-steps", type=int, default=400, help="training steps in all (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete the model-dir first")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.model_dir, ignore_errors=True)

    started = time.perf_counter()
    if arguments.data_dir:
        train(arguments.data_dir, arguments.model_dir, arguments.max_steps)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_census(Path(folder, "adult.data"), 4000, seed=0)
            write_census(Path(folder, "adult.test"), 1000, seed=1)
            train(Path(folder), arguments.model_dir, arguments.max_steps)

    exports = Path(arguments.model_dir, "export", "best")
    record = json.loads((exports / "best.json").read_text(encoding="utf-8"))
    results = record["eval_result"]
    someone, _ = parse([SOMEONE], "the example")
    answer = te.export.load(exports / record["export"], runtime="onnxruntime")["predict"](someone)
    sys.stderr.flush()
    print("\n=== Census ===")
    print(f"data              {arguments.data_dir or 'generated'}")
    print(f"accuracy          {results['accuracy']:.4f} at step {results['global_step']}", end="")
    print(f" ({results['accuracy_baseline']:.4f} if one always says the same)")
    print(f"AUC               {results['auc']:.4f}")
    print(f"export            {exports / record['export']}")
    print(f"someone           {SOMEONE}")
    (word,), probabilities = answer["classes"][0], answer["probabilities"][0]
    print(f"  ONNX Runtime    {word} ({probabilities.max():.1%} sure)")
    print(f"serve it          torchestimator serve {exports}")
    print(f"time              {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

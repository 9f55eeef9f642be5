"""The example of docs/migrating-from-tf-estimator.md runs."""

import ast
import re
from pathlib import Path

import numpy as np

import torchestimator as te

GUIDE = (Path(__file__).parents[1] / "docs" / "migrating-from-tf-estimator.md").read_text(encoding="utf-8")
BEFORE, AFTER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_example_learns(tmp_path):
    namespace = {}
    exec(compile(AFTER, "guide", "exec"), namespace)
    x = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float64)
    y = np.digitize(x.sum(1), [-1.0, 1.0])
    estimator = te.Estimator(
        namespace["model_fn"], tmp_path, te.RunConfig(random_seed=1, progress_bar=False), {"width": 16, "lr": 0.01}
    )
    estimator.train(te.inputs.numpy_input_fn({"x": x}, y, 32, None, shuffle=True), steps=200)
    held = te.inputs.numpy_input_fn({"x": x}, y, 100, shuffle=False)
    assert estimator.evaluate(held)["accuracy"] > 0.85
    assert [row["class_ids"] for row in estimator.predict(held)][:5] != [0] * 5
    assert estimator.get_variable_names() == sorted(estimator.get_variable_names())
    assert "hidden.weight" in estimator.get_variable_names()


def test_both_examples_are_python():
    assert [node.name for node in ast.parse(BEFORE).body] == ["model_fn"]


def test_every_replacement_exists():
    names = set(re.findall(r"`te\.([a-z_]+(?:\.[a-z_]+)?)", GUIDE))
    assert {"get_module", "minimize", "metrics.auc"} <= names
    for name in names:
        owner = te
        for part in name.split("."):
            owner = getattr(owner, part)

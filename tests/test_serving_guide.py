"""The examples of docs/serving.md run."""

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = (Path(__file__).parents[1] / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLE, RECEIVER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def run(code, folder):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_example_exports_what_the_guide_lists(tmp_path):
    answer = run(EXAMPLE, tmp_path)
    assert re.match(r"\[\['(red|green|blue)'\]\] \[\[[0-9.e -]+\]\]", answer)
    (export,) = (tmp_path / "runs" / "serving" / "export").iterdir()
    listed = re.findall(
        r"^  ([\w./]+)", GUIDE.partition("## What is in an export")[2].partition("## ")[0], re.MULTILINE
    )
    assert "signatures.json" in listed
    there = {name for name in listed if (export / name).exists()}
    assert set(listed) - there == {"assets.extra/"}


def test_the_receiver_is_python(tmp_path):
    lines = "import torch\nimport torchestimator as te\n"
    code = f"{lines}{RECEIVER}\nprint(*pixels_receiver_fn().features['image'].shape[1:])"
    assert run(code, tmp_path) == f"8 8{os.linesep}"

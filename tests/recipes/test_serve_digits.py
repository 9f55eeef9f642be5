"""The serving recipe, cut short: trained, exported, served by another process, and asked over HTTP."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_server_answers_as_predict_does(tmp_path):
    command = [sys.executable, ROOT / "recipes" / "serve_digits.py", "--model-dir", tmp_path, "--max-steps", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"accuracy +([0-9.]+) of 360", done.stdout)[1]) > 0.8
    assert float(re.search(r"within ([0-9.e-]+) of predict", done.stdout)[1]) < 1e-5
    assert "100% agree with predict" in done.stdout
    (export,) = re.findall(r"^export +(.*)$", done.stdout, re.MULTILINE)
    assert Path(export, "serving_default", "model.onnx").is_file()
    assert "The server has stopped" in done.stderr

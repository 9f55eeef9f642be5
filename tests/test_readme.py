"""The README's example runs as it stands."""

import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_example_runs_twice_and_learns(tmp_path: pathlib.Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    outputs = [
        subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    accuracy = re.search(r"'accuracy': np\.float64\(([0-9.]+)\)", outputs[0].stdout)
    assert accuracy is not None
    assert float(accuracy.group(1)) > 0.9
    assert "Skipping training" in outputs[1].stderr
    assert outputs[1].stdout == outputs[0].stdout

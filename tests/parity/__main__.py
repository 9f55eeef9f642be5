"""Shows how near the ready-made estimators come to TensorFlow 2.15, and writes the table to RESULTS.md."""

import tempfile
from pathlib import Path

from tests.parity.comparison import ESTIMATORS, compare, table

HEAD = """# Ready-made estimators and TensorFlow 2.15

Both start from the same weights (TensorFlow's checkpoint, read by `warm_start_from`), take the same 50 batches of 32
rows with their default optimizers unless the name says otherwise, and are then evaluated on all 320 rows.
TensorFlow's side is recorded by `.venv-tf/bin/python -m tests.parity.record`, this page written by
`python -m tests.parity`.

"""


def main() -> None:
    """Compares all of them."""
    comparisons = {name: compare(name, tempfile.mkdtemp()) for name in ESTIMATORS}
    text = table(comparisons)
    print(text)
    (Path(__file__).parent / "RESULTS.md").write_text(f"{HEAD}{text}\n")


if __name__ == "__main__":
    main()

"""What an evaluation leaves behind: a log line and a summary."""

import time
from typing import Any

import numpy as np

from torchestimator.log import LOG
from torchestimator.summary.writer import event_writer


def log_results(eval_dir: str, results: dict[str, Any], checkpoint_path: str | None) -> None:
    """Logs the results and writes them to the evaluation's event file, at their global step.

    Where the file can't be written (a read-only folder, a full disk) a warning says so: the results of a long
    evaluation must not be lost for that.
    """
    step = int(results["global_step"])
    LOG.info("Finished evaluation at %s", time.strftime("%Y-%m-%d-%H:%M:%S"))
    shown = ", ".join(f"{name} = {_shown(value)}" for name, value in sorted(results.items()))
    LOG.info("Results for global step %d: %s", step, shown)
    try:
        writer = event_writer(eval_dir)
        writer.scalars({name: value for name, value in results.items() if name != "global_step"}, step)
        if checkpoint_path is not None:
            writer.tensor_string("checkpoint_path", checkpoint_path, step)
        writer.flush()
    except OSError as error:
        LOG.warning("The results could not be written to %s: %s", eval_dir, error)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of shape {list(value.shape)}" if value.size > 8 else str(value.tolist())
    return f"{value:.7g}" if isinstance(value, float | np.floating) else str(value)

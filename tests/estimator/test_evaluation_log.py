"""What an evaluation leaves behind."""

import numpy as np

from tests.models import messages
from tests.summary.event_files import events, load
from torchestimator.estimator.evaluation_log import log_results

RESULTS = {
    "loss": np.float32(0.5),
    "count": np.int64(3),
    "small": np.arange(3),
    "matrix": np.zeros((4, 4)),
    "global_step": 7,
}


def test_results_are_logged_in_order_and_written_at_their_step(tmp_path, caplog):
    log_results(str(tmp_path / "eval"), RESULTS, "/somewhere/model.ckpt-7")
    (line,) = [line for line in messages(caplog) if line.startswith("Results")]
    assert line == (
        "Results for global step 7: count = 3, global_step = 7, loss = 0.5, matrix = array of shape [4, 4], "
        "small = [0, 1, 2]"
    )
    seen = load(tmp_path / "eval")
    assert [(event.step, event.value) for event in seen.Scalars("loss")] == [(7, 0.5)]
    assert [(event.step, event.value) for event in seen.Scalars("count")] == [(7, 3)]
    tags = {value.tag for event in events(tmp_path / "eval") for value in event.summary.value}
    assert tags >= {"loss", "count", "matrix", "checkpoint_path"}
    assert "global_step" not in tags


def test_results_that_cannot_be_written_are_still_there_to_return(tmp_path, caplog):
    (tmp_path / "eval").write_text("in the way")
    log_results(str(tmp_path / "eval"), RESULTS, None)
    assert any("The results could not be written" in line for line in messages(caplog))

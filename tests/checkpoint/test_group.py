"""group and folder_group: what one process of a job learns of the others' results and errors."""

import errno
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from torchestimator.checkpoint.folder_group import EXCHANGE_FOLDER, FolderGroup, close_exchange, open_exchange
from torchestimator.checkpoint.group import ALONE, run_on_all


def _run_job(model_dir: Path, works: Sequence[Callable[[FolderGroup], Any]], timeout_secs: float = 30) -> list[Any]:
    """Runs each function as a process of one job would, in a thread; returns what they return or raise."""
    open_exchange(str(model_dir))
    outcomes: list[Any] = [None] * len(works)

    def run(rank: int) -> None:
        try:
            outcomes[rank] = works[rank](FolderGroup(str(model_dir), "token", rank, len(works), timeout_secs))
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close_exchange(str(model_dir))
    assert not (model_dir / EXCHANGE_FOLDER).exists()
    return outcomes


def _fail(error: BaseException) -> Any:
    raise error


def test_all_get_all_documents_by_rank_again_and_again(tmp_path: Path) -> None:
    def talk(group: FolderGroup) -> list[list[Any]]:
        return [group.exchange({"round": number, "rank": group.rank}) for number in range(20)]

    expected = [[{"round": number, "rank": rank} for rank in range(3)] for number in range(20)]
    assert _run_job(tmp_path, [talk] * 3) == [expected] * 3


def test_whoever_does_not_answer_is_named(tmp_path: Path) -> None:
    talk = lambda group: group.exchange(None)  # noqa: E731
    outcomes = _run_job(tmp_path, [talk, lambda group: "gone", talk, lambda group: "gone"], timeout_secs=0.2)
    for outcome in (outcomes[0], outcomes[2]):
        assert isinstance(outcome, TimeoutError)
        assert "process 1, 3 of 4 did not answer within 0.2 seconds" in str(outcome)


def test_leftovers_of_an_earlier_job_are_not_taken_for_answers(tmp_path: Path) -> None:
    (tmp_path / EXCHANGE_FOLDER).mkdir()
    (tmp_path / EXCHANGE_FOLDER / "token.1.0.json").write_text(json.dumps("old"))
    assert _run_job(tmp_path, [lambda group: group.exchange(group.rank)] * 2) == [[0, 1], [0, 1]]


def test_alone_the_result_and_the_error_are_the_actions_own() -> None:
    assert run_on_all(ALONE, lambda: "result") == ["result"]
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        run_on_all(ALONE, lambda: _fail(error))
    assert caught.value is error
    assert ALONE.exchange("x") == ["x"]


def test_results_reach_everybody(tmp_path: Path) -> None:
    assert _run_job(tmp_path, [lambda group: run_on_all(group, lambda: group.rank)] * 3) == [[0, 1, 2]] * 3


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("bad"), ValueError, "process 1 of 3 failed: bad"),
        (TypeError("odd"), TypeError, "process 1 of 3 failed: odd"),
        (KeyError("k"), RuntimeError, "process 1 of 3 failed: 'k'"),
        (ZeroDivisionError(), RuntimeError, "process 1 of 3 failed: ZeroDivisionError"),
        (OSError(errno.ENOSPC, "no space"), OSError, "process 1 of 3 failed: no space"),
        (PermissionError(errno.EACCES, "no"), PermissionError, "process 1 of 3 failed: no"),
    ],
)
def test_an_error_is_raised_everywhere_in_its_kind_and_names_the_process(
    error: Exception, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    def work(group: FolderGroup) -> Any:
        return run_on_all(group, lambda: _fail(error) if group.rank == 1 else None)

    outcomes = _run_job(tmp_path, [work] * 3)
    assert all(type(outcome) is kind for outcome in outcomes)
    assert all(message in str(outcome) for outcome in outcomes)
    assert outcomes[1].__cause__ is error
    if isinstance(error, OSError):
        assert {outcome.errno for outcome in outcomes} == {error.errno}


def test_several_failures_are_counted_and_an_interrupt_stays_one(tmp_path: Path) -> None:
    def work(group: FolderGroup) -> Any:
        error = KeyboardInterrupt() if group.rank == 2 else RuntimeError("first")
        return run_on_all(group, lambda: _fail(error) if group.rank else None)

    outcomes = _run_job(tmp_path, [work] * 3)
    assert str(outcomes[0]) == str(outcomes[1]) == "process 1 of 3 failed: first (and so did process 2)"
    assert isinstance(outcomes[2], KeyboardInterrupt)

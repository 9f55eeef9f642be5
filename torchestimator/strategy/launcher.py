"""Starts the processes of a group from a plain `python script.py`, through torch's own launcher."""

import builtins
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import uuid
from types import TracebackType
from typing import NoReturn

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ErrorHandler, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from torchestimator.log import LOG

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Where torch's launcher looks for what went wrong in a process that it started."""

_THREADS = "OMP_NUM_THREADS"

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that torch's launcher passes on to the processes."""


def start_workers(num_devices: int) -> NoReturn:
    """Runs this program again in several processes, and ends this process when they have ended.

    Each one is the same command (script or module, options and arguments) with the environment of torchrun, and writes
    to this terminal. SIGTERM and SIGINT are passed on to them, and they have the time that torch's launcher gives
    (30 s, or TORCH_ELASTIC_SHUTDOWN_TIMEOUT) to end. When one fails, the others are stopped with SIGTERM.

    The command is run from its beginning: what the program does before this call, each process does as well.

    Args:
        num_devices: how many.

    Raises:
        SystemExit: always: 0, or the exit status of the process that failed first (128 + the signal's number where it
            was killed), or 130 and 143 after SIGINT and SIGTERM.
        RuntimeError: this process can't start others like itself, or is one of them.
        ValueError: there are not so many CUDA devices.
    """
    _check_place(num_devices)
    command = _own_command()
    if torch.cuda.is_available() and torch.cuda.device_count() < num_devices:
        raise ValueError(
            f"`num_devices` is more than the CUDA devices of this machine, {torch.cuda.device_count()}. "
            f"Received: {num_devices}."
        )
    # As many threads as cores in each process would only get in each other's way.
    os.environ.setdefault(_THREADS, str(max(1, _num_cores() // num_devices)))
    LOG.info("Starting %d processes: %s", num_devices, " ".join(command))
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(_run(command, num_devices))


def report_failures() -> None:
    """Makes the error that ends this process known to the launcher that started it, for its own report.

    Called once in each process of a group. Without a launcher (TF_CONFIG, SLURM) it does nothing.
    """
    if os.environ.get(_ERROR_FILE) and not isinstance(sys.excepthook, _FailureReport):
        sys.excepthook = _FailureReport()


class _FailureReport:
    """An excepthook that leaves the error to the launcher and then does what the previous one did."""

    def __init__(self) -> None:
        self._handler = ErrorHandler()
        self._previous = sys.excepthook

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, KeyboardInterrupt):
            try:
                # The handler takes the traceback from the error that is being handled.
                raise error.with_traceback(trace)
            except BaseException:  # noqa: BLE001 - the previous hook reports it
                with contextlib.suppress(OSError):
                    self._handler.record_exception(error)
        self._previous(kind, error.with_traceback(trace), trace)


def _own_command() -> list[str]:
    """The command that started this process.

    Raises:
        RuntimeError: there is none that could be run again.
    """
    main = sys.modules.get("__main__")
    started_as_program = getattr(main, "__file__", None) is not None and len(sys.orig_argv) > 1
    if not started_as_program or hasattr(builtins, "__IPYTHON__"):
        raise RuntimeError(
            "`num_devices` above 1 starts the program again in several processes, and here is no program: this is a "
            "notebook, an interactive session or `python -c`. Write the code into a file and run `python script.py`, "
            "or leave `num_devices` out to train in this process."
        )
    return [sys.executable, *sys.orig_argv[1:]]


def _check_place(num_devices: int) -> None:
    started = [name for name in ("RANK", "LOCAL_RANK") if os.environ.get(name)]
    if started:
        raise RuntimeError(
            f"`num_devices={num_devices}` would start processes from one that was itself started in a group ({started} "
            "are set). Leave `num_devices` out here."
        )
    if multiprocessing.parent_process() is not None:
        raise RuntimeError(
            f"`num_devices={num_devices}` starts the program again in several processes, which only its main process "
            "can do; this one was started by multiprocessing. Train in the main process, or leave `num_devices` out."
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            f"`num_devices={num_devices}` starts processes and passes signals on to them, which only the main thread "
            "can do. Train in the main thread, or leave `num_devices` out."
        )


def _num_cores() -> int:
    """Cores that this process may use; not every system can restrict it to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(command: list[str], num_processes: int) -> int:
    """Runs a command in several processes; returns the exit status of all together."""
    with tempfile.TemporaryDirectory(prefix="torchestimator-launch-", ignore_cleanup_errors=True) as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            # Any free port, and no name that a laptop's network may not know.
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        handlers = {number: signal.getsignal(number) for number in _PASSED_ON}
        try:
            elastic_launch(config, command[0])(*command[1:])
        except ChildFailedError as error:
            return _report(error)
        except SignalException as error:
            LOG.warning("%s: the processes were stopped.", signal.Signals(error.sigval).name)
            return 128 + int(error.sigval)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return 0


def _report(error: ChildFailedError) -> int:
    """Says which processes failed and how, the first one last; returns its exit status."""
    first, failure = error.get_first_failure()
    for rank, other in sorted(error.failures.items()):
        if rank != first:
            LOG.error("Process %d %s", rank, _ending(other))
    LOG.error("Process %d failed first: it %s", first, _ending(failure))
    return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode


def _ending(failure: ProcessFailure) -> str:
    if failure.exitcode < 0:
        return f"(pid {failure.pid}) was ended by {failure.signal_name()}."
    # What a process has reported by `report_failures`; else torch fills in a hint for its own users.
    told = failure.message.get("message", "") if isinstance(failure.message, dict) else ""
    return f"(pid {failure.pid}) ended with exit status {failure.exitcode}{': ' if told else '.'}{told}"

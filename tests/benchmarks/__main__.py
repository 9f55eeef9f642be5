"""`make bench`: measures, and shows what reaches its aim."""

import argparse
import os
import signal
import sys
import time
from types import ModuleType

from tests.benchmarks import (
    bench_checkpoint,
    bench_checkpoint_saving,
    bench_evaluate,
    bench_inputs,
    bench_models,
    bench_predict,
    bench_replicas,
    bench_serving,
    bench_start,
    bench_step,
    bench_wide_deep,
)
from tests.benchmarks.aims import AIMS
from tests.benchmarks.contender import ROOT
from tests.benchmarks.report import PAGE, Row, heading, line, write_page

BENCHMARKS: dict[str, ModuleType] = {
    "step": bench_step,
    "models": bench_models,
    "wide_deep": bench_wide_deep,
    "predict": bench_predict,
    "evaluate": bench_evaluate,
    "serving": bench_serving,
    "checkpoint": bench_checkpoint,
    "saving": bench_checkpoint_saving,
    "replicas": bench_replicas,
    "inputs": bench_inputs,
    "start": bench_start,
}
"""Modules by the name for `--only`: the first line of each says what `run(num_rounds)` measures."""
_PEERS = {"tf.estimator": ".venv-tf", "Lightning": ".venv-lightning", "MLServer": ".venv-mlserver"}
_QUICK_ROUNDS = 2
_BUSY = 1.5


def main() -> None:
    """Runs what the command line asks for."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the contenders end, too
    names = arguments.only or list(BENCHMARKS)
    left_out = [
        f"{peer} (no {folder}; `make setup-peers` builds it)" for peer, folder in _PEERS.items() if _lacks(folder)
    ]
    for peer in left_out:
        print(f"left out: {peer}")
    load = os.getloadavg()[0]
    if load > _BUSY:
        print(f"The machine is busy (load {load:.1f}): ratios still count, numbers come out worse than they are.")
    started = time.perf_counter()
    print(heading(), flush=True)
    rows = []
    for name in names:
        rounds = {"num_rounds": _QUICK_ROUNDS} if arguments.quick else {}
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        for row in (Row(*each) for each in BENCHMARKS[name].run(**rounds)):
            rows.append(row)
            print(line(row), flush=True)
    missed = [row.name for row in rows if row.verdict == "MISSED"]
    print(f"{time.perf_counter() - started:.0f} s; missed: {', '.join(missed) or 'none'}")
    if not arguments.only:
        unmeasured = [name for name in AIMS if name not in {row.name for row in rows}]
        print(f"not measured: {', '.join(unmeasured) or 'none'}")
    if arguments.write:
        write_page(rows, left_out)
        print(f"written: {PAGE.relative_to(ROOT)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures the speed of torchestimator as ratios to a bare loop and to its peers, which live in "
        "environments of their own that `make setup-peers` builds. A full run takes about ten minutes, the first one "
        "some more, since it compiles the models.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="what can be measured:\n"
        + "\n".join(f"  {name:12}{_first_line(module)}" for name, module in BENCHMARKS.items()),
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=BENCHMARKS, help="measure just this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds of each: to see that it runs")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}; needs a full run")
    arguments = parser.parse_args()
    if arguments.write and (arguments.only or arguments.quick):
        parser.error("--write needs a full run: leave --only and --quick out.")
    return arguments


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0]


def _lacks(folder: str) -> bool:
    return not (ROOT / folder / "bin" / "python").exists()


if __name__ == "__main__":
    main()

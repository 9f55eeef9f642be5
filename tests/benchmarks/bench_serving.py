"""Serving: the latency of an exported row, and requests/s of the server, side by side with MLServer."""

import contextlib
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tests.benchmarks.contender import ROOT, Contender, environment, measure, ratio
from tests.benchmarks.contenders import problem
from tests.benchmarks.contenders.serving_export import write_export

_CONNECTIONS = 32
_SECS = 4
_MLSERVER = ROOT / ".venv-mlserver" / "bin" / "mlserver"
_START_SECS = 60

Row = tuple[str, float, str]


def run(num_rounds: int = 5) -> list[Row]:
    """Measures calls with one thread, and servers on all cores, which they share with the client.

    Args:
        num_rounds: how often each contender is asked.

    Returns:
        Rows of (name, ratio or number, note).
    """
    return [*_calls(num_rounds), *_servers(num_rounds)]


def _calls(num_rounds: int) -> list[Row]:
    contenders = {
        "export": Contender("serving_export", "call_export"),
        "session": Contender("serving_export", "call_session"),
        "predictor": Contender("estimator", "call_predictor"),
    }
    micros = measure(contenders, dict.fromkeys(contenders, 2000), num_rounds)
    return [
        ("exported row against the predictor", *ratio(micros["export"], micros["predictor"])),
        ("exported row against bare ONNX Runtime", *ratio(micros["export"], micros["session"])),
        ("exported row", statistics.median(micros["export"]), "us, te.export.load on ONNX Runtime"),
    ]


def _servers(num_rounds: int) -> list[Row]:
    if shutil.which("wrk") is None:
        print("left out: requests/s (no wrk; `apt-get install wrk`)")
        return []
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torchestimator-benchmark-")))
        base = scratch / "bench"
        export = write_export(str(base))
        script = _wrk_script(scratch)
        servers: dict[str, Callable[[], AbstractContextManager[str]]] = {
            "ours": lambda: _ours(base),
            "ours, each alone": lambda: _ours(base, "--max-batch-size", "1"),
        }
        if _MLSERVER.exists():
            servers["mlserver"] = lambda: _mlserver(Path(export) / "serving_default" / "model.onnx", scratch)
        urls = {name: stack.enter_context(server()) for name, server in servers.items()}
        for url in urls.values():
            _load(url, script, 1)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in urls}
        for _ in range(num_rounds):
            for name, url in urls.items():
                measured[name].append(_load(url, script, _SECS))
    rows = [
        _rate("server, one-row requests", measured["ours"]),
        _rate("server without batching, one-row requests", measured["ours, each alone"]),
    ]
    if "mlserver" in measured:
        ours, theirs = ([rate for rate, _ in measured[name]] for name in ("ours", "mlserver"))
        rows += [
            ("server against MLServer, one-row requests", *ratio(ours, theirs, "requests/s")),
            _rate("MLServer, one-row requests", measured["mlserver"]),
        ]
    return rows


def _rate(name: str, measured: list[tuple[float, float]]) -> Row:
    rates, latencies = zip(*measured, strict=True)
    note = f"requests/s, {_CONNECTIONS} connections on the same cores; p99 {statistics.median(latencies):.1f} ms"
    return name, statistics.median(rates), note


def _wrk_script(folder: Path) -> str:
    """A request of the Open Inference Protocol, in JSON, for wrk."""
    x, _ = problem.arrays()
    tensor = {"name": "x", "shape": [1, problem.WIDTH], "datatype": "FP32", "data": x[0].tolist()}
    path = folder / "request.lua"
    path.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
        f"wrk.body = '{json.dumps({'inputs': [tensor]})}'\n"
    )
    return str(path)


def _load(url: str, script: str, secs: int) -> tuple[float, float]:
    """Requests per second, and the 99th percentile of the latency in milliseconds."""
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{secs}", "--latency", "-s", script, url]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    if rate is None or p99 is None or "Non-2xx" in report:
        raise RuntimeError(f"Not all requests to {url} were answered:\n{report}")
    return float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]]


@contextlib.contextmanager
def _ours(base: Path, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "torchestimator", "serve", str(base), "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"at (http://\S+)", line) for line in process.stderr)), None)
            if found is None:
                raise RuntimeError("The server ended before it listened.")
            yield f"{found[1]}/v2/models/{base.name}/infer"
        finally:
            process.terminate()


@contextlib.contextmanager
def _mlserver(onnx_file: Path, scratch: Path) -> Iterator[str]:
    folder = scratch / "mlserver"
    folder.mkdir()
    ports = {name: _free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    # Its fastest way for a small model: computing in the process that reads the requests.
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False, "use_structured_logging": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    implementation = "tests.benchmarks.contenders.serving_mlserver.OnnxModel"
    model = {"name": "bench", "implementation": implementation, "parameters": {"uri": str(onnx_file)}}
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(_MLSERVER), "start", str(folder)]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{ports['http_port']}/v2/models/bench"
            _wait_for(f"{url}/ready", process, folder / "log")
            yield f"{url}/infer"
        finally:
            process.terminate()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"The server did not become ready:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port

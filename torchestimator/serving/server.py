"""The server process: a socket, the application on uvicorn, and the watch on the folder."""

import asyncio
import contextlib
import gc
import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import httptools  # noqa: F401 - part of the extra, as the next one: uvicorn takes them where it is told to
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from torchestimator.export.loader import LoadedSignature
from torchestimator.log import LOG
from torchestimator.serving.application import Application
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.model_folder import ModelFolder, name_of
from torchestimator.serving.served_version import VersionLoader
from torchestimator.serving.server_options import ServerOptions
from torchestimator.serving.worker_threads import WorkerThreads

_BACKLOG = 2048
_KEEP_ALIVE_SECS = 75
"""Longer than proxies usually keep a connection, so that none is closed under a request that they send."""
_LAST_SECS = 30
"""How long open requests may take after a signal; one that is never sent whole must not keep the process."""
_MOST_VALUES = 32
"""Values of an input that an example on a command line may have."""


def serve(options: ServerOptions) -> None:
    """Serves until SIGTERM or SIGINT comes; open requests are finished then.

    Args:
        options: what is served, and how.

    Raises:
        FileNotFoundError: there is no export.
        ValueError: it can't be loaded.
        OSError: the port is taken, for example.
    """
    metrics = ServerMetrics()
    with _listening_socket(options.host, options.port) as listener:
        workers = WorkerThreads(options.threads)
        try:
            loader = VersionLoader(options, name_of(options.directory, options.name), workers, metrics)
            folder = ModelFolder(options.directory, loader, metrics)
            # What exists now stays: without it in the collector's way, its longest pauses are gone.
            gc.collect()
            gc.freeze()
            application = Application(folder, metrics, options.max_body_bytes)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_run(application, folder, listener, options))
        finally:
            workers.close()
    LOG.info("The server has stopped.")


async def _run(application: Application, folder: ModelFolder, listener: socket.socket, options: ServerOptions) -> None:
    config = uvicorn.Config(
        application,
        http=_JsonHttpToolsProtocol,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECS,
        timeout_graceful_shutdown=_LAST_SECS,
        backlog=_BACKLOG,
    )
    watch = asyncio.create_task(folder.watch(options.poll_secs))
    LOG.info("%s", _greeting(folder, listener))
    await _Server(config).serve([listener])
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


class _Server(uvicorn.Server):
    """Uvicorn's server, which leaves the process to end in peace after a signal instead of raising it again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


class _JsonHttpToolsProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which answers in JSON also what is no HTTP."""

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": f"{msg} Send HTTP/1.1."}).encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


def _listening_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(
            error.errno, f"The server can't listen at {host}, port {port}: {error.strerror}. Choose another --port."
        ) from error


def _greeting(folder: ModelFolder, listener: socket.socket) -> str:
    version = folder.current
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return (
        f"Serving {version.name}, version {version.number} ({version.export.path}), "
        f"on {version.export.runtime} at {url}\n"
        f"  Open Inference Protocol: {', '.join(f'{url}/v2/models/{name}' for name in version.model_names)}\n"
        f"  TensorFlow Serving REST: {url}/v1/models/{version.name}   Prometheus: {url}/metrics\n"
        f"  {_example(version.export.default, f'{url}/v1/models/{version.name}')}"
    )


def _example(signature: LoadedSignature, url: str) -> str:
    """A command that asks for a prediction, where its inputs are not too many to be typed."""
    row: dict[str, Any] = {}
    for key, info in signature.features.items():
        value: Any = "text" if info.is_string else False if info.dtype == "DT_BOOL" else 0
        count = 1
        for size in reversed(info.shape[1:]):
            count *= abs(size)
            value = [value] * abs(size)
        if count > _MOST_VALUES or info.shape[:1] != (-1,):
            return f"curl {url}/metadata"
        row[key] = value
    return f"curl -d '{json.dumps({'instances': [row]})}' {url}:predict"

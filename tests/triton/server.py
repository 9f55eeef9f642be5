"""Starts the tritonserver binary that the nvidia-pytriton wheel carries, with the stand-in backends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[2] / ".venv-triton"
"""Of its own, built by `make setup-triton`: the server's Python needs numpy 1."""

BACKENDS = Path(__file__).parent / "backends"
SHARED_MEMORY = Path("/dev/shm")
START_SECONDS = 60

_PATHS = """
import json, sys, sysconfig
print(json.dumps([sysconfig.get_path("purelib"), sysconfig.get_config_var("LIBDIR"), "%d.%d" % sys.version_info[:2]]))
"""


class TritonServer:
    """A running server; leave it as a context manager, and nothing of it stays.

    Args:
        repository: folder of models.
        folder: an empty one for backends and the log.
    """

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.log = folder / "server.log"
        self.http, self.grpc, self.metrics = (f"127.0.0.1:{port}" for port in free_ports(3))
        python = ENVIRONMENT / "bin" / "python"
        found = subprocess.run([python, "-c", _PATHS], check=True, capture_output=True, text=True)
        site, self._library, version = json.loads(found.stdout)
        self._site = Path(site)
        self._backends = folder / "backends"
        # Blocks of shared memory outlive a killed server; under this name they are known as its own.
        self._prefix = f"triton_test_{os.getpid()}_{self.http.rpartition(':')[2]}_"
        self._collect_backends(version)

    def __enter__(self) -> "TritonServer":
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The processes of the models are of the server's session and go with it. Asked to stop, the server would
        # wait for them until its exit timeout.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for block in SHARED_MEMORY.glob(f"{self._prefix}*"):
            block.unlink()

    @property
    def _triton(self) -> Path:
        return self._site / "pytriton" / "tritonserver"

    def _collect_backends(self, version: str) -> None:
        shutil.copytree(self._triton / "backends" / "python", self._backends / "python")
        stub = self._backends / "python" / "triton_python_backend_stub"
        shutil.copy(self._triton / "python_backend_stubs" / version / stub.name, stub)
        stub.chmod(0o755)
        # Beside triton_python_backend_utils, where the processes of the models find modules.
        shutil.copy(BACKENDS / "stand_in.py", self._backends / "python")
        for name in ("onnxruntime", "pytorch"):
            shutil.copytree(BACKENDS / name, self._backends / name, ignore=shutil.ignore_patterns("__pycache__"))

    def _command(self) -> list[str]:
        host, http = self.http.split(":")
        return [
            str(self._triton / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--http-address={host}",
            f"--http-port={http}",
            f"--grpc-address={host}",
            f"--grpc-port={self.grpc.split(':')[1]}",
            f"--metrics-port={self.metrics.split(':')[1]}",
            "--allow-gpu-metrics=false",
            "--log-info=false",
            # The configuration must be complete as written, and a model that can't be loaded is a failure.
            "--disable-auto-complete-config",
            "--exit-on-error=true",
        ]

    def _environment(self) -> dict[str, str]:
        libraries = [self._library, str(self._site / "nvidia_pytriton.libs")]
        return {
            **os.environ,
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(ENVIRONMENT),
            "PYTHONPATH": str(self._site),
            "LD_LIBRARY_PATH": ":".join(libraries),
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server is not ready.\n{self.log.read_text(errors='replace')[-20_000:]}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

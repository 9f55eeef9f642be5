import re
import shlex
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from tests.serving.exports import write_export
from tests.serving.server_process import ROOT, serving
from torchestimator.serving.server import serve
from torchestimator.serving.server_options import ServerOptions


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("exports") / "shop"
    base.mkdir()
    write_export(base, 1)
    return base


def test_sigterm_ends_it_after_the_open_requests(base):
    answers = []
    # Requests wait so long for others that the signal comes while they are open.
    with serving(base, "--batch-timeout-micros", 1_000_000) as server:

        def ask():
            answers.append(httpx.post(f"{server.url}/v1/models/shop:predict", json=document, timeout=60))

        document = {"instances": [{"price": [1], "color": ["green"]}]}
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while "queue_requests 3.0" not in httpx.get(f"{server.url}/metrics").text:
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        for thread in threads:
            thread.join()
        server.wait_for("The server has stopped")
        server.stop()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.json()["predictions"][0]["total"] for answer in answers] == [[11.0]] * 3


def test_the_greeting_shows_what_is_served_and_a_command_that_works(shop):
    greeting = "".join(shop.lines)
    assert "Serving shop, version 7 (" in greeting
    assert "onnxruntime" in greeting
    assert f"{shop.url}/v2/models/shop_classification" in greeting
    assert f"{shop.url}/metrics" in greeting
    command = shlex.split(re.search(r"curl .*", greeting)[0])
    assert command[1] == "-d"
    answer = httpx.post(command[3], content=command[2])
    assert "text" in command[2]
    assert answer.status_code == 500  # "text" is no color that this model knows
    answer = httpx.post(command[3], content=command[2].replace("text", "blue"))
    assert answer.json() == {"predictions": [{"total": [20.0], "label": ["blue"]}]}


def test_what_is_no_http_is_answered_in_json(shop):
    host, port = shop.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b'{"error": "Invalid HTTP request received. Send HTTP/1.1."}'


def test_a_port_that_is_taken_is_told(base, shop):
    port = int(shop.address.split(":")[1])
    with pytest.raises(OSError, match=f"can't listen at 127.0.0.1, port {port}: .*Choose another --port."):
        serve(ServerOptions(str(base), port=port))


def test_without_an_export_it_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"There is no export in {tmp_path}"):
        serve(ServerOptions(str(tmp_path), port=0))
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        serve(ServerOptions(str(tmp_path / "exports"), port=0))


def test_without_the_packages_of_the_extra_it_names_it(base, tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ImportError('No module named uvicorn')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from torchestimator.cli.main import main; "
        f"sys.exit(main(['serve', {str(base)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install torchestimator[serve]" in done.stderr

import shutil
import threading
import time

import httpx
import pytest

from tests.serving.exports import write_export
from tests.serving.server_process import serving
from torchestimator.serving.model_folder import name_of

ROW = {"instances": [{"price": [1], "color": ["green"]}]}


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "shop"
    base.mkdir()
    return base


def total(client):
    answer = client.post("/v1/models/shop:predict", json=ROW)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]["total"][0]


class Load:
    """Clients that go on asking until they are stopped."""

    def __init__(self, url, num_clients=4):
        self._url = url
        self._stop = threading.Event()
        self.failures = []
        self.totals = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(num_clients)]

    def _ask(self):
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    self.totals.append(total(client))
                except (AssertionError, httpx.HTTPError) as error:
                    self.failures.append(error)

    def wait_for_more(self, count=50):
        end = len(self.totals) + count
        while len(self.totals) < end and not self.failures:
            time.sleep(0.01)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_versions_come_and_go_without_a_failed_request(base):
    write_export(base, 1, factor=1)
    with serving(base, "--poll-secs", 0.05) as server, Load(server.url) as load:
        load.wait_for_more()
        write_export(base, 2, factor=2)
        server.wait_for("Serving version 2 of shop now")
        server.wait_for("Version 1 of shop is no longer in memory")
        already = len(load.totals)
        load.wait_for_more()
        shutil.rmtree(base / "1")

        (write_export(base, 4, factor=4) / "tokens" / "model.onnx").write_bytes(b"no model")
        server.wait_for("Version 4 can't be served")
        write_export(base, 3, factor=3)
        server.wait_for("Serving version 3 of shop now")
        shutil.rmtree(base / "3")
        load.wait_for_more()
        with httpx.Client(base_url=server.url) as client:
            assert total(client) == 13
            assert 'torchestimator_loaded_version{model="shop"} 3.0' in client.get("/metrics").text
            assert client.get("/v1/models/shop/versions/2").status_code == 404

        shutil.copy(base / "4" / "regression" / "model.onnx", base / "4" / "tokens" / "model.onnx")
        server.wait_for("Serving version 4 of shop now")
        load.wait_for_more()
    assert not load.failures
    assert set(load.totals) == {11, 12, 13, 14}
    assert load.totals[0] == 11
    # A request that had begun with version 1 may have been noted after the swap, one of each client.
    assert load.totals[already + 4 :].count(11) == 0
    assert [line for line in server.lines if "Version 4 can't" in line] != []


def test_one_export_is_served_as_it_is(base):
    write_export(base, 1)
    chosen = write_export(base, 3, factor=3)
    write_export(base, 5)
    with serving(chosen, "--poll-secs", 0.05) as server, httpx.Client(base_url=server.url) as client:
        assert total(client) == 13
        assert client.get("/v2/models/shop").json()["versions"] == ["3"]


def test_a_broken_newest_version_leaves_the_one_before(base):
    write_export(base, 1)
    (write_export(base, 2) / "serving_default" / "model.onnx").unlink()
    (base / "3").mkdir()
    (base / "3" / "signatures.json").write_text("{")
    with serving(base) as server, httpx.Client(base_url=server.url) as client:
        assert total(client) == 11
        server.wait_for("Version 3 can't be served: .*is no valid JSON")
        server.wait_for("Version 2 can't be served: .*model.onnx is missing")


@pytest.mark.parametrize(
    ("directory", "name", "expected"),
    [("exports/shop", None, "shop"), ("a b/c:d", None, "c_d"), ("/", None, "model"), ("x", "my-model.1", "my-model.1")],
)
def test_names(directory, name, expected):
    assert name_of(directory, name) == expected


def test_the_name_of_an_export_is_that_of_its_base_folder(base):
    assert name_of(write_export(base, 1), None) == "shop"


def test_a_name_that_is_no_part_of_a_url_is_refused():
    with pytest.raises(ValueError, match="'my model'"):
        name_of("x", "my model")

import json
import threading
from pathlib import Path

import httpx
import pytest


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "There is nothing at /. There are: /v2/models/NAME/infer"),
        ("/v2/models/shop/config", "There is nothing at"),
        ("/v2/models/shoq", 'no model "shoq"; did you mean "shop"'),
        ("/v2/models/store", 'no model "store"; there are: "shop", "shop_classification"'),
        ("/v2/models/shop/versions/8", 'version 8 of the model "shop" is not served; the newest is, 7'),
        ("/v1/models/shop_tokens", 'no model "shop_tokens"; there are: "shop".'),
        ("/v1/models/shop/versions/8/metadata", "version 8"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(client, path, message):
    answer = client.get(path)
    assert answer.status_code == 404
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/models/shop/infer", "POST"),
        ("GET", "/v1/models/shop:predict", "POST"),
        ("PUT", "/v1/models/shop:classify", "POST"),
        ("POST", "/v2", "GET"),
        ("DELETE", "/v2/models/shop", "GET"),
        ("POST", "/v1/models/shop/metadata", "GET"),
        ("POST", "/metrics", "GET"),
    ],
)
def test_wrong_methods_are_told(client, method, path, allowed):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json() == {"error": f"This path takes {allowed}. Received: {method}."}


@pytest.mark.parametrize("path", ["/v2/models/shop/infer", "/v1/models/shop:predict"])
@pytest.mark.parametrize(
    ("body", "message"), [(b"", "empty"), (b'{"inputs": [1,]}', "line 1, column 14"), (b"7", "int")]
)
def test_what_is_no_json_is_told(client, path, body, message):
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def peak_memory(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_body_of_100_megabytes_is_refused_and_the_connection_goes_on(client, shop):
    before = peak_memory(shop)
    with httpx.Client(base_url=client.base_url, timeout=60) as own:
        for content in (bytes(100_000_000), (bytes(1_000_000) for _ in range(100))):
            answer = own.post("/v1/models/shop:predict", content=content)
            assert answer.status_code == 413
            assert "1,000,000 bytes" in answer.json()["error"]
            assert "--max-body-bytes" in answer.json()["error"]
            assert own.get("/v2/health/ready").status_code == 200
    assert peak_memory(shop) - before < 50_000_000


def test_a_body_that_fits_is_read(client):
    rows = [[float(row)] for row in range(90_000)]
    assert len(json.dumps(rows)) > 800_000
    answer = client.post("/v1/models/shop:predict", json={"signature_name": "regression", "instances": rows})
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [[2 * row[0]] for row in rows]


def test_requests_at_the_same_time_get_their_own_answers(shop):
    wrong = []

    def ask(number):
        with httpx.Client(base_url=shop.url, timeout=60) as own:
            for step in range(20):
                color, offset = [("red", 0), ("green", 10), ("pink", None)][(number + step) % 3]
                rows = [{"price": [number * 1000 + step + row], "color": [color]} for row in range(1 + step % 3)]
                answer = own.post("/v1/models/shop:predict", json={"instances": rows})
                if offset is None:
                    is_right = answer.status_code == 500
                else:
                    totals = [[row["price"][0] + offset] for row in rows]
                    is_right = [row["total"] for row in answer.json()["predictions"]] == totals
                if not is_right:
                    wrong.append((number, step, answer.text))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_metrics_count_what_was_answered(client):
    def value(line):
        lines = [each for each in client.get("/metrics").text.splitlines() if each.startswith(line + " ")]
        return float(lines[0].split()[-1]) if lines else 0

    ok = 'torchestimator_requests_total{model="shop",status="200"}'
    bad = 'torchestimator_requests_total{model="shop",status="400"}'
    unknown = 'torchestimator_requests_total{model="",status="404"}'
    rows = 'torchestimator_batch_rows_sum{model="shop"}'
    before = [value(each) for each in (ok, bad, unknown, rows)]
    good = {"instances": [{"price": [1], "color": ["red"]}] * 3}
    assert client.post("/v1/models/shop:predict", json=good).status_code == 200
    assert client.post("/v1/models/shop:predict", json={}).status_code == 400
    assert client.post("/v1/models/made_up:predict", json={}).status_code == 404
    assert [value(each) for each in (ok, bad, unknown, rows)] == [
        a + b for a, b in zip(before, [1, 1, 1, 3], strict=True)
    ]
    assert value('torchestimator_loaded_version{model="shop"}') == 7
    assert value("torchestimator_queue_requests") == 0
    assert value('torchestimator_request_seconds_count{model="shop"}') >= 2
    assert "made_up" not in client.get("/metrics").text

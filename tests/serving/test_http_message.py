import asyncio
import math

import numpy as np
import pytest

from torchestimator.serving.http_message import BodyReader, json_answer, parse_json
from torchestimator.serving.request_error import RequestError


def test_json_with_numbers_that_json_lacks_is_read():
    document = parse_json(b'{"instances": [NaN, -Infinity, 1.5]}')
    assert math.isnan(document["instances"][0])
    assert document["instances"][1:] == [-math.inf, 1.5]


def test_such_numbers_are_null_in_answers():
    assert json_answer({"x": np.array([1, np.nan, np.inf], "float32")}).body == b'{"x":[1.0,null,null]}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body is empty"),
        (b"[1, 2]", "must be a JSON object"),
        (b'{"a": 1,\n "b": oops}', r"line 2, column 7, near .*oops"),
        (b'{"a": NaN, oops}', "line 1, column 7"),
        (b'{"a": "\xff"}', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(body, message):
    with pytest.raises(RequestError, match=message) as caught:
        parse_json(body)
    assert caught.value.status == 400


def receiving(*parts):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0)

    return receive, messages


def read(reader, parts, headers=None):
    receive, left = receiving(*parts)
    return asyncio.run(reader.read(headers or {}, receive)), left


def test_a_body_in_parts_is_put_together():
    assert read(BodyReader(10), [b"01234", b"", b"56789"]) == (b"0123456789", [])


def test_a_body_that_says_it_is_too_large_is_not_read_at_all():
    receive, left = receiving(b"0")
    with pytest.raises(RequestError, match=r"10 bytes\. Received: 11 bytes") as caught:
        asyncio.run(BodyReader(10).read({b"content-length": b"11"}, receive))
    assert caught.value.status == 413
    assert len(left) == 1


def test_a_body_that_does_not_say_so_is_read_up_to_the_limit():
    receive, left = receiving(b"01234", b"56789", b"0", b"not read")
    with pytest.raises(RequestError, match=r"10 bytes\. Received: more"):
        asyncio.run(BodyReader(10).read({}, receive))
    assert len(left) == 1


def test_a_compressed_body_is_refused():
    with pytest.raises(RequestError, match="compressed") as caught:
        read(BodyReader(10), [b"0"], {b"content-encoding": b"gzip"})
    assert caught.value.status == 415


def test_many_large_bodies_at_a_time_are_refused():
    reader = BodyReader(10)

    async def many():
        go_on = asyncio.Event()

        def body_in_parts():
            parts = [b"012345678", b"9"]

            async def receive():
                if len(parts) == 1:
                    await go_on.wait()
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

            return receive

        reads = [asyncio.create_task(reader.read({}, body_in_parts())) for _ in range(9)]
        await asyncio.sleep(0)
        go_on.set()
        results = await asyncio.gather(*reads, return_exceptions=True)
        again = await reader.read({}, body_in_parts())
        return results, again

    results, again = asyncio.run(many())
    assert {each.status for each in results if isinstance(each, RequestError)} == {503}
    assert b"0123456789" in results
    assert again == b"0123456789"

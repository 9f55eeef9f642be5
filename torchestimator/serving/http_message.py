"""Requests and answers over ASGI."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from torchestimator.serving.request_error import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = b"application/json"
_HELD_BODIES = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    body: bytes
    """All of it."""
    status: int = 200
    """Of HTTP."""
    content_type: bytes = _JSON
    """Of the body."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Further ones."""
    model: str = field(default="", compare=False)
    """The model that gave it, for the metrics."""


def json_answer(document: object, model: str = "") -> Answer:
    """An answer of JSON; NumPy arrays become lists, and numbers that JSON lacks (NaN, infinity) become null."""
    return Answer(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), model=model)


def error_answer(error: RequestError, model: str = "") -> Answer:
    """The answer to a request that cannot be done."""
    headers = () if error.allow is None else ((b"allow", error.allow.encode()),)
    return Answer(orjson.dumps({"error": error.message}), error.status, headers=headers, model=model)


async def send_answer(send: Send, answer: Answer) -> None:
    """Sends an answer. What the client is still sending then is dropped as it comes, by the server around this."""
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body)), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class BodyReader:
    """Reads bodies, of which only so many bytes are held in memory at a time.

    Args:
        limit: bytes of one body.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    async def read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body of a request.

        Args:
            headers: of the request.
            receive: of ASGI.

        Raises:
            RequestError: it is over the limit, too much is being read at this time, or it is compressed.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestError(415, "The body is compressed, which this server does not read. Send it as it is.")
        declared = headers.get(b"content-length", b"0")
        if int(declared) > self._limit:
            raise self._too_large(f"{int(declared):,} bytes")
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > self._limit:
                raise self._too_large("more")
            return body
        return await self._read_on(body, receive)

    async def _read_on(self, body: bytes, receive: Receive) -> bytes:
        parts, size, is_more = [body], len(body), True
        self._held += size
        try:
            while is_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(400, "The connection was closed before the whole body had come.")
                part: bytes = message.get("body", b"")
                is_more = message.get("more_body", False)
                parts.append(part)
                size += len(part)
                self._held += len(part)
                if size > self._limit:
                    raise self._too_large("more")
                if self._held > _HELD_BODIES * self._limit:
                    raise RequestError(503, "The server is reading too many large bodies. Send it again later.")
            return b"".join(parts)
        finally:
            self._held -= size

    def _too_large(self, received: str) -> RequestError:
        return RequestError(
            413,
            f"The body may have {self._limit:,} bytes. Received: {received}. "
            "Send fewer rows per request, or start the server with a larger --max-body-bytes.",
        )


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds.

    Raises:
        RequestError: it holds something else.
    """
    if not body:
        raise RequestError(400, "The body is empty. Send a JSON object.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_non_finite_numbers(body)
        if document is None:
            reason = str(error).partition(": line ")[0]
            near = error.doc[max(0, error.pos - 10) : error.pos + 10]
            raise RequestError(
                400, f"The body is no JSON: {reason} in line {error.lineno}, column {error.colno}, near {near!r}."
            ) from None
    if not isinstance(document, dict):
        raise RequestError(400, f"The body must be a JSON object. Received: {type(document).__name__}.")
    return document


def _with_non_finite_numbers(body: bytes) -> Any:
    """The document where NaN and Infinity are all that keeps it from being JSON, as TensorFlow Serving reads it."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None

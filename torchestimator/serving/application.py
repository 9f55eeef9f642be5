"""The ASGI application: which path does what."""

import re
import time
from collections.abc import Mapping
from typing import Any

from torchestimator import __version__
from torchestimator.export.runtime import Arrays
from torchestimator.log import LOG
from torchestimator.serving import open_inference, tensorflow_rest
from torchestimator.serving.batcher import Batcher
from torchestimator.serving.http_message import (
    Answer,
    BodyReader,
    Receive,
    Scope,
    Send,
    error_answer,
    json_answer,
    parse_json,
    send_answer,
)
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.model_folder import ModelFolder
from torchestimator.serving.request_error import RequestError, one_of

_OPEN_INFERENCE = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
_TENSORFLOW = re.compile(r"/v1/models/([^/:]+)(?:/versions/([^/:]+))?(?:/(metadata)|:(predict|classify|regress))?")
_SERVER = {"name": "torchestimator", "version": __version__, "extensions": ["binary_tensor_data"]}
_PATHS = "/v2/models/NAME/infer, /v1/models/NAME:predict, /v2/health/ready and /metrics"


class Application:
    """Answers requests with the model of a folder.

    Args:
        folder: what is served.
        metrics: what is told of answers, and shown at /metrics.
        max_body_bytes: the largest body of a request.
    """

    def __init__(self, folder: ModelFolder, metrics: ServerMetrics, max_body_bytes: int) -> None:
        self._folder = folder
        self._metrics = metrics
        self._bodies = BodyReader(max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI 3)."""
        started = time.perf_counter()
        try:
            answer = await self._answer(scope, receive)
        except RequestError as error:
            answer = error_answer(error, self._model_of(scope["path"]))
        except Exception as error:  # noqa: BLE001 - the client is told, and the server goes on
            LOG.exception("The request %s %s failed.", scope["method"], scope["path"])
            failure = RequestError(500, f"The server failed on this request; its log says more. {error!r}")
            answer = error_answer(failure, self._model_of(scope["path"]))
        await send_answer(send, answer)
        self._metrics.answered(answer.model, answer.status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path: str = scope["path"]
        if match := _OPEN_INFERENCE.fullmatch(path):
            return await self._open_inference(scope, receive, *match.groups())
        if match := _TENSORFLOW.fullmatch(path):
            return await self._tensorflow(scope, receive, *match.groups())
        return self._about_server(path, scope["method"])

    def _about_server(self, path: str, method: str) -> Answer:
        answers: dict[str, Any] = {
            "/v2": _SERVER,
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
        }
        if path in answers:
            _demand(method, "GET")
            return json_answer(answers[path])
        if path == "/metrics":
            _demand(method, "GET")
            return Answer(self._metrics.text(), content_type=self._metrics.content_type.encode())
        raise RequestError(404, f"There is nothing at {path}. There are: {_PATHS}.")

    async def _open_inference(
        self, scope: Scope, receive: Receive, model: str, number: str | None, what: str | None
    ) -> Answer:
        version = self._folder.version(number)
        batcher = version.model(model)
        _demand(scope["method"], "POST" if what == "infer" else "GET")
        if what == "ready":
            return json_answer({"name": model, "ready": True}, model)
        if what is None:
            return json_answer(
                open_inference.model_metadata(batcher.signature, model, version.number, version.export.runtime), model
            )
        headers = dict(scope["headers"])
        body = await self._bodies.read(headers, receive)
        request = open_inference.parse_request(body, headers.get(open_inference.HEADER_LENGTH))
        if request.signature_name is not None:
            batcher = version.signature(request.signature_name)
        signature = batcher.signature
        wanted = open_inference.wanted_outputs(request, signature)
        outputs = await _compute(batcher, request.features, wanted)
        return open_inference.render_answer(request, signature, outputs, model, version.number)

    async def _tensorflow(
        self, scope: Scope, receive: Receive, model: str, number: str | None, about: str | None, verb: str | None
    ) -> Answer:
        version = self._folder.version(number)
        if model != version.name:
            raise RequestError(404, f'There is no model "{model}"; {one_of(model, [version.name])}')
        _demand(scope["method"], "POST" if verb else "GET")
        if verb is None:
            describe = tensorflow_rest.metadata if about else tensorflow_rest.status
            return json_answer(describe(version), model)
        document = parse_json(await self._bodies.read(dict(scope["headers"]), receive))
        batcher = version.signature(tensorflow_rest.signature_name(document))
        if verb == "predict":
            request = tensorflow_rest.predict_request(document, batcher.signature)
            outputs = await _compute(batcher, request.features)
            return tensorflow_rest.predict_answer(request, outputs, model)
        features = tensorflow_rest.examples_request(document, batcher.signature, verb)
        return tensorflow_rest.examples_answer(verb, await _compute(batcher, features), model)

    def _model_of(self, path: str) -> str:
        """The model that a path names, "" if there is none: what clients make up must not fill the metrics."""
        match = _OPEN_INFERENCE.fullmatch(path) or _TENSORFLOW.fullmatch(path)
        return match[1] if match and match[1] in self._folder.current.model_names else ""


async def _compute(batcher: Batcher, features: Mapping[str, Any], wanted: list[str] | None = None) -> Arrays:
    try:
        inputs = batcher.signature.check(features)
    except (TypeError, ValueError) as error:
        raise RequestError(400, str(error)) from error
    try:
        return await batcher.compute(inputs, wanted)
    except RequestError:
        raise
    except Exception as error:
        # The runtimes' own errors, of types that differ between them: an index that is out of range, for example.
        raise RequestError(
            500, f"The model can't compute these inputs; check their values. {type(error).__name__}: {error}"
        ) from error


def _demand(method: str, allowed: str) -> None:
    if method != allowed:
        raise RequestError(405, f"This path takes {allowed}. Received: {method}.", allow=allowed)

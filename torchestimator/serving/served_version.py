"""One version of the model: an export in memory, with a queue for each of its signatures."""

import numpy as np

from torchestimator.export.loader import LoadedExport, LoadedSignature
from torchestimator.export.loader import load as load_export
from torchestimator.export.runtime import Arrays
from torchestimator.export.triton import triton_model_name
from torchestimator.log import LOG
from torchestimator.serving.batcher import Backlog, Batcher
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.request_error import RequestError, one_of
from torchestimator.serving.server_options import ServerOptions
from torchestimator.serving.worker_threads import WorkerThreads


class ServedVersion:
    """A loaded export. Requests that began with it end with it, also when a newer version has taken its place.

    Args:
        name: of the model.
        number: of the version.
        export: loaded.
        batchers: by signature name.
    """

    def __init__(self, name: str, number: int, export: LoadedExport, batchers: dict[str, Batcher]) -> None:
        self.number = number
        self.export = export
        self.name = name
        self._by_signature = batchers
        self._by_model = {triton_model_name(name, signature): each for signature, each in batchers.items()}

    @property
    def model_names(self) -> list[str]:
        """What each signature is called where a model has no signatures."""
        return list(self._by_model)

    def model(self, name: str) -> Batcher:
        """The signature that is served as a model of its own.

        Raises:
            RequestError: there is none of that name.
        """
        try:
            return self._by_model[name]
        except KeyError:
            raise RequestError(404, f'There is no model "{name}"; {one_of(name, self._by_model)}') from None

    def signature(self, name: str) -> Batcher:
        """The signature of that name.

        Raises:
            RequestError: there is none of that name.
        """
        try:
            return self._by_signature[name]
        except (KeyError, TypeError):
            raise RequestError(
                400, f'The model "{self.name}" has no signature "{name}"; {one_of(name, self._by_signature)}'
            ) from None


class VersionLoader:
    """Loads versions for one server.

    Args:
        options: how they are served.
        name: of the model.
        workers: what computes.
        metrics: what is told of batches.
    """

    def __init__(self, options: ServerOptions, name: str, workers: WorkerThreads, metrics: ServerMetrics) -> None:
        self._options = options
        self._name = name
        self._workers = workers
        self._metrics = metrics
        self._backlog = Backlog(options.max_queue, metrics)

    def load(self, path: str, number: int) -> ServedVersion:
        """Loads an export, and runs each signature once, so that the first request is as fast as the others.

        Raises:
            Exception: whatever a damaged export brings forth.
        """
        is_batching = self._options.max_batch_size > 1
        export = load_export(path, num_threads=self._options.threads if is_batching else 1)
        batchers = {name: self._batcher(name, export[name]) for name in export}
        for batcher in batchers.values():
            _warm_up(batcher.signature)
        return ServedVersion(self._name, number, export, batchers)

    def _batcher(self, name: str, signature: LoadedSignature) -> Batcher:
        return Batcher(
            signature,
            triton_model_name(self._name, name),
            self._workers,
            self._backlog,
            self._metrics,
            self._options.max_batch_size,
            self._options.batch_timeout_micros / 1e6,
        )


def _warm_up(signature: LoadedSignature) -> None:
    inputs: Arrays = {
        key: np.full(
            [1 if size < 0 else size for size in info.shape], "" if info.is_string else 0, dtype=info.type.numpy
        )
        for key, info in signature.features.items()
    }
    try:
        signature.run(inputs)
    except Exception as error:  # noqa: BLE001 - zeros may be no valid input of this model
        LOG.warning("The signature %s did not compute a row of zeros: %s", signature.name, error)

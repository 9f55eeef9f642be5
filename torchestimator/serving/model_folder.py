"""The folder whose newest export is served."""

import asyncio
import os
import re
import weakref

from torchestimator.export.signature import FILE_NAME, read_export_info, versions_in
from torchestimator.log import LOG
from torchestimator.serving.metrics import ServerMetrics
from torchestimator.serving.request_error import RequestError
from torchestimator.serving.served_version import ServedVersion, VersionLoader

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def name_of(directory: str, name: str | None) -> str:
    """What the model is called.

    Args:
        directory: a base folder of exports, whose name it is, or an export in one.
        name: what was asked for.

    Raises:
        ValueError: it cannot be part of a URL as it is.
    """
    if name is None:
        path = os.path.abspath(directory)
        if os.path.isfile(os.path.join(path, FILE_NAME)):
            path = os.path.dirname(path)
        return re.sub(r"[^A-Za-z0-9_.-]", "_", os.path.basename(path)) or "model"
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"`name` may have letters, digits, '_', '.' and '-', as it is a part of URLs. Received: {name!r}."
        )
    return name


class ModelFolder:
    """Keeps the newest version loaded. A version that cannot be loaded is told in the log, and the old one stays.

    Versions only go up: one whose folder is deleted is served until a newer one comes.

    Args:
        directory: a base folder of exports, or one export, which is then not watched.
        loader: what loads versions.
        metrics: what is told of new versions.
    """

    def __init__(self, directory: str, loader: VersionLoader, metrics: ServerMetrics) -> None:
        self._directory = os.path.abspath(directory)
        self._loader = loader
        self._metrics = metrics
        self._is_export = os.path.isfile(os.path.join(self._directory, FILE_NAME))
        self._broken: dict[int, object] = {}
        self._current = self._first()

    @property
    def current(self) -> ServedVersion:
        """The version that new requests get."""
        return self._current

    def version(self, number: str | None) -> ServedVersion:
        """The version that a request asks for.

        Raises:
            RequestError: it is not served.
        """
        current = self._current
        if number is None or number == str(current.number):
            return current
        raise RequestError(
            404,
            f'The version {number} of the model "{current.name}" is not served; the newest is, {current.number}. '
            "Leave the version out to get the newest always.",
        )

    async def watch(self, poll_secs: float) -> None:
        """Looks for newer versions, until it is cancelled."""
        while not self._is_export:
            await asyncio.sleep(poll_secs)
            try:
                newer = await asyncio.to_thread(self._newest, self._current.number)
            except Exception:  # noqa: BLE001 - a folder that can't be read now, for example
                LOG.exception("Looking for new versions in %s failed.", self._directory)
                continue
            if newer is not None:
                self._take(newer)
                LOG.info("Serving version %d of %s now.", newer.number, newer.name)
                del newer

    def _first(self) -> ServedVersion:
        if self._is_export:
            number = os.path.basename(self._directory)
            version = self._loader.load(self._directory, int(number) if number.isdigit() else 1)
        else:
            newest = self._newest(above=-1)
            if newest is None:
                read_export_info(self._directory)  # says what is wrong
                raise ValueError(f"None of the exports in {self._directory} can be loaded; see the lines above.")
            version = newest
        self._take(version)
        return version

    def _take(self, version: ServedVersion) -> None:
        self._current = version
        for name in version.model_names:
            self._metrics.version_is(name, version.number)
        gone = weakref.finalize(
            version, LOG.info, "Version %d of %s is no longer in memory.", version.number, version.name
        )
        gone.atexit = False

    def _newest(self, above: int) -> ServedVersion | None:
        """The newest version above a number that can be loaded."""
        for number in reversed(versions_in(self._directory)):
            if number <= above:
                break
            path = os.path.join(self._directory, str(number))
            state = _state(path)
            if self._broken.get(number) == state:
                continue
            try:
                return self._loader.load(path, number)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the old version goes on
                self._broken[number] = state
                LOG.error("Version %d can't be served: %s", number, error)
        return None


def _state(path: str) -> object:
    """Something that changes when files in the folder do: a broken version is tried again then."""
    return sorted(
        (name, os.stat(os.path.join(folder, name)).st_mtime_ns, os.stat(os.path.join(folder, name)).st_size)
        for folder, _, names in os.walk(path)
        for name in names
    )

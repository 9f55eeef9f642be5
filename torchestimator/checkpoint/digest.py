"""Fingerprints of files, computed while their bytes pass by."""

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from torchestimator.checkpoint.damage import CheckpointDamagedError
from torchestimator.checkpoint.worker import Worker


@dataclass(frozen=True)
class FileDigest:
    """What a file must be for its bytes to be the ones that were written."""

    size: int
    """Length in bytes."""
    sha256: str
    """Hexadecimal sha256 of the whole file, as the `sha256sum` tool prints it."""
    header_sha256: str | None = None
    """The same of a tensor file's header alone, so that names and shapes can be trusted without reading the data."""

    def check_size(self, path: str, size: int) -> None:
        """Raises `CheckpointDamagedError` for a file `path` whose size is not the one that was written."""
        if size < self.size:
            raise CheckpointDamagedError(path, f"it is cut at {size:,} of {self.size:,} bytes")
        if size > self.size:
            raise CheckpointDamagedError(path, f"it has {size:,} bytes, {self.size:,} were written")


def digest_of(data: bytes) -> FileDigest:
    """The digest of a file that holds exactly `data`."""
    return FileDigest(len(data), hashlib.sha256(data).hexdigest())


class StreamHash:
    """The sha256 of a stream, computed by a thread of its own that runs behind the caller.

    hashlib lets other threads run while it works, so hashing costs no time as long as a core is free and reading or
    writing is the slower part.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._worker = Worker("checkpoint-sha256")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.close()

    def update(self, chunk: bytes | memoryview, /) -> Future[None]:
        """Queues the next bytes of the stream; they must not change until the returned future is done."""
        return self._worker.submit(self._hash.update, chunk)

    def hexdigest(self) -> str:
        """Waits for all queued bytes and returns the hexadecimal digest."""
        return self._worker.submit(self._hash.hexdigest).result()


class NoHash(StreamHash):
    """Takes a stream's bytes and computes nothing, where nobody asked for verification."""

    def update(self, _chunk: bytes | memoryview, /) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done

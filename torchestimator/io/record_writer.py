"""Writing TFRecord files."""

import os
import zlib
from types import TracebackType
from typing import Any, Self

from torchestimator.io.record_frame import frame

_WINDOW_BITS = {"gzip": 31, "zlib": 15}
"""For zlib: the largest window, with the header and footer of the format."""


class TFRecordWriter:
    """Writes a file of records that TensorFlow and `read_records` read (tf.io.TFRecordWriter).

        with te.io.TFRecordWriter("train.tfrecord") as writer:
            for row in rows:
                writer.write(te.io.encode_example(row))

    Args:
        path: of the file; an existing one is overwritten.
        compression: None, "gzip" or "zlib". Readers here recognise it; TensorFlow's have to be told
            (`compression_type="GZIP"`).

    Raises:
        ValueError: the compression is unknown.
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], compression: str | None = None) -> None:
        if compression is not None and compression not in _WINDOW_BITS:
            raise ValueError(f'`compression` must be None, "gzip" or "zlib". Received: compression={compression!r}.')
        self.path = os.fspath(path)
        """Of the file."""
        self._compressor: Any = None
        if compression is not None:
            self._compressor = zlib.compressobj(wbits=_WINDOW_BITS[compression])
        self._file = open(self.path, "wb")  # noqa: SIM115  closed by `close`

    def write(self, record: bytes) -> None:
        """Appends one record.

        Raises:
            TypeError: it is no bytes.
            ValueError: the writer is closed.
        """
        if not isinstance(record, bytes):
            raise TypeError(
                f"`record` must be bytes. Received: {type(record).__name__}. "
                "An example becomes bytes with te.io.encode_example({...})"
            )
        framed = frame(record)
        self._file.write(framed if self._compressor is None else self._compressor.compress(framed))

    def flush(self) -> None:
        """Hands everything written so far to the operating system, so that other processes can read it."""
        if self._compressor is not None:
            self._file.write(self._compressor.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def close(self) -> None:
        """Completes the file; closing twice does nothing."""
        if self._file.closed:
            return
        with self._file:
            if self._compressor is not None:
                self._file.write(self._compressor.flush())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

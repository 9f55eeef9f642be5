"""The protocol buffers of event files, made with the messages that TensorBoard ships.
 TensorBoard is imported by the functions, when the first event is made: its messages cost about 20 ms, which a program
without summaries should not pay. Only `tensorboard.compat.proto` is used. TensorBoard's own writers and readers go
through `tensorboard.compat.tf`, which imports TensorFlow wherever it happens to be installed: seconds of start-up and
its warnings.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Message: TypeAlias = Any
"""A protocol buffer; TensorBoard's generated classes carry no types."""

FILE_VERSION = "brain.Event:2"
"""First event of every file; the version from which on a session's START drops what an earlier one left behind."""


def event(wall_time: float, step: int, **what: Message) -> bytes:
    """Return a serialized `Event`; `what` is its one content field."""
    from tensorboard.compat.proto.event_pb2 import Event

    return bytes(Event(wall_time=wall_time, step=step, **what).SerializeToString())


def parse_event(record: bytes) -> Message:
    """Return the `Event` of a record."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event.FromString(record)


def summary(values: Sequence[Message]) -> Message:
    """Return a `Summary` of several values."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=values)


def session_start() -> Message:
    """Return the `SessionLog` that begins a run."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    return SessionLog(status=SessionLog.START)


def is_session_start(message: Message) -> bool:
    """Tell whether an `Event` begins a run."""
    return bool(message.HasField("session_log") and message.session_log.status == message.session_log.START)


def session_checkpoint(path: str) -> Message:
    """Return the `SessionLog` of a saved checkpoint."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    return SessionLog(status=SessionLog.CHECKPOINT, checkpoint_path=path)


def scalar(tag: str, number: float) -> Message:
    """Return a `simple_value`, float32 in the file."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=number)


def image(tag: str, height: int, width: int, channels: int, png: bytes) -> Message:
    """Return a picture."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    return Summary.Value(tag=tag, image=picture)


def audio(tag: str, sample_rate: int, channels: int, frames: int, wav: bytes) -> Message:
    """Return a sound."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    sound = Summary.Audio(
        sample_rate=sample_rate,
        num_channels=channels,
        length_frames=frames,
        encoded_audio_string=wav,
        content_type="audio/wav",
    )
    return Summary.Value(tag=tag, audio=sound)


def histogram(
    tag: str,
    statistics: Sequence[float],
    limits: Sequence[float],
    counts: Sequence[float],
) -> Message:
    """Return a histogram.

    Args:
        tag: Name of the summary.
        statistics: Smallest value, largest value, sum, sum of squares.
        limits: Right edge of each bucket, ascending.
        counts: Values in each bucket.
    """
    from tensorboard.compat.proto.histogram_pb2 import HistogramProto
    from tensorboard.compat.proto.summary_pb2 import Summary

    low, high, total, squares = statistics
    histo = HistogramProto(
        min=low,
        max=high,
        num=sum(counts),
        sum=total,
        sum_squares=squares,
        bucket_limit=limits,
        bucket=counts,
    )
    return Summary.Value(tag=tag, histo=histo)


def strings(tag: str, text: str | Sequence[str], plugin: str) -> Message:
    """Return a string tensor of rank 0 (one string) or 1 (several); `plugin` names the dashboard, or is empty."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    lines = [text] if isinstance(text, str) else list(text)
    dims = [] if isinstance(text, str) else [TensorShapeProto.Dim(size=len(lines))]
    tensor = TensorProto(
        dtype=DT_STRING,
        tensor_shape=TensorShapeProto(dim=dims),
        string_val=[line.encode("utf-8") for line in lines],
    )
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)) if plugin else None
    return Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


def array(tag: str, values: np.ndarray) -> Message:
    """Return a numeric tensor that no dashboard shows, as float32, float64 or int64 (wide enough for the others)."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT, DT_INT64

    if values.dtype.kind != "f":
        values, dtype = values.astype("<i8"), DT_INT64
    elif values.dtype.itemsize == 8:
        values, dtype = values.astype("<f8"), DT_DOUBLE
    else:
        values, dtype = values.astype("<f4"), DT_FLOAT
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in values.shape])
    return Summary.Value(tag=tag, tensor=TensorProto(dtype=dtype, tensor_shape=shape, tensor_content=values.tobytes()))


def read_scalar(value: Message) -> float | None:
    """Return the number of a `Summary.Value`, written as `simple_value` or as a tensor, or None if it is no scalar."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.metadata.plugin_data.plugin_name not in ("", "scalars"):
        return None
    return _single_number(value.tensor)


def _single_number(tensor: Message) -> float | None:
    """Return the value of a numeric `TensorProto` that holds exactly one, else None."""
    from tensorboard.compat.proto import types_pb2 as types

    layouts = {
        types.DT_FLOAT: ("<f4", tensor.float_val),
        types.DT_DOUBLE: ("<f8", tensor.double_val),
        types.DT_INT32: ("<i4", tensor.int_val),
        types.DT_INT64: ("<i8", tensor.int64_val),
        types.DT_BOOL: ("?", tensor.bool_val),
    }
    if tensor.dtype not in layouts or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    layout, listed = layouts[tensor.dtype]
    if tensor.tensor_content:
        return float(np.frombuffer(tensor.tensor_content, layout)[0])
    # A TensorProto leaves out what it can: no value at all stands for zero.
    return float(listed[0]) if listed else 0.0

"""tf.Example as protocol buffers, without TensorFlow.

The messages are those of tensorflow/core/example/example.proto and feature.proto with one liberty: the values of the
map from names to features are declared as bytes, which is the same on the wire. So decoding makes no objects for
features that nobody asks for, and a feature's bytes can be read in bulk. They are declared in a descriptor pool of
their own: TensorFlow, where it is imported in the same process, declares the same names in the default pool. protobuf
is imported with the first example; it comes with tensorboard.
"""

import functools
from typing import Any, TypeAlias

Message: TypeAlias = Any
"""A protocol buffer, or its class; those made at run time carry no types."""

_PACKAGE = "tensorflow"
_LISTS = (
    ("bytes_list", "BytesList", "TYPE_BYTES"),
    ("float_list", "FloatList", "TYPE_FLOAT"),
    ("int64_list", "Int64List", "TYPE_INT64"),
)


@functools.cache
def example_class() -> Message:
    """`Example`: `features.feature` maps names to serialised messages `Feature`."""
    return _message_class("Example")


@functools.cache
def feature_class() -> Message:
    """`Feature`: one of `bytes_list`, `float_list` and `int64_list`, each with the repeated field `value`."""
    return _message_class("Feature")


def decode_error() -> type[Exception]:
    """What is raised for bytes that are no message."""
    from google.protobuf import message

    error: type[Exception] = message.DecodeError
    return error


def _message_class(name: str) -> Message:
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto(name="torchestimator/example.proto", package=_PACKAGE, syntax="proto3")
    for _, name, kind in _LISTS:
        _add_field(file.message_type.add(name=name), 1, "value", kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, name, _) in enumerate(_LISTS, start=1):
        _add_field(feature, number, field, "TYPE_MESSAGE", of=name).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, 1, "key", "TYPE_STRING")
    _add_field(entry, 2, "value", "TYPE_BYTES")
    _add_field(features, 1, "feature", "TYPE_MESSAGE", of="Features.FeatureEntry", repeated=True)
    _add_field(file.message_type.add(name="Example"), 1, "features", "TYPE_MESSAGE", of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(
    message: Message, number: int, name: str, kind: str, of: str | None = None, repeated: bool = False
) -> Message:
    from google.protobuf import descriptor_pb2

    types = descriptor_pb2.FieldDescriptorProto
    label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
    type_name = None if of is None else f".{_PACKAGE}.{of}"
    kind_number = types.Type.Value(kind)
    return message.field.add(name=name, number=number, type=kind_number, type_name=type_name, label=label)

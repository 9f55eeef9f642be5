"""Reading scalars back."""

import contextlib

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_BOOL, DT_DOUBLE, DT_FLOAT, DT_INT32, DT_INT64, DT_STRING
from torch.utils.tensorboard import SummaryWriter

from torchestimator.io.record_frame import frame
from torchestimator.summary.reader import ScalarReader, read_scalars
from torchestimator.summary.writer import EventWriter


def write(logdir, values):
    """Write `{step: {tag: value}}` to a new file."""
    with contextlib.closing(EventWriter(logdir)) as writer:
        for step, scalars in values.items():
            writer.scalars(scalars, step)


def test_steps_come_in_order_over_all_files(tmp_path):
    write(tmp_path, {20: {"loss": 2.0, "accuracy": 0.5}, 30: {"loss": 1.0}})
    write(tmp_path, {10: {"loss": 4.0}, 30: {"accuracy": 0.75, "loss": 0.5}})
    (tmp_path / "notes.txt").write_text("no event file")
    scalars = read_scalars(tmp_path)
    assert scalars == {
        10: {"loss": 4.0},
        20: {"loss": 2.0, "accuracy": 0.5},
        30: {"loss": 0.5, "accuracy": 0.75},
    }
    assert list(scalars) == [10, 20, 30]


def test_a_missing_or_empty_folder_has_no_scalars(tmp_path):
    assert read_scalars(tmp_path) == {}
    assert read_scalars(tmp_path / "missing") == {}


def test_only_files_of_the_pattern_are_read(tmp_path):
    write(tmp_path, {1: {"x": 1.0}})
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "kept.v2")
    assert read_scalars(tmp_path) == {}
    assert read_scalars(tmp_path, "*.v2") == {1: {"x": 1.0}}


def test_files_of_another_writer_are_read(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("old", 0.5, 1)
        writer.add_scalar("new", 0.25, 2, new_style=True)
        writer.add_text("text", "hello", 2)
    assert read_scalars(tmp_path) == {1: {"old": 0.5}, 2: {"new": 0.25}}


@pytest.mark.parametrize(
    ("tensor", "plugin", "expected"),
    [
        (TensorProto(dtype=DT_FLOAT, float_val=[0.5]), "scalars", 0.5),
        (TensorProto(dtype=DT_FLOAT), "scalars", 0.0),  # zero is left out by TensorFlow
        (TensorProto(dtype=DT_DOUBLE, double_val=[0.1]), "", 0.1),
        (TensorProto(dtype=DT_INT32, int_val=[-3]), "", -3.0),
        (TensorProto(dtype=DT_INT64, tensor_content=b"\x07" + bytes(7)), "scalars", 7.0),
        (TensorProto(dtype=DT_BOOL, bool_val=[True]), "", 1.0),
        (TensorProto(dtype=DT_FLOAT, float_val=[0.5]), "hparams", None),
        (TensorProto(dtype=DT_STRING, string_val=[b"0.5"]), "", None),
        (
            TensorProto(
                dtype=DT_FLOAT, float_val=[1.0, 2.0], tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=2)])
            ),
            "",
            None,
        ),
    ],
)
def test_scalars_written_as_tensors_are_read(tmp_path, tensor, plugin, expected):
    value = Summary.Value(tag="x", tensor=tensor)
    value.metadata.plugin_data.plugin_name = plugin
    event = Event(step=4, summary=Summary(value=[value]))
    (tmp_path / "events.out.tfevents.0000000001.host").write_bytes(frame(event.SerializeToString()))
    assert read_scalars(tmp_path) == ({} if expected is None else {4: {"x": expected}})


def test_a_truncated_file_is_read_up_to_the_cut_and_then_on(tmp_path):
    write(tmp_path, {1: {"x": 1.0}, 2: {"x": 2.0}, 3: {"x": 3.0}})
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    reader = ScalarReader(tmp_path)
    path.write_bytes(content[:-5])
    assert reader.poll() == {1: {"x": 1.0}, 2: {"x": 2.0}}
    path.write_bytes(content)
    assert reader.poll() == {1: {"x": 1.0}, 2: {"x": 2.0}, 3: {"x": 3.0}}


def test_polling_reads_only_what_is_new(tmp_path):
    reader = ScalarReader(tmp_path / "eval")
    assert reader.poll() == {}
    with contextlib.closing(EventWriter(tmp_path / "eval")) as writer:
        writer.scalars({"loss": 1.0}, 10)
        first = reader.poll()
        assert first == {10: {"loss": 1.0}}
        # What was read before is not read again, even if it is no longer readable.
        (path,) = (tmp_path / "eval").iterdir()
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(bytes(size))
        writer.scalars({"loss": 0.5}, 20)
        assert reader.poll() == {10: {"loss": 1.0}, 20: {"loss": 0.5}}
    write(tmp_path / "eval", {30: {"loss": 0.25}})
    assert list(reader.poll()) == [10, 20, 30]
    assert first == {10: {"loss": 1.0}}


def test_a_restart_drops_what_came_after_it(tmp_path):
    write(tmp_path, {10: {"x": 1.0}, 20: {"x": 2.0}, 30: {"x": 3.0}})
    reader = ScalarReader(tmp_path)
    assert list(reader.poll()) == [10, 20, 30]
    with contextlib.closing(EventWriter(tmp_path)) as writer:
        writer.session_start(20)
        writer.scalars({"x": -2.0}, 20)
    assert reader.poll() == {10: {"x": 1.0}, 20: {"x": -2.0}} == read_scalars(tmp_path)


def test_a_deleted_file_keeps_what_was_read_of_it(tmp_path):
    write(tmp_path, {1: {"x": 1.0}})
    reader = ScalarReader(tmp_path)
    reader.poll()
    (path,) = tmp_path.iterdir()
    path.unlink()
    assert reader.poll() == {1: {"x": 1.0}}

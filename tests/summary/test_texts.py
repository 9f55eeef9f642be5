"""Text summaries."""

import pytest

from tests.summary.event_files import load
from torchestimator import summary
from torchestimator.summary.record import Recorder, recording
from torchestimator.summary.writer import EventWriter


def test_strings_and_lists_go_to_the_text_dashboard(tmp_path):
    recorder = Recorder()
    with recording(recorder):
        summary.text("note", "**bold** \u00fc")
        summary.text("table", ["a", "b"])
    writer = EventWriter(tmp_path)
    writer.write(recorder.items, 2)
    writer.text("later", "c", 3)
    writer.close()
    read = load(tmp_path)
    assert read.Tags()["tensors"] == ["note", "table", "later"]
    for tag, shape, strings in (("note", [], ["**bold** \u00fc"]), ("table", [2], ["a", "b"]), ("later", [], ["c"])):
        assert read.SummaryMetadata(tag).plugin_data.plugin_name == "text"
        (event,) = read.Tensors(tag)
        assert [dim.size for dim in event.tensor_proto.tensor_shape.dim] == shape
        assert [value.decode() for value in event.tensor_proto.string_val] == strings


@pytest.mark.parametrize("value", [3, ["a", 3], None, b"bytes"])
def test_what_is_no_text_is_refused(value):
    with recording(Recorder()), pytest.raises(TypeError, match=r"summary.text\('note', str\(value\)\)"):
        summary.text("note", value)

"""Recording inside model_fn."""

import contextlib
import subprocess
import sys
import threading

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from torchestimator import summary
from torchestimator.summary.record import Recorder, recording


class CountOperations(TorchDispatchMode):
    """Counts every tensor operation."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations.append(function)
        return function(*args, **(kwargs or {}))


def record_all(x):
    summary.scalar("loss", x.mean())
    summary.histogram("values", x)
    summary.image("picture", x.reshape(1, 1, 2, 2))
    summary.text("note", "hello")
    summary.audio("sound", x[None], 8000)
    return x.sin()


def test_calls_do_nothing_when_no_recorder_is_active():
    x = torch.rand(1, 3, 2, 2)
    with CountOperations() as counter:
        summary.scalar("loss", x)
        summary.histogram("values", x)
        summary.image("picture", x)
        summary.text("note", "hello")
        summary.audio("sound", x, 8000)
    assert counter.operations == []


def test_recording_reads_nothing_on_the_host():
    x = torch.rand(4, requires_grad=True)
    recorder = Recorder()
    with CountOperations() as counter, recording(recorder):
        record_all(x)
    assert len(recorder.items) == 5
    assert torch.ops.aten._local_scalar_dense.default not in counter.operations
    assert not any(tensor.requires_grad for item in recorder.items for tensor in item.tensors)


def test_values_are_those_of_the_call_whatever_happens_to_the_tensor_later():
    weight = torch.full((1, 1, 2, 2), 200, dtype=torch.uint8)
    loss = torch.tensor(3.0)
    recorder = Recorder()
    with recording(recorder):
        summary.scalar("loss", loss)
        summary.image("weight", weight)
    loss.zero_()
    weight.zero_()
    assert recorder.items[0].tensors[0].item() == 3.0
    assert recorder.items[1].tensors[0].min().item() == 200


def test_tags_get_scope_underscores_and_suffixes():
    scope = ["tower/logits"]
    recorder = Recorder()
    recorder.prefix = lambda: scope[0]
    with recording(recorder):
        summary.scalar("mean value", 1.0)
        summary.scalar("mean value", 2.0)
        summary.histogram("mean value", torch.ones(2))
        scope[0] = ""
        summary.scalar("/acc@5 (top)", 3.0)
        summary.scalar("mean_value", 4.0)
    assert [item.tag for item in recorder.items] == [
        "tower/logits/mean_value",
        "tower/logits/mean_value_1",
        "tower/logits/mean_value_2",
        "acc@5_(top)",
        "mean_value",
    ]


@pytest.mark.parametrize("name", ["", "/"])
def test_an_empty_name_is_refused(name):
    with recording(Recorder()), pytest.raises(ValueError, match="`name` of a summary must not be empty"):
        summary.scalar(name, 1.0)


def test_a_name_that_is_no_string_is_refused():
    with recording(Recorder()), pytest.raises(TypeError, match="`name` of a summary must be a string"):
        summary.scalar(torch.tensor(1.0), 1.0)


def test_recording_nests_and_ends_with_an_exception():
    outer, inner = Recorder(), Recorder()
    with recording(outer):
        with recording(None):
            summary.scalar("unseen", 1.0)
        with contextlib.suppress(KeyError), recording(inner):
            summary.scalar("inner", 1.0)
            raise KeyError
        summary.scalar("outer", 1.0)
    summary.scalar("unseen", 1.0)
    assert [item.tag for item in outer.items] == ["outer"]
    assert [item.tag for item in inner.items] == ["inner"]


def test_other_threads_do_not_record_into_this_step():
    recorder = Recorder()
    with recording(recorder):
        thread = threading.Thread(target=summary.scalar, args=("other", 1.0))
        thread.start()
        thread.join()
    assert recorder.items == []


def test_compiled_functions_trace_through_and_record_the_same():
    counter = CompileCounter()
    compiled = torch.compile(record_all, backend=counter, fullgraph=True)
    x = torch.tensor([0.1, 0.9, -0.5, 0.3])
    torch.testing.assert_close(compiled(x), x.sin())
    assert counter.frame_count == 1
    assert counter.op_count == 3  # mean, reshape and sin: the calls themselves leave nothing in the graph

    eager, traced = Recorder(), Recorder()
    with recording(eager):
        record_all(x)
    with recording(traced):
        compiled(x)
    assert [item.tag for item in traced.items] == [item.tag for item in eager.items]
    for ours, theirs in zip(traced.items, eager.items, strict=True):
        torch.testing.assert_close(ours.tensors, theirs.tensors)
    frames = counter.frame_count
    compiled(x)
    assert counter.frame_count == frames


def test_importing_the_package_does_not_import_tensorboard():
    code = (
        "import sys, torchestimator.summary, torchestimator.summary.writer, torchestimator.summary.reader\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] in ('tensorboard', 'google', 'PIL')]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)

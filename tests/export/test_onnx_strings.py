import functools
import sys

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.export.onnx_strings import add_passthrough_output, add_string_inputs, add_string_output
from torchestimator.inputs.fingerprint import fingerprint64

INT64, FLOAT = ir.DataType.INT64, ir.DataType.FLOAT


def new_model(op_type="Neg", dtype=INT64, **shapes):
    """A model whose output `<name>_out` is an operator applied to the input `<name>`."""
    inputs = [ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape)) for name, shape in shapes.items()]
    nodes = [ir.node(op_type, [each]) for each in inputs]
    for node, each in zip(nodes, inputs, strict=True):
        (output,) = node.outputs
        output.name, output.type, output.shape = f"{each.name}_out", each.type, each.shape
    outputs = [node.outputs[0] for node in nodes]
    return ir.Model(ir.Graph(inputs, outputs, nodes=nodes, opset_imports={"": 18}, name="model"), ir_version=8)


def session(model):
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def objects(strings, shape=(-1,)):
    array = np.empty(len(strings), dtype=object)
    array[:] = strings
    return array.reshape(shape)


def described(values):
    return [(each.name, each.type, each.shape) for each in values]


@functools.cache
def hashing_session():
    model = new_model("Identity", text=["batch"])
    add_string_inputs(model, ["text"])
    return session(model)


def assert_hashed(strings):
    (hashed,) = hashing_session().run(None, {"text": objects(strings)})
    expected = fingerprint64(objects(strings)) if strings else np.empty(0, np.int64)
    assert hashed.dtype == expected.dtype
    assert hashed.shape == expected.shape
    wrong = np.flatnonzero(hashed != expected)
    assert not wrong.size, [strings[index] for index in wrong[:5]]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(), max_size=20))
def test_text_gets_its_fingerprint(strings):
    assert_hashed(strings)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=10, max_size=400), max_size=5))
def test_long_text_gets_its_fingerprint(strings):
    assert_hashed(strings)


def test_every_length_gets_its_fingerprint():
    letters = "".join(map(chr, np.random.default_rng(0).integers(32, 127, size=400)))
    for length in range(len(letters)):
        assert_hashed([letters[:length]])
    assert_hashed([letters[:length] for length in range(len(letters))])
    assert_hashed(["x" * 100_000, "", "y"])


def test_every_character_gets_its_fingerprint():
    surrogates = range(0xD800, 0xE000)
    characters = [chr(code) for code in range(sys.maxunicode + 1) if code not in surrogates]
    for begin in range(0, len(characters), 1 << 17):
        assert_hashed(characters[begin : begin + (1 << 17)])


@pytest.mark.parametrize(
    "strings",
    [[], [""], ["", "", ""], ["\0"], ["a\0b", "\0\0"], [" ", "\n\t", "  a  "], ["\ufeff", "e\u0301", "\u00e9"]],
    ids=ascii,
)
def test_odd_strings_get_their_fingerprints(strings):
    assert_hashed(strings)


def test_inputs_keep_name_place_and_shape():
    model = new_model(
        color=["batch", 1], price=["batch", 1], tags=["batch", "length"], word=["batch"], cube=[2, 3, "n"]
    )
    before = described(session(model).get_inputs())
    add_string_inputs(model, ["tags", "color", "word", "cube"])
    served = session(model)
    assert described(served.get_inputs()) == [
        (name, dtype if name == "price" else "tensor(string)", shape) for name, dtype, shape in before
    ]
    assert described(served.get_outputs()) == [(f"{name}_out", dtype, shape) for name, dtype, shape in before]
    assert model.ir_version == 8
    assert model.opset_imports[""] == 18


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("length", [0, 1, 3])
def test_inputs_of_any_rank_are_hashed_together(batch, length):
    model = new_model(
        color=["batch", 1], price=["batch", 1], tags=["batch", "length"], word=["batch"], cube=[2, 3, "n"]
    )
    add_string_inputs(model, ["color", "tags", "word", "cube"])
    feeds = {
        "color": objects(["red", "", "gr\u00fcn", "x" * 40, "y" * 100][:batch], (batch, 1)),
        "tags": objects([f"tag {index}" for index in range(batch * length)], (batch, length)),
        "word": objects(["", "b", "cc", "ddd", "eeee"][:batch]),
        "cube": objects(["z" * index for index in range(6 * length)], (2, 3, length)),
    }
    price = np.arange(batch).reshape(batch, 1)
    outputs = session(model).run(["price_out", *(f"{name}_out" for name in feeds)], {"price": price, **feeds})
    np.testing.assert_array_equal(outputs[0], -price)
    for strings, hashed in zip(feeds.values(), outputs[1:], strict=True):
        np.testing.assert_array_equal(hashed, -fingerprint64(strings))
        assert hashed.shape == strings.shape
    assert [node.op_type for node in model.graph].count("Tokenizer") == 1


def test_an_input_that_nothing_uses_is_not_hashed():
    model = new_model(color=["batch", 1])
    model.graph.inputs.append(ir.Value(name="unused", type=ir.TensorType(INT64), shape=ir.Shape(["batch"])))
    add_string_inputs(model, ["unused"])
    assert [node.op_type for node in model.graph] == ["Neg"]
    served = session(model)
    assert served.run(None, {"unused": objects(["a"]), "color": np.array([[3]])})[0].tolist() == [[-3]]
    add_string_inputs(model, [])
    assert len(model.graph) == 1


def test_indices_become_strings():
    model = new_model("Identity", class_id=["batch", 1], all_ids=["batch", 2, "n"], flat=["batch"])
    before = described(session(model).get_outputs())
    words = ["", "red", "gr\u00fcn", "\U0001f600", "a\nb"]
    for name in ("flat_out", "class_id_out"):
        add_string_output(model, name, words)
    add_string_output(model, "all_ids_out", ["only"])
    served = session(model)
    assert described(served.get_outputs()) == [(name, "tensor(string)", shape) for name, _, shape in before]
    feeds = {
        "class_id": np.arange(5).reshape(5, 1),
        "all_ids": np.array([[[0, -1, 1]] * 2] * 5),
        "flat": np.array([-1, 5, 4, 2**62, -(2**63)]),
    }
    class_id, all_ids, flat = served.run(None, feeds)
    assert class_id.tolist() == [[word] for word in words]
    assert all_ids.tolist() == [[["only", "", ""]] * 2] * 5
    assert flat.tolist() == ["", "", "a\nb", "", ""]
    assert served.run(["flat_out"], {**feeds, "flat": np.empty(0, np.int64)})[0].shape == (0,)


@pytest.mark.parametrize("strings_first", [True, False])
def test_a_string_input_is_handed_on(strings_first):
    model = new_model("Abs", name=["batch", 1], color=["batch", 1])
    if strings_first:
        add_string_inputs(model, ["name", "color"])
    add_passthrough_output(model, "name_out", "name")
    if not strings_first:
        add_string_inputs(model, ["name", "color"])
    served = session(model)
    assert described(served.get_outputs()) == [
        ("name_out", "tensor(string)", ["batch", 1]),
        ("color_out", "tensor(int64)", ["batch", 1]),
    ]
    names, colors = objects(["Ada", "\u00c9va"], (2, 1)), objects(["red", ""], (2, 1))
    handed_on, hashed = served.run(None, {"name": names, "color": colors})
    assert handed_on.tolist() == names.tolist()
    np.testing.assert_array_equal(hashed, np.abs(fingerprint64(colors)))
    assert [node.op_type for node in model.graph].count("Abs") == 1


@pytest.mark.parametrize("strings_first", [True, False])
def test_a_row_of_strings_is_handed_on_as_a_column(strings_first):
    model = new_model("Abs", name=["batch"])
    model.graph.outputs[0].shape = ir.Shape(["batch", 1])
    if strings_first:
        add_string_inputs(model, ["name"])
    add_passthrough_output(model, "name_out", "name", as_column=True)
    if not strings_first:
        add_string_inputs(model, ["name"])
    served = session(model)
    assert described(served.get_outputs()) == [("name_out", "tensor(string)", ["batch", 1])]
    assert served.run(None, {"name": objects(["Ada", ""])})[0].tolist() == [["Ada"], [""]]


def test_a_string_input_that_is_only_handed_on_is_not_hashed():
    model = new_model("Abs", name=["batch"])
    add_passthrough_output(model, "name_out", "name")
    add_string_inputs(model, ["name"])
    assert [node.op_type for node in model.graph] == ["Identity"]
    assert session(model).run(None, {"name": objects(["Ada"])})[0].tolist() == ["Ada"]


def test_a_number_is_handed_on():
    model = new_model("Neg", dtype=FLOAT, price=["batch", 1], weight=["batch", 1])
    add_passthrough_output(model, "weight_out", "price")
    served = session(model)
    price = np.array([[1.5], [2.5]], dtype=np.float32)
    negative, same = served.run(None, {"price": price, "weight": price})
    np.testing.assert_array_equal(negative, -price)
    np.testing.assert_array_equal(same, price)


def test_what_remains_of_arithmetic_is_a_number():
    model = new_model("Identity", color=["batch", 1])
    add_string_inputs(model, ["color"])
    assert described(session(model).get_outputs()) == [("color_out", "tensor(int64)", ["batch", 1])]


@pytest.mark.filterwarnings("ignore")  # torch.onnx.export warns of itself
def test_an_exported_module_takes_and_gives_strings():
    class Colors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(1000, 4)

        def forward(self, color, price):
            scores = self.embedding(torch.remainder(color, 1000)).sum(1) * price
            return scores, scores.argmax(-1, keepdim=True)

    module = Colors().eval()
    example = {"color": torch.tensor([[5], [-6], [7]]), "price": torch.rand(3, 1)}
    program = torch.onnx.export(
        module,
        (),
        kwargs=example,
        dynamo=True,
        verbose=False,
        opset_version=18,
        output_names=["scores", "class"],
        dynamic_shapes={name: {0: "batch"} for name in example},
    )
    program.model.ir_version = 8
    add_string_inputs(program.model, ["color"])
    labels = ["a", "b", "c", "d"]
    add_string_output(program.model, "class", labels)
    served = session(program.model)
    for batch in (1, 2, 7):
        colors = objects([f"color {index}" for index in range(batch)], (batch, 1))
        price = torch.rand(batch, 1)
        with torch.no_grad():
            scores, classes = module(torch.from_numpy(fingerprint64(colors)), price)
        got_scores, got_classes = served.run(None, {"color": colors, "price": price.numpy()})
        np.testing.assert_allclose(got_scores, scores.numpy(), rtol=1e-5, atol=1e-6)
        assert got_classes.tolist() == [[labels[index]] for index in classes.flatten().tolist()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: add_string_inputs(model, ["colour"]), r"inputs color\. Received: 'colour'"),
        (lambda model: add_string_output(model, "color", ["a"]), r"outputs color_out\. Received: 'color'"),
        (lambda model: add_passthrough_output(model, "x", "color"), r"outputs color_out\. Received: 'x'"),
        (lambda model: add_passthrough_output(model, "color_out", "x"), r"inputs color\. Received: 'x'"),
        (lambda model: add_string_inputs(model, ["color"]), r"`color` must be .* int64 .* Received: FLOAT"),
        (lambda model: add_string_output(model, "color_out", ["a"]), r"`color_out` must be .* Received: FLOAT"),
    ],
)
def test_errors_name_the_tensor(change, message):
    with pytest.raises(ValueError, match=message):
        change(new_model(dtype=FLOAT, color=["batch"]))

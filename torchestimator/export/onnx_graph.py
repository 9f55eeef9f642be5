"""Nodes for an ONNX graph, written like the arithmetic that they do.

An exported program is an `onnx_ir.Model`; what torch cannot express (strings) is added to it node by node. onnx_ir is
imported when the first node is made: it comes with the `onnx` extra and takes a while to load.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

Model: TypeAlias = Any
"""An `onnx_ir.Model`."""
Value: TypeAlias = Any
"""An `onnx_ir.Value`: a tensor of the graph."""

DOMAINS = {"": 18, "ai.onnx.ml": 3, "com.microsoft": 1}
"""The operator sets in use and their oldest version that has everything."""


class GraphBuilder:
    """Collects nodes and constants, then puts them into a graph in one go.

    Args:
        prefix: begins the names of all nodes and tensors made here; no other name of the model may begin with it.
    """

    def __init__(self, prefix: str) -> None:
        import onnx_ir

        self._ir = onnx_ir
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[Value] = []
        self._domains: set[str] = set()
        self._count = 0

    def op(
        self,
        op_type: str,
        *inputs: Value,
        domain: str = "",
        outputs: int = 1,
        name: str | None = None,
        **attributes: Any,
    ) -> Any:
        """Adds a node.

        Args:
            op_type: of ONNX or of `domain`.
            inputs: tensors.
            domain: a key of `DOMAINS`.
            outputs: how many it has.
            name: of the node and of its only output; a generated one by default.
            attributes: of the node, as onnx_ir takes them.

        Returns:
            The output, or the tuple of them where there are several.
        """
        name = name or self._new_name(op_type)
        self._domains.add(domain)
        node = self._ir.node(
            op_type,
            inputs,
            attributes=attributes,
            domain=domain,
            num_outputs=outputs,
            name=name,
            version=DOMAINS[domain],
        )
        for index, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}_{index}"
        self._nodes.append(node)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)

    def constant(self, values: Any, dtype: DTypeLike = np.int64) -> Value:
        """A constant tensor; equal ones are one initializer of the main graph, which subgraphs see as well."""
        array = np.asarray(values, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._new_name("constant")
            self._constants[key] = self._initializer(name, self._ir.tensor(array, name=name))
        return self._constants[key]

    def string(self, text: str) -> Value:
        """The constant string tensor of shape [1] that holds `text`."""
        name = self._new_name("constant")
        return self._initializer(name, self._ir.StringTensor([text.encode()], shape=self._ir.Shape([1]), name=name))

    def cast(self, value: Value, dtype: DTypeLike) -> Value:
        """Integers as those of another width or sign; of the bits, the low ones stay as they are."""
        return self.op("Cast", value, to=int(self._ir.DataType.from_numpy(np.dtype(dtype))))

    def branch(self, condition: Value, yes: Callable[[], Value], no: Callable[[], Value]) -> Value:
        """`If`: runs the nodes that one of two functions makes.

        Args:
            condition: one bool.
            yes: makes the nodes that run when it is true; returns their result.
            no: likewise for false.

        Returns:
            The result.
        """
        return self.op(
            "If", condition, then_branch=self._subgraph("yes", (), yes), else_branch=self._subgraph("no", (), no)
        )

    def loop(self, trips: Value, initial: Value, body: Callable[[Value, Value], Value]) -> Value:
        """`Loop`: applies nodes to a state again and again.

        Args:
            trips: how often; one int64.
            initial: the state before the first application.
            body: (number of the application from 0, state) -> the next state.

        Returns:
            The last state.
        """
        int64, boolean = (self._ir.TensorType(self._ir.DataType[name]) for name in ("INT64", "BOOL"))
        index = self._ir.Value(name=self._new_name("index"), type=int64, shape=self._ir.Shape([]))
        going = self._ir.Value(name=self._new_name("going"), type=boolean, shape=self._ir.Shape([]))
        state = self._ir.Value(name=self._new_name("state"), type=int64)

        def graph() -> tuple[Value, Value]:
            return self.op("Identity", going), body(index, state)

        always = self.constant(True, np.bool_)
        return self.op("Loop", trips, always, initial, body=self._subgraph("body", (index, going, state), graph))

    def insert_into(self, model: Model, *, first: bool) -> None:
        """Puts everything into the main graph of a model.

        Args:
            model: to change.
            first: before all its nodes, which use the new values; otherwise after them.
        """
        for initializer in self._initializers:
            model.graph.register_initializer(initializer)
        if first and len(model.graph):
            model.graph.insert_before(model.graph[0], self._nodes)
        else:
            model.graph.extend(self._nodes)
        for domain in sorted(self._domains):
            model.opset_imports.setdefault(domain, DOMAINS[domain])

    def _subgraph(self, name: str, inputs: Sequence[Value], make: Callable[[], Any]) -> Any:
        outside, self._nodes = self._nodes, []
        made = make()
        outputs = made if isinstance(made, tuple) else (made,)
        inside, self._nodes = self._nodes, outside
        return self._ir.Graph(inputs, outputs, nodes=inside, name=self._new_name(name))

    def _initializer(self, name: str, tensor: Any) -> Value:
        value = self._ir.Value(
            name=name, const_value=tensor, type=self._ir.TensorType(tensor.dtype), shape=self._ir.Shape(tensor.shape)
        )
        self._initializers.append(value)
        return value

    def _new_name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}/{what}_{self._count}"


class Lanes:
    """A tensor of 64-bit words, shape [lanes, rows], with the operators of arithmetic modulo 2**64.

    ONNX Runtime multiplies and adds int64 only and shifts uint64 only; the casts between them are free of meaning.
    """

    def __init__(self, builder: GraphBuilder, value: Value) -> None:
        self.builder = builder
        self.value = value

    @classmethod
    def stack(cls, *parts: Self) -> Self:
        """All lanes of the parts as one tensor."""
        builder = parts[0].builder
        return cls(builder, builder.op("Concat", *(part.value for part in parts), axis=0))

    def split(self, *counts: int) -> list[Self]:
        """The tensor in parts of so many lanes."""
        sizes = self.builder.constant(counts)
        parts = self.builder.op("Split", self.value, sizes, outputs=len(counts), axis=0)
        return [self._new(part) for part in parts]

    def __add__(self, other: Self | int) -> Self:
        return self._binary("Add", other)

    def __sub__(self, other: Self | int) -> Self:
        return self._binary("Sub", other)

    def __mul__(self, other: Self | int) -> Self:
        return self._binary("Mul", other)

    def __xor__(self, other: Self | int) -> Self:
        return self._binary("BitwiseXor", other)

    def __and__(self, other: Self | int) -> Self:
        return self._binary("BitwiseAnd", other)

    def __gt__(self, other: Self | int) -> Value:
        return self._binary("Greater", other).value

    def minimum(self, other: Self) -> Self:
        """The smaller of two signed numbers."""
        return self._binary("Min", other)

    def rotate(self, *counts: int) -> Self:
        """Each lane rotated to the right by its count of bits."""
        right = np.array(counts)[:, None]
        builder = self.builder
        bits = builder.cast(self.value, np.uint64)
        low = builder.op("BitShift", bits, builder.constant(right, np.uint64), direction="RIGHT")
        high = builder.op("BitShift", bits, builder.constant(64 - right, np.uint64), direction="LEFT")
        return self._new(builder.cast(builder.op("BitwiseOr", low, high), np.int64))

    def xor_shifted(self, count: int) -> Self:
        """`x ^ (x >> count)`, the shift filling with zeros."""
        builder = self.builder
        bits = builder.cast(self.value, np.uint64)
        shifted = builder.op("BitShift", bits, builder.constant(count, np.uint64), direction="RIGHT")
        return self._new(builder.cast(builder.op("BitwiseXor", bits, shifted), np.int64))

    def where(self, condition: Value, other: Self | int) -> Self:
        """These words where the condition holds, the other ones elsewhere."""
        return self._new(self.builder.op("Where", condition, self.value, self._operand(other)))

    def _binary(self, op_type: str, other: Self | int) -> Self:
        return self._new(self.builder.op(op_type, self.value, self._operand(other)))

    def _operand(self, other: Self | int) -> Value:
        return self.builder.constant(signed(other)) if isinstance(other, int) else other.value

    def _new(self, value: Value) -> Self:
        return type(self)(self.builder, value)


def signed(word: int, bits: int = 64) -> int:
    """An unsigned word as the signed number of the same bits."""
    word %= 1 << bits
    return word - (1 << bits) if word >> (bits - 1) else word

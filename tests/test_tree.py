"""Nested structures of tensors."""

import collections
import dataclasses

import torch

from torchestimator.tree import map_tensors, register_node, tensors_of

Pair = collections.namedtuple("Pair", ["left", "right"])


@dataclasses.dataclass
class Node:
    children: list


register_node(Node, lambda node: (node.children, None), lambda children, _: Node(list(children)))


def structure():
    a, b, c, d, e = (torch.full((2,), float(value)) for value in range(5))
    nested = {"a": a, "b": (b, [c, "text", None, 3]), "pair": Pair(d, {}), "node": Node([e, "x"])}
    return nested, [a, b, c, d, e]


def test_every_tensor_is_found():
    nested, tensors = structure()
    found = tensors_of(nested)
    assert {id(tensor) for tensor in found} == {id(tensor) for tensor in tensors}
    assert [tensor.data_ptr() for tensor in tensors_of(nested)] == [tensor.data_ptr() for tensor in found]
    assert tensors_of(tensors[0]) == [tensors[0]]
    assert tensors_of(None) == []


def test_mapping_keeps_the_structure():
    nested, _ = structure()
    mapped = map_tensors(lambda tensor: tensor + 1, nested)
    assert mapped["a"].tolist() == [1, 1]
    assert mapped["b"][0].tolist() == [2, 2]
    assert mapped["b"][1][0].tolist() == [3, 3]
    assert mapped["b"][1][1:] == ["text", None, 3]
    assert isinstance(mapped["pair"], Pair)
    assert mapped["pair"].left.tolist() == [4, 4]
    assert mapped["pair"].right == {}
    assert mapped["node"].children[0].tolist() == [5, 5]
    assert nested["a"].tolist() == [0, 0]


def test_mapping_of_leaves():
    assert map_tensors(lambda tensor: "seen", torch.ones(1)) == "seen"
    assert map_tensors(lambda tensor: "seen", None) is None
    assert map_tensors(lambda tensor: "seen", 3) == 3
    assert map_tensors(lambda tensor: None, [torch.ones(1)]) == [None]

"""json_document: what goes in comes out exactly, and nothing else goes in."""

import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.checkpoint.json_document import decode, encode

_KEYS = st.text(max_size=5).filter(lambda key: key not in {"__float__", "__int__"})
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


def _refuse_constant(text: str) -> float:
    raise AssertionError(f"{text} is not strict JSON")


@settings(deadline=None, max_examples=100)
@given(value=_DOCUMENTS)
def test_documents_come_back_exactly_through_strict_json(value: object) -> None:
    data = encode(value, "state")
    json.loads(data, parse_constant=_refuse_constant)
    # repr tells -0.0 from 0.0, True from 1 and 1 from 1.0, and takes one NaN for another.
    assert repr(decode(data)) == repr(value)


@pytest.mark.parametrize("exponent", [63, 128, 9_999, 20_000, 200_000])
def test_integers_of_any_size_come_back(exponent: int) -> None:
    values = [2**exponent - 1, -(2**exponent)]
    assert decode(encode(values, "state")) == values


def test_random_generator_states_fit() -> None:
    version, numbers, gauss = random.Random(3).getstate()
    state = {"python": [version, list(numbers), gauss], "numpy": np.random.default_rng(3).bit_generator.state}
    assert decode(encode(state, "state")) == state


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32(0.1), float(np.float32(0.1))), (np.int64(7), 7), (np.True_, True), (np.str_("a"), "a")],
)
def test_numpy_scalars_become_python_values(value: np.generic, expected: object) -> None:
    restored = decode(encode({"x": value}, "state"))["x"]
    assert restored == expected
    assert type(restored) is type(expected)
    assert math.isnan(decode(encode(np.float64("nan"), "state")))


class _Steps(int):
    pass


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        ((1, 2), r"list\(\.\.\.\)"),
        ({1}, r"list\(\.\.\.\)"),
        (b"x", "hex"),
        (torch.zeros(2), "tolist"),
        (np.zeros(2), "tolist"),
        (_Steps(3), r"int\(\.\.\.\)"),
        (object(), "build it again"),
        (lambda: None, "build it again"),
    ],
)
def test_other_values_are_refused_with_their_place(value: object, fragment: str) -> None:
    with pytest.raises(TypeError, match=fragment) as caught:
        encode({"hooks": [{"x": value}]}, "state")
    assert "`state['hooks'][0]['x']`" in str(caught.value)


@pytest.mark.parametrize(("key", "error"), [(3, TypeError), ("__float__", ValueError), ("__int__", ValueError)])
def test_other_keys_are_refused_with_their_place(key: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"`state\['milestones'\]`"):
        encode({"milestones": {key: 1}}, "state")


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(ValueError, match="contains itself"):
        encode(value, "state")

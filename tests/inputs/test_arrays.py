"""Batches cut out of arrays: order, resuming, memory, identity."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.inputs import InputContext, fingerprint64
from torchestimator.inputs.arrays import ArrayBatches, ArrayTable, epoch_order, input_seed
from torchestimator.inputs.iterator import InputMismatchError


def over(rows, batch_size, num_epochs=1, shuffle=False, seed=5, fixed_seed=True, **kwargs):
    table = rows if isinstance(rows, ArrayTable) else ArrayTable({"x": np.arange(rows)}, np.arange(rows) * 10)
    return ArrayBatches(
        table, batch_size=batch_size, num_epochs=num_epochs, shuffle=shuffle, seed=seed, fixed_seed=fixed_seed, **kwargs
    )


def rows_of(batches):
    return [row for features, _ in batches for row in features["x"].tolist()]


def through_json(state):
    return json.loads(json.dumps(state))


def test_batches_run_across_the_ends_of_epochs():
    batches = [features["x"].tolist() for features, _ in over(5, 3, 2)]
    assert batches == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4]]


def test_without_end_all_batches_are_whole():
    batches = [next(source)[0]["x"].tolist() for source in [over(5, 3, None)] for _ in range(5)]
    assert batches == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [4, 0, 1], [2, 3, 4]]


def test_a_batch_may_hold_several_epochs():
    assert [len(features["x"]) for features, _ in over(2, 5, 6)] == [5, 5, 2]


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    num_epochs=st.integers(1, 4),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_row_comes_once_in_each_epoch_with_its_label(rows, batch_size, num_epochs, shuffle, seed):
    batches = list(over(rows, batch_size, num_epochs, shuffle, seed))
    assert all(torch.equal(features["x"] * 10, labels) for features, labels in batches)
    sizes = [len(labels) for _, labels in batches]
    assert set(sizes[:-1]) <= {batch_size}
    order = rows_of(batches)
    assert len(order) == rows * num_epochs
    for epoch in range(num_epochs):
        assert sorted(order[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 30),
    later_batch_size=st.integers(1, 30),
    num_epochs=st.integers(1, 4),
    shuffle=st.booleans(),
    fixed_seed=st.booleans(),
    stops=st.lists(st.integers(0, 12), max_size=3),
)
def test_stopping_and_going_on_gives_the_same_rows(
    rows, batch_size, later_batch_size, num_epochs, shuffle, fixed_seed, stops
):
    whole = rows_of(over(rows, batch_size, num_epochs, shuffle))
    source = over(rows, batch_size, num_epochs, shuffle)
    seen = []
    for count in stops:
        seen += rows_of(itertools.islice(source, count))
        state = through_json(source.state_dict())
        if state.get("exhausted"):
            break
        seed = 5 if fixed_seed else 99
        source = over(rows, later_batch_size, num_epochs, shuffle, seed, fixed_seed)
        assert source.load_state_dict(state) is True
    assert seen + rows_of(source) == whole


def shares(num, table, batch_size, num_epochs=1, shuffle=False, state=None, **options):
    """The inputs of all processes, at a saved position if there is one."""
    inputs = [
        over(table, batch_size, num_epochs, shuffle, input_context=InputContext(num, index, num), **options)
        for index in range(num)
    ]
    assert all(each.load_state_dict(state) is True for each in inputs if state is not None)
    return inputs


def step(inputs):
    """The next batch of each process that has one, after a check that all processes then tell the same position."""
    batches = [next(each, None) for each in inputs]
    states = [each.state_dict() for each in inputs]
    assert all(state == states[0] for state in states)
    assert all(batch is None or len(batch[1]) for batch in batches)
    return batches


SHARED = {
    "num": st.integers(1, 5),
    "rows": st.integers(1, 60),
    "batch_size": st.integers(1, 9),
    "num_epochs": st.integers(1, 3),
    "shuffle": st.booleans(),
}


@settings(deadline=None, max_examples=80)
@given(**SHARED)
def test_each_step_of_several_processes_is_that_of_one_with_all_their_rows(num, rows, batch_size, num_epochs, shuffle):
    inputs = shares(num, rows, batch_size, num_epochs, shuffle)
    for expected, _ in over(rows, num * batch_size, num_epochs, shuffle):
        batches = step(inputs)
        sizes = [0 if batch is None else len(batch[1]) for batch in batches]
        assert torch.equal(torch.cat([batch[0]["x"] for batch in batches if batch]), expected["x"])
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)
    assert step(inputs) == [None] * num
    assert inputs[-1].state_dict()["exhausted"]


@settings(deadline=None, max_examples=80)
@given(later_num=st.integers(1, 5), later_batch_size=st.integers(1, 9), taken=st.integers(0, 20), **SHARED)
def test_another_number_of_processes_goes_on_with_each_row_once(
    num, rows, batch_size, num_epochs, shuffle, later_num, later_batch_size, taken
):
    whole = rows_of(over(rows, 1, num_epochs, shuffle))
    inputs = shares(num, rows, batch_size, num_epochs, shuffle)
    seen = [row for _ in range(taken) for row in rows_of(filter(None, step(inputs)))]
    state = through_json(inputs[-1].state_dict())
    if state.get("exhausted"):
        assert seen == whole
        return
    inputs = shares(later_num, rows, later_batch_size, num_epochs, shuffle, state)
    while any(batches := step(inputs)):
        seen += rows_of(filter(None, batches))
    assert seen == whole


def test_blocks_of_several_processes_end_where_those_of_one_do_not():
    table = ArrayTable({"x": np.arange(5000), "wide": np.zeros((5000, 300))}, np.arange(5000))
    inputs = shares(3, table, 7, 2, shuffle=True)
    for expected, _ in over(table, 21, 2, shuffle=True):
        assert torch.equal(torch.cat([batch[0]["x"] for batch in step(inputs) if batch]), expected["x"])


class CountingTable(ArrayTable):
    """Counts the rows that are gathered."""

    gathered = 0

    def batches(self, rows, batch_size, keep_strings):
        self.gathered += len(rows)
        return super().batches(rows, batch_size, keep_strings)


def test_a_process_gathers_only_its_own_rows():
    table = CountingTable({"x": np.arange(1000)}, np.arange(1000))
    assert sum(len(labels) for _, labels in shares(4, table, 5, 2, shuffle=True)[2]) == 500
    assert table.gathered == 500


def test_all_processes_begin_the_same_new_epochs_after_the_end():
    inputs = shares(3, 10, 2, 1, shuffle=True)
    while any(step(inputs)):
        pass
    state = through_json(inputs[0].state_dict())
    again = shares(3, 10, 2, 1, shuffle=True, state=state)
    second = [row for _ in range(2) for row in rows_of(filter(None, step(again)))]
    assert rows_of(over(10, 1, 2, shuffle=True))[10:] == second


def test_an_input_becomes_a_share_once():
    later = over(10, 2, shuffle=True, fixed_seed=False).share(InputContext(2, 1, 2), 5)
    same = ArrayBatches(
        ArrayTable({"x": np.arange(10)}, np.arange(10)), batch_size=2, num_epochs=1, shuffle=True,
        seed=input_seed(None, 5), fixed_seed=False, input_context=InputContext(2, 1, 2),
    )  # fmt: skip
    assert rows_of(later.share(InputContext(2, 0, 2), 5)) == rows_of(same)
    with pytest.raises(ValueError, match="needs a seed"):
        over(10, 2, shuffle=True, fixed_seed=False).share(InputContext(2, 1, 2), None)
    assert rows_of(over(6, 2, fixed_seed=False).share(InputContext(2, 1, 2), None)) == [2, 3, 5]


def test_epochs_and_seeds_have_orders_of_their_own():
    order = rows_of(over(50, 7, 3, shuffle=True))
    epochs = {tuple(order[i : i + 50]) for i in (0, 50, 100)}
    other = rows_of(over(50, 7, 3, shuffle=True, seed=6))
    assert len(epochs | {tuple(other[:50])}) == 4
    assert tuple(range(50)) not in epochs


def test_the_order_of_an_epoch_never_changes_between_releases():
    assert epoch_order(8, 1, 0).tolist() == [5, 0, 1, 4, 2, 6, 3, 7]
    assert epoch_order(8, 1, 1).tolist() == [6, 1, 4, 0, 3, 2, 5, 7]
    assert epoch_order(5, 2**63 - 1, 3).tolist() == [3, 4, 1, 0, 2]


def test_the_end_is_part_of_the_position_and_the_next_run_begins_new_epochs():
    source = over(6, 4, 2, shuffle=True)
    first = rows_of(source)
    state = through_json(source.state_dict())
    assert state["exhausted"]
    again = over(6, 4, 2, shuffle=True)
    assert again.load_state_dict(state) is True
    second = rows_of(again)
    endless = rows_of(itertools.islice(over(6, 4, None, shuffle=True), 6))
    assert first + second == endless


def test_all_rows_given_is_the_end_even_if_nobody_asked_for_more():
    source = over(6, 3)
    next(source)
    assert "exhausted" not in source.state_dict()
    next(source)
    assert source.state_dict()["exhausted"]


def test_after_the_end_other_data_simply_begins():
    source = over(6, 3)
    list(source)
    other = over(4, 3)
    assert other.load_state_dict(source.state_dict()) is True
    assert rows_of(other) == [0, 1, 2, 3]
    assert over(4, 3).load_state_dict({"exhausted": True}) is True


def test_no_position_means_from_the_beginning():
    source = over(4, 3)
    assert source.load_state_dict(None) is False
    assert rows_of(source) == [0, 1, 2, 3]


def changed(**change):
    rows = np.arange(300, dtype=np.float32)
    parts = {"x": {"a": rows, "b": rows}, "y": rows, "shuffle": True, "seed": 1} | change
    return ArrayBatches(
        ArrayTable(parts["x"], parts["y"]), batch_size=3, num_epochs=2, shuffle=parts["shuffle"], seed=parts["seed"],
        fixed_seed=True,
    )  # fmt: skip


ROWS = np.arange(300, dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": {"a": ROWS[:299], "b": ROWS[:299]}, "y": ROWS[:299]}, "its rows were 300, now they are 299"),
        ({"x": {"a": ROWS}}, "its columns"),
        ({"x": {"a": ROWS, "c": ROWS}}, "its columns"),
        ({"x": {"a": ROWS.astype(int), "b": ROWS}}, "its columns"),
        ({"x": {"a": ROWS[:, None], "b": ROWS}}, "its columns"),
        ({"y": None}, "its columns"),
        ({"x": {"a": ROWS + 1, "b": ROWS}}, "its values differ"),
        ({"y": ROWS[::-1]}, "its values differ"),
        ({"shuffle": False}, "it had `shuffle=True`, now `shuffle=False`"),
        ({"seed": 2}, "another `seed`"),
    ],
)
def test_going_on_with_other_data_is_noticed(change, message):
    source = changed()
    next(source)
    state = through_json(source.state_dict())
    assert changed().load_state_dict(state) is True
    with pytest.raises(InputMismatchError, match=message):
        changed(**change).load_state_dict(state)


def test_positions_of_other_inputs_are_refused():
    with pytest.raises(InputMismatchError, match="not saved by an input over arrays"):
        over(4, 3).load_state_dict({"item": 1, "items": 4})


def test_a_seed_that_nobody_chose_comes_from_the_position():
    source = over(50, 7, 2, shuffle=True, seed=1, fixed_seed=False)
    seen = rows_of(itertools.islice(source, 3))
    resumed = over(50, 7, 2, shuffle=True, seed=2, fixed_seed=False)
    assert resumed.load_state_dict(source.state_dict()) is True
    assert seen + rows_of(resumed) == rows_of(over(50, 7, 2, shuffle=True, seed=1))


def test_batches_share_no_memory_with_each_other_or_the_data():
    data = np.zeros((200, 3), dtype=np.float32)
    tensor = torch.zeros(200, 2)
    source = over(ArrayTable({"x": data, "t": tensor}, None), 10, 2)
    batches = [features for features, _ in source]
    for index, features in enumerate(batches):
        features["x"] += index
        features["t"] += index
    for index, features in enumerate(batches):
        assert torch.all(features["x"] == index)
        assert torch.all(features["t"] == index)
        assert features["x"].untyped_storage().nbytes() == 10 * 3 * 4
    assert not data.any()
    assert not tensor.any()


def test_changing_one_batch_in_place_leaves_the_graph_of_another_alone():
    source = over(ArrayTable({"x": np.ones((8, 2), np.float32)}, None), 4)
    first, second = (features["x"] for features, _ in source)
    weight = torch.ones(2, requires_grad=True)
    loss = (first * weight).sum()
    second.zero_()
    loss.backward()
    assert weight.grad.tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.arange(4.0), torch.float32),
        (np.arange(4.0, dtype=np.float32), torch.float32),
        (np.arange(4.0, dtype=">f8"), torch.float32),
        (np.arange(4, dtype=np.uint8), torch.uint8),
        (np.arange(8)[::2], torch.int64),
        (np.arange(4) > 1, torch.bool),
        (torch.arange(4.0, dtype=torch.float64), torch.float64),
        (torch.arange(4.0, dtype=torch.bfloat16), torch.bfloat16),
        (torch.arange(4.0, requires_grad=True), torch.float32),
        (torch.arange(8)[::2], torch.int64),
        (torch.arange(8, dtype=torch.bfloat16)[::2], torch.bfloat16),
        (pd.Series([1, 2, 3, 4]), torch.int64),
        ([1, 2, 3, 4], torch.int64),
    ],
)
def test_types_of_batches(value, dtype):
    batches = [features["x"] for features, _ in over(ArrayTable({"x": value}, None), 3)]
    assert all(batch.dtype is dtype for batch in batches)
    assert not any(batch.requires_grad for batch in batches)
    expected = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(np.asarray(value).astype("f8"))
    assert torch.equal(torch.cat(batches).double(), expected.double())


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.float16])
def test_float64_arrays_follow_the_default_dtype(default):
    torch.set_default_dtype(default)
    try:
        features, _ = next(over(ArrayTable({"x": np.arange(4.0)}, None), 4))
    finally:
        torch.set_default_dtype(torch.float32)
    assert features["x"].dtype is default
    assert features["x"].tolist() == [0, 1, 2, 3]


def test_structures_are_kept_and_keys_sorted():
    table = ArrayTable({"b": np.arange(3), "a": {"d": np.arange(3), "c": np.arange(3)}}, {"y": np.arange(3)})
    features, labels = next(over(table, 3))
    assert list(features) == ["a", "b"]
    assert list(features["a"]) == ["c", "d"]
    assert list(labels) == ["y"]
    features, labels = next(over(ArrayTable(np.arange(3), None), 3))
    assert features.tolist() == [0, 1, 2]
    assert labels is None


@pytest.mark.parametrize(
    "strings", [np.array(["a", "b", "c"]), np.array([b"a", b"b", b"c"]), pd.Series(["a", "b", "c"], dtype="category")]
)
def test_strings_are_fingerprints_for_training_and_strings_for_prediction(strings):
    table = ArrayTable({"x": strings}, None)
    features, _ = next(over(table, 2))
    assert features["x"].tolist() == fingerprint64(["a", "b"]).tolist()
    features, _ = next(over(table, 2, keep_strings=True))
    assert isinstance(features["x"], np.ndarray)
    assert [value if isinstance(value, str) else value.decode() for value in features["x"]] == ["a", "b"]


def test_a_memory_mapped_file_is_not_in_memory_and_not_read_as_a_whole(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(1000.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = over(ArrayTable({"x": mapped}, None), 3, shuffle=True)
    assert not source.in_memory
    assert over(3, 3).in_memory
    assert sorted(rows_of(source)) == list(range(1000))


@pytest.mark.parametrize(
    ("x", "y", "kind", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(4)}, None, ValueError, r'x\["a"\] \[3\], x\["b"\] \[4\]'),
        ({"a": np.zeros(3)}, np.zeros((4, 1)), ValueError, r"y \[4, 1\]"),
        ({"a": np.zeros((0, 2))}, None, ValueError, "at least one row"),
        ({"a": np.float32(1)}, None, ValueError, r'`x\["a"\]` must have its rows'),
        ({"a": {"b": [[1], [2, 3]]}}, None, TypeError, r'`x\["a"\]\["b"\]` has rows of different lengths'),
        ({"a": ["u", None]}, None, TypeError, r'`x\["a"\]` .*position 1'),
        (torch.zeros(3).to_sparse(), None, ValueError, "dense tensor in host memory"),
        (torch.zeros(3, device="meta"), None, ValueError, r"device meta.*tensor\.cpu\(\)"),
    ],
)
def test_arrays_that_make_no_table_are_refused(x, y, kind, message):
    with pytest.raises(kind, match=message):
        ArrayTable(x, y)


def test_seeds_are_fixed_functions_or_fresh():
    assert input_seed(3, None) == input_seed(3, 7) == input_seed(None, 3)
    assert input_seed(None, 7) != input_seed(None, 8)
    assert input_seed(None, None) != input_seed(None, None)
    assert 0 <= input_seed(None, None) < 2**63


def test_several_processes_have_one_seed_or_an_error():
    contexts = [InputContext(2, index, 2) for index in range(2)]
    assert len({input_seed(3, None, context) for context in [None, *contexts]}) == 1
    assert len({input_seed(None, 3, context) for context in [None, *contexts]}) == 1
    with pytest.raises(ValueError, match=r"2 processes share needs a seed.*\(mode, config, input_context\)"):
        input_seed(None, None, contexts[1])


def test_drawing_a_seed_leaves_the_global_generators_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    input_seed(None, None)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feature_column.joint import assert_same_ids, assert_same_values, ids_both_ways
from torchestimator import feature_column as fc

WORDS = ["", "a", "b", "gr\u00fcn", "\u65e5\u672c"]
AGES = fc.bucketized_column(fc.numeric_column("age"), [18, 30])
COLORS = fc.categorical_column_with_vocabulary_list("color", ["a", "b"])
LEAVES = ["one", "two", "number", AGES, COLORS]


def data(rows, random):
    return {
        "one": random.choice(WORDS, rows).astype(object),
        "two": random.choice(WORDS, rows).astype(object),
        "color": random.choice(WORDS, rows).astype(object),
        "number": random.integers(-(2**62), 2**62, rows),
        "age": random.uniform(0, 60, rows).astype(np.float32),
    }


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(LEAVES), min_size=2, max_size=4, unique=True), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.integers(1, 5),
)
def test_ids_are_those_of_each_cross(crossed, seed, rows):
    random = np.random.default_rng(seed)
    columns = {}
    for keys in crossed:
        start = int(random.integers(0, 2**64, dtype=np.uint64)) if random.random() < 0.5 else None
        column = fc.crossed_column(keys, int(random.integers(1, 2**12)), start)
        columns[column.name] = column
    for found in ids_both_ways(list(columns.values()), data(rows, random)):
        assert_same_ids(*found)


def test_crosses_of_crosses_and_of_several_values():
    random = np.random.default_rng(0)
    nested = fc.crossed_column([fc.crossed_column(["one", AGES], 10), "two"], 50)
    plain = fc.crossed_column(["one", "number"], 30)
    for found in ids_both_ways([nested, plain], data(6, random)):
        assert_same_ids(*found)
    several = data(6, random) | {"one": random.choice(WORDS, (6, 2)).astype(object)}
    together, _ = assert_same_values(fc.LinearModel([nested, plain]), several)
    assert not together.has_joint({plain.identity: 0})

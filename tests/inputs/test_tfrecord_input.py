import gzip
import itertools
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
import torchestimator.io as te_io
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.inputs.iterator import InputMismatchError
from torchestimator.inputs.numpy_input import numpy_input_fn
from torchestimator.inputs.tfrecord_input import find_files, tfrecord_input_fn

SPEC = {
    "id": te_io.FixedLenFeature([], torch.int64),
    "x": te_io.FixedLenFeature([2], torch.float32),
    "city": te_io.FixedLenFeature([], str),
    "tags": te_io.VarLenFeature(torch.int64),
}


def example(index):
    return {"id": index, "x": [index, index / 2], "city": f"c{index % 3}", "tags": [index] * (index % 4)}


def write(path, indices, compression=None):
    with te_io.TFRecordWriter(path, compression) as writer:
        for index in indices:
            writer.write(te_io.encode_example(example(index)))
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write(folder / "b-1", range(7, 20))
    write(folder / "b-0", range(7), "gzip")
    write(folder / "b-2", [])
    return str(folder / "b-*")


def ids(batches):
    return [features["id"].tolist() for features, _ in batches]


def test_batches_run_across_files_and_epochs(files):
    batches = list(tfrecord_input_fn(files, SPEC, batch_size=16, num_epochs=2, shuffle=False)())
    assert ids(batches) == [[*range(16)], [16, 17, 18, 19, *range(12)], [*range(12, 20)]]
    features, labels = batches[0]
    assert labels is None
    assert list(features) == sorted(SPEC)
    np.testing.assert_array_equal(features["x"].numpy(), np.array([[i, i / 2] for i in range(16)], np.float32))
    assert features["city"].tolist() == fingerprint64([f"c{i % 3}" for i in range(16)], name="city").tolist()
    assert features["tags"].shape == (16, 3)
    assert features["tags"][5].tolist() == [5, -1, -1]
    assert batches[2][0]["tags"].shape == (8, 3)


def test_batches_begin_at_aligned_addresses(files):
    for features, _ in tfrecord_input_fn(files, SPEC, batch_size=3, shuffle=True)():
        assert {value.data_ptr() % 64 for value in features.values()} == {0}


def test_batches_do_not_share_memory(files):
    batches = tfrecord_input_fn(files, SPEC, batch_size=10, shuffle=False)()
    next(batches)[0]["x"].fill_(-1)
    assert next(batches)[0]["x"][0].tolist() == [10, 5]


def test_rows_are_as_long_as_their_batch_needs(files):
    batches = list(tfrecord_input_fn(files, SPEC, batch_size=2, shuffle=False)())
    assert [features["tags"].shape[1] for features, _ in batches[:4]] == [1, 3, 1, 3]


@pytest.mark.parametrize("label_key", ["id", ["id"], ("id", "city")])
def test_labels(files, label_key):
    features, labels = next(iter(tfrecord_input_fn(files, SPEC, label_key, batch_size=3, shuffle=False)()))
    if label_key == "id":
        assert labels.tolist() == [0, 1, 2]
    else:
        assert list(labels) == list(label_key)
        assert labels["id"].tolist() == [0, 1, 2]
    assert "id" not in features


def test_strings_are_kept_for_predictions(files):
    features, _ = next(iter(tfrecord_input_fn(files, SPEC, batch_size=4, shuffle=False)(te.ModeKeys.PREDICT)))
    assert features["city"].tolist() == ["c0", "c1", "c2", "c0"]


def test_shuffled_as_arrays_are(files):
    options = {"batch_size": 6, "num_epochs": 3, "shuffle": True, "seed": 5}
    read = ids(tfrecord_input_fn(files, SPEC, **options)())
    arrays = numpy_input_fn({"id": np.arange(20)}, **options)
    assert read == ids(arrays())
    for epoch in range(3):
        assert sorted(itertools.chain(*read))[epoch::3] == list(range(20))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 11), st.booleans(), st.integers(1, 7), st.integers(1, 7))
def test_resuming_at_any_batch(files, num_read, shuffle, batch_size, next_size):
    def rows(iterator, count=None):
        return list(itertools.chain(*ids(itertools.islice(iterator, count))))

    whole = rows(tfrecord_input_fn(files, SPEC, num_epochs=2, shuffle=shuffle, seed=1)())
    first = tfrecord_input_fn(files, SPEC, batch_size=batch_size, num_epochs=2, shuffle=shuffle, seed=1)()
    before = rows(first, num_read)
    state = first.state_dict()
    second = tfrecord_input_fn(files, SPEC, batch_size=next_size, num_epochs=2, shuffle=shuffle, seed=1)()
    assert second.load_state_dict(state)
    if len(before) < 40:
        assert before + rows(second) == whole


@settings(deadline=None, max_examples=25)
@given(
    num=st.integers(1, 4), batch_size=st.integers(1, 7), shuffle=st.booleans(), later=st.integers(1, 4),
    taken=st.integers(0, 4),
)  # fmt: skip
def test_processes_share_the_records(files, num, batch_size, shuffle, later, taken):
    def shares(count):
        input_fn = tfrecord_input_fn(files, SPEC, batch_size=batch_size, num_epochs=2, shuffle=shuffle, seed=1)
        return [input_fn("train", None, te.inputs.InputContext(count, index, count)) for index in range(count)]

    def step(inputs):
        batches = [batch for each in inputs if (batch := next(each, None))]
        assert all(features["x"].tolist() == [[i, i / 2] for i in features["id"]] for features, _ in batches)
        return [features["id"].tolist() for features, _ in batches]

    options = {"num_epochs": 2, "shuffle": shuffle, "seed": 1}
    whole = list(itertools.chain(*ids(tfrecord_input_fn(files, SPEC, batch_size=40, **options)())))
    alone = ids(tfrecord_input_fn(files, SPEC, batch_size=num * batch_size, **options)())
    inputs = shares(num)
    seen = []
    for expected in alone[:taken]:
        parts = step(inputs)
        assert list(itertools.chain(*parts)) == expected
        seen += expected
    state = inputs[-1].state_dict()
    if len(seen) < len(whole):
        inputs = shares(later)
        assert all(each.load_state_dict(state) for each in inputs)
    while parts := step(inputs):
        seen += itertools.chain(*parts)
    assert seen == whole


def test_a_process_verifies_only_its_own_records(tmp_path):
    path = tmp_path / "file"
    write(path, range(20))
    content = bytearray(path.read_bytes())
    content[content.index(te_io.encode_example(example(3))) + 8] ^= 1
    path.write_bytes(bytes(content))
    input_fn = tfrecord_input_fn(path, SPEC, shuffle=False, batch_size=2)
    first, second = (input_fn("train", None, te.inputs.InputContext(2, index, 2)) for index in range(2))
    assert ids(first) == [[0, 1], [4, 5], [8, 9], [12, 13], [16, 17]]
    with pytest.raises(te_io.RecordDamagedError):
        next(second)


def test_a_position_in_other_files_is_refused(files, tmp_path):
    state = (first := tfrecord_input_fn(files, SPEC, shuffle=False, batch_size=3)()).state_dict()
    next(first)
    changed = [example(index) for index in range(7)]
    changed[3]["x"] = [0.0, 0.5]
    with te_io.TFRecordWriter(tmp_path / "b-0") as writer:
        for each in changed:
            writer.write(te_io.encode_example(each))
    write(tmp_path / "b-1", range(7, 20))
    write(tmp_path / "b-2", [])
    other = tfrecord_input_fn(str(tmp_path / "b-*"), SPEC, shuffle=False, batch_size=3)()
    with pytest.raises(InputMismatchError, match="its values differ"):
        other.load_state_dict(state)


def test_damage_is_named(files, tmp_path):
    path = tmp_path / "file"
    write(path, range(20))
    content = bytearray(path.read_bytes())
    begin = content.index(te_io.encode_example(example(9))) - 12
    content[begin + 40] ^= 1
    path.write_bytes(bytes(content))
    batches = tfrecord_input_fn(path, SPEC, shuffle=False)()
    with pytest.raises(
        te_io.RecordDamagedError, match=rf"{path} is damaged at byte {begin}: the checksum of the record"
    ):
        next(batches)


def test_an_example_of_another_kind_is_named(tmp_path):
    path = tmp_path / "file"
    records = [te_io.encode_example(example(index)) for index in range(20)]
    records[11] = te_io.encode_example({**example(11), "id": "eleven"})
    with te_io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    begin = sum(len(record) + 16 for record in records[:11])
    message = rf"{path}, the record at byte {begin}: The feature 'id' must be a int64_list"
    with pytest.raises(ValueError, match=message):
        next(tfrecord_input_fn(path, SPEC, shuffle=False)())


def test_changed_files_are_opened_anew(tmp_path):
    path = tmp_path / "file"
    write(path, range(3))
    input_fn = tfrecord_input_fn(path, SPEC, shuffle=False)
    assert ids(input_fn()) == ids(input_fn()) == [[0, 1, 2]]
    write(path, range(5))
    assert ids(input_fn()) == [[0, 1, 2, 3, 4]]


def test_training_that_is_interrupted_sees_the_same(files, tmp_path):
    def model_fn(features, labels, mode):
        net = te.get_module("net", lambda: torch.nn.Linear(2, 1))
        loss = (net(features["x"])[:, 0] - labels.float()).square().mean()
        train_op = te.minimize(loss, lambda params: torch.optim.SGD(params, 1e-3))
        return te.EstimatorSpec(mode, loss=loss, train_op=train_op)

    def trained(folder, *steps):
        for step in steps:
            estimator = te.Estimator(model_fn, tmp_path / folder, config=te.RunConfig(random_seed=1))
            estimator.train(
                tfrecord_input_fn(files, SPEC, "id", batch_size=3, num_epochs=None, shuffle=True), max_steps=step
            )
        return estimator.get_variable_value("net.weight")

    np.testing.assert_array_equal(trained("once", 25), trained("twice", 11, 25))


def test_files(tmp_path):
    for name in ("b", "a", "odd[1]"):
        (tmp_path / name).write_bytes(b"")
    assert find_files(tmp_path / "a") == [str(tmp_path / "a")]
    assert find_files([str(tmp_path / "[ab]"), tmp_path / "odd[1]"]) == [
        str(tmp_path / name) for name in ("a", "b", "odd[1]")
    ]
    with pytest.raises(FileNotFoundError, match=r"`file_pattern` matches no file. Received: 'none-\*', in the folder"):
        find_files("none-*")
    with pytest.raises(ValueError, match="must name at least one file"):
        find_files([])


def test_bad_arguments(files, tmp_path):
    with pytest.raises(TypeError, match="`features` must be a dict of feature specs"):
        tfrecord_input_fn(files, ["x"], shuffle=True)
    with pytest.raises(TypeError, match="Received for 'x': 3"):
        tfrecord_input_fn(files, {"x": 3}, shuffle=True)
    with pytest.raises(ValueError, match=r"`label_key` must be among `features`. Received: \['y'\]"):
        tfrecord_input_fn(files, SPEC, "y", shuffle=True)
    with pytest.raises(ValueError, match="leaves no feature"):
        tfrecord_input_fn(files, {"id": SPEC["id"]}, "id", shuffle=True)
    with pytest.raises(ValueError, match="`shuffle` must be given"):
        tfrecord_input_fn(files, SPEC)
    empty = tmp_path / "empty"
    empty.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="hold no record"):
        tfrecord_input_fn(os.fspath(empty), SPEC, shuffle=True)()

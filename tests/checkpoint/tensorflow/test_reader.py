import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint.tensorflow.stored import DATA, EXPECTED, change, copied, expected_array
from torchestimator.checkpoint import CheckpointDamagedError
from torchestimator.checkpoint.tensorflow import TensorFlowCheckpoint, is_tensorflow_checkpoint


@pytest.mark.parametrize("name", EXPECTED)
def test_what_tensorflow_reads_in_its_checkpoints(name):
    checkpoint = TensorFlowCheckpoint(DATA / name)
    assert checkpoint.names() == list(EXPECTED[name])
    for tensor in checkpoint.names():
        expected = expected_array(name, tensor)
        if expected is None:
            with pytest.raises(ValueError, match="has only a part of"):
                checkpoint.get(tensor)
            continue
        value = checkpoint.get(tensor)
        np.testing.assert_array_equal(value, expected, strict=True)
        assert (checkpoint.dtype(tensor), checkpoint.shape(tensor)) == (value.dtype, value.shape)
        assert value.flags.writeable


def test_steps():
    assert TensorFlowCheckpoint(DATA / "linear_v2").step == 3
    assert TensorFlowCheckpoint(DATA / "sliced_and_sharded").step == 7
    assert TensorFlowCheckpoint(DATA / "objects").step is None


def test_parts_of_partitioned_tensors():
    checkpoint = TensorFlowCheckpoint(DATA / "sliced_and_sharded")
    parts = checkpoint.parts("wide")
    assert [place for place, _ in parts] == [(slice(0, 2), slice(0, 15)), (slice(0, 2), slice(15, 20))]
    np.testing.assert_array_equal(np.concatenate([values for _, values in parts], 1), checkpoint.get("wide"))
    ((place, values),) = checkpoint.parts("global_step")
    assert place == ()
    assert values == 7
    slots = TensorFlowCheckpoint(DATA / "linear_v1_partitioned")
    ((place, values),) = slots.parts("linear/linear_model/c/weights/part_1/Ftrl")
    assert place == (slice(2, 3), slice(0, 1))
    assert values.shape == (1, 1)


def test_names():
    checkpoint = TensorFlowCheckpoint(DATA / "dnn_v2")
    assert "dnn/logits/kernel" in checkpoint
    assert "" not in checkpoint
    assert None not in checkpoint
    with pytest.raises(ValueError, match=r"no tensor 'dnn/logits/kernels'\. Similar: \['dnn/logits/kernel'"):
        checkpoint.get("dnn/logits/kernels")
    with pytest.raises(ValueError, match=r"no tensor 'zzzzzzzz'\. It has: dnn/hiddenlayer_0/batchnorm_0/beta, .*more"):
        checkpoint.shape("zzzzzzzz")


def test_a_missing_data_file(tmp_path):
    prefix = copied("sliced_and_sharded", tmp_path)
    missing = prefix.with_name(prefix.name + ".data-00001-of-00003")
    missing.unlink()
    checkpoint = TensorFlowCheckpoint(prefix)
    assert checkpoint.step == 7
    message = rf"{re.escape(str(missing))} is damaged: it is missing.*3 data files, of which 2 are there"
    with pytest.raises(CheckpointDamagedError, match=message):
        checkpoint.get("table")


def test_damaged_data(tmp_path):
    prefix = copied("linear_v2", tmp_path)
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    change(data, 8)
    name = "linear/linear_model/bias_weights"
    with pytest.raises(CheckpointDamagedError, match=rf"the checksum of the values of '{name}' at byte 8 differs"):
        TensorFlowCheckpoint(prefix).get(name)
    assert TensorFlowCheckpoint(prefix, verify=False).get(name).shape == (1,)
    data.write_bytes(data.read_bytes()[:10])
    with pytest.raises(CheckpointDamagedError, match=rf"it is cut off: '{name}' ends at byte 12"):
        TensorFlowCheckpoint(prefix).get(name)


def test_damaged_strings(tmp_path):
    prefix = copied("objects", tmp_path)
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    content = data.read_bytes()
    name = "string/.ATTRIBUTES/VARIABLE_VALUE"
    change(data, content.index(b"one"))
    with pytest.raises(CheckpointDamagedError, match="the checksum of the values"):
        TensorFlowCheckpoint(prefix).get(name)
    data.write_bytes(content)
    change(data, content.index(b"one") - 5)
    with pytest.raises(CheckpointDamagedError, match="are garbled"):
        TensorFlowCheckpoint(prefix).get(name)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_damage_to_an_index_is_found(tmp_path_factory, data):
    prefix = copied("linear_v2", tmp_path_factory.mktemp("checkpoint"))
    index = prefix.with_name(prefix.name + ".index")
    content = index.read_bytes()
    footer = len(content) - 48
    blocks_and_magic = st.integers(0, footer - 1) | st.integers(len(content) - 8, len(content) - 1)
    change(index, data.draw(blocks_and_magic), data.draw(st.integers(1, 255)))
    with pytest.raises(CheckpointDamagedError) as caught:
        TensorFlowCheckpoint(prefix)
    assert str(index) in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 720))
def test_an_index_that_was_cut_off(tmp_path_factory, length):
    prefix = copied("linear_v2", tmp_path_factory.mktemp("checkpoint"))
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(index.read_bytes()[:length])
    with pytest.raises(CheckpointDamagedError, match=f"it is cut off, or no table: {length} bytes"):
        TensorFlowCheckpoint(prefix)


def test_what_is_a_checkpoint(tmp_path):
    assert is_tensorflow_checkpoint(DATA / "linear_v2")
    assert is_tensorflow_checkpoint(DATA / "linear_v2" / "model.ckpt-3")
    assert not is_tensorflow_checkpoint(DATA)
    assert not is_tensorflow_checkpoint(tmp_path / "none")

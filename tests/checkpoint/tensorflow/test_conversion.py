import numpy as np
import pytest
import torch

from tests.checkpoint.tensorflow.stored import DATA, EXPECTED, block, copied, expected_array, table
from torchestimator.checkpoint import Checkpoint, CheckpointDamagedError
from torchestimator.checkpoint.tensorflow import convert_checkpoint, translate_checkpoint
from torchestimator.checkpoint.tensorflow.table import TableReader

ESTIMATORS = [name for name in EXPECTED if name not in ("objects", "sliced_and_sharded")]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_number_arrives(tmp_path, name):
    checkpoint = Checkpoint(convert_checkpoint(DATA / name, tmp_path))
    assert checkpoint.step == 3
    assert checkpoint.state["converted_from"] == "model.ckpt-3"
    translation = translate_checkpoint(DATA / name)
    used = set(translation.ignored)
    for read, origins in (
        (checkpoint.read_model, translation.model),
        (checkpoint.read_optimizer, translation.optimizer),
    ):
        for tensor, origin in origins.items():
            value = read(tensor).numpy()
            used |= set(origin.variables)
            assert value.shape == origin.shape
            expected = expected_array(name, origin.variables[0])
            if expected is not None:
                np.testing.assert_array_equal(value.T if origin.is_transposed else value, expected, strict=True)
    assert used == set(EXPECTED[name])


def test_a_network_computes_the_same(tmp_path):
    checkpoint = Checkpoint(convert_checkpoint(DATA / "dnn_adam_v2", tmp_path))
    hidden, logits = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)
    for prefix, layer in (("dnn/hiddenlayer_0", hidden), ("dnn/logits", logits)):
        layer.load_state_dict({key: checkpoint.read_model(f"{prefix}.{key}") for key in ("weight", "bias")})
    x = np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)
    get = {key: expected_array("dnn_adam_v2", f"dnn/{key}") for key in ("hiddenlayer_0/kernel", "hiddenlayer_0/bias")}
    get |= {key: expected_array("dnn_adam_v2", f"dnn/{key}") for key in ("logits/kernel", "logits/bias")}
    expected = np.maximum(x @ get["hiddenlayer_0/kernel"] + get["hiddenlayer_0/bias"], 0) @ get["logits/kernel"]
    with torch.no_grad():
        found = logits(torch.relu(hidden(torch.from_numpy(x)))).numpy()
    np.testing.assert_allclose(found, expected + get["logits/bias"], rtol=1e-6)


@pytest.mark.parametrize("name", ["dnn_adam_v1", "dnn_adam_v2"])
def test_slots_of_adam(tmp_path, name):
    checkpoint = Checkpoint(convert_checkpoint(DATA / name, tmp_path))
    parameters = ["dnn/hiddenlayer_0.bias", "dnn/hiddenlayer_0.weight", "dnn/logits.bias", "dnn/logits.weight"]
    assert sorted(checkpoint.model_shapes) == parameters
    assert sorted(checkpoint.optimizer_shapes) == sorted(f"{a}/{b}" for a in parameters for b in ("m", "v", "step"))
    assert checkpoint.read_optimizer("dnn/logits.weight/step") == 3
    assert checkpoint.read_optimizer("dnn/hiddenlayer_0.weight/v").shape == (3, 2)


def test_slots_of_a_partitioned_variable(tmp_path):
    name = "linear_v1_partitioned"
    checkpoint = Checkpoint(convert_checkpoint(DATA / name, tmp_path))
    weights = checkpoint.read_model("linear/linear_model.c.weights")
    np.testing.assert_array_equal(weights.numpy(), expected_array(name, "linear/linear_model/c/weights"))
    # Ftrl: a weight is a function of its slots, here with the rate 0.2 and no regularisation.
    accumulator, linear = (
        checkpoint.read_optimizer(f"linear/linear_model.c.weights/{slot}") for slot in ("accumulator", "linear")
    )
    torch.testing.assert_close(-linear * 0.2 / accumulator.sqrt(), weights)


def test_both_optimizers_of_a_wide_and_deep_model():
    slots = translate_checkpoint(DATA / "wide_and_deep_v2").optimizer
    assert {name.rpartition("/")[2] for name in slots if name.startswith("linear")} == {"accumulator", "linear"}
    assert {name.rpartition("/")[2] for name in slots if name.startswith("dnn")} == {"accumulator"}
    assert slots.keys() == translate_checkpoint(DATA / "wide_and_deep_v1").optimizer.keys()


def test_a_translation_reads_as_a_checkpoint_does(tmp_path):
    for name in ESTIMATORS:
        translation = translate_checkpoint(DATA / name)
        checkpoint = Checkpoint(convert_checkpoint(translation.path, tmp_path / name))
        assert translation.step == checkpoint.step
        assert translation.model_shapes == checkpoint.model_shapes
        assert translation.optimizer_shapes == checkpoint.optimizer_shapes
        for tensor in translation.model_shapes:
            assert torch.equal(translation.read_model(tensor), checkpoint.read_model(tensor))
        for tensor in translation.optimizer_shapes:
            assert torch.equal(translation.read_optimizer(tensor), checkpoint.read_optimizer(tensor))


def test_other_checkpoints_keep_their_names():
    translation = translate_checkpoint(DATA / "sliced_and_sharded")
    assert (sorted(translation.model), translation.optimizer, translation.step) == (["table", "wide"], {}, 7)
    assert translation.read_model("wide").shape == (2, 20)


def test_two_variables_of_one_name(tmp_path):
    prefix = copied("linear_v2", tmp_path)
    index = prefix.with_name(prefix.name + ".index")
    content = TableReader(str(index), index.read_bytes()).entries()
    names = {"linear/linear_model/a.b/weights": "c", "linear/linear_model/a_b/weights": "n"}
    entries = {b"": content[b""]}
    entries |= {new.encode(): content[f"linear/linear_model/{old}/weights".encode()] for new, old in names.items()}
    index.write_bytes(table(block([(0, key, value) for key, value in entries.items()])))
    with pytest.raises(ValueError, match=r"both be called 'linear/linear_model\.a_b\.weights' here"):
        translate_checkpoint(prefix)


def test_nothing_is_overwritten(tmp_path):
    convert_checkpoint(DATA / "linear_v2", tmp_path)
    with pytest.raises(ValueError, match=r"model\.ckpt-3 exists already"):
        convert_checkpoint(DATA / "dnn_v2", tmp_path)


def test_a_damaged_checkpoint_leaves_nothing_behind(tmp_path):
    prefix = copied("linear_v2", tmp_path)
    prefix.with_name(prefix.name + ".data-00000-of-00001").unlink()
    with pytest.raises(CheckpointDamagedError, match="it is missing"):
        convert_checkpoint(prefix, tmp_path / "out")
    assert not (tmp_path / "out").exists()

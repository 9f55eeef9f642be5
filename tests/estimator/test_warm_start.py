"""Starting from the weights of another training."""

import random
import re

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.models import config, linear_data, linear_input
from torchestimator.checkpoint import Checkpoint, CheckpointStore
from torchestimator.estimator.warm_start import warm_start, warm_start_settings

OLD = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])


def model_fn(features, labels, mode, params):
    """A table of params["shape"], running statistics and a dense layer."""
    table = te.get_parameter("table", lambda: torch.full(params["shape"], 7.0))
    norm = te.get_module("norm", lambda: torch.nn.BatchNorm1d(2))
    dense = te.get_module("dense", lambda: torch.nn.Linear(2, 1))
    loss = (table.sum() + dense(norm(features["x"]))[:, 0] - labels).square().mean()
    train_op = te.minimize(loss, lambda p: torch.optim.Adam(p, lr=1e-3))
    return te.EstimatorSpec(mode, predictions=features["x"], loss=loss, train_op=train_op)


def estimator_in(model_dir, warm_start_from=None):
    return te.Estimator(model_fn, model_dir, config(), {"shape": (3, 2)}, warm_start_from)


def built(shape=(3, 2)):
    """A model with initial weights."""
    features, labels = linear_data(4)
    module = te.ModelFnModule(model_fn, params={"shape": shape}, seed=1)
    module.build({"x": torch.from_numpy(features["x"])}, torch.from_numpy(labels), te.ModeKeys.TRAIN)
    return module


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The model_dir of a training of two steps."""
    folder = tmp_path_factory.mktemp("old")
    estimator_in(folder).train(linear_input(), steps=2)
    return folder


def weights(checkpoint):
    opened = Checkpoint(checkpoint)
    return {name: opened.read_model(name).numpy() for name in opened.model_shapes}


@pytest.mark.parametrize(("source", "step"), [("model.ckpt-2", 2), ("model.ckpt-0", 0), ("", 2)])
@pytest.mark.parametrize("kind", [str, lambda path: path, lambda path: te.WarmStartSettings(str(path))])
def test_weights_are_taken_over_and_the_rest_starts_anew(tmp_path, old, source, step, kind):
    estimator_in(tmp_path, kind(old / source)).train(linear_input(), steps=1)
    start = Checkpoint(tmp_path / "model.ckpt-0")
    assert start.step == 0
    assert not start.optimizer_shapes
    found, expected = weights(tmp_path / "model.ckpt-0"), weights(old / f"model.ckpt-{step}")
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_evaluation_and_prediction_start_warm_too(tmp_path, old):
    cold = estimator_in(tmp_path / "cold").evaluate(linear_input(num_epochs=1))
    warm = estimator_in(tmp_path / "warm", old).evaluate(linear_input(num_epochs=1))
    assert warm["loss"] == estimator_in(old).evaluate(linear_input(num_epochs=1))["loss"] != cold["loss"]
    assert warm["global_step"] == 0


def test_a_checkpoint_in_the_model_dir_takes_precedence(tmp_path, old):
    estimator_in(tmp_path).train(linear_input(), steps=1)
    before = estimator_in(tmp_path).evaluate(linear_input(num_epochs=1))
    assert estimator_in(tmp_path, old).evaluate(linear_input(num_epochs=1)) == before


@pytest.mark.parametrize(
    ("patterns", "taken", "step"),
    [
        (".*", {"table", "dense.weight", "dense.bias", "norm.weight", "norm.running_mean"}, 0),
        ("dense", {"dense.weight", "dense.bias"}, 0),
        ("ense", set(), 0),
        (".*weight", {"dense.weight", "norm.weight"}, 0),
        (["dense", "table"], {"dense.weight", "dense.bias", "table"}, 0),
        (["dense.bias", "global_step"], {"dense.bias"}, 2),
        ([".*"], {"table", "dense.weight", "dense.bias", "norm.weight", "norm.running_mean"}, 2),
        (None, set(), 0),
        ([], set(), 0),
    ],
)
def test_regular_expressions_choose(old, patterns, taken, step):
    module, cold, trained = built(), built().state_dict(), weights(old)
    warm_start(module, te.WarmStartSettings(str(old), patterns), 1)
    state = module.state_dict()
    for name in ("table", "dense.weight", "dense.bias", "norm.weight", "norm.running_mean"):
        expected = trained[name] if name in taken else cold[name].numpy()
        assert np.array_equal(state[name], expected), name
    assert module.global_step == step


def test_old_names(old):
    module = built()
    names = {"dense.bias": "norm.bias"}
    with pytest.raises(ValueError, match=r"'dense.bias' has shape \[1\] in the model and \[2\]"):
        warm_start(module, te.WarmStartSettings(str(old), "dense", None, names), 1)
    names = {"norm.bias": "norm.running_mean"}
    warm_start(module, te.WarmStartSettings(str(old), "norm.bias", None, names), 1)
    assert np.array_equal(module.state_dict()["norm.bias"], weights(old)["norm.running_mean"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("dense", None, {"denes.bias": "x"}), r"`var_name_to_prev_var_name` has names .*\['denes.bias'\].*dense.bias"),
        (("dense", None, {"table": "x"}), r"`var_name_to_prev_var_name` has names that are not warm-started"),
        (("dense", {"tabel": te.VocabInfo("a", 1, 0, "b")}), r"`var_name_to_vocab_info` has names .*\['tabel'\]"),
        (
            ("dense", None, {"dense.bias": "old/bias"}),
            r"no 'old/bias' to warm-start 'dense.bias' from",
        ),
    ],
)
def test_names_that_lead_nowhere_are_refused(old, settings, message):
    with pytest.raises(ValueError, match=message):
        warm_start(built(), te.WarmStartSettings(str(old), *settings), 1)


def test_another_shape_is_refused(old):
    with pytest.raises(ValueError, match=r"'table' has shape \[4, 2\] in the model and \[3, 2\].*te.VocabInfo"):
        warm_start(built((4, 2)), te.WarmStartSettings(str(old)), 1)


def test_where_settings_come_from():
    assert warm_start_settings(None) is None
    assert warm_start_settings("a") == te.WarmStartSettings("a", ".*", {}, {})
    with pytest.raises(ValueError, match="`ckpt_to_initialize_from` must name"):
        te.WarmStartSettings("")
    with pytest.raises(ValueError, match="`warm_start_from` must be the path"):
        warm_start_settings(["a"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        warm_start(built(), te.WarmStartSettings("nowhere"), 1)


@pytest.fixture
def vocabulary(tmp_path):
    """Writes a file of terms and returns its path."""

    def write(*terms):
        path = tmp_path / f"vocabulary{random.random()}"
        path.write_text("".join(f"{term}\n" for term in terms), encoding="utf-8")
        return str(path)

    return write


def moved(tmp_path, shape, info, table=OLD):
    """The table of that shape, warm-started from `table` with a VocabInfo."""
    checkpoint = CheckpointStore(tmp_path / "checkpoint").save(1, {"table": table}, {}, {})
    module = built(shape)
    warm_start(module, te.WarmStartSettings(checkpoint, None, {"table": info}), 1)
    return module.state_dict()["table"]


def test_rows_follow_their_terms_as_in_tensorflow(tmp_path, vocabulary):
    info = te.VocabInfo(vocabulary("c", "d", "a", "b"), 4, 1, vocabulary("a", "b", "c"))
    expected = torch.stack([OLD[2], torch.zeros(2), OLD[0], OLD[1], torch.zeros(2)])
    assert torch.equal(moved(tmp_path, (5, 2), info), expected)


def test_columns_follow_their_terms(tmp_path, vocabulary):
    info = te.VocabInfo(vocabulary("c", "d", "a", "b"), 4, 1, vocabulary("a", "b", "c"), axis=1)
    expected = torch.stack([OLD[2], torch.zeros(2), OLD[0], OLD[1], torch.zeros(2)]).T
    assert torch.equal(moved(tmp_path, (2, 5), info, OLD.T.contiguous()), expected)


def test_only_the_first_lines_of_a_vocabulary_may_count(tmp_path, vocabulary):
    info = te.VocabInfo(vocabulary("c", "a", "b"), 2, 0, vocabulary("a", "b", "c", "d"), old_vocab_size=2)
    assert torch.equal(moved(tmp_path, (2, 2), info), torch.stack([torch.zeros(2), OLD[0]]))


def test_new_rows_come_from_the_backup_initializer_under_a_seed_of_their_own(tmp_path, vocabulary):
    new, old = vocabulary("x", "b", "y"), vocabulary("a", "b", "c")
    info = te.VocabInfo(new, 3, 1, old, backup_initializer=torch.nn.init.normal_)
    torch.manual_seed(1)
    one = moved(tmp_path, (4, 2), info)
    torch.manual_seed(2)
    two = moved(tmp_path, (4, 2), info)
    assert torch.equal(one, two)
    assert torch.equal(one[1], OLD[1])
    assert len(set(one.flatten().tolist())) == 8


def test_terms_may_contain_any_character_but_the_end_of_a_line(tmp_path, vocabulary):
    strange = ["a\u2028b", "c\x0bd", " e ", "\u00e9"]
    info = te.VocabInfo(vocabulary(*strange[::-1]), 4, 0, vocabulary(*strange))
    table = torch.arange(8.0).reshape(4, 2)
    assert torch.equal(moved(tmp_path, (4, 2), info, table), table.flip(0))


def test_a_vector_has_rows_too(tmp_path, vocabulary):
    info = te.VocabInfo(vocabulary("b", "a"), 2, 0, vocabulary("a", "b"))
    assert moved(tmp_path, (2,), info, torch.tensor([1.0, 2.0])).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((5, 2), {"axis": 2}, "`axis` of te.VocabInfo must be 0 or 1"),
        ((5, 3), {}, "its shape may change along that axis only"),
        ((5,), {}, "its shape may change along that axis only"),
        ((5,), {"axis": 1}, "its shape may change along that axis only"),
        ((4, 2), {}, "the model has 4 and the vocabulary 5 with its OOV buckets"),
        ((5, 2), {"new_vocab_size": 9}, "has 4 terms, fewer than the 9 asked for"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, vocabulary, shape, changes, message):
    info = te.VocabInfo(vocabulary("c", "d", "a", "b"), 4, 1, vocabulary("a", "b", "c"))._replace(**changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        moved(tmp_path, shape, info)


def test_a_vocabulary_longer_than_the_old_table_is_refused(tmp_path, vocabulary):
    info = te.VocabInfo(vocabulary("a"), 1, 0, vocabulary("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="the checkpoint has 3 and the old vocabulary 4"):
        moved(tmp_path, (1, 2), info)

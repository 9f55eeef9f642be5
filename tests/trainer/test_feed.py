"""Putting values into batches."""

import numpy as np
import pytest
import torch

import torchestimator as te
from tests.hooks.training import Fetch, make_estimator
from torchestimator.strategy.strategy import Batch
from torchestimator.trainer.feed import feed

CPU = torch.device("cpu")


def batch():
    return Batch(
        features={
            "x": torch.zeros(2, 3),
            "deep": {"count": torch.zeros(2, dtype=torch.int64), "list": [torch.zeros(2), torch.ones(2)]},
            "a/b": torch.zeros(2),
            "name": torch.zeros(2, dtype=torch.int64),
        },
        labels={"main": torch.zeros(2)},
        strings={},
    )


def fed(*feeds):
    return feed(batch(), [None, *(te.SessionRunArgs(None, values) for values in feeds)], CPU)


def test_places_are_found_at_any_depth_and_the_rest_stays():
    before = batch()
    after = feed(before, [te.SessionRunArgs("loss", {"features/deep/count": [5, 6], "labels/main": [1, 2]})], CPU)
    assert after.features["deep"]["count"].tolist() == [5, 6]
    assert after.labels["main"].tolist() == [1, 2]
    assert after.features["x"] is before.features["x"]
    assert after.features["deep"]["list"] is before.features["deep"]["list"]
    assert before.features["deep"]["count"].tolist() == [0, 0]
    assert before.labels["main"].tolist() == [0, 0]


def test_numbers_take_on_the_dtype_of_what_they_replace():
    after = fed({"features/x": np.ones((2, 3), np.float64), "features/deep/count": np.array([1, 2], np.int32)})
    assert after.features["x"].dtype == torch.float32
    assert after.features["deep"]["count"].dtype == torch.int64
    assert fed({"labels/main": [1, 2]}).labels["main"].dtype == torch.float32


def test_strings_become_fingerprints():
    after = fed({"features/name": np.array(["a", "b"])})
    assert after.features["name"].tolist() == te.inputs.fingerprint64(np.array(["a", "b"])).tolist()


def test_items_of_lists_and_keys_with_slashes_can_be_fed():
    after = fed({"features/deep/list/1": [7, 8], "features/a/b": [3, 4]})
    assert [item.tolist() for item in after.features["deep"]["list"]] == [[0, 0], [7, 8]]
    assert after.features["a/b"].tolist() == [3, 4]


def test_whole_parts_can_be_fed():
    after = fed({"features": {"y": [1.0, 2.0]}, "labels": torch.ones(2)})
    assert list(after.features) == ["y"]
    assert after.labels.tolist() == [1, 1]


def test_several_hooks_feed_different_places():
    after = fed({"features/x": np.ones((2, 3))}, {"labels/main": [1, 1]}, {})
    assert after.features["x"].sum() == 6
    assert after.labels["main"].sum() == 2


@pytest.mark.parametrize(
    ("feeds", "error", "message"),
    [
        ([{"features/z": 0}], ValueError, r"has the key 'features/z', which the batch.*'features/deep/list/0'"),
        ([{"labels/z": 0}], ValueError, r"has the key 'labels/z'.*'labels/main'"),
        ([{"features/x/y": 0}], ValueError, r"has the key 'features/x/y'"),
        ([{"features/deep/list/2": 0}], ValueError, r"has the key 'features/deep/list/2'"),
        ([{"x": 0}], ValueError, '`feed_dict` keys must begin with "features" or "labels". Received: \'x\''),
        ([{torch.zeros(1): 0}], TypeError, r"`feed_dict` must have places.*Received: tensor\(\[0\.\]\)"),
        ([{"labels": 0}, {"labels": 0}], ValueError, "by one hook. Received: 'labels' and 'labels', which overlap"),
        ([{"labels": 0}, {"labels/main": 0}], ValueError, "Received: 'labels' and 'labels/main', which overlap"),
        ([{"features/deep/count": 0, "features/deep": 0}], ValueError, "which overlap"),
        ([[1]], TypeError, r"`feed_dict` must be a dict from places in the batch to values. Received: \[1\]"),
        ([{"features/x": [object()]}], TypeError, "features/x"),
    ],
)
def test_feeds_without_sense_are_refused(feeds, error, message):
    with pytest.raises(error, match=message):
        fed(*feeds)


def test_names_that_begin_alike_do_not_overlap():
    args = te.SessionRunArgs(None, {"features/x": torch.ones(1), "features/xy": torch.ones(1)})
    parts = Batch({"x": torch.zeros(1), "xy": torch.zeros(1)}, None, {})
    assert feed(parts, [args], CPU).features == {"x": 1, "xy": 1}


def test_a_training_is_fed_in_the_steps_where_a_hook_wants_it(tmp_path):
    class EverySecond(Fetch):
        def before_run(self, run_context):
            values = {"labels": np.full(4, 9.0)} if run_context.global_step % 2 else None
            return te.SessionRunArgs("labels", values)

    def numbers():
        while True:
            yield {"x": np.ones((4, 2), np.float32)}, np.zeros(4, np.float32)

    hook = EverySecond(None)
    make_estimator(tmp_path).train(numbers, hooks=[hook], steps=4)
    assert [labels.tolist() for labels in hook.results] == [[0.0] * 4, [9.0] * 4] * 2

"""KMeans: TensorFlow's numbers where its graph has one result, and the laws of its updates.

The mini-batch update of TensorFlow 2.15 reads the counts of a step before or after it adds to them, as its threads
happen to run, so that its centres are not recorded here; the means that they stand for are computed instead.
"""

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchestimator as te
from tests.models import config, contents
from torchestimator import feature_column as fc
from torchestimator.estimator.canned.clusters import ClusterOptions, Clusters, plus_plus
from torchestimator.estimator.canned.kmeans import KMeans

FULL_BATCH = {
    "squared_euclidean": {
        "centers": [[-2.0972, -0.810306], [1.4619, 1.60542], [-2.04866, -1.95933]],
        "score": 203.427,
        "transform": [[0.333612, 4.53799, 1.27595], [5.40399, 1.55877, 5.87325], [0.763688, 4.46195, 0.55506]],
        "distances": [0.111297, 20.5933, 1.62805],
    },
    "cosine": {
        "centers": [[-0.870246, -0.492618], [0.684564, 0.728952], [-0.674247, -0.738506]],
        "score": 11.7878,
        "transform": [[0.0238557, 1.86754, 0.139539], [1.98894, 0.0997959, 1.89399], [0.0180525, 1.9938, 0.00785941]],
        "distances": [0.0238557, 1.86754, 0.139539],
    },
}
"""After four steps from the first three points: cluster_centers(), score(), transform() of the first three points, and
`all_distances` of the first."""


def points():
    """60 points around three centres; what TensorFlow was given."""
    draw = np.random.RandomState(5)
    around = [draw.randn(20, 2) * 0.5 + center for center in ([0, 3], [3, 0], [-2, -2])]
    return np.concatenate(around).astype(np.float32)[draw.permutation(60)]


def batches(size=60, number=None):
    """An input_fn that gives the points over and over again, in batches."""

    def input_fn():
        starts = itertools.cycle(range(0, 60, size))
        return (points()[start : start + size] for start in itertools.islice(starts, number))

    return input_fn


def kmeans(folder, **arguments):
    return KMeans(3, folder, **{"initial_clusters": points()[:3], **arguments}, config=config())


@pytest.mark.parametrize("metric", FULL_BATCH)
def test_full_batches_equal_tensorflow(metric, tmp_path):
    estimator = kmeans(tmp_path, use_mini_batch=False, distance_metric=metric)
    assert estimator.train(batches(), steps=4) is estimator
    recorded = FULL_BATCH[metric]
    np.testing.assert_allclose(estimator.cluster_centers(), recorded["centers"], rtol=1e-5)
    assert estimator.score(batches()) == pytest.approx(recorded["score"], rel=1e-5)
    rows = list(estimator.transform(batches(number=1)))
    np.testing.assert_allclose(rows[:3], recorded["transform"], rtol=1e-4, atol=1e-5)
    first = next(estimator.predict(batches(number=1)))
    np.testing.assert_allclose(first["all_distances"], recorded["distances"], rtol=1e-4, atol=1e-5)
    indices = list(estimator.predict_cluster_index(batches(number=1)))
    assert indices == np.argmin(rows, 1).tolist()


def test_evaluation_averages_over_batches(tmp_path):
    estimator = kmeans(tmp_path, use_mini_batch=False)
    estimator.train(batches(), steps=4)
    results = estimator.evaluate(batches(20, 3))
    # As TensorFlow: the mean over batches of the sum over their points.
    assert results["score"] == pytest.approx(FULL_BATCH["squared_euclidean"]["score"] / 3, rel=1e-5)
    assert results["loss"] == pytest.approx(results["score"])


def test_the_relative_tolerance_ends_training(tmp_path):
    estimator = kmeans(tmp_path, use_mini_batch=False, relative_tolerance=0.01)
    estimator.train(batches(), steps=100)
    assert estimator.get_variable_value("global_step") == 3  # as TensorFlow


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 5), st.booleans())
def test_mini_batches_keep_the_means_of_what_centres_got(seed, num_batches, is_cosine):
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(3, 2, generator=draw)
    options = ClusterOptions.checked(3, start, "cosine" if is_cosine else "squared_euclidean", None, True, 1, 2)
    clusters = Clusters(options, 2)
    assert clusters.choose(start)
    seen = [[center] for center in clusters.clusters.clone()]
    for _ in range(num_batches):
        batch = torch.randn(7, 2, generator=draw)
        indices = clusters(batch).argmin(1)
        clusters.move(batch, indices)
        for point, index in zip(batch, indices.tolist(), strict=True):
            seen[index].append(point / point.norm() if is_cosine else point)
    means = torch.stack([torch.stack(each).mean(0) for each in seen])
    torch.testing.assert_close(clusters.clusters, means, rtol=1e-4, atol=1e-5)
    assert clusters.counts.tolist() == [len(each) for each in seen]


@pytest.mark.parametrize("metric", FULL_BATCH)
def test_an_iteration_of_mini_batches_is_a_full_batch(metric, tmp_path):
    estimator = kmeans(tmp_path, distance_metric=metric, mini_batch_steps_per_iteration=3)
    estimator.train(batches(20), steps=12)
    np.testing.assert_allclose(estimator.cluster_centers(), FULL_BATCH[metric]["centers"], rtol=1e-5)


@pytest.mark.parametrize("initial", ["random", "kmeans_plus_plus"])
@pytest.mark.parametrize("metric", FULL_BATCH)
def test_chosen_centres_are_points(initial, metric):
    options = ClusterOptions.checked(5, initial, metric, 3, True, 1, 2)
    clusters = Clusters(options, 2)
    assert clusters.choose(torch.from_numpy(points()))
    chosen = clusters.clusters.clone()
    assert len({tuple(center) for center in chosen.tolist()}) == 5
    if metric == "squared_euclidean":
        assert set(map(tuple, chosen.tolist())) <= set(map(tuple, points().tolist()))
    again = Clusters(options, 2)
    again.choose(torch.from_numpy(points()))
    assert torch.equal(again.clusters, chosen)  # by the seed
    assert clusters.choose(torch.zeros(1, 2))
    assert torch.equal(clusters.clusters, chosen)  # once and for all


def test_plus_plus_finds_each_group():
    groups = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = torch.randn(40, 2, generator=draw)
        chosen = plus_plus(groups.repeat(10, 1) + noise, groups[:0], 4, 2, draw)
        assert torch.cdist(chosen, groups).argmin(1).unique().numel() == 4


def test_plus_plus_of_equal_points():
    chosen = plus_plus(torch.ones(4, 2), torch.zeros(0, 2), 3, 2, None)
    assert torch.equal(chosen, torch.ones(3, 2))


def test_small_batches_choose_together(tmp_path):
    estimator = KMeans(5, tmp_path, seed=1, config=config())
    estimator.train(batches(2), steps=2)
    assert estimator.get_variable_value("kmeans.initialized").tolist() == [True] * 4 + [False]
    assert sorted(estimator.cluster_centers()[:4].tolist()) == sorted(points()[:4].tolist())
    assert next(estimator.transform(batches(2)))[4] == np.inf
    estimator.train(batches(2), steps=1)
    assert estimator.get_variable_value("kmeans.initialized").all()


def test_initial_clusters_by_a_function(tmp_path):
    def first_ones(inputs, number):
        return inputs[: min(2, number)]

    estimator = KMeans(3, tmp_path, first_ones, use_mini_batch=False, config=config())
    estimator.train(batches(60), steps=2)
    assert estimator.get_variable_value("kmeans.initialized").all()


def test_features_and_columns(tmp_path):
    x, y = points().T
    by_name = KMeans(3, tmp_path / "names", points()[:3], use_mini_batch=False, config=config())
    by_name.train(lambda: itertools.repeat({"b": y, "a": x[:, None]}, 4))
    np.testing.assert_allclose(by_name.cluster_centers(), FULL_BATCH["squared_euclidean"]["centers"], rtol=1e-5)
    columns = [fc.numeric_column("a"), fc.embedding_column(fc.categorical_column_with_identity("kind", 3), 2)]
    by_columns = KMeans(4, tmp_path / "columns", seed=0, feature_columns=columns, config=config())
    by_columns.train(lambda: itertools.repeat({"a": x, "kind": np.arange(60) % 3, "other": y}, 4))
    assert by_columns.cluster_centers().shape == (4, 3)


def test_a_centre_without_points_stays(tmp_path):
    far = np.concatenate([points()[:2], [[1000.0, 1000.0]]]).astype(np.float32)
    estimator = KMeans(3, tmp_path, far, use_mini_batch=False, config=config())
    estimator.train(batches(), steps=2)
    assert estimator.cluster_centers()[2].tolist() == [1000.0, 1000.0]


@pytest.mark.parametrize("steps", [1, 3])
def test_going_on_equals_not_stopping(steps, tmp_path):
    def train(folder, first, last):
        estimator = KMeans(
            3, tmp_path / folder, "kmeans_plus_plus", mini_batch_steps_per_iteration=steps, config=config()
        )
        estimator.train(lambda: itertools.islice(batches(20)(), first, last))
        return {name: value for name, value in contents(tmp_path / folder).items() if name != "state"}

    whole = train("whole", 0, 7)
    train("parts", 0, 4)
    assert train("parts", 4, 7) == whole


def test_onnx(tmp_path):
    estimator = kmeans(tmp_path / "model", use_mini_batch=False)
    estimator.train(batches(), steps=4)
    receiver_fn = te.export.build_raw_serving_input_receiver_fn(points()[:4])
    folder = estimator.export_saved_model(tmp_path / "exports", receiver_fn, formats=("onnx",))
    session = onnxruntime.InferenceSession(f"{folder}/all_distances/model.onnx")
    (distances,) = session.run(None, {session.get_inputs()[0].name: points()[:3]})
    np.testing.assert_allclose(np.sqrt(distances), FULL_BATCH["squared_euclidean"]["transform"], rtol=1e-4, atol=1e-4)


def test_constants_are_those_of_tensorflow():
    assert (KMeans.SQUARED_EUCLIDEAN_DISTANCE, KMeans.COSINE_DISTANCE) == ("squared_euclidean", "cosine")
    assert (KMeans.RANDOM_INIT, KMeans.KMEANS_PLUS_PLUS_INIT) == ("random", "kmeans_plus_plus")
    assert (KMeans.SCORE, KMeans.CLUSTER_INDEX, KMeans.ALL_DISTANCES) == ("score", "cluster_index", "all_distances")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_clusters": 0}, ValueError, "`num_clusters` must be a whole number, 1 or more"),
        ({"initial_clusters": "first"}, ValueError, "`initial_clusters` must be one of .* Received: 'first'"),
        ({"initial_clusters": [1.0, 2.0]}, ValueError, "array"),
        ({"initial_clusters": object()}, TypeError, "`initial_clusters`"),
        ({"distance_metric": "manhattan"}, ValueError, "`distance_metric` must be one of"),
        ({"seed": 1.5}, TypeError, "`seed`"),
        ({"mini_batch_steps_per_iteration": 0}, ValueError, "`mini_batch_steps_per_iteration`"),
        ({"kmeans_plus_plus_num_retries": -1}, ValueError, "`kmeans_plus_plus_num_retries`"),
        ({"relative_tolerance": -0.1}, ValueError, "`relative_tolerance`"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        KMeans(**{"num_clusters": 3, **arguments})


@pytest.mark.parametrize(
    ("initial", "batch", "message"),
    [
        ("random", np.zeros((2, 3, 4), np.float32), "of the shape"),
        ("random", {"x": np.zeros((2, 3, 4), np.float32)}, "a feature 'x' of shape"),
        (np.zeros((3, 5), np.float32), np.zeros((4, 2), np.float32), "the points' dimensions, 2"),
        (lambda inputs, number: inputs[:0], np.zeros((4, 2), np.float32), "must give 1 to 3 centres"),
    ],
)
def test_wrong_points(initial, batch, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        KMeans(3, tmp_path, initial, config=config()).train(lambda: [batch])


def test_points_of_other_dimensions(tmp_path):
    estimator = kmeans(tmp_path)
    estimator.train(batches(20), steps=1)
    clusters = Clusters(ClusterOptions.checked(3, "random", "cosine", None, True, 1, 2), 2)
    with pytest.raises(ValueError, match="dimensions of the centres, 2"):
        clusters(torch.zeros(4, 3))

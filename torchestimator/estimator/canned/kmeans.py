"""KMeans: clustering by the nearest of a number of centres."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator import metrics, summary
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.clusters import (
    COSINE,
    KMEANS_PLUS_PLUS,
    RANDOM,
    SQUARED_EUCLIDEAN,
    ClusterOptions,
    Clusters,
    InitialClusters,
)
from torchestimator.estimator.estimator import Estimator
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE, PredictOutput
from torchestimator.feature_column import DenseFeatures
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.hooks.hook import SessionRunArgs, SessionRunContext, SessionRunHook, SessionRunValues
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.frame import get_module
from torchestimator.spec import EstimatorSpec

MODULE = "kmeans"


class KMeans(Estimator):
    """Clustering by k-means (tf.compat.v1.estimator.experimental.KMeans).

        kmeans = te.experimental.KMeans(num_clusters=5, use_mini_batch=False)
        kmeans.train(input_fn, steps=10)  # each batch: all points
        kmeans.cluster_centers()

    Each training step moves the centres to the points of its batch. With mini-batches (Sculley 2010), a centre is the
    mean of the points that it was nearest to so far, and of the point that it began as; in full batches it becomes the
    mean of the batch's points (Lloyd 1982), and stays where it is if it has none. The first batches give the initial
    centres. input_fn gives points alone: a tensor [batch, dimensions], or features by name, which are put side by side
    in the order of their names. A step reads values, and so can't be captured.

    Args:
        num_clusters: how many clusters. Given an array of `initial_clusters`, it has as many as that.
        model_dir: folder of checkpoints and summaries.
        initial_clusters: "random": different points of the first batch; "kmeans_plus_plus": points far from each other
            (Arthur & Vassilvitskii 2007); an array [clusters, dimensions]; or a function from points [batch,
            dimensions] and a number to up to that many centres.
        distance_metric: "squared_euclidean" or "cosine".
        seed: of the choice of initial centres; None: the training's own random numbers.
        use_mini_batch: whether the batches are parts of the data; else each must be the whole of it.
        mini_batch_steps_per_iteration: with `use_mini_batch`, steps after which points are compared with the moved
            centres and the means start anew. With as many as there are batches in the data, that is one step of full
            batches.
        kmeans_plus_plus_num_retries: points tried for each centre, beside the first, of which the best is taken.
        relative_tolerance: training ends when the loss changes by less than this part of 1 + the loss before. For full
            batches.
        config: a `te.RunConfig`.
        feature_columns: dense columns that make the points of features; None: the features are numbers.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    SQUARED_EUCLIDEAN_DISTANCE = SQUARED_EUCLIDEAN
    COSINE_DISTANCE = COSINE
    RANDOM_INIT = RANDOM
    KMEANS_PLUS_PLUS_INIT = KMEANS_PLUS_PLUS
    SCORE = "score"
    CLUSTER_INDEX = "cluster_index"
    ALL_DISTANCES = "all_distances"
    CLUSTER_CENTERS_VAR_NAME = f"{MODULE}.clusters"

    def __init__(
        self,
        num_clusters: int,
        model_dir: str | os.PathLike[str] | None = None,
        initial_clusters: str | np.ndarray[Any, Any] | Tensor | Sequence[Any] | InitialClusters = RANDOM,
        distance_metric: str = SQUARED_EUCLIDEAN,
        seed: int | None = None,
        use_mini_batch: bool = True,
        mini_batch_steps_per_iteration: int = 1,
        kmeans_plus_plus_num_retries: int = 2,
        relative_tolerance: float | None = None,
        config: RunConfig | None = None,
        feature_columns: Any = None,
    ) -> None:
        options = ClusterOptions.checked(
            num_clusters,
            initial_clusters,
            distance_metric,
            seed,
            use_mini_batch,
            mini_batch_steps_per_iteration,
            kmeans_plus_plus_num_retries,
        )
        if relative_tolerance is not None and not relative_tolerance >= 0:
            raise ValueError(f"`relative_tolerance` must be 0 or more, or None. Received: {relative_tolerance!r}.")
        if feature_columns is not None:
            DenseFeatures(feature_columns)  # looks at them now rather than in the first step
        self._distance_metric = distance_metric

        def model_fn(features: Any, mode: str) -> EstimatorSpec:
            points = _points(features, feature_columns)
            clusters = get_module(MODULE, lambda: Clusters(options, points.shape[1]))
            chosen = mode == ModeKeys.TRAIN and clusters.choose(points)
            distances = clusters(points)
            nearest, indices = distances.min(1)
            loss = nearest.sum()
            if mode == ModeKeys.TRAIN:
                summary.scalar("loss/raw", loss)
            return EstimatorSpec(
                mode,
                predictions={self.ALL_DISTANCES: distances, self.CLUSTER_INDEX: indices},
                loss=loss,
                train_op=lambda: clusters.move(points, indices) if chosen else None,
                eval_metric_ops={self.SCORE: metrics.mean(loss)} if mode == ModeKeys.EVAL else None,
                export_outputs={
                    self.ALL_DISTANCES: PredictOutput(distances),
                    self.CLUSTER_INDEX: PredictOutput(indices),
                    DEFAULT_SERVING_SIGNATURE: PredictOutput(indices),
                },
                training_hooks=None if relative_tolerance is None else [RelativeToleranceHook(relative_tolerance)],
            )

        super().__init__(model_fn, model_dir, config)

    def predict_cluster_index(self, input_fn: Callable[..., Any]) -> Iterator[np.integer[Any]]:
        """The index of the nearest centre of each point, one after another.

        Args:
            input_fn: gives points.
        """
        for row in self.predict(input_fn, [self.CLUSTER_INDEX]):
            yield row[self.CLUSTER_INDEX]

    def score(self, input_fn: Callable[..., Any]) -> float:
        """The sum of the distances of the points of one batch to their nearest centres.

        Args:
            input_fn: gives points; only the first batch is taken.
        """
        return float(self.evaluate(input_fn, steps=1)[self.SCORE])

    def transform(self, input_fn: Callable[..., Any]) -> Iterator[np.ndarray[Any, Any]]:
        """The distances of each point to all centres, [clusters], one after another.

        Args:
            input_fn: gives points.

        Yields:
            Euclidean distances, not their squares as `predict` gives them; or cosine distances.
        """
        for row in self.predict(input_fn, [self.ALL_DISTANCES]):
            distances = row[self.ALL_DISTANCES]
            yield np.sqrt(distances) if self._distance_metric == SQUARED_EUCLIDEAN else distances

    def cluster_centers(self) -> np.ndarray[Any, Any]:
        """[clusters, dimensions] the centres of the newest checkpoint."""
        centers: np.ndarray[Any, Any] = self.get_variable_value(self.CLUSTER_CENTERS_VAR_NAME)
        return centers


class RelativeToleranceHook(SessionRunHook):
    """Ends training when the loss hardly changes any more.

    Args:
        tolerance: the change, as part of 1 + the loss before, below which it ends.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._before: float | None = None

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs:  # noqa: ARG002
        """See `SessionRunHook`."""
        return SessionRunArgs("loss")

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """See `SessionRunHook`."""
        loss = float(run_values.results)
        if self._before is not None and abs(loss - self._before) / (1 + abs(self._before)) < self._tolerance:
            run_context.request_stop()
        self._before = loss

    def state_dict(self) -> dict[str, Any]:
        """The loss of the latest step."""
        return {"loss": self._before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._before = state["loss"]


def _points(features: Any, feature_columns: Any) -> Tensor:
    """[batch, dimensions] float32."""
    if feature_columns is not None:
        layer = get_module("input_layer", lambda: DenseFeatures(feature_columns))
        # Centres are found, not learnt by gradients; neither are the columns' embeddings.
        return layer(FeatureTransformationCache(features)).detach()  # type: ignore[no-any-return]
    if isinstance(features, Mapping):
        parts = [_matrix(features[key], f"feature {key!r}") for key in sorted(features)]
        return torch.cat([part if part.dim() == 2 else part.unsqueeze(1) for part in parts], 1)
    points = _matrix(features, "tensor of points")
    return points if points.dim() == 2 else points.unsqueeze(1)


def _matrix(values: Any, what: str) -> Tensor:
    if not isinstance(values, Tensor) or values.dim() not in (1, 2) or values.is_complex():
        shown = f"shape {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"Points must be real numbers of the shape [batch, dimensions]. Received: a {what} of {shown}."
        )
    return values.to(torch.float32)

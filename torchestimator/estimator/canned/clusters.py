"""Clusters: the centres of KMeans, how they are chosen and how they move."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQUARED_EUCLIDEAN = "squared_euclidean"
COSINE = "cosine"
DISTANCES = (SQUARED_EUCLIDEAN, COSINE)

RANDOM = "random"
KMEANS_PLUS_PLUS = "kmeans_plus_plus"
INITIALISATIONS = (RANDOM, KMEANS_PLUS_PLUS)

InitialClusters = Callable[[Tensor, int], Any]
"""From points [batch, dimensions] and a number to up to that many centres."""

_ROUNDING = 1e-6
"""TensorFlow's addition to the number of points that a mean divides by."""


@dataclass(frozen=True)
class ClusterOptions:
    """How centres are chosen and moved; see `te.experimental.KMeans`."""

    num_clusters: int
    """How many."""
    initial: str | Tensor | InitialClusters
    """One of `INITIALISATIONS`, the centres themselves, or a function."""
    distance: str
    """One of `DISTANCES`."""
    seed: int | None
    """Of the choice of initial centres. None: torch's global generator."""
    use_mini_batch: bool
    """Whether batches are parts of the data."""
    steps_per_iteration: int
    """Mini-batches that are compared with the same centres."""
    num_retries: int
    """Points tried for each centre of `kmeans_plus_plus`, beside the first."""

    @classmethod
    def checked(
        cls,
        num_clusters: Any,
        initial_clusters: Any,
        distance_metric: Any,
        seed: Any,
        use_mini_batch: Any,
        mini_batch_steps_per_iteration: Any,
        kmeans_plus_plus_num_retries: Any,
    ) -> Self:
        """The options as given by the user.

        Raises:
            ValueError: an argument is out of range.
            TypeError: an argument is of the wrong type.
        """
        if distance_metric not in DISTANCES:
            raise ValueError(f"`distance_metric` must be one of {list(DISTANCES)}. Received: {distance_metric!r}.")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise TypeError(f"`seed` must be a whole number or None. Received: {seed!r}.")
        initial = _checked_initial(initial_clusters)
        clusters = initial.shape[0] if isinstance(initial, Tensor) else _count("num_clusters", num_clusters, 1)
        steps = _count("mini_batch_steps_per_iteration", mini_batch_steps_per_iteration, 1)
        retries = _count("kmeans_plus_plus_num_retries", kmeans_plus_plus_num_retries, 0)
        return cls(clusters, initial, distance_metric, seed, bool(use_mini_batch), steps, retries)


class Clusters(nn.Module):
    """The centres, and what is known about them; all of it is state that checkpoints hold.

    Args:
        options: how they are chosen and moved.
        dimensions: of a point.
    """

    clusters: Tensor
    initialized: Tensor
    counts: Tensor
    clusters_updated: Tensor
    steps_done: Tensor

    def __init__(self, options: ClusterOptions, dimensions: int) -> None:
        super().__init__()
        shape = (options.num_clusters, dimensions)
        self._options = options
        self._is_cosine = options.distance == COSINE
        # TensorFlow keeps centres on the unit sphere except where each mini-batch moves the very centres it is compared
        # with, which stay sums of points.
        self._looks_ahead = options.use_mini_batch and options.steps_per_iteration > 1
        self._is_spherical = self._is_cosine and (self._looks_ahead or not options.use_mini_batch)
        self.register_buffer("clusters", torch.zeros(shape))
        self.register_buffer("initialized", torch.zeros(options.num_clusters, dtype=torch.bool))
        if options.use_mini_batch:
            start = torch.zeros if self._looks_ahead else torch.ones
            self.register_buffer("counts", start(options.num_clusters, dtype=torch.int64))
        if self._looks_ahead:
            self.register_buffer("clusters_updated", torch.zeros(shape))
            self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))

    def forward(self, points: Tensor) -> Tensor:
        """The distance of each point to each centre; infinite to centres that are not chosen yet.

        Args:
            points: [batch, dimensions].

        Returns:
            [batch, clusters] squared Euclidean, or cosine, distances.
        """
        if points.shape[1] != self.clusters.shape[1]:
            raise ValueError(
                f"Points must have the dimensions of the centres, {self.clusters.shape[1]}. "
                f"Received: points of shape {list(points.shape)}."
            )
        if self._is_cosine:
            distances = 1 - _unit(points) @ _unit(self.clusters).T
        else:
            distances = _squared_distances(points, self.clusters)
        return torch.where(self.initialized, distances, torch.inf)

    @torch.no_grad()
    def choose(self, points: Tensor) -> bool:
        """Chooses centres among the points, if some are missing.

        Args:
            points: [batch, dimensions].

        Returns:
            Whether all centres are chosen.
        """
        first = int(self.initialized.sum())
        missing = self._options.num_clusters - first
        if missing:
            chosen = self._new_centers(points, first, missing)
            self.clusters[first : first + len(chosen)] = _unit(chosen) if self._is_cosine else chosen
            self.initialized[first : first + len(chosen)] = True
            if self._looks_ahead:
                self.clusters_updated.copy_(self.clusters)
        return bool(self.initialized.all())

    @torch.no_grad()
    def move(self, points: Tensor, indices: Tensor) -> None:
        """Moves the centres to the points that are nearest to them.

        Args:
            points: [batch, dimensions].
            indices: [batch] int64, the centre that is nearest to each point.
        """
        values = _unit(points) if self._is_cosine else points
        sums = torch.zeros_like(self.clusters).index_add_(0, indices, values)
        counts = torch.bincount(indices, minlength=self._options.num_clusters)
        if not self._options.use_mini_batch:
            means = sums / (counts.unsqueeze(1) + _ROUNDING)
            means = _unit(means) if self._is_spherical else means
            self.clusters.copy_(torch.where(counts.unsqueeze(1) > 0, means, self.clusters))
            return
        self.counts += counts
        moved = self.clusters_updated if self._looks_ahead else self.clusters
        moved += (sums - counts.unsqueeze(1) * moved) / self.counts.clamp(min=1).unsqueeze(1)
        if self._looks_ahead:
            self.steps_done += 1
            if self.steps_done == self._options.steps_per_iteration:
                self.clusters.copy_(_unit(moved) if self._is_cosine else moved)
                self.counts.zero_()
                self.steps_done.zero_()

    def _new_centers(self, points: Tensor, first: int, missing: int) -> Tensor:
        """[up to missing, dimensions]."""
        initial = self._options.initial
        if isinstance(initial, Tensor):
            return self._checked(initial.to(points.device), missing, "array")
        if callable(initial):
            given = torch.as_tensor(initial(points, missing), dtype=points.dtype, device=points.device)
            return self._checked(given, missing, "function")
        generator = None
        if self._options.seed is not None:
            generator = torch.Generator().manual_seed(self._options.seed + first)
        if initial == RANDOM:
            order = torch.randperm(len(points), generator=generator)
            return points[order[:missing].to(points.device)]
        values = _unit(points) if self._is_cosine else points
        return plus_plus(values, self.clusters[:first], missing, self._options.num_retries, generator)

    def _checked(self, centers: Tensor, missing: int, kind: str) -> Tensor:
        dimensions = self.clusters.shape[1]
        if centers.dim() != 2 or centers.shape[1] != dimensions or not 0 < len(centers) <= missing:
            raise ValueError(
                f"`initial_clusters` (the {kind}) must give 1 to {missing} centres of the points' dimensions, "
                f"{dimensions}. Received: shape {list(centers.shape)}."
            )
        return centers


def plus_plus(
    points: Tensor, centers: Tensor, number: int, num_retries: int, generator: torch.Generator | None
) -> Tensor:
    """Points far from each other, by greedy k-means++ (Arthur & Vassilvitskii 2007, section 2.2 and its conclusion).

    Each centre is drawn with a probability proportional to its squared distance from those there are.

    Args:
        points: [batch, dimensions].
        centers: [chosen, dimensions] the centres that there are already.
        number: how many to choose, at most.
        num_retries: further points that are drawn for each; the one that leaves the smallest distances is taken.
        generator: None: torch's global one.

    Returns:
        [min(number, batch), dimensions].
    """
    chosen: list[Tensor] = []
    shortest = points.new_full((len(points),), torch.inf)
    if len(centers):
        shortest = _squared_distances(points, centers).amin(1)
    for _ in range(min(number, len(points))):
        weights = shortest.cpu()
        if not torch.isfinite(weights).all() or not weights.sum() > 0:
            # Nothing is chosen yet, or every point is a centre already: any will do.
            weights = torch.ones(len(points))
        tries = 1 if torch.isinf(shortest).any() else 1 + num_retries
        drawn = torch.multinomial(weights, tries, replacement=True, generator=generator).to(points.device)
        left = torch.minimum(shortest.unsqueeze(1), _squared_distances(points, points[drawn]))
        best = left.sum(0).argmin()
        shortest = left[:, best]
        chosen.append(points[drawn[best]])
    return torch.stack(chosen)


def _squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """[points, centers], from |p - c|^2 = |p|^2 - 2 p c + |c|^2."""
    squares = points.square().sum(1, keepdim=True) + centers.square().sum(1)
    return torch.addmm(squares, points, centers.T, alpha=-2).clamp(min=0)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1, as tf.math.l2_normalize makes them; zeros stay zeros."""
    return F.normalize(vectors, dim=1, eps=1e-6)


def _checked_initial(initial: Any) -> str | Tensor | InitialClusters:
    if isinstance(initial, str):
        if initial in INITIALISATIONS:
            return initial
    elif callable(initial) and not isinstance(initial, Tensor):
        function: InitialClusters = initial
        return function
    else:
        try:
            centers = torch.as_tensor(initial, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(_initial_error(initial)) from error
        if centers.dim() == 2 and centers.numel():
            return centers.clone()
    raise ValueError(_initial_error(initial))


def _initial_error(initial: Any) -> str:
    shown = f"shape {list(initial.shape)}" if hasattr(initial, "shape") else repr(initial)
    return (
        f"`initial_clusters` must be one of {list(INITIALISATIONS)}, an array [clusters, dimensions], or a function "
        f"from points and a number to centres. Received: {shown}."
    )


def _count(argument: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{argument}` must be a whole number, {least} or more. Received: {value!r}.")
    return value

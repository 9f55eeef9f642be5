"""TPUConfig: how the cores are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torchestimator.tpu.input_pipeline import InputPipelineConfig
from torchestimator.tpu.iterations_per_loop import IterationsPerLoop, parse_iterations_per_loop

_CORES_PER_REPLICA: Final = (1, 2, 4, 8, 16, 32, 64, 128)

_WITHOUT_MEANING: Final = {
    "tpu_job_name": "Every host runs the same script; there are no jobs to name.",
    "initial_infeed_sleep_secs": "There is no infeed to wait for.",
    "experimental_allow_per_host_v2_parallel_get_next": "Batches are read ahead: see `RunConfig.prefetch_batches`.",
    "experimental_feed_hook": "Use te.FeedFnHook, or prepare the values in input_fn.",
}


@dataclass(frozen=True)
class TPUConfig:
    """Settings of a run on TPU cores (tf.estimator.tpu.TPUConfig).

    Fields that have no meaning here are refused with the reason, never ignored.

    Raises:
        ValueError: a value is out of range, or two contradict each other.
    """

    iterations_per_loop: int | str = 2
    """Steps between two calls of the hooks; "10s", "5m" or "1h": as many as take about that time."""
    num_shards: int | None = None
    """Number of replicas that the script expects, which is checked. None: as many as there are."""
    num_cores_per_replica: int | None = None
    """Cores that one copy of the model is spread over: 1, 2, 4, ... 128. None: 1."""
    per_host_input_for_training: bool | InputPipelineConfig = True
    """How input_fn's batches reach the cores: True is PER_HOST_V1, False PER_SHARD_V1."""
    tpu_job_name: None = None
    """Refused: there are no jobs to name."""
    initial_infeed_sleep_secs: None = None
    """Refused: there is no infeed."""
    input_partition_dims: Sequence[object] | None = None
    """By how much each dimension of features, and of labels, is divided among the cores of a replica."""
    eval_training_input_configuration: InputPipelineConfig = InputPipelineConfig.PER_HOST_V1
    """PER_HOST_V1, or SLICED: one call of input_fn for all hosts in evaluation and prediction."""
    experimental_host_call_every_n_steps: int = 1
    """Steps between two calls of TPUEstimatorSpec's host_call."""
    experimental_allow_per_host_v2_parallel_get_next: None = None
    """Refused: batches are read ahead anyway."""
    experimental_feed_hook: None = None
    """Refused: use te.FeedFnHook."""

    def __post_init__(self) -> None:
        for name, instead in _WITHOUT_MEANING.items():
            if getattr(self, name) not in (None, False):
                raise ValueError(f"`{name}` has no meaning here. {instead} Received: {getattr(self, name)!r}.")
        parse_iterations_per_loop(self.iterations_per_loop)
        for name in ("num_shards", "experimental_host_call_every_n_steps"):
            value = getattr(self, name)
            if value is None and name == "num_shards":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value!r}.")
        if self.num_cores_per_replica not in (None, *_CORES_PER_REPLICA):
            raise ValueError(
                f"`num_cores_per_replica` must be one of {list(_CORES_PER_REPLICA)}. "
                f"Received: {self.num_cores_per_replica!r}."
            )
        self._resolve_input()

    @property
    def loop(self) -> IterationsPerLoop:
        """`iterations_per_loop`, read."""
        return parse_iterations_per_loop(self.iterations_per_loop)

    @property
    def training_input(self) -> InputPipelineConfig:
        """`per_host_input_for_training` as an InputPipelineConfig."""
        return InputPipelineConfig(self.per_host_input_for_training)

    def _resolve_input(self) -> None:
        given = self.per_host_input_for_training
        if isinstance(given, bool):
            given = InputPipelineConfig.PER_HOST_V1 if given else InputPipelineConfig.PER_SHARD_V1
        if given not in (1, 2, 3, 4):
            raise ValueError(
                "`per_host_input_for_training` must be True, False or one of InputPipelineConfig.PER_SHARD_V1, "
                f"PER_HOST_V1, PER_HOST_V2 and BROADCAST. Received: {given!r}."
            )
        object.__setattr__(self, "per_host_input_for_training", InputPipelineConfig(given))
        evaluation = self.eval_training_input_configuration
        if evaluation not in (InputPipelineConfig.PER_HOST_V1, InputPipelineConfig.SLICED):
            raise ValueError(
                "`eval_training_input_configuration` must be InputPipelineConfig.PER_HOST_V1 or SLICED. "
                f"Received: {evaluation!r}."
            )
        object.__setattr__(self, "eval_training_input_configuration", InputPipelineConfig(evaluation))
        self._check_partition(self.input_partition_dims)

    def _check_partition(self, dims: Sequence[object] | None) -> None:
        if dims is None:
            return
        if not isinstance(dims, (list, tuple)) or len(dims) not in (1, 2):
            raise ValueError(
                "`input_partition_dims` must be a list of one or two elements, for features and labels. "
                f"Received: {dims!r}."
            )
        if self.num_cores_per_replica is None:
            raise ValueError(
                "`input_partition_dims` divides inputs among the cores of a replica, so `num_cores_per_replica` is "
                f"needed. Received: {dims!r} without it."
            )
        if self.training_input != InputPipelineConfig.PER_HOST_V2:
            raise ValueError(
                "`input_partition_dims` needs per_host_input_for_training=InputPipelineConfig.PER_HOST_V2. "
                f"Received: {self.training_input!r}."
            )

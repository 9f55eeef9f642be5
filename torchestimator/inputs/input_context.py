"""What an input_fn may want to know about the replicas that it feeds."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class InputContext:
    """Which of several parallel input pipelines is being built; passed to an input_fn that names `input_context`.

    The counterpart of tf.distribute.InputContext. In a run of N processes each one calls input_fn, and feeds one
    replica of the model. Batch sizes are per replica: with batches of b examples a step sees N * b of them. To keep the
    examples of a step the same whatever N is, divide: `input_context.get_per_replica_batch_size(256)`.

    An input_fn that does not name `input_context` is written as for one process, and its batches are dealt out by
    turns: process r takes batches r, r + N, r + 2 * N and so on, of a DataLoader or a list without reading the others.
    An input_fn that names it gives each process its own share, and what it returns is used as it is:

        def input_fn(input_context):
            files = all_files[input_context.input_pipeline_id :: input_context.num_input_pipelines]
            return read_batches(files)

    `numpy_input_fn` and its like make input_fns of this second kind: they cut their share out of each step's examples.
    Where one is called inside another input_fn that names `input_context`, it has to be handed on:

        def input_fn(mode, config, input_context):
            batch_size = input_context.get_per_replica_batch_size(256)
            return te.inputs.numpy_input_fn(x, y, batch_size, shuffle=True)(mode, config, input_context)

    Either way shares may differ in length: a replica whose input has ended waits for the others.

    Raises:
        TypeError: if a field is no integer.
        ValueError: if a count is below 1, or `input_pipeline_id` is not in [0, num_input_pipelines).
    """

    num_input_pipelines: int = 1
    """How many calls of input_fn feed one run: one for each process."""
    input_pipeline_id: int = 0
    """Which of them this is, in [0, num_input_pipelines)."""
    num_replicas_in_sync: int = 1
    """How many copies of the model take each step together."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}.")
        for name in ("num_input_pipelines", "num_replicas_in_sync"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {name}={getattr(self, name)}.")
        if not 0 <= self.input_pipeline_id < self.num_input_pipelines:
            raise ValueError(
                f"`input_pipeline_id` counts from 0 up to `num_input_pipelines` - 1. Received: input_pipeline_id="
                f"{self.input_pipeline_id}, num_input_pipelines={self.num_input_pipelines}."
            )

    def get_per_replica_batch_size(self, global_batch_size: int) -> int:
        """Returns the batch size of each replica, for a number of examples that one step of all is to see.

        Args:
            global_batch_size: examples of one step over all replicas.

        Raises:
            ValueError: if it is no multiple of `num_replicas_in_sync`.
        """
        share, rest = divmod(global_batch_size, self.num_replicas_in_sync)
        if rest or share < 1:
            above = max(1, share + bool(rest)) * self.num_replicas_in_sync
            raise ValueError(
                f"`global_batch_size` must be a positive multiple of the {self.num_replicas_in_sync} replicas. "
                f"Received: global_batch_size={global_batch_size}. The next one that divides: {above}."
            )
        return share

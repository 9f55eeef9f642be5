"""The hooks' contract: five methods, and the small objects that pass between loop and hook."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch

from torchestimator.checkpoint.store import CheckpointStore

Fetches: TypeAlias = str | Sequence["Fetches"] | Mapping[str, "Fetches"]
"""Names of values, one or nested: "loss", "predictions/probabilities", "metrics/accuracy", or
any name given with `te.identity`."""


class Session(Protocol):
    """What hooks see of a running loop."""

    @property
    def global_step(self) -> int:
        """Number of completed training steps."""

    @property
    def module(self) -> torch.nn.Module:
        """The model, with its parameters under their checkpoint names."""

    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """In the order of the train_op's `minimize` descriptions; empty outside training."""

    @property
    def rank(self) -> int:
        """Index of this process; 0 is the chief."""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and summaries."""

    @property
    def input_wait_secs(self) -> float:
        """Seconds the loop has waited for data so far."""

    def run(self, fetches: Fetches) -> Any:
        """Host values (numpy) of the most recent step, for the names given."""

    def loss_was_nan(self) -> bool:
        """Whether any loss so far was NaN. Reads one number from the device."""

    def wait_for_save(self) -> None:
        """Returns when the latest checkpoint is complete, where it is written in the background."""

    def check_saving(self) -> None:
        """Raises the error of a checkpoint that could not be written in the background."""

    def agree_to_save(self, due: bool) -> bool:
        """Whether a checkpoint is to be written now, where `due` follows from a clock.

        In one process that is `due`. Several processes have several clocks: the chief's counts, one
        step later. A hook on each of them has to ask after every step.
        """

    def save(self, store: CheckpointStore) -> str:
        """Writes a checkpoint of the current state, or begins to; returns its path. Refuses NaN weights."""


class SessionRunArgs(NamedTuple):
    """What a hook wants from the coming step."""

    fetches: Fetches | None
    """Names of the values that `after_run` gets, as host (numpy) values of the same structure. None: none."""
    feed_dict: Mapping[str, Any] | None = None
    """Values put in place of parts of the batch: {"features/x": array, "labels": array}."""


class SessionRunValues(NamedTuple):
    """What a hook gets after the step."""

    results: Any
    """Host values in the structure of the hook's `fetches`; None where it asked for nothing."""


class SessionRunContext:
    """A hook's view of the running loop, and its way to stop it."""

    __slots__ = ("_session", "_stop_requested")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stop_requested = False

    @property
    def original_args(self) -> SessionRunArgs:
        """What the loop itself fetches, which is nothing: every value is fetched for a hook."""
        return SessionRunArgs(None)

    @property
    def session(self) -> Session:
        """The running loop."""
        return self._session

    @property
    def global_step(self) -> int:
        """Number of completed training steps: in `before_run` without, in `after_run` with the current one."""
        return self._session.global_step

    @property
    def module(self) -> torch.nn.Module:
        """The model."""
        return self._session.module

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the first `minimize`; `session.optimizers` has all.

        Raises:
            RuntimeError: there is none, as in evaluation, prediction, or with a function as train_op.
        """
        optimizers = self._session.optimizers
        if not optimizers:
            raise RuntimeError(
                "There is no optimizer here: only a training has one, and only where `train_op` is made by te.minimize "
                "or te.group."
            )
        return optimizers[0]

    @property
    def rank(self) -> int:
        """Index of this process; 0 is the chief."""
        return self._session.rank

    @property
    def stop_requested(self) -> bool:
        """Whether some hook has asked to stop."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Ends the loop after the current step."""
        self._stop_requested = True


class SessionRunHook:
    """Code that runs around the steps of a loop; override any of the five methods.

    Order: `begin` once; `after_create_session` once the model is built and restored; around every
    step `before_run` and `after_run`; `end` after a clean stop. When the input ends, `after_run` is
    not called for the step that found no data, and `end` is. After an exception `end` is not called.

    A hook with a state worth keeping may also have `state_dict()` and `load_state_dict(state)`: the
    dict (plain JSON values) is written into every checkpoint and given back when training resumes.
    """

    def begin(self) -> None:
        """Called once, before anything runs."""

    def after_create_session(self, session: Session, coord: None) -> None:  # noqa: ARG002
        """Called when the model is built and its state restored. `coord` is always None here."""
        return

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:  # noqa: ARG002
        """Called before each step; returns what the hook wants to see of it."""
        return None

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:  # noqa: ARG002
        """Called after each step with the values asked for."""
        return

    def end(self, session: Session) -> None:  # noqa: ARG002
        """Called after a clean stop."""
        return


def check_hooks(argument: str, hooks: Iterable[SessionRunHook] | None) -> list[SessionRunHook]:
    """The hooks as a list, or a TypeError that names the argument and the odd one."""
    if isinstance(hooks, SessionRunHook) or not isinstance(hooks, Iterable | None):
        raise TypeError(f"`{argument}` must be a list of SessionRunHook objects. Received: {hooks!r}. Write: [hook]")
    checked = list(hooks or ())
    for hook in checked:
        if not isinstance(hook, SessionRunHook):
            raise TypeError(
                f"`{argument}` must hold SessionRunHook objects. Received: {hook!r}"
                + (" (a class: add parentheses to make an object)." if isinstance(hook, type) else ".")
            )
    return checked

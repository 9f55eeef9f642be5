"""train_and_evaluate: training with evaluations at its checkpoints."""

import os
import time
from collections.abc import Sequence
from typing import Any

from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.config import RunConfig
from torchestimator.estimator.best import BestCheckpoint
from torchestimator.estimator.estimator import Estimator
from torchestimator.estimator.specs import EvalSpec, TrainSpec
from torchestimator.hooks.checkpoint_saver import CheckpointSaverHook, CheckpointSaverListener
from torchestimator.hooks.hook import Session
from torchestimator.log import LOG


def train_and_evaluate(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec | Sequence[EvalSpec]
) -> tuple[dict[str, Any] | None, list[Any] | None]:
    """Trains, and evaluates at checkpoints and at the end.

    Everything happens in this process: evaluations use the live model, the training input goes on
    where it was, and the random numbers of training do not notice. The checkpoint with the lowest
    loss (of the first evaluation) is kept from deletion and recorded in `model_dir/best.json`.

    Args:
        estimator: the model.
        train_spec: data and end of training.
        eval_spec: one evaluation, or several with different names.

    Returns:
        The metrics and the exporters' results of the last evaluation. With several evaluations,
        the metrics are a dict from the evaluation's name to its metrics. (None, None) where nothing
        was left to train.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: two evaluations share a name, or no checkpoints are saved.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(f"`estimator` must be a te.Estimator. Received: {estimator!r}.")
    if not isinstance(train_spec, TrainSpec):
        raise TypeError(f"`train_spec` must be a te.TrainSpec. Received: {train_spec!r}.")
    several = not isinstance(eval_spec, EvalSpec)
    specs = _check_eval_specs(eval_spec)
    LOG.info("%s", _schedule(_cadence(estimator.config, train_spec), train_spec, specs))
    best = BestCheckpoint(estimator.model_dir)
    evaluations = [_Evaluation(estimator, spec, best if index == 0 else None) for index, spec in enumerate(specs)]
    listener = _EvaluationListener(evaluations, train_spec.max_steps)
    estimator.train(
        train_spec.input_fn,
        hooks=train_spec.hooks,
        max_steps=train_spec.max_steps,
        saving_listeners=[*train_spec.saving_listeners, listener],
    )
    if any(evaluation.results is None for evaluation in evaluations):
        return None, None
    exports = [export for evaluation in evaluations for export in evaluation.exports]
    if several:
        return {evaluation.spec.name or "eval": evaluation.results for evaluation in evaluations}, exports
    return evaluations[0].results, exports


class _Evaluation:
    """One EvalSpec: when it ran last and what came out."""

    def __init__(self, estimator: Estimator, spec: EvalSpec, best: BestCheckpoint | None) -> None:
        self.spec = spec
        self.results: dict[str, Any] | None = None
        self.exports: list[Any] = []
        self._estimator = estimator
        self._best = best
        self._evaluated: Checkpoint | None = None
        self._time = -float("inf")
        self._exported_final = False

    def after_checkpoint(self, step: int, is_final: bool) -> None:
        if not is_final and time.monotonic() - self._time < self.spec.throttle_secs:
            LOG.info(
                "Evaluation %r is skipped at step %d: the last one was less than throttle_secs=%g ago.",
                self.spec.name or "eval",
                step,
                self.spec.throttle_secs,
            )
            return
        self._run(is_final)

    def check_exporters(self) -> None:
        checkpoint = Checkpoint(self._estimator.model_dir)
        for exporter in self.spec.exporters:
            exporter.check(self._estimator, checkpoint.path)

    def at_end(self, step: int) -> None:
        # The same step may have been saved again with the update of a last, partial accumulation window.
        if self._evaluated is None or self._evaluated.step != step or self._evaluated.was_replaced():
            self._run(True)
        elif self.spec.exporters and not self._exported_final:
            self._export(True)

    def _run(self, is_final: bool) -> None:
        spec, estimator = self.spec, self._estimator
        self._time = time.monotonic()
        checkpoint = self._evaluated = Checkpoint(estimator.model_dir)
        self.results = estimator.evaluate(spec.input_fn, spec.steps, spec.hooks, checkpoint.path, spec.name)
        if self._best is not None and self._best.consider(checkpoint.path, self.results):
            LOG.info("Best so far: step %d, loss %.7g.", checkpoint.step, self.results["loss"])
        self._export(is_final)

    def _export(self, is_final: bool) -> None:
        assert self.results is not None
        assert self._evaluated is not None
        self._exported_final = is_final
        self.exports = [
            exporter.export(
                estimator=self._estimator,
                export_path=os.path.join(self._estimator.model_dir, "export", exporter.name),
                checkpoint_path=self._evaluated.path,
                eval_result=self.results,
                is_the_final_export=is_final,
            )
            for exporter in self.spec.exporters
        ]


class _EvaluationListener(CheckpointSaverListener):
    """Runs the evaluations after checkpoints; at the one that training starts from, tries the exporters."""

    def __init__(self, evaluations: Sequence[_Evaluation], max_steps: int | None) -> None:
        self._evaluations = evaluations
        self._max_steps = max_steps
        self._at_start = True

    def after_save(self, session: Session, global_step_value: int) -> bool | None:  # noqa: ARG002
        if self._at_start:
            self._at_start = False
            for evaluation in self._evaluations:
                evaluation.check_exporters()
            return None
        is_final = self._max_steps is not None and global_step_value >= self._max_steps
        for evaluation in self._evaluations:
            evaluation.after_checkpoint(global_step_value, is_final)
        return None

    def end(self, session: Session, global_step_value: int) -> None:  # noqa: ARG002
        for evaluation in self._evaluations:
            evaluation.at_end(global_step_value)


def _check_eval_specs(eval_spec: EvalSpec | Sequence[EvalSpec]) -> list[EvalSpec]:
    specs = [eval_spec] if isinstance(eval_spec, EvalSpec) else list(eval_spec) if _is_list(eval_spec) else []
    if not specs or not all(isinstance(spec, EvalSpec) for spec in specs):
        raise TypeError(f"`eval_spec` must be a te.EvalSpec or a list of such. Received: {eval_spec!r}.")
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Several evaluations must have different names: te.EvalSpec(..., name=...). Received: {names}."
        )
    exporters = [exporter.name for spec in specs for exporter in spec.exporters]
    if len(set(exporters)) < len(exporters):
        raise ValueError(
            "Exporters of all evaluations must have different names, since each writes to a folder of its own. "
            f"Received: {exporters}."
        )
    return specs


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _cadence(config: RunConfig, train_spec: TrainSpec) -> str:
    """When checkpoints are written, in words.

    Raises:
        ValueError: none are.
    """
    if any(isinstance(hook, CheckpointSaverHook) for hook in train_spec.hooks):
        return "as the CheckpointSaverHook says"
    if config.save_checkpoints_steps:
        return f"every {config.save_checkpoints_steps} steps"
    if config.save_checkpoints_secs:
        return f"every {config.save_checkpoints_secs:g} s"
    raise ValueError(
        "te.train_and_evaluate evaluates checkpoints, but none are saved. Set save_checkpoints_steps or "
        "save_checkpoints_secs in te.RunConfig."
    )


def _schedule(cadence: str, train_spec: TrainSpec, specs: Sequence[EvalSpec]) -> str:
    end = f"to step {train_spec.max_steps}" if train_spec.max_steps else "until the input ends"
    lines = [f"Schedule: train {end}, a checkpoint {cadence} and at the end."]
    for spec in specs:
        size = "all batches" if spec.steps is None else f"{spec.steps} batches"
        throttle = f", at most every {spec.throttle_secs:g} s" if spec.throttle_secs else ""
        exporters = f"; then {', '.join(exporter.name for exporter in spec.exporters)}" if spec.exporters else ""
        lines.append(
            f"Evaluation {spec.name or 'eval'!r}: {size} after a checkpoint{throttle}, and at the end{exporters}."
        )
    return "\n".join(lines)

"""Estimator: trains, evaluates and predicts with a model_fn."""

import contextlib
import copy
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torchestimator.checkpoint.index import newest_whole
from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.config import RunConfig
from torchestimator.estimator.blueprint import Blueprint, release_metrics
from torchestimator.estimator.evaluation_log import log_results
from torchestimator.estimator.export_methods import ExportMethods
from torchestimator.estimator.inference import RandomStream, inference
from torchestimator.estimator.models import Model, Models, hooks_of
from torchestimator.estimator.predictor import Predictor
from torchestimator.estimator.specs import check_input_fn, check_positive
from torchestimator.estimator.training import Training
from torchestimator.estimator.variables import variable_names, variable_value
from torchestimator.estimator.warm_start import WarmStartSettings, warm_start_settings
from torchestimator.hooks.checkpoint_saver import CheckpointSaverListener, check_listeners
from torchestimator.hooks.evaluation import StopAfterNEvalsHook
from torchestimator.hooks.hook import SessionRunHook, check_hooks
from torchestimator.log import LOG
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.arguments import check_model_fn
from torchestimator.model.seeds import derive_seed, forked_random
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.auto import resolve_strategy
from torchestimator.trainer.evaluate import evaluate
from torchestimator.trainer.evaluation_session import EvaluationSession
from torchestimator.trainer.first_batch import FirstBatch
from torchestimator.trainer.predict import predict
from torchestimator.trainer.prediction_session import PredictionSession, rows_of
from torchestimator.trainer.session import LoopSession
from torchestimator.trainer.train import train

InputFn = Callable[..., Any]

_MAY_OVERRIDE = frozenset({"model_fn", "latest_checkpoint"})


class Estimator(ExportMethods):
    """A model described by a model_fn, with everything that is needed to train, evaluate and use it.

    All output (checkpoints, summaries) goes into `model_dir`; making another Estimator on the same
    folder, in this process or the next, goes on from its newest checkpoint.

    Args:
        model_fn: function of `features`, and of any of `labels`, `mode`, `params`, `config` and
            `model_dir`, found by name; returns a `te.EstimatorSpec`. It is ordinary PyTorch, run once
            per batch; layers are asked for with `te.get_module`.
        model_dir: folder of checkpoints and summaries. None: the config's, else a temporary one.
        config: a `te.RunConfig`; None: the defaults.
        params: hyperparameters, passed on to model_fn and input_fn. A copy is kept.
        warm_start_from: path of a checkpoint or a model_dir, or `te.WarmStartSettings`: the weights to
            start from while `model_dir` has no checkpoint.

    Raises:
        ValueError: an argument contradicts another, or a subclass overrides a method.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        model_fn: Callable[..., EstimatorSpec],
        model_dir: str | os.PathLike[str] | None = None,
        config: RunConfig | None = None,
        params: Mapping[str, Any] | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
    ) -> None:
        _check_not_overridden(type(self))
        self._config = _resolve_config(config, model_dir)
        check_model_fn(model_fn, params)
        self._given_model_fn = model_fn
        self._params: dict[str, Any] | None = copy.deepcopy(dict(params)) if params is not None else None
        self._warm_start = warm_start_settings(warm_start_from)
        seed = self._config.random_seed
        self._seed = secrets.randbits(62) if seed is None else seed
        self._models = Models()
        self._made_blueprint: Blueprint | None = None

    @property
    def model_dir(self) -> str:
        """Folder of checkpoints and summaries."""
        assert self._config.model_dir is not None
        return self._config.model_dir

    @property
    def config(self) -> RunConfig:
        """The settings, with the model_dir filled in."""
        return self._config

    @property
    def params(self) -> dict[str, Any]:
        """A copy of the hyperparameters."""
        return copy.deepcopy(self._params or {})

    @property
    def warm_start_from(self) -> WarmStartSettings | None:
        """The weights to start from while `model_dir` has no checkpoint."""
        return self._warm_start

    @property
    def model_fn(self) -> Callable[..., EstimatorSpec]:
        """The model_fn with `params` and `model_dir` bound: a function of features, labels, mode and config."""
        taken = check_model_fn(self._given_model_fn, None)

        def bound(features: Any, labels: Any, mode: str, config: RunConfig) -> EstimatorSpec:
            values = {
                "features": features,
                "labels": labels,
                "mode": mode,
                "config": config,
                "params": self.params,
                "model_dir": self.model_dir,
            }
            return self._given_model_fn(**{name: value for name, value in values.items() if name in taken})

        return bound

    def train(
        self,
        input_fn: InputFn,
        hooks: Sequence[SessionRunHook] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[CheckpointSaverListener] | None = None,
    ) -> Self:
        """Trains the model, from the newest checkpoint of `model_dir` if there is one.

        Resuming is exact: weights, optimizer, schedules, random numbers, hooks, and the position in
        the input where the input can tell it, as `te.inputs` do. An input that had ended starts anew.

        Args:
            input_fn: gives the data: function of any of `mode`, `params`, `config` and
                `input_context` that returns a DataLoader or another iterable of (features, labels),
                or one (features, labels) batch each time it is called.
            hooks: run around each step.
            steps: how many steps to train from here. None: until the input ends.
            max_steps: the global step at which to stop, whatever was trained before. Not with `steps`.
            saving_listeners: run around each checkpoint.

        Returns:
            self.

        Raises:
            ValueError: an argument is out of range, or the checkpoint is of another model.
            NanLossDuringTrainingError: the loss became NaN.
            RuntimeError: another process trains in the same `model_dir`.
        """
        if self._config.task_type in ("evaluator", "ps"):
            raise ValueError(
                f"This process is the {self._config.task_type!r} of its cluster (TF_CONFIG) and does not train. "
                "Start it with te.train_and_evaluate, which gives each process its part."
            )
        if steps is not None and max_steps is not None:
            raise ValueError(f"Only one of `steps` and `max_steps` can be given. Received: {steps} and {max_steps}.")
        check_positive("steps", steps)
        check_positive("max_steps", max_steps)
        check_input_fn(input_fn)
        user_hooks, listeners = check_hooks("hooks", hooks), check_listeners("saving_listeners", saving_listeners)
        latest = self.latest_checkpoint()
        if max_steps is not None and latest is not None and Checkpoint(latest).step >= max_steps:
            LOG.info("Skipping training: the checkpoint %s has reached max_steps=%d.", latest, max_steps)
            return self
        with Training(self._blueprint, self._models, input_fn, steps, max_steps) as training:
            if not training.open(user_hooks, listeners):
                LOG.warning("input_fn gave no batch: nothing was trained. Is the input empty or misspelt?")
                return self
            try:
                train(training.session, training.hooks)
            except BaseException as error:
                training.save_in_emergency(error)
                raise
            LOG.info("Loss for final step: %s.", training.final_loss())
        return self

    def evaluate(
        self,
        input_fn: InputFn,
        steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Measures the model on other data.

        Args:
            input_fn: gives the data, as in `train`.
            steps: number of batches; None: all.
            hooks: run around each step.
            checkpoint_path: the checkpoint to evaluate; None: the newest. Without any, the initial
                weights are evaluated.
            name: of the evaluation, if there are several; the summaries go to `eval_<name>`.

        Returns:
            The metrics of `eval_metric_ops` by name, with "loss" (the mean over the batches) and
            "global_step".

        Raises:
            ValueError: an argument is out of range, or the input gives no batch.
        """
        check_positive("steps", steps)
        check_input_fn(input_fn)
        user_hooks = check_hooks("hooks", hooks)
        path = self._find_checkpoint(checkpoint_path, "evaluate")
        with self._random_apart(), contextlib.closing(self._open(input_fn, ModeKeys.EVAL)) as stream:
            model = self._model(path, stream, ModeKeys.EVAL)
            results = self._evaluate(model, stream, steps, user_hooks)
        log_results(self.eval_dir(name), results, path)
        return results

    def evaluate_live(
        self,
        input_fn: InputFn,
        steps: int | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Measures the model in training as it is at this moment, without a checkpoint.

        Meant for hooks, which run between two steps; te.experimental.InMemoryEvaluatorHook uses it.

        Raises:
            RuntimeError: nothing has been trained by this Estimator.
        """
        model = self._models.live
        if model is None:
            raise RuntimeError("No model is in training. Use `evaluate`, which reads a checkpoint.")
        check_positive("steps", steps)
        check_input_fn(input_fn)
        user_hooks = check_hooks("hooks", hooks)
        with self._random_apart(), contextlib.closing(self._open(input_fn, ModeKeys.EVAL)) as stream:
            results = self._evaluate(model, stream, steps, user_hooks)
        log_results(self.eval_dir(name), results, None)
        return results

    def predict(
        self,
        input_fn: InputFn,
        predict_keys: str | Sequence[str] | None = None,
        hooks: Sequence[SessionRunHook] | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        yield_single_examples: bool = True,
    ) -> Iterator[Any]:
        """Yields predictions, lazily: nothing runs before the first one is asked for.

        Args:
            input_fn: gives the data, as in `train`; labels are left out.
            predict_keys: which of a dict of predictions are wanted; None: all.
            hooks: run around each batch; their `end` is called when the input has ended.
            checkpoint_path: the checkpoint to use; None: the newest. Without any, the initial weights.
            yield_single_examples: one example at a time; False: whole batches.

        Yields:
            A dict of arrays or numbers per example (an array where model_fn predicts a tensor).

        Raises:
            ValueError: `predict_keys` do not fit the predictions, or their first dimensions differ.
        """
        check_input_fn(input_fn)
        user_hooks = check_hooks("hooks", hooks)
        keys = [predict_keys] if isinstance(predict_keys, str) else predict_keys
        path = self._find_checkpoint(checkpoint_path, "predict")
        strategy = self._blueprint.strategy
        seed = secrets.randbits(62) if self._config.random_seed is None else derive_seed(self._seed, "prediction")
        with contextlib.ExitStack() as stack:
            with forked_random(strategy.device, seed):
                stream = stack.enter_context(contextlib.closing(self._open(input_fn, ModeKeys.PREDICT)))
                model = self._model(path, stream, ModeKeys.PREDICT)
                capture = self._models.capture(model, self._blueprint, ModeKeys.PREDICT)
                is_live = model is self._models.live
                session = PredictionSession(
                    model.module, model.call, strategy, stream, self._config.precision, capture, is_live
                )
                all_hooks = [*user_hooks, *self._spec_hooks(session, model, stream, ModeKeys.PREDICT)]
                batches = predict(session, all_hooks, keys)
                own_random = RandomStream(strategy)
            while True:
                # Between two batches the reader does what it likes, training the model included: its mode and
                # the random numbers are set for each batch and put back.
                with own_random.block(), inference(model.module, ModeKeys.PREDICT):
                    arrays = next(batches, None)
                if arrays is None:
                    return
                if yield_single_examples:
                    yield from rows_of(arrays)
                else:
                    yield arrays

    def predictor(self, checkpoint_path: str | os.PathLike[str] | None = None) -> Predictor:
        """A model kept ready to predict, called with features: `predictor({"x": rows})["probabilities"]`.

        It has its own copy of the weights, so it may be used beside a training, and from several
        threads at once. `reload()` takes over a newer checkpoint.

        Args:
            checkpoint_path: the checkpoint to use; None: the newest.

        Raises:
            ValueError: there is no checkpoint.
        """
        return Predictor(self._blueprint, checkpoint_path, self.latest_checkpoint)

    def eval_dir(self, name: str | None = None) -> str:
        """Folder of an evaluation's summaries: `eval`, or `eval_<name>`."""
        return os.path.join(self.model_dir, f"eval_{name}" if name else "eval")

    def latest_checkpoint(self) -> str | None:
        """Path of the newest whole checkpoint in `model_dir`, or None."""
        return newest_whole(os.path.abspath(self.model_dir))

    def get_variable_names(self) -> list[str]:
        """Sorted names of everything in the newest checkpoint: weights, optimizer slots and "global_step".

        Raises:
            ValueError: there is no checkpoint.
        """
        return variable_names(self._trained_checkpoint())

    def get_variable_value(self, name: str | Sequence[str]) -> Any:
        """Value of a variable in the newest checkpoint as a NumPy array; a list of names gives a list.

        Raises:
            ValueError: there is no checkpoint, or no such name in it.
        """
        checkpoint = self._trained_checkpoint()
        if isinstance(name, str):
            return variable_value(checkpoint, name)
        return [variable_value(checkpoint, each) for each in name]

    @property
    def _blueprint(self) -> Blueprint:
        if self._made_blueprint is None:
            strategy = resolve_strategy(self._config)
            strategy.setup()
            if self._config.compile == "step" and not strategy.captures:
                raise ValueError(
                    f'`compile="step"` is for the CPU in this version. Received: a run on {strategy.device}. '
                    'Use compile="auto" or "off", which run it eagerly there.'
                )
            self._made_blueprint = Blueprint(
                model_fn=self._given_model_fn,
                params=self._params,
                config=self._config,
                seed=self._seed,
                strategy=strategy,
                warm_start=self._warm_start,
            )
        return self._made_blueprint

    def _random_apart(self) -> contextlib.AbstractContextManager[None]:
        # An evaluation in the middle of a training must not touch the training's random numbers.
        return forked_random(self._blueprint.strategy.device)

    def _open(self, input_fn: InputFn, mode: str) -> FirstBatch:
        stream = self._blueprint.open(input_fn, mode)
        if stream is None:
            raise ValueError("`input_fn` gave no batch. Is the input empty or misspelt?")
        return stream

    def _model(self, path: str | None, stream: FirstBatch, mode: str) -> Model:
        model = self._models.find(path, mode)
        return self._models.load(self._blueprint, path, stream.first, mode) if model is None else model

    def _evaluate(
        self, model: Model, stream: FirstBatch, steps: int | None, hooks: Sequence[SessionRunHook]
    ) -> dict[str, Any]:
        strategy = self._blueprint.strategy
        LOG.info("Starting evaluation at %s", time.strftime("%Y-%m-%dT%H:%M:%S"))
        started = time.perf_counter()
        capture = self._models.capture(model, self._blueprint, ModeKeys.EVAL)
        session = EvaluationSession(model.module, model.call, strategy, stream, self._config.precision, capture)
        self._models.release_metrics()
        spec_hooks = self._spec_hooks(session, model, stream, ModeKeys.EVAL)
        with inference(model.module, ModeKeys.EVAL), contextlib.closing(session):
            results = evaluate(session, [*hooks, StopAfterNEvalsHook(steps), *spec_hooks])
        LOG.info("Inference time: %.5fs", time.perf_counter() - started)
        return results

    def _spec_hooks(self, session: LoopSession, model: Model, stream: FirstBatch, mode: str) -> list[SessionRunHook]:
        """The hooks that model_fn gives in its spec, which have to be there before the first step.

        Getting them takes an extra call of model_fn; once it is known that there are none, no more.
        """
        if not model.has_hooks.get(mode, True):
            return []
        with inference(model.module, mode):
            spec = session.rehearse(stream.first)
        release_metrics(spec)
        hooks = hooks_of(spec)
        model.has_hooks[mode] = bool(hooks)
        return hooks

    def _find_checkpoint(self, checkpoint_path: str | os.PathLike[str] | None, verb: str) -> str | None:
        saves = self._config.save_checkpoints_steps or self._config.save_checkpoints_secs
        if checkpoint_path is None and not saves and self._models.holds_unsaved:
            return None
        path = checkpoint_path or self.latest_checkpoint()
        if path is not None:
            return Checkpoint(path).path
        if self._models.find(None, ModeKeys.TRAIN) is None:
            LOG.info("There is no checkpoint in %s: %s uses the initial weights.", self.model_dir, verb)
        return None

    def _trained_checkpoint(self) -> Checkpoint:
        latest = self.latest_checkpoint()
        if latest is None:
            raise ValueError(f"There is no trained model in {self.model_dir}. Call train first.")
        return Checkpoint(latest)


def _check_not_overridden(cls: type) -> None:
    if cls is Estimator:
        return
    members = {name for name in dir(Estimator) if not name.startswith("__")} - _MAY_OVERRIDE
    overridden = sorted(members & {name for name in vars(cls) if not name.startswith("__")})
    if overridden and cls.__module__.split(".")[0] != __name__.split(".")[0]:
        raise ValueError(
            f"Subclasses of te.Estimator must not override its members, but {cls.__name__} does override {overridden}. "
            "Put the behaviour into model_fn or hooks, or give the method a name of its own."
        )


def _resolve_config(config: RunConfig | None, model_dir: str | os.PathLike[str] | None) -> RunConfig:
    if config is None:
        LOG.debug("Using the default config.")
        config = RunConfig()
    if not isinstance(config, RunConfig):
        raise TypeError(f"`config` must be a te.RunConfig. Received: {config!r}.")
    given = os.fspath(model_dir) if model_dir is not None else ""
    if given and config.model_dir and os.path.abspath(given) != os.path.abspath(config.model_dir):
        raise ValueError(
            f"`model_dir` is given twice with different values: {given!r} to the Estimator and {config.model_dir!r} in "
            "its RunConfig. Remove one."
        )
    folder = given or config.model_dir
    if not folder:
        folder = tempfile.mkdtemp(prefix="torchestimator-")
        LOG.warning("No model_dir is given: using the temporary folder %s.", folder)
    return config.replace(model_dir=folder)

"""A training step as one compiled graph over the tensors that training changes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from torchestimator.capture.compiler import CompiledGraph, check_compiler, compile_graph
from torchestimator.capture.errors import CaptureError
from torchestimator.capture.signature import Signature, rebuilt
from torchestimator.capture.sparse_gradients import take_apart
from torchestimator.capture.swap import swapped_optimizer, swapped_tensors
from torchestimator.capture.tracing import trace
from torchestimator.inputs.batch import batch_size_of
from torchestimator.model.module import ModelFnModule
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.strategy import Batch
from torchestimator.tracing import sparse_gradients
from torchestimator.train_op.clipping import clip_by_global_norm
from torchestimator.train_op.description import Minimize
from torchestimator.train_op.optimization import Optimization, descriptions_of
from torchestimator.train_op.unit import MinimizeUnit
from torchestimator.train_op.window import Window

Kind = tuple[tuple[bool, bool], ...]
"""Per unit that accumulates: whether the batch begins a window, and whether it completes one."""

MANY_OPTIONS = 3
"""Changes of an optimizer's options, besides the learning rate, that are followed by compiling again."""


class CapturedTrainingStep:
    """Runs model_fn, gradients, clipping, updates and buffers as one graph.

    The graph reads and writes the very tensors that the module and the optimizers hold, so
    checkpoints, hooks and eager steps see nothing of it. What the host decides stays on the host:
    schedules step in Python and reach the graph as tensors.

    Args:
        module: the built model, in TRAIN mode.
        optimization: its optimizers; each must have made its slots, that is, updated once.
        batch: an example; the graph runs batches of its signature.
        watched_loss: [] takes in the maximum of all losses, in which NaN stays.
        autocast: makes the context of the forward pass; None: none.

    Raises:
        CaptureError: the step can't be captured.
        CompilerMissingError: there is no compiler.
    """

    def __init__(
        self,
        module: ModelFnModule,
        optimization: Optimization,
        batch: Batch,
        watched_loss: Tensor,
        autocast: Callable[[], AbstractContextManager[None]] | None,
    ) -> None:
        check_compiler(watched_loss.device)
        _check_capturable(optimization)
        self._module = module
        self._units = optimization.units
        self._optimization = optimization
        self._template = batch
        self._signature = Signature.of(batch)
        self._autocast = autocast
        self._graphs: dict[Kind, CompiledGraph] = {}
        self._own: dict[str, Tensor] = {
            "watched_loss": watched_loss,
            "global_step": torch.full((), module.global_step, dtype=torch.int64, device=watched_loss.device),
        }
        self._accumulating = [unit for unit in self._units if unit.window.size > 1]
        for index, unit in enumerate(self._units):
            self._add_unit(index, unit, watched_loss.device)
        self._options = [pair for unit in self._units for pair in _options(unit)]
        self._recompilations = 0
        self._places = self._state_places()
        self._rates: dict[str, float] = {}

    def accepts(self, batch: Batch) -> list[Tensor] | None:
        """The batch's tensors if the graph can run it, else None."""
        return self._signature.tensors(batch)

    @property
    def signature(self) -> Signature:
        """What the graph is specialised to."""
        return self._signature

    def run(self, tensors: Sequence[Tensor]) -> Tensor:
        """One step.

        Args:
            tensors: what `accepts` gave for the batch.

        Returns:
            [] the loss.

        Raises:
            CaptureError: the step can't be captured; nothing has changed then.
        """
        kind: Kind = tuple((u.window.filled == 0, u.window.filled + 1 >= u.window.size) for u in self._accumulating)
        for index, unit in enumerate(self._units):
            self._bring_rates(index, unit)
            if unit.window.filled:
                self._bring_window(index, unit)
        if self._options_changed():
            self._recompile()
        if self._module.uses_step:
            self._own["global_step"].fill_(self._module.global_step)
        inputs = [tensors_of[key] for tensors_of, key in self._places]
        inputs += [tensor if tensor.is_contiguous() else tensor.contiguous() for tensor in tensors]
        graph = self._graphs.get(kind)
        with torch.no_grad():
            if graph is None:
                graph = self._graphs[kind] = self._compile(kind, inputs)
            results = graph(*inputs)
        for index, unit in enumerate(self._units):
            self._follow(index, unit)
        loss: Tensor = results[0] if isinstance(results, list | tuple) else results
        return loss

    def _compile(self, kind: Kind, inputs: Sequence[Tensor]) -> CompiledGraph:
        examples = [tensor.detach() for tensor in inputs]
        with torch.enable_grad(), self._module.undisturbed(), sparse_gradients():
            graph = trace(lambda *flat: self._step(kind, flat), examples)
        take_apart(graph.graph)
        graph.recompile()
        return compile_graph(graph, examples)

    def _add_unit(self, index: int, unit: MinimizeUnit, device: torch.device) -> None:
        for number, group in enumerate(unit.optimizer.param_groups):
            self._own[f"{index}/rate/{number}"] = torch.tensor(float(group["lr"]), device=device)
        if unit.window.size > 1:
            first, total = unit.window.weights
            self._own[f"{index}/first"] = torch.as_tensor(first, dtype=torch.float32, device=device).clone()
            self._own[f"{index}/total"] = torch.as_tensor(total, dtype=torch.float32, device=device).clone()
            for number, (parameter, gradient) in enumerate(zip(unit.parameters, unit.gradients, strict=True)):
                filled = torch.zeros_like(parameter) if gradient is None else gradient.clone()
                self._own[f"{index}/gradient/{number}"] = filled.detach()

    def _state_places(self) -> list[tuple[dict[Any, Any], Any]]:
        """Where each tensor of the state is found, by container and key."""
        places: list[tuple[dict[Any, Any], Any]] = []
        seen: set[int] = set()

        def add(container: dict[Any, Any]) -> None:
            for key, value in container.items():
                if isinstance(value, Tensor) and id(value) not in seen:
                    seen.add(id(value))
                    places.append((container, key))

        for part in self._module.modules():
            add(part._parameters)
            add(part._buffers)
        for unit in self._units:
            for parameter in unit.parameters:
                add(unit.optimizer.state.get(parameter, {}))
        add(self._own)
        return places

    def _step(self, kind: Kind, flat: Sequence[Tensor]) -> Tensor:
        """The step on stand-ins for all tensors; what is traced."""
        count = len(self._places)
        state = {id(container[key]): tensor for (container, key), tensor in zip(self._places, flat, strict=False)}
        batch = [*flat[count:]]
        features = rebuilt(self._template.features, batch)
        labels = rebuilt(self._template.labels, batch)
        leaves = {
            id(parameter): state[id(parameter)].detach().requires_grad_(parameter.requires_grad)
            for parameter in self._module.parameters()
        }
        buffers = {id(buffer): state[id(buffer)] for buffer in self._module.buffers()}
        with (
            self._module.given_step(state[id(self._own["global_step"])].clone()),
            swapped_tensors(self._module, leaves | buffers),
            nullcontext() if self._autocast is None else self._autocast(),
        ):
            spec = self._module(features, labels)
        self._learn(kind, spec, leaves, state, batch_size_of(features))
        watched = state[id(self._own["watched_loss"])]
        loss: Tensor = spec.loss.detach()
        watched.copy_(torch.maximum(watched, loss))
        return loss.clone()

    def _learn(
        self, kind: Kind, spec: EstimatorSpec, leaves: dict[int, Tensor], state: dict[int, Tensor], batch_size: int
    ) -> None:
        descriptions = descriptions_of(spec.train_op)
        kinds = iter(kind)
        pending = []
        for index, (unit, description) in enumerate(zip(self._units, descriptions, strict=True)):
            begins, ends = next(kinds) if unit.window.size > 1 else (True, True)
            loss = description.loss
            if unit.window.size > 1:
                weight = batch_size if description.loss_weight is None else description.loss_weight
                loss = loss * self._take_weight(index, unit, weight, begins, state)
            fresh = torch.autograd.grad(
                loss,
                [leaves[id(parameter)] for parameter in unit.parameters],
                retain_graph=index < len(descriptions) - 1,
                allow_unused=True,
            )
            pending.append((unit, description, fresh, begins, ends))
        with torch.no_grad():
            for index, (unit, description, taken, begins, ends) in enumerate(pending):
                gradients: Sequence[Tensor | None] = taken
                if unit.window.size > 1:
                    gradients = self._accumulate(index, unit, taken, begins, ends, state)
                if ends:
                    self._update(index, unit, description, gradients, state)

    def _take_weight(self, index: int, unit: MinimizeUnit, weight: Any, begins: bool, state: dict[int, Tensor]) -> Any:
        """Counts a batch in the window's tensors; returns the factor for its loss."""
        first, total = self._window_tensors(index, state)
        window = Window(unit.window.size)
        window.filled = 0 if begins else 1
        window.weights = first, total
        factor = window.take(torch.as_tensor(weight, dtype=torch.float32, device=first.device))
        for kept, value in zip((first, total), window.weights, strict=True):
            if value is not kept:
                kept.copy_(torch.as_tensor(value))
        return factor

    def _window_tensors(self, index: int, state: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        return state[id(self._own[f"{index}/first"])], state[id(self._own[f"{index}/total"])]

    def _accumulate(
        self,
        index: int,
        unit: MinimizeUnit,
        gradients: Sequence[Tensor | None],
        begins: bool,
        ends: bool,
        state: dict[int, Tensor],
    ) -> list[Tensor | None]:
        sums: list[Tensor | None] = []
        for number, gradient in enumerate(gradients):
            kept = state[id(self._own[f"{index}/gradient/{number}"])]
            if gradient is None:
                sums.append(None)
            elif ends:
                sums.append(gradient if begins else kept + gradient)
            else:
                kept.copy_(gradient) if begins else kept.add_(gradient)
        if not ends:
            return []
        window = Window(unit.window.size)
        window.weights = self._window_tensors(index, state)
        correction: Any = window.correction()
        return [None if gradient is None else gradient * correction for gradient in sums]

    def _update(
        self,
        index: int,
        unit: MinimizeUnit,
        description: Minimize,
        gradients: Sequence[Tensor | None],
        state: dict[int, Tensor],
    ) -> None:
        targets = {id(parameter): state[id(parameter)] for parameter in unit.parameters}
        for target, gradient in zip(targets.values(), gradients, strict=True):
            target.grad = gradient
        if description.clip_norm is not None:
            clip_by_global_norm(list(targets.values()), description.clip_norm)
        rates = [state[id(self._own[f"{index}/rate/{n}"])] for n in range(len(unit.optimizer.param_groups))]
        with swapped_optimizer(unit, targets, state, rates):
            step = type(unit.optimizer).step
            # The outer function records the call for the profiler, which is not part of the step.
            getattr(step, "__wrapped__", step)(unit.optimizer)
        for target in targets.values():
            target.grad = None

    def _bring_rates(self, index: int, unit: MinimizeUnit) -> None:
        for number, group in enumerate(unit.optimizer.param_groups):
            rate, name = float(group["lr"]), f"{index}/rate/{number}"
            if self._rates.get(name) != rate:
                self._rates[name] = rate
                self._own[name].fill_(rate)

    def _bring_window(self, index: int, unit: MinimizeUnit) -> None:
        """Takes in what an eager step has left in a partly filled window."""
        kept = self._own[f"{index}/first"], self._own[f"{index}/total"]
        for tensor, value in zip(kept, unit.window.weights, strict=True):
            if value is not tensor:
                tensor.copy_(torch.as_tensor(value))
        for number, gradient in enumerate(unit.gradients):
            own = self._own[f"{index}/gradient/{number}"]
            if gradient is None:
                own.zero_()
            elif gradient is not own:
                own.copy_(gradient)

    def _options_changed(self) -> bool:
        """Whether somebody has changed a group's options, such as its weight decay; the graph has them as constants."""
        for group, options in self._options:
            for key, value in options.items():
                if group[key] != value:
                    return True
        return False

    def _recompile(self) -> None:
        self._recompilations += 1
        if self._recompilations > MANY_OPTIONS:
            changed = {key for group, options in self._options for key in options if group[key] != options[key]}
            raise CaptureError(
                f"the optimizer's {', '.join(sorted(changed))} changes from step to step, and only the learning rate "
                "may: the other options are part of the graph"
            )
        self._graphs.clear()
        self._options = [pair for unit in self._units for pair in _options(unit)]

    def _follow(self, index: int, unit: MinimizeUnit) -> None:
        """Does on the host what an eager step does besides the arithmetic."""
        window = unit.window
        if window.size > 1:
            window.filled += 1
            if window.filled < window.size:
                window.weights = self._own[f"{index}/first"], self._own[f"{index}/total"]
                unit.put_gradients([self._own[f"{index}/gradient/{n}"] for n in range(len(unit.parameters))])
                return
            window.filled = 0
            unit.put_gradients([None] * len(unit.parameters))
        unit.schedule.step()


def _options(unit: MinimizeUnit) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each group with those of its options that are constants of the graph."""
    left_out = ("params", "lr", "initial_lr", "foreach", "fused", "capturable")
    return [
        (group, {key: value for key, value in group.items() if key not in left_out})
        for group in unit.optimizer.param_groups
    ]


def _check_capturable(optimization: Optimization) -> None:
    if not optimization.units:
        raise CaptureError("train_op is a function of its own, which runs as it is; te.minimize describes a step")
    if optimization.scales_loss:
        raise CaptureError('precision="16" scales the loss by what the gradients turn out to be; use "bf16"')
    for unit in optimization.units:
        driven = unit.schedule.driven_options()
        if driven:
            raise CaptureError(
                f"the schedule changes the optimizer's {', '.join(driven)} from step to step, and only the learning "
                "rate may: the other options are part of the graph. For OneCycleLR and CyclicLR, pass "
                "cycle_momentum=False"
            )

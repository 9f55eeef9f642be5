"""One `minimize`, carried out: optimizer, schedule, clipping, accumulation, and its saved state."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from torchestimator.train_op.description import Minimize
from torchestimator.train_op.parameters import select_parameters
from torchestimator.train_op.schedule import Schedule
from torchestimator.train_op.window import Window

ACCUMULATED = "accumulated_gradient"
"""The slot name of a partly filled window's gradient."""

Backward: TypeAlias = Callable[[Tensor, list[nn.Parameter] | None, bool, bool], None]
"""A strategy's backward pass: (loss, inputs, retain_graph, update_follows)."""


class MinimizeUnit:
    """The optimizer of one `minimize` description and what belongs to it.

    Args:
        description: the first one that model_fn returned; the functions in it are called once.
        module: the placed model.
        scaler: loss scaling for float16, or None.
    """

    def __init__(self, description: Minimize, module: nn.Module, scaler: torch.amp.GradScaler | None) -> None:
        self.named = select_parameters(module, description.var_list)
        self.parameters = list(self.named.values())
        self.optimizer = _make_optimizer(description, self.parameters, module)
        self.schedule = Schedule(description.scheduler_fn, self.optimizer)
        self.window = Window(description.accumulate_steps)
        self._scaler = scaler
        self._inputs = None if description.var_list is None else self.parameters
        self._held: list[Tensor | None] | None = None

    def backward(self, description: Minimize, batch_size: float, retain_graph: bool, backward: Backward) -> None:
        """Adds the gradients of this batch to the parameters' `grad`.

        Args:
            description: this batch's.
            batch_size: examples in the batch, the weight where the description gives none.
            retain_graph: whether another unit differentiates the same graph.
            backward: the strategy's backward pass.
        """
        loss = description.loss
        window = self.window
        if window.size == 1:
            window.filled = 1
        else:
            loss = loss * window.take(batch_size if description.loss_weight is None else description.loss_weight)
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        backward(loss, self._inputs, retain_graph, window.is_full)

    def update(self, clip_norm: float | Tensor | None) -> None:
        """Applies the accumulated gradients, clears them and steps the schedule."""
        scaler = self._scaler
        if self.window.size > 1:
            self._correct_window()
        self.window.filled = 0
        if clip_norm is not None:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)  # type: ignore[arg-type]
        if scaler is None:
            self.optimizer.step()
            self.schedule.step()
        else:
            scale = scaler.get_scale()
            scaler.step(self.optimizer)
            scaler.update()
            # A lower scale means that the gradients had overflowed and the update was left out.
            if scaler.get_scale() >= scale:
                self.schedule.step()
        # What zero_grad does, without its profiler record, which costs as much as a small operation.
        for parameter in self.parameters:
            parameter.grad = None

    def hold_gradients(self) -> None:
        """Takes the gradients off the parameters, so that another unit's do not mix with them."""
        self._held = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None

    def release_gradients(self) -> None:
        """Puts back what `hold_gradients` took."""
        if self._held is not None:
            for parameter, gradient in zip(self.parameters, self._held, strict=True):
                parameter.grad = gradient
            self._held = None

    def slots(self) -> dict[str, Tensor]:
        """The optimizer's tensors as `<parameter>/<slot>`, with a partly filled window's gradients.

        Raises:
            TypeError: the optimizer keeps something that is neither a tensor nor a number.
        """
        slots: dict[str, Tensor] = {}
        gradients = self._held or [parameter.grad for parameter in self.parameters]
        for (name, parameter), gradient in zip(self.named.items(), gradients, strict=True):
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    slots[f"{name}/{slot}"] = value
                elif value is not None and not isinstance(value, bool | int | float | str):
                    raise TypeError(
                        f"The optimizer {type(self.optimizer).__name__} keeps a {type(value).__name__} as its state "
                        f"{slot!r} of {name}; checkpoints hold tensors and plain numbers only. "
                        "Use an optimizer whose state is tensors."
                    )
            if self.window.filled and gradient is not None:
                slots[f"{name}/{ACCUMULATED}"] = gradient
        return slots

    def state_dict(self) -> dict[str, Any]:
        """Everything besides tensors, as JSON values."""
        numbers = {
            f"{name}/{slot}": value
            for name, parameter in self.named.items()
            for slot, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, bool | int | float | str)
        }
        return {
            "optimizer": type(self.optimizer).__name__,
            "numbers": numbers,
            "schedule": self.schedule.state_dict(),
            "window": self.window.state_dict(),
        }

    def load(self, slots: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Puts back what `slots` and `state_dict` gave."""
        gradient_factor = self.window.load_state_dict(state["window"])
        names = {id(parameter): name for name, parameter in self.named.items()}
        ordered = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        values: dict[int, dict[str, Any]] = {}
        for index, parameter in enumerate(ordered):
            prefix = f"{names[id(parameter)]}/"
            own = {
                key[len(prefix) :]: value
                for key, value in {**state["numbers"], **slots}.items()
                if key.startswith(prefix) and "/" not in key[len(prefix) :]
            }
            gradient = own.pop(ACCUMULATED, None)
            if gradient is not None:
                parameter.grad = gradient.to(device=parameter.device, dtype=parameter.dtype) * gradient_factor
            if own:
                values[index] = own
        groups = self.optimizer.state_dict()["param_groups"]
        # The optimizer's own method moves each slot to the device and dtype that it needs there.
        self.optimizer.load_state_dict({"state": values, "param_groups": groups})
        self.schedule.load_state_dict(state["schedule"])

    def _correct_window(self) -> None:
        correction = self.window.correction()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if correction is not None and gradients:
            torch._foreach_mul_(gradients, correction)


def _make_optimizer(description: Minimize, parameters: list[nn.Parameter], module: nn.Module) -> torch.optim.Optimizer:
    optimizer = description.optimizer_fn(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"`optimizer_fn` must return a torch.optim.Optimizer. Received: {optimizer!r}. "
            "Write: te.minimize(loss, lambda params: torch.optim.Adam(params, lr=1e-3))"
        )
    own = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in own:
                raise ValueError(
                    f"`optimizer_fn` made an optimizer over a parameter of shape {list(parameter.shape)} that is not "
                    "among those it was given: not in the model, not trainable, or outside `var_list`. "
                    f"The model has: {[name for name, _ in module.named_parameters()][:20]}."
                )
    return optimizer

"""Adam, with the epsilon of its paper's second form."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchestimator.optim.foreach import Rate, Tensors, subtract_quotients_
from torchestimator.optim.optimizer import Options, SlotOptimizer, at_least_zero, below_one
from torchestimator.optim.rows import SMALL_TABLE


def adam_(
    weights: Tensors,
    first_moments: Tensors,
    second_moments: Tensors,
    largest_moments: Tensors | None,
    gradients: Tensors,
    *,
    rate: Rate,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """One step, in place (Kingma and Ba 2014, end of section 2).

    m += (1 - beta_1) * (g - m); v = beta_2 * v + (1 - beta_2) * g^2; w -= rate * m / (sqrt(v) + epsilon).

    Args:
        weights: what is updated.
        first_moments: m.
        second_moments: v.
        largest_moments: the maximum of v so far, which then takes its place (Reddi et al. 2018); None: v itself.
        gradients: g.
        rate: the learning rate, corrected for the start from 0 (`corrected_rate`).
        beta_1: decay of m.
        beta_2: decay of v.
        epsilon: the paper's "epsilon hat".
    """
    torch._foreach_lerp_(first_moments, gradients, 1 - beta_1)
    torch._foreach_mul_(second_moments, beta_2)
    torch._foreach_addcmul_(second_moments, gradients, gradients, value=1 - beta_2)
    if largest_moments is not None:
        torch._foreach_maximum_(largest_moments, second_moments)
        second_moments = largest_moments
    denominators = torch._foreach_sqrt(second_moments)
    torch._foreach_add_(denominators, epsilon)
    subtract_quotients_(weights, first_moments, denominators, rate)


def corrected_rate(rate: Rate, step: float | Tensor, beta_1: float, beta_2: float) -> Rate:
    """rate * sqrt(1 - beta_2^step) / (1 - beta_1^step), where the first step is 1."""
    if isinstance(step, Tensor):
        # 1 - 0.999 in float32 has an error of 1e-5.
        step = step.double()
    correction = (1 - beta_2**step) ** 0.5 / (1 - beta_1**step)
    return rate * (correction.float() if isinstance(correction, Tensor) else correction)


class Adam(SlotOptimizer):
    """Adam with the numbers of `tf.keras.optimizers.legacy.Adam`.

    Other than in torch.optim.Adam, epsilon is added to the uncorrected root (the paper's "epsilon
    hat"), and all parameters share one count of steps, the slot `step`, as TensorFlow's do.

    A sparse gradient in TensorFlow lets the moments of all rows decay and moves all rows, so a step
    costs the table. Tables of up to a million elements are updated so here too; for larger ones
    `lazy` decides, and by default only the rows that the gradient touches are read and written, which
    is what torch.optim.SparseAdam does and differs from TensorFlow in rows that are rare.

    Args:
        params: the parameters, or groups of them.
        learning_rate: the step size; "lr" in the groups.
        beta_1: decay of the mean of gradients (slot `m`), below 1.
        beta_2: decay of the mean of squared gradients (slot `v`), below 1.
        epsilon: is added to the root. 1e-8 is the default of tf.compat.v1.train.AdamOptimizer.
        amsgrad: whether to divide by the largest mean so far (slot `vhat`).
        lazy: True: a sparse gradient updates only the rows it touches. False: all rows, with
            TensorFlow's numbers. None: all rows of tables of up to 2^20 elements.
        clipnorm: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        lazy: bool | None = None,
        clipnorm: float | None = None,
    ) -> None:
        options = {
            "lr": learning_rate,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "epsilon": epsilon,
            "amsgrad": amsgrad,
            "lazy": lazy,
            "clipnorm": clipnorm,
        }
        super().__init__(params, options)

    def check(self, group: Options) -> None:
        """Looks whether a group's options can be used."""
        super().check(group)
        below_one(group, "beta_1", "beta_2")
        at_least_zero(group, "epsilon")
        if not group["epsilon"]:
            raise ValueError("`epsilon` must be positive: a gradient of 0 would be divided by 0. Received: 0.")

    def touches_rows_only(self, group: Options, weight: Tensor) -> bool:
        """As `lazy` says."""
        lazy = group["lazy"]
        return weight.numel() > SMALL_TABLE if lazy is None else bool(lazy)

    def count_step(self) -> None:
        """Adds 1 to the count of steps."""
        step = self._shared_step()
        if step is not None:
            step += 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        step = self._shared_step()
        for state in self.state.values():
            state["step"] = step

    def initial_slots(self, group: Options) -> dict[str, float]:
        """The slots `m` and `v`, and with `amsgrad` also `vhat`."""
        return dict.fromkeys(("m", "v", "vhat")[: 3 if group["amsgrad"] else 2], 0.0)

    def update(self, group: Options, weights: Tensors, slots: Mapping[str, Tensors], gradients: Tensors) -> None:
        """Changes weights and slots in place."""
        step = self._shared_step()
        assert step is not None
        on_host = step.device.type == "cpu" and not torch.compiler.is_compiling()
        betas = {"beta_1": group["beta_1"], "beta_2": group["beta_2"]}
        rate = corrected_rate(group["lr"], step.item() if on_host else step, **betas)
        moments = slots["m"], slots["v"], slots.get("vhat")
        adam_(weights, *moments, gradients, rate=rate, epsilon=group["epsilon"], **betas)

    def _new_state(self, group: Options, weight: Tensor) -> dict[str, Tensor]:
        step = self._shared_step()
        if step is None:
            step = torch.zeros((), dtype=torch.float32)
        return {"step": step, **super()._new_state(group, weight)}

    def _completed(self, group: Options, weight: Tensor, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        moments = super()._completed(group, weight, saved)
        return {"step": saved["step"], **moments}

    def _shared_step(self) -> Tensor | None:
        """[] the one tensor that counts the steps of all parameters; None before the first."""
        return next((state["step"] for state in self.state.values() if state), None)

"""FTRL-Proximal: sparse linear models by following the regularized leader."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchestimator.optim.foreach import Rate, Tensors, add_number_, add_quotients_of_products_, subtract_quotients_
from torchestimator.optim.optimizer import Options, SlotOptimizer, at_least_zero, number

_TINY = 1e-30
"""In the place of a denominator of 0, whose numerator is 0 too."""


def ftrl_(
    weights: Tensors,
    accumulators: Tensors,
    linears: Tensors,
    gradients: Tensors,
    *,
    rate: Rate,
    power: float = -0.5,
    l1: float = 0.0,
    l2: float = 0.0,
    l2_shrinkage: float = 0.0,
    beta: float = 0.0,
) -> None:
    """One step, in place (McMahan et al. 2013, algorithm 1; TensorFlow's ResourceApplyFtrlV2).

    With n the accumulator, z the linear slot and n' = n + g^2:

        z += g + 2 * l2_shrinkage * w - (n'^-power - n^-power) / rate * w
        w = -rate * (z - clip(z, -l1, l1)) / (n'^-power + beta + 2 * l2 * rate)
    """
    changes = _powers(accumulators, -power)
    torch._foreach_addcmul_(accumulators, gradients, gradients)
    powers = _powers(accumulators, -power)
    torch._foreach_sub_(changes, powers)
    torch._foreach_add_(linears, gradients)
    if l2_shrinkage:
        torch._foreach_add_(linears, weights, alpha=2 * l2_shrinkage)
    add_quotients_of_products_(linears, changes, weights, rate)
    if beta:
        torch._foreach_add_(powers, beta)
    if l2:
        add_number_(powers, 2 * l2 * rate)
    torch._foreach_clamp_min_(powers, _TINY)
    beyond: Tensors = linears
    if l1:
        within = torch._foreach_clamp_max(linears, l1)
        torch._foreach_clamp_min_(within, -l1)
        beyond = torch._foreach_sub(linears, within)
    torch._foreach_zero_(weights)
    subtract_quotients_(weights, beyond, powers, rate)


def _powers(accumulators: Tensors, exponent: float) -> Tensors:
    if exponent == 0.5:
        return torch._foreach_sqrt(accumulators)
    return torch._foreach_pow(accumulators, exponent)


class Ftrl(SlotOptimizer):
    """FTRL-Proximal with the numbers of `tf.keras.optimizers.legacy.Ftrl`.

    The optimizer of linear models with many sparse features; l1 makes weights exactly 0. As in
    TensorFlow, it doesn't look at where the weights start: a weight is a function of the slots, so
    the first dense step takes weights without a gradient to 0. A sparse gradient updates the rows it
    touches, and the others keep their values.

    Args:
        params: the parameters, or groups of them.
        learning_rate: the step size; "lr" in the groups. It must stay above 0, in a schedule too.
        learning_rate_power: how steps shrink with the accumulated squares, 0 or less. 0: not at all.
        initial_accumulator_value: where the slot `accumulator` starts, 0 or more.
        l1_regularization_strength: 0 or more.
        l2_regularization_strength: 0 or more; a penalty that stabilizes.
        l2_shrinkage_regularization_strength: 0 or more; a penalty on the size of the weights, of a
            sparse gradient on those that it touches.
        beta: 0 or more; the paper's beta.
        clipnorm: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        learning_rate: Rate = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        *,
        clipnorm: float | None = None,
    ) -> None:
        options = {
            "lr": learning_rate,
            "learning_rate_power": learning_rate_power,
            "initial_accumulator_value": initial_accumulator_value,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
            "l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength,
            "beta": beta,
            "clipnorm": clipnorm,
        }
        super().__init__(params, options)

    def check(self, group: Options) -> None:
        """Looks whether a group's options can be used."""
        super().check(group)
        strengths = [key for key in self.defaults if key.endswith("_strength")]
        at_least_zero(group, "initial_accumulator_value", *strengths, "beta")
        if not number(group, "learning_rate_power") <= 0:
            raise ValueError(f"`learning_rate_power` must be 0 or less. Received: {group['learning_rate_power']!r}.")
        _check_rate(group["lr"])

    def initial_slots(self, group: Options) -> dict[str, float]:
        """The slots `accumulator` and `linear`."""
        return {"accumulator": group["initial_accumulator_value"], "linear": 0.0}

    def update(self, group: Options, weights: Tensors, slots: Mapping[str, Tensors], gradients: Tensors) -> None:
        """Changes weights and slots in place."""
        _check_rate(group["lr"])
        ftrl_(
            weights,
            slots["accumulator"],
            slots["linear"],
            gradients,
            rate=group["lr"],
            power=group["learning_rate_power"],
            l1=group["l1_regularization_strength"],
            l2=group["l2_regularization_strength"],
            l2_shrinkage=group["l2_shrinkage_regularization_strength"],
            beta=group["beta"],
        )


def _check_rate(rate: Rate) -> None:
    if not isinstance(rate, Tensor) and not rate > 0:
        raise ValueError(
            "`learning_rate` of Ftrl must be above 0 at every step, because the weights are divided by it. "
            f"Received: {rate!r}. Let a schedule begin and end above 0."
        )

"""RMSProp: steps divided by a running root mean square of the gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from torchestimator.optim.foreach import Rate, Tensors, subtract_quotients_
from torchestimator.optim.optimizer import Options, SlotOptimizer, at_least_zero, below_one, number
from torchestimator.optim.rows import SMALL_TABLE


def rmsprop_(
    weights: Tensors,
    mean_squares: Tensors,
    means: Tensors | None,
    momenta: Tensors | None,
    gradients: Tensors,
    *,
    rate: Rate,
    rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """One step, in place (Hinton 2012, lecture 6; the centered form: Graves 2013, section 4.2).

    s = rho * s + (1 - rho) * g^2, and with `means` c = rho * c + (1 - rho) * g and d = s - c^2, else
    d = s. Then, as TensorFlow has it, epsilon is outside the root without momentum and inside with:

        w -= rate * g / (sqrt(d) + epsilon)
        b = momentum * b + rate * g / sqrt(d + epsilon); w -= b
    """
    torch._foreach_mul_(mean_squares, rho)
    torch._foreach_addcmul_(mean_squares, gradients, gradients, value=1 - rho)
    variances = mean_squares
    if means is not None:
        torch._foreach_lerp_(means, gradients, 1 - rho)
        variances = torch._foreach_addcmul(mean_squares, means, means, value=-1)
        # Rounding can make the difference of two equal numbers negative.
        torch._foreach_clamp_min_(variances, 0.0)
    if momenta is None:
        denominators = torch._foreach_sqrt(variances)
        torch._foreach_add_(denominators, epsilon)
        subtract_quotients_(weights, gradients, denominators, rate)
    else:
        denominators = torch._foreach_add(variances, epsilon)
        torch._foreach_sqrt_(denominators)
        torch._foreach_mul_(momenta, momentum)
        subtract_quotients_(momenta, gradients, denominators, -rate)
        torch._foreach_sub_(weights, momenta)


class RMSProp(SlotOptimizer):
    """RMSProp with the numbers of `tf.keras.optimizers.legacy.RMSprop`.

    A sparse gradient with momentum updates the rows it touches, as in TensorFlow. Without momentum
    TensorFlow lets the mean squares of all rows decay, so that a step costs the table. Tables of up
    to a million elements are updated so here too; for larger ones `lazy` decides, and by default the
    other rows wait, as they do with momentum.

    Args:
        params: the parameters, or groups of them.
        learning_rate: the step size; "lr" in the groups.
        rho: decay of the mean squares (slot `rms`), below 1.
        momentum: how much of the last step is added to the next (slot `momentum`), 0 to 1. With 0
            there is no slot.
        epsilon: keeps the denominator from 0.
        centered: whether to divide by the standard deviation instead (slot `mg`, the mean).
        lazy: without momentum, True: a sparse gradient updates only the rows it touches. False: all
            rows, with TensorFlow's numbers. None: all rows of tables of up to 2^20 elements.
        clipnorm: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        lazy: bool | None = None,
        clipnorm: float | None = None,
    ) -> None:
        options = {
            "lr": learning_rate,
            "rho": rho,
            "momentum": momentum,
            "epsilon": epsilon,
            "centered": centered,
            "lazy": lazy,
            "clipnorm": clipnorm,
        }
        super().__init__(params, options)

    def check(self, group: Options) -> None:
        """Looks whether a group's options can be used."""
        super().check(group)
        below_one(group, "rho")
        if not 0 <= number(group, "momentum") <= 1:
            raise ValueError(f"`momentum` must be between 0 and 1. Received: {group['momentum']!r}.")
        at_least_zero(group, "epsilon")
        if not group["epsilon"]:
            raise ValueError("`epsilon` must be positive: a gradient of 0 would be divided by 0. Received: 0.")

    def touches_rows_only(self, group: Options, weight: Tensor) -> bool:
        """With momentum always, else as `lazy` says."""
        lazy = group["lazy"]
        return bool(group["momentum"]) or (weight.numel() > SMALL_TABLE if lazy is None else bool(lazy))

    def initial_slots(self, group: Options) -> dict[str, float]:
        """The slots `rms`, with momentum `momentum`, and if centered `mg`."""
        wanted = {"rms": True, "momentum": group["momentum"], "mg": group["centered"]}
        return {name: 0.0 for name, use in wanted.items() if use}

    def update(self, group: Options, weights: Tensors, slots: Mapping[str, Tensors], gradients: Tensors) -> None:
        """Changes weights and slots in place."""
        rmsprop_(
            weights,
            slots["rms"],
            slots.get("mg"),
            slots.get("momentum"),
            gradients,
            rate=group["lr"],
            rho=group["rho"],
            momentum=group["momentum"],
            epsilon=group["epsilon"],
        )

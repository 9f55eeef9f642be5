"""Gradient descent, with momentum and Nesterov's form of it."""

from collections.abc import Mapping

import torch
from torch.optim.optimizer import ParamsT

from torchestimator.optim.foreach import Rate, Tensors, subtract_scaled_
from torchestimator.optim.optimizer import Options, SlotOptimizer, number


def sgd_(weights: Tensors, gradients: Tensors, *, rate: Rate) -> None:
    """One step, in place: w -= rate * g."""
    subtract_scaled_(weights, gradients, rate)


def momentum_sgd_(
    weights: Tensors, momenta: Tensors, gradients: Tensors, *, rate: Rate, momentum: float, nesterov: bool
) -> None:
    """One step with momentum, in place.

    a = momentum * a - rate * g; w += a, or with Nesterov's form w += momentum * a - rate * g
    (Sutskever et al. 2013, section 2; TensorFlow's ResourceApplyKerasMomentum). Other than in
    torch.optim.SGD the rate is part of the accumulator, which matters where it changes.
    """
    torch._foreach_mul_(momenta, momentum)
    subtract_scaled_(momenta, gradients, rate)
    if nesterov:
        torch._foreach_add_(weights, momenta, alpha=momentum)
        subtract_scaled_(weights, gradients, rate)
    else:
        torch._foreach_add_(weights, momenta)


class SGD(SlotOptimizer):
    """Gradient descent with the numbers of `tf.keras.optimizers.legacy.SGD`.

    A sparse gradient updates the rows it touches; the momentum of the others waits, as in TensorFlow.

    Args:
        params: the parameters, or groups of them.
        learning_rate: the step size; "lr" in the groups.
        momentum: how much of the last step is added to the next, 0 to 1. With 0 there is no slot.
        nesterov: whether to use Nesterov's form of momentum.
        clipnorm: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        clipnorm: float | None = None,
    ) -> None:
        super().__init__(
            params, {"lr": learning_rate, "momentum": momentum, "nesterov": nesterov, "clipnorm": clipnorm}
        )

    def check(self, group: Options) -> None:
        """Looks whether a group's options can be used."""
        super().check(group)
        if not 0 <= number(group, "momentum") <= 1:
            raise ValueError(f"`momentum` must be between 0 and 1. Received: {group['momentum']!r}.")

    def initial_slots(self, group: Options) -> dict[str, float]:
        """The slot `momentum`, where there is any."""
        return {"momentum": 0.0} if group["momentum"] else {}

    def update(self, group: Options, weights: Tensors, slots: Mapping[str, Tensors], gradients: Tensors) -> None:
        """Changes weights and slots in place."""
        if group["momentum"]:
            momentum_sgd_(
                weights,
                slots["momentum"],
                gradients,
                rate=group["lr"],
                momentum=group["momentum"],
                nesterov=group["nesterov"],
            )
        else:
            sgd_(weights, gradients, rate=group["lr"])

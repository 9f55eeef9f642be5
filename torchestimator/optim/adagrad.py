"""Adagrad: steps that shrink with the sum of squared gradients."""

from collections.abc import Mapping

import torch
from torch.optim.optimizer import ParamsT

from torchestimator.optim.foreach import Rate, Tensors, subtract_quotients_
from torchestimator.optim.optimizer import Options, SlotOptimizer, at_least_zero


def adagrad_(weights: Tensors, accumulators: Tensors, gradients: Tensors, *, rate: Rate, epsilon: float) -> None:
    """One step, in place: n += g^2; w -= rate * g / (sqrt(n) + epsilon) (Duchi et al. 2011, figure 1)."""
    torch._foreach_addcmul_(accumulators, gradients, gradients)
    denominators = torch._foreach_sqrt(accumulators)
    if epsilon:
        torch._foreach_add_(denominators, epsilon)
    subtract_quotients_(weights, gradients, denominators, rate)


class Adagrad(SlotOptimizer):
    """Adagrad with the numbers of `tf.keras.optimizers.legacy.Adagrad`.

    Other than in torch.optim.Adagrad, the accumulator starts at 0.1 and epsilon is 1e-7. A sparse
    gradient updates the rows it touches, which is what a dense one would do.

    Args:
        params: the parameters, or groups of them.
        learning_rate: the step size; "lr" in the groups.
        initial_accumulator_value: where the slot `accumulator` starts, 0 or more.
        epsilon: is added to the root. 0 gives the form of tf.compat.v1.train.AdagradOptimizer.
        clipnorm: largest L2 norm of each parameter's gradient. None: no clipping.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        *,
        clipnorm: float | None = None,
    ) -> None:
        options = {
            "lr": learning_rate,
            "initial_accumulator_value": initial_accumulator_value,
            "epsilon": epsilon,
            "clipnorm": clipnorm,
        }
        super().__init__(params, options)

    def check(self, group: Options) -> None:
        """Looks whether a group's options can be used."""
        super().check(group)
        at_least_zero(group, "initial_accumulator_value", "epsilon")
        if not group["initial_accumulator_value"] and not group["epsilon"]:
            raise ValueError(
                "`initial_accumulator_value` and `epsilon` must not both be 0: a gradient of 0 would be divided by 0. "
                "Received: 0 and 0."
            )

    def initial_slots(self, group: Options) -> dict[str, float]:
        """The slot `accumulator`."""
        return {"accumulator": group["initial_accumulator_value"]}

    def update(self, group: Options, weights: Tensors, slots: Mapping[str, Tensors], gradients: Tensors) -> None:
        """Changes weights and slots in place."""
        adagrad_(weights, slots["accumulator"], gradients, rate=group["lr"], epsilon=group["epsilon"])

"""Stochastic dual coordinate ascent for linear models (Shalev-Shwartz & Zhang 2013)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

Array: TypeAlias = np.ndarray[Any, Any]

_NEWTON_STEPS = 50
"""Enough for any start; a handful is usual."""

_CLOSE = 1e-12

_EXP_LIMIT = -700
"""Below it exp(-z) is no float any more."""


@dataclass(frozen=True)
class SparseExamples:
    """A batch as an optimizer over a linear model's weights sees it: each example's entries one after another."""

    ids: Array
    """[batch] int64, which examples these are."""
    labels: Array
    """[batch] float64; -1 and 1 for the logistic loss."""
    weights: Array
    """[batch] float64."""
    starts: Array
    """[batch + 1] int64: the entries of example i are starts[i] : starts[i + 1]."""
    places: Array
    """[entries] int64: which of the `rows` each belongs to; none twice in an example."""
    values: Array
    """[entries] float64."""
    rows: dict[nn.Parameter, tuple[Array, slice]]
    """The rows of each parameter [rows, 1] that the batch touches, and their places."""


DualUpdate: TypeAlias = Callable[[float, float, float, float], float]
"""From the label, the product of weights and example, the dual and its curvature to the best dual."""


def squared_dual(label: float, product: float, dual: float, curvature: float) -> float:
    """The dual that maximises the objective for the loss (label - product)^2 / 2.

    Args:
        label: any number.
        product: of the weights and the example.
        dual: as it is now.
        curvature: how much the product grows with the dual.
    """
    return dual + (label - product - dual) / (1 + curvature)


def logistic_dual(label: float, product: float, dual: float, curvature: float) -> float:
    """The dual that maximises the objective for the loss log(1 + exp(-label * product)).

    At the maximum the dual is label * sigmoid(z) with z = -label * (product after the update), an equation in z with
    one solution, within bounds since a sigmoid is between 0 and 1. Newton's method, with bisection where it would leave
    them.

    Args:
        label: -1 or 1.
        product: of the weights and the example.
        dual: as it is now.
        curvature: how much the product grows with the dual.
    """
    end = -label * product + curvature * label * dual
    low, high = end - curvature, end
    z = min(max(0.0, low), high)
    for _ in range(_NEWTON_STEPS):
        share = _sigmoid(z)
        error = z - end + curvature * share
        if error > 0:
            high = z
        else:
            low = z
        step = z - error / (1 + curvature * share * (1 - share))
        if not low <= step <= high:
            step = (low + high) / 2
        if abs(step - z) <= _CLOSE * (1 + abs(z)):
            break
        z = step
    return label * _sigmoid(z)


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > _EXP_LIMIT else 0.0


class DualAscent(torch.optim.Optimizer):
    """Improves the dual of one example after another, and the weights with it; gradients are not looked at.

    Minimises the sum over all examples of weight * loss, plus l1 * |weights| + l2 / 2 * |weights|^2, bias included.
    Each example has a dual variable, which is kept under its id, and the weights are
    shrink(sum of weight * dual * example / l2, l1 / l2): there is no learning rate, and where examples come again the
    weights converge to the optimum.

    Args:
        params: all weights of the linear model, each [rows, 1] but for the bias, [1], which keeps the duals.
        bias: the bias.
        dual_update: of the loss.
        l1: of the regularisation, 0 or more.
        l2: likewise, above 0.
        next_examples: gives the batch of a step.
    """

    def __init__(
        self,
        params: list[nn.Parameter],
        bias: nn.Parameter,
        dual_update: DualUpdate,
        l1: float,
        l2: float,
        next_examples: Callable[[], SparseExamples],
    ) -> None:
        # There is no learning rate; but every optimizer has one, to those who show or schedule it.
        super().__init__(params, {"lr": 1.0})
        self._bias = bias
        self._dual_update = dual_update
        self._l1 = l1
        self._l2 = l2
        self._next_examples = next_examples
        self._index: dict[int, int] = {}
        self._ids = np.zeros(0, np.int64)
        self._duals = np.zeros(0, np.float64)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Goes through the examples of a batch.

        Raises:
            RuntimeError: the weights do not belong to the duals, as after a warm start.
        """
        if not self._index:
            self._refuse_other_weights()
        examples = self._next_examples()
        own = [self._row_of(example_id) for example_id in examples.ids.tolist()]
        weights = np.empty(sum(len(rows) for rows, _ in examples.rows.values()))
        for parameter, (rows, place) in examples.rows.items():
            weights[place] = self._unshrunk(parameter).view(-1)[_on(parameter, rows)].cpu().numpy()
        self._ascend(examples, own, weights)
        for parameter, (rows, place) in examples.rows.items():
            self._write(parameter, rows, weights[place])
        self._publish()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave.

        Raises:
            ValueError: it was written with another regularisation, to which its duals belong.
        """
        # torch's own method would turn the ids into floating point numbers.
        params = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, saved in state_dict["state"].items():
            parameter = params[index]
            self.state[parameter] = {
                name: value.to(parameter.device) if isinstance(value, Tensor) and name == "unshrunk" else value
                for name, value in saved.items()
            }
        saved = self.state[self._bias]
        if "duals" not in saved:
            return
        if (saved["l1"], saved["l2"]) != (self._l1, self._l2):
            raise ValueError(
                "The duals of a LinearSDCA belong to its regularisation, which can't be changed within a training. "
                f"Received: `symmetric_l1_regularization` {self._l1} and `symmetric_l2_regularization` {self._l2}, and "
                f"a checkpoint with {saved['l1']} and {saved['l2']}. Train in a new model_dir."
            )
        self._ids, self._duals = saved["example_ids"].cpu().numpy().copy(), saved["duals"].cpu().numpy().copy()
        self._index = {example_id: row for row, example_id in enumerate(self._ids.tolist())}
        self._publish()

    def _ascend(self, examples: SparseExamples, own: list[int], weights: Array) -> None:
        """Updates duals and unshrunk weights in place."""
        threshold = self._l1 / self._l2
        labels, starts = examples.labels.tolist(), examples.starts.tolist()
        # In an order of chance, since going round in one order converges many times more slowly.
        for example in torch.randperm(len(own)).tolist():
            row = own[example]
            entries = slice(starts[example], starts[example + 1])
            places, values = examples.places[entries], examples.values[entries]
            touched = weights[places]
            shrunk = touched if threshold == 0 else shrink(touched, threshold)
            scale = examples.weights[example] / self._l2
            if scale == 0:
                continue
            before = float(self._duals[row])
            curvature = float(values @ values) * scale
            after = self._dual_update(labels[example], float(values @ shrunk), before, curvature)
            self._duals[row] = after
            weights[places] = touched + (after - before) * scale * values

    def _row_of(self, example_id: int) -> int:
        row = self._index.setdefault(example_id, len(self._index))
        if row >= len(self._duals):
            room = max(1024, len(self._duals))
            self._duals = np.concatenate([self._duals, np.zeros(room)])
            self._ids = np.concatenate([self._ids, np.zeros(room, np.int64)])
        self._ids[row] = example_id
        return row

    def _unshrunk(self, parameter: nn.Parameter) -> Tensor:
        """The weights before shrinking: without l1 the parameter itself."""
        if self._l1 == 0:
            return parameter
        state = self.state[parameter]
        if "unshrunk" not in state:
            state["unshrunk"] = torch.zeros_like(parameter)
        unshrunk: Tensor = state["unshrunk"]
        return unshrunk

    def _write(self, parameter: nn.Parameter, rows: Array, weights: Array) -> None:
        places = _on(parameter, rows)
        self._unshrunk(parameter).view(-1)[places] = _on(parameter, weights)
        if self._l1 > 0:
            parameter.view(-1)[places] = _on(parameter, shrink(weights, self._l1 / self._l2))

    def _publish(self) -> None:
        """Makes the table of duals the state that checkpoints hold."""
        known = len(self._index)
        state = self.state[self._bias]
        state["example_ids"] = torch.from_numpy(self._ids[:known])
        state["duals"] = torch.from_numpy(self._duals[:known])
        state["l1"], state["l2"] = self._l1, self._l2

    def _refuse_other_weights(self) -> None:
        if any(bool(parameter.any()) for group in self.param_groups for parameter in group["params"]):
            raise RuntimeError(
                "LinearSDCA starts from weights of zero: they are sums over the duals of the examples, of which none "
                "is known. Received: weights of another model, perhaps by `warm_start_from`. Train without it, or with "
                "another `optimizer`."
            )


def shrink(weights: Array, threshold: float) -> Array:
    """Moves weights towards zero by `threshold`, and those nearer than that to zero."""
    return np.sign(weights) * np.maximum(np.abs(weights) - threshold, 0)


def _on(parameter: nn.Parameter, values: Array) -> Tensor:
    """An array on a parameter's device, numbers in its dtype."""
    tensor = torch.from_numpy(values)
    return tensor.to(parameter.device, parameter.dtype if tensor.is_floating_point() else None)

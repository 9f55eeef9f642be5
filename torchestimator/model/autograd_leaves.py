"""The autograd graph of a building call: what it depends on, and getting rid of it."""

import dataclasses

from torch import Tensor, nn

from torchestimator.spec import EstimatorSpec
from torchestimator.train_op.description import Group, Minimize


def check_leaves(spec: EstimatorSpec, module: nn.Module) -> None:
    """Checks that what is minimised depends on the module's parameters and on no others.

    A layer kept outside `get_module` (a global, an attribute of a closure) would take part in the
    forward pass and silently never be trained or saved.

    Raises:
        RuntimeError: the loss depends on parameters that were not asked for by name.
        ValueError: the loss depends on no trainable parameter.
    """
    own = {id(parameter) for parameter in module.parameters()}
    for loss in _losses(spec):
        leaves = _leaves(loss)
        foreign = [leaf for leaf in leaves if isinstance(leaf, nn.Parameter) and id(leaf) not in own]
        if foreign:
            shapes = ", ".join(str(list(leaf.shape)) for leaf in foreign[:5])
            raise RuntimeError(
                f"The loss depends on {len(foreign)} parameter(s) that model_fn did not ask for by name "
                f"(shapes {shapes}): "
                "they would never be trained or saved. A module made outside model_fn is taken in with "
                'te.get_module("net", lambda: net)'
            )
        if not leaves:
            raise ValueError(
                "The `loss` of te.minimize does not depend on any trainable parameter, so there is nothing to train. "
                "Was it computed with .detach(), .item(), torch.no_grad() or argmax?"
            )


def without_graph(spec: EstimatorSpec) -> EstimatorSpec:
    """What training needs of a spec besides its values: the descriptions and the hooks, with the loss's value."""
    train_op = spec.train_op
    if isinstance(train_op, Minimize):
        train_op = _detached(train_op)
    elif isinstance(train_op, Group):
        train_op = Group(tuple(map(_detached, train_op.train_ops)))
    loss = None if spec.loss is None else spec.loss.detach()
    return dataclasses.replace(
        spec, loss=loss, train_op=train_op, predictions=None, eval_metric_ops=None, export_outputs=None
    )


def _detached(description: Minimize) -> Minimize:
    return description._replace(loss=description.loss.detach())


def _losses(spec: EstimatorSpec) -> list[Tensor]:
    train_op = spec.train_op
    if isinstance(train_op, Minimize):
        return [train_op.loss]
    if isinstance(train_op, Group):
        return [op.loss for op in train_op.train_ops]
    return []


def _leaves(loss: Tensor) -> list[Tensor]:
    if loss.grad_fn is None:
        return [loss] if loss.requires_grad else []
    leaves: list[Tensor] = []
    seen: set[object] = set()
    pending: list[object] = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves.append(leaf)
        pending.extend(child for child, _ in node.next_functions if child is not None)  # type: ignore[attr-defined]
    return leaves

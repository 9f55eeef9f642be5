"""What the tests of joint computations compare with: columns computed one by one."""

import torch

from torchestimator import feature_column as fc
from torchestimator.inputs.batch import to_tensors


def both(features):
    """The same batch twice: where columns are computed together, and where they are one by one."""
    tensors = to_tensors(features)[0]
    together, apart = fc.FeatureTransformationCache(tensors), fc.FeatureTransformationCache(tensors)
    assert together.is_eager
    apart.is_eager = False
    return together, apart


def ids_both_ways(columns, features):
    """For each column, the ids and the signed ids of both ways; checks that the first one was taken."""
    layer = fc.LinearModel(columns)
    together, apart = map(layer.view, both(features))
    assert together.cache.has_joint({column.identity: 0 for column in columns})
    assert not apart.cache.has_joint({columns[0].identity: 0})
    for column in columns:
        yield together.ids(column), apart.ids(column), together.single_ids(column), apart.single_ids(column)


def assert_same_ids(found, expected, single, expected_single):
    """Equal wherever there is a value; absent and total in the same way."""
    nowhere = torch.zeros_like(found.ids, dtype=torch.bool)
    absent = nowhere if found.absent is None else found.absent
    assert torch.equal(absent, nowhere if expected.absent is None else expected.absent)
    assert torch.equal(found.ids[~absent], expected.ids[~absent])
    assert found.are_total == expected.are_total
    assert torch.equal(single, expected_single)


def assert_same_values(layer, features):
    """Equal results and gradients of a layer both ways; returns the two caches."""
    together, apart = both(features)
    results = []
    for cache in (together, apart):
        layer.zero_grad()
        values = layer(cache)
        if values.requires_grad:
            (values * torch.arange(1, values.shape[1] + 1)).square().sum().backward()
        results.append((values, [parameter.grad for parameter in layer.parameters()]))
    torch.testing.assert_close(*results)
    return together, apart

"""What a ready-made estimator's `optimizer` argument means."""

import functools

import pytest
import torch
from torch import nn

from torchestimator import optim


def parameters():
    return [nn.Parameter(torch.ones(2))]


@pytest.mark.parametrize(
    ("name", "kind", "rate"),
    [
        ("Adagrad", optim.Adagrad, 0.001),
        ("Adam", optim.Adam, 0.001),
        ("Ftrl", optim.Ftrl, 0.001),
        ("RMSProp", optim.RMSProp, 0.001),
        ("SGD", optim.SGD, 0.01),
    ],
)
def test_names_have_the_default_rate_or_the_estimator_s(name, kind, rate):
    default = optim.get(name)(parameters())
    given = optim.get(name, learning_rate=0.3, clipnorm=5.0)(parameters())
    assert type(default) is type(given) is kind
    assert [default.param_groups[0][key] for key in ("lr", "clipnorm")] == [rate, None]
    assert [given.param_groups[0][key] for key in ("lr", "clipnorm")] == [0.3, 5.0]


@pytest.mark.parametrize(
    ("optimizer", "kind", "rate"),
    [
        (lambda params: torch.optim.AdamW(params, lr=0.2), torch.optim.AdamW, 0.2),
        (torch.optim.Adam, torch.optim.Adam, 0.001),
        (optim.SGD, optim.SGD, 0.01),
        (functools.partial(torch.optim.SGD, lr=0.4), torch.optim.SGD, 0.4),
        (functools.partial(optim.Ftrl, learning_rate=0.5), optim.Ftrl, 0.5),
        (lambda: lambda params: optim.Ftrl(params, 0.6), optim.Ftrl, 0.6),
        (lambda: functools.partial(optim.Adam, learning_rate=0.7), optim.Adam, 0.7),
        (lambda: "Adagrad", optim.Adagrad, 0.9),
    ],
)
def test_functions_make_any_optimizer(optimizer, kind, rate):
    made = optim.get(optimizer, learning_rate=0.9)(parameters())
    assert type(made) is kind
    assert made.param_groups[0]["lr"] == rate


def test_a_function_without_arguments_is_called_when_the_optimizer_is_made():
    calls = []

    def choose():
        calls.append(1)
        return optim.SGD

    make = optim.get(choose)
    assert not calls
    make(parameters())
    make(parameters())
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        ("adam", ValueError, "Received: 'adam'. Write: optimizer='Adam'"),
        ("AdamW", ValueError, r"\['Adagrad', 'Adam', 'Ftrl', 'RMSProp', 'SGD'\].*'AdamW'.*lambda params: torch"),
        (3, TypeError, "Received: 3"),
        (None, TypeError, "Received: None"),
        (optim.Ftrl(parameters(), 0.2), TypeError, r"lambda params: te\.optim\.Ftrl\(params, learning_rate=0\.2\)"),
        (torch.optim.AdamW(parameters(), 0.2), TypeError, r"lambda params: torch\.optim\.AdamW\(params, lr=0\.2\)"),
    ],
)
def test_anything_else_is_refused_with_the_line_to_write(optimizer, error, message):
    with pytest.raises(error, match=message):
        optim.get(optimizer)


def test_a_tensorflow_factory_is_told_what_is_missing():
    with pytest.raises(TypeError, match="params") as caught:
        optim.get(lambda: optim.Ftrl(learning_rate=0.1))(parameters())
    assert "lambda params: te.optim.Ftrl(params, learning_rate=0.1)" in caught.value.__notes__[0]

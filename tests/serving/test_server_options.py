import pytest

from torchestimator.serving.server_options import ServerOptions


@pytest.mark.parametrize(
    "option",
    [
        {"max_batch_size": 0},
        {"threads": 0},
        {"max_body_bytes": 0},
        {"max_queue": 0},
        {"batch_timeout_micros": -1},
        {"poll_secs": 0},
        {"port": 70000},
    ],
)
def test_bad_options_are_named(option):
    (name, value) = next(iter(option.items()))
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {value}"):
        ServerOptions("exports", **option)

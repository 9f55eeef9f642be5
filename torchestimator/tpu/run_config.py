"""RunConfig with the settings of TPU cores."""

import dataclasses
from dataclasses import dataclass
from typing import Final

from torchestimator.config import RunConfig as BaseRunConfig
from torchestimator.tpu.tpu_config import TPUConfig

_ADDRESSES: Final = ("master", "evaluation_master", "cluster")


@dataclass(frozen=True)
class RunConfig(BaseRunConfig):
    """`te.RunConfig` with a `tpu_config` (tf.estimator.tpu.RunConfig). Immutable; `replace` makes a changed copy.

    Raises:
        ValueError: a value is out of range, or has no meaning here.
        TypeError: a value is of the wrong type.
    """

    tpu_config: TPUConfig | None = dataclasses.field(default=None, kw_only=True)
    """How the cores are used. None becomes TPUConfig()."""
    master: None = dataclasses.field(default=None, kw_only=True)
    """Refused: the script runs on the machines that have the cores."""
    evaluation_master: None = dataclasses.field(default=None, kw_only=True)
    """Refused, likewise."""
    cluster: None = dataclasses.field(default=None, kw_only=True)
    """Refused, likewise."""

    def _resolve(self) -> None:
        for name in _ADDRESSES:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` has no meaning here: the script itself runs on every machine that has TPU cores, and "
                    f"finds them there. Remove the argument. Received: {getattr(self, name)!r}."
                )
        if self.tpu_config is None:
            object.__setattr__(self, "tpu_config", TPUConfig())
        elif not isinstance(self.tpu_config, TPUConfig):
            raise TypeError(
                f"`tpu_config` must be a tpu.TPUConfig. Received: {self.tpu_config!r}. "
                "Write: tpu_config=tpu.TPUConfig(iterations_per_loop=100)"
            )
        super()._resolve()

    @property
    def cores(self) -> TPUConfig:
        """`tpu_config`, which is always there."""
        assert self.tpu_config is not None
        return self.tpu_config

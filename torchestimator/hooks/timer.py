"""SecondOrStepTimer: tells when something periodic is due."""

import time


class SecondOrStepTimer:
    """Triggers every so many seconds or steps, and at its first question.

    Args:
        every_secs: seconds between triggers.
        every_steps: steps between triggers.

    Raises:
        ValueError: not exactly one of the two is given.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        if (every_secs is None) == (every_steps is None):
            raise ValueError(
                "Exactly one of `every_secs` and `every_steps` must be given. "
                f"Received: every_secs={every_secs}, every_steps={every_steps}."
            )
        self._every_secs = every_secs
        self._every_steps = every_steps
        self.reset()

    def reset(self) -> None:
        """Forgets the last trigger."""
        self._last_step: int | None = None
        self._last_time = 0.0

    def should_trigger_for_step(self, step: int) -> bool:
        """Whether it is due at `step`; at most once per step."""
        last = self._last_step
        if last is None:
            return True
        if step == last:
            return False
        if self._every_steps is not None:
            return step >= last + self._every_steps
        return time.monotonic() >= self._last_time + (self._every_secs or 0.0)

    def update_last_triggered_step(self, step: int) -> tuple[float | None, int | None]:
        """Notes a trigger at `step`; returns seconds and steps since the one before, (None, None) at first."""
        now = time.monotonic()
        elapsed = (None, None) if self._last_step is None else (now - self._last_time, step - self._last_step)
        self._last_step, self._last_time = step, now
        return elapsed

    def last_triggered_step(self) -> int | None:
        """The step of the last trigger, None before the first."""
        return self._last_step

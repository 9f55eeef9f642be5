"""SecondOrStepTimer: tells when something periodic is due."""

import numbers
import time


class SecondOrStepTimer:
    """Triggers every so many seconds or steps, and at its first question.

    Args:
        every_secs: seconds between triggers; 0: at every step.
        every_steps: steps between triggers.

    Raises:
        ValueError: not exactly one of the two is given, or it is out of range.
        TypeError: it is not a number, or not a whole number of steps.
    """

    def __init__(self, every_secs: float | None = None, every_steps: int | None = None) -> None:
        check_cadence(every_secs=every_secs, every_steps=every_steps)
        self._every_secs = every_secs
        self._every_steps = every_steps
        self._last_step: int | None = None
        self._last_time = 0.0

    def reset(self) -> None:
        """Forgets the last trigger."""
        self._last_step = None

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


def check_cadence(**cadence: float | None) -> None:
    """Refuses a cadence that is not exactly one number of steps or of seconds.

    Args:
        cadence: the values by the names that the user knows them by; numbers of seconds end in "_secs".

    Raises:
        ValueError: not exactly one is given, or it is out of range.
        TypeError: it is not a number, or not a whole number of steps.
    """
    given = {name: value for name, value in cadence.items() if value is not None}
    if len(given) != 1:
        names = " and ".join(f"`{name}`" for name in cadence)
        which = f"Exactly one of {names}" if len(cadence) > 1 else names
        received = ", ".join(f"{name}={value!r}" for name, value in cadence.items())
        hint = " Pass None for the other." if given else ""
        raise ValueError(f"{which} must be given. Received: {received}.{hint}")
    check_period(**given)


def check_period(**period: float | None) -> None:
    """Refuses periods that never pass: fewer than one step, or less than no seconds. None is allowed.

    Args:
        period: as in `check_cadence`.

    Raises:
        ValueError: one is out of range.
        TypeError: one is not a number, or not a whole number of steps.
    """
    for name, value in period.items():
        if value is None:
            continue
        in_secs = name.endswith("_secs")
        kind = "a number of seconds" if in_secs else "a whole number of steps"
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not (in_secs or int(value) == value):
            raise TypeError(f"`{name}` must be {kind}. Received: {value!r}.")
        if not value >= (0 if in_secs else 1):
            raise ValueError(f"`{name}` must be at least {0 if in_secs else 1}. Received: {value!r}.")

"""SIGTERM in each phase, from building the model to the very end, and at any instant."""

import random
import signal
import time
from collections.abc import Iterator

from tests.drills.judge import GRACE_SECS, end_faults, loss_faults, status_faults, time_faults
from tests.drills.plan import SLOW_SECS, Plan
from tests.drills.training import Job, Trainings, resumed
from tests.drills.trial import IDENTICAL, Counts, Trial

_STEPS = 24
_SAVE_STEPS = 10
SLOW_STEPS = {"building": 0, "step": 12, "saving": 10, "evaluation": 10, "export": 1, "end": 0}
"""The step at which each phase is hit; a checkpoint of the last step is due at the end, and not before."""
_EXIT_STATUS = 128 + signal.SIGTERM
_STRAY_SECS = 1.0


def run(trainings: Trainings, counts: Counts) -> Iterator[Trial]:
    """Sends the signals, and has each training go on to its end."""
    chance = random.Random(2)
    for phase in counts.phases:
        if phase == "export" and not trainings.library.exports:
            continue
        for _ in range(counts.signals):
            plan = trainings.plan(
                steps=_STEPS,
                save_steps=_SAVE_STEPS,
                evaluates=phase in ("evaluation", "export"),
                slow_phase=phase,
                slow_step=SLOW_STEPS[phase],
            )
            yield _trial(trainings, plan, phase, chance)
    for _ in range(counts.stray_signals):
        yield _trial(trainings, trainings.plan(steps=counts.kill_steps), "any instant", chance)


def _trial(trainings: Trainings, plan: Plan, phase: str, chance: random.Random) -> Trial:
    expected = trainings.undisturbed(plan)
    with trainings.job(plan) as job:
        if not _arrive(job, trainings, phase, chance):
            return Trial(phase, IDENTICAL, ("it never came to this phase",))
        sent = job.strike(signal.SIGTERM)
        status = job.wait(GRACE_SECS)
        secs = None if status is None else time.time() - sent
        before = job.entries()
    events = {entry.event for entry in before}
    # Before training there is nothing to save, and after it all is saved: the program may end as any other does.
    is_training = "restored" in events and "finished" not in events
    allowed = (_EXIT_STATUS,) if is_training else (_EXIT_STATUS, -signal.SIGTERM, 0)
    faults = [*status_faults(status, *allowed), *time_faults(secs, GRACE_SECS)]
    status, _, after = trainings.run(resumed(plan))
    faults += loss_faults(before, after, every_step=True)
    faults += end_faults(expected, trainings.end_of(plan, status))
    return Trial(phase, IDENTICAL, tuple(faults), {} if secs is None else {"seconds to the exit": secs})


def _arrive(job: Job, trainings: Trainings, phase: str, chance: random.Random) -> bool:
    """Waits for the phase, and for some instant in it; False if it does not come."""
    if phase == "any instant":
        job.wait(chance.uniform(0, trainings.start_secs + _STRAY_SECS))
        return not job.has_ended
    if job.wait_for(phase) is None:
        return False
    job.wait(chance.uniform(0, SLOW_SECS - 0.1))
    return not job.has_ended

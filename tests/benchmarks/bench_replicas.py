"""A training step of two processes, against a hand-written DistributedDataParallel loop.

The MLP, gloo, one thread in each process.
"""

from tests.benchmarks.contender import Contender, measure, ratio

_STEPS = 200


def run(num_rounds: int = 15) -> list[tuple[str, float, str]]:
    """Measures both jobs in turn.

    Args:
        num_rounds: how often each job is asked for 200 steps.

    Returns:
        Rows of (name, ratio, note).
    """
    contenders = {"ours": Contender("replicas", "estimator"), "bare": Contender("replicas", "bare")}
    answers = measure(contenders, dict.fromkeys(contenders, _STEPS), num_rounds)
    return [("two processes, step against the bare DDP loop", *ratio(answers["ours"], answers["bare"]))]

"""The evaluation loop."""

from collections.abc import Sequence
from typing import Any

from torchestimator.hooks.hook import SessionRunContext, SessionRunHook
from torchestimator.trainer.evaluation_session import EvaluationSession
from torchestimator.trainer.session import answer


def evaluate(session: EvaluationSession, hooks: Sequence[SessionRunHook]) -> dict[str, Any]:
    """Runs the model over the input and returns its metrics.

        for each hook: begin, then after_create_session
        until a hook has asked to stop:
            for each hook: before_run
            step: batch, forward, metrics               no batch left: leave the loop
            for each hook: after_run
        for each hook: end
        read the metrics, once

    Args:
        session: model, input and metrics.
        hooks: in the order in which they run.
    """
    for hook in hooks:
        hook.begin()
    for hook in hooks:
        hook.after_create_session(session, None)
    context = SessionRunContext(session)
    while not context.stop_requested:
        requests = [hook.before_run(context) for hook in hooks]
        if not session.step(requests):
            break
        for hook, values in zip(hooks, answer(session, requests), strict=True):
            hook.after_run(context, values)
    results = session.results()
    for hook in hooks:
        hook.end(session)
    return results

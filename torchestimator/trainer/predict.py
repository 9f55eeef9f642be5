"""The prediction loop."""

from collections.abc import Iterator, Sequence

from torchestimator.hooks.hook import SessionRunContext, SessionRunHook
from torchestimator.trainer.prediction_session import Arrays, PredictionSession
from torchestimator.trainer.session import answer


def predict(
    session: PredictionSession, hooks: Sequence[SessionRunHook], keys: Sequence[str] | None
) -> Iterator[Arrays]:
    """Yields the predictions of one batch after the other.

        for each hook: begin, then after_create_session
        until a hook has asked to stop:
            for each hook: before_run
            step: batch, forward, copy to the host       no batch left: leave the loop
            for each hook: after_run
            yield
        for each hook: end

    Args:
        session: model and input.
        hooks: in the order in which they run; `end` is not called where the reader stops early.
        keys: which of a dict of predictions are wanted; None: all.
    """
    for hook in hooks:
        hook.begin()
    for hook in hooks:
        hook.after_create_session(session, None)
    context = SessionRunContext(session)
    while not context.stop_requested:
        requests = [hook.before_run(context) for hook in hooks]
        arrays = session.step(requests, keys)
        if arrays is None:
            break
        for hook, values in zip(hooks, answer(session, requests), strict=True):
            hook.after_run(context, values)
        yield arrays
    for hook in hooks:
        hook.end(session)

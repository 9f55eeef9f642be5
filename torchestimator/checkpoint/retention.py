"""Which checkpoints go when a new one has come.

The rule of `tf.train.Saver`, which tf.estimator saves with: the newest `keep_checkpoint_max` stay, and of those that
leave this window one for every `keep_checkpoint_every_n_hours` stays for good. Beyond it, pinned checkpoints stay,
damaged ones do not count as newest, and the window and the hours survive restarts.
"""

from collections.abc import Callable
from dataclasses import replace

from torchestimator.checkpoint.index import CheckpointIndex, IndexEntry


def adopt_survivors(index: CheckpointIndex, keep_checkpoint_max: int | None) -> CheckpointIndex:
    """Keeps what a lost index must have kept.

    Without the index nobody knows why a checkpoint outside the window still exists; there was a reason, so it stays.
    """
    if not index.is_rebuilt or not keep_checkpoint_max:
        return index
    survivors = frozenset(entry.name for entry in index.entries[:-keep_checkpoint_max])
    newest_survivor = max((entry.saved_at for entry in index.entries if entry.name in survivors), default=None)
    return replace(index, kept=index.kept | survivors, hours_counted_from=newest_survivor)


def retire(
    index: CheckpointIndex,
    keep_checkpoint_max: int | None,
    keep_checkpoint_every_n_hours: float,
    is_whole: Callable[[IndexEntry], bool],
) -> tuple[CheckpointIndex, list[str]]:
    """Decides which checkpoints to delete. Deletes nothing.

    Args:
        index: All checkpoints, the one just saved last.
        keep_checkpoint_max: How many of the newest stay; None or 0 for all.
        keep_checkpoint_every_n_hours: Length of the periods of which one checkpoint each stays for good.
        is_whole: Whether a checkpoint is undamaged.

    Returns:
        The index without the checkpoints to delete, and their names.
    """
    if not keep_checkpoint_max:
        return index, []
    kept, counted_from = set(index.kept), index.hours_counted_from
    doomed = []
    for entry in _outside_window(index, keep_checkpoint_max, is_whole):
        if entry.name in kept or entry.name == index.latest or entry.name in index.pinned.values():
            continue
        period_end = (counted_from or 0.0) + keep_checkpoint_every_n_hours * 3600
        if entry.saved_at >= period_end and is_whole(entry):
            kept.add(entry.name)
            counted_from = entry.saved_at
        else:
            doomed.append(entry.name)
    staying = tuple(entry for entry in index.entries if entry.name not in doomed)
    return replace(index, entries=staying, kept=frozenset(kept), hours_counted_from=counted_from), doomed


def _outside_window(index: CheckpointIndex, size: int, is_whole: Callable[[IndexEntry], bool]) -> list[IndexEntry]:
    """The entries that are not among the newest `size` undamaged ones, oldest first."""
    num_newer = 0
    outside = []
    for entry in reversed(index.entries):
        if num_newer == size:
            outside.append(entry)
        elif is_whole(entry):
            num_newer += 1
    return outside[::-1]

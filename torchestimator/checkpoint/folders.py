"""The checkpoint folders of a `model_dir`: their names, putting one in place, taking one away, and crashes in between.

A folder is built under a hidden name and renamed when it is complete, and it is renamed to a hidden name before it is
deleted: what is called `model.ckpt-<step>` is always a whole checkpoint. Hidden names end in

* `.tmp`: being built or being deleted; rubbish once its process is gone,
* `.old`: moved out of the way by a new checkpoint of the same step; the checkpoint itself as long as there is no
  folder of the plain name.
"""

import logging
import os
import re
import secrets
import shutil

from torchestimator.checkpoint.filesystem import sync_folder

_NAME = re.compile(r"model\.ckpt-(0|[1-9]\d*)")
_HIDDEN = re.compile(r"\.(model\.ckpt-(?:0|[1-9]\d*))\.[0-9a-f]+\.(tmp|old)")

_logger = logging.getLogger(__name__)


def checkpoint_name(step: int) -> str:
    """The folder name of a step's checkpoint."""
    return f"model.ckpt-{step}"


def step_of(name: str) -> int | None:
    """The step that a checkpoint's folder name tells, or None for other names."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def find(model_dir: str) -> dict[str, str]:
    """The checkpoint folders of a `model_dir`, complete or damaged: name to absolute path."""
    found: dict[str, str] = {}
    displaced: dict[str, str] = {}
    for entry in _entries(model_dir):
        hidden = _HIDDEN.fullmatch(entry)
        if step_of(entry) is not None:
            found[entry] = os.path.join(model_dir, entry)
        elif hidden and hidden[2] == "old":
            displaced[hidden[1]] = os.path.join(model_dir, entry)
    return displaced | found


def stage(model_dir: str, name: str) -> str:
    """Creates the hidden folder in which a checkpoint is built and returns its path."""
    path = _hidden_path(model_dir, name, "tmp")
    os.mkdir(path)
    return path


def publish(staged: str, model_dir: str, name: str) -> str:
    """Gives a complete, staged folder its name, durably, in place of an existing checkpoint of that name.

    At every moment one of the two is found by `find`.

    Returns:
        The absolute path of the checkpoint.
    """
    target = os.path.join(model_dir, name)
    if not os.path.lexists(target):
        os.rename(staged, target)
        sync_folder(model_dir)
        return target
    displaced = _hidden_path(model_dir, name, "old")
    os.rename(target, displaced)
    try:
        os.rename(staged, target)
    except BaseException:
        if not os.path.lexists(target):
            os.rename(displaced, target)
        raise
    sync_folder(model_dir)
    remove(model_dir, os.path.basename(displaced))
    return target


def remove(model_dir: str, name: str) -> None:
    """Deletes a folder that `find` may tell of; it disappears at once and as a whole."""
    hidden = _HIDDEN.fullmatch(name)
    rubbish = _hidden_path(model_dir, hidden[1] if hidden else name, "tmp")
    try:
        os.rename(os.path.join(model_dir, name), rubbish)
    except OSError as error:
        _logger.warning("The old checkpoint %s in %s cannot be deleted: %s", name, model_dir, error.strerror)
        return
    _delete(rubbish)


def clean_up(model_dir: str) -> None:
    """Ends what crashed processes began. Only for a caller that knows that no other process is writing."""
    for entry in _entries(model_dir):
        hidden = _HIDDEN.fullmatch(entry)
        if not hidden:
            continue
        path = os.path.join(model_dir, entry)
        target = os.path.join(model_dir, hidden[1])
        if hidden[2] == "tmp":
            _delete(path)
        elif os.path.lexists(target):
            remove(model_dir, entry)
        else:
            os.rename(path, target)
            sync_folder(model_dir)


def _entries(model_dir: str) -> list[str]:
    try:
        return sorted(os.listdir(model_dir))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _hidden_path(model_dir: str, name: str, ending: str) -> str:
    return os.path.join(model_dir, f".{name}.{secrets.token_hex(4)}.{ending}")


def _delete(path: str) -> None:
    # What cannot be deleted now (a network file system's busy files) is hidden, harmless and tried again later.
    shutil.rmtree(path, ignore_errors=True)

"""Finding a TensorFlow checkpoint: its prefix from whatever path a user has."""

import os
import re

from torchestimator.checkpoint.mismatch import shorten

INDEX_SUFFIX = ".index"

_NEWEST = re.compile(rb'^\s*model_checkpoint_path\s*:\s*(["\'])((?:\\.|(?!\1).)*)\1', re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def find_prefix(path: str) -> str | None:
    """The absolute prefix of the checkpoint that a path means: `<prefix>.index` exists.

    Args:
        path: a prefix; the `.index` file itself; a model_dir, for the newest that its file `checkpoint` names; or a
            SavedModel.

    Returns:
        None where there is no checkpoint of TensorFlow.
    """
    path = os.path.abspath(path)
    if path.endswith(INDEX_SUFFIX) and os.path.isfile(path):
        return path.removesuffix(INDEX_SUFFIX)
    candidates = [path]
    if os.path.isdir(path):
        candidates += [os.path.join(path, "variables", "variables")]
        newest = _newest(path)
        if newest is not None:
            # A model_dir that was moved, or copied from another machine, may still name the old absolute path.
            candidates += [os.path.join(path, newest), os.path.join(path, os.path.basename(newest))]
    return next((each for each in candidates if os.path.isfile(each + INDEX_SUFFIX)), None)


def require_prefix(path: str) -> str:
    """As `find_prefix`.

    Raises:
        FileNotFoundError: there is no checkpoint of TensorFlow; the message says what there is.
    """
    prefix = find_prefix(path)
    if prefix is not None:
        return prefix
    path = os.path.abspath(path)
    newest = _newest(path) if os.path.isdir(path) else None
    if newest is not None:
        raise FileNotFoundError(
            f"{os.path.join(path, 'checkpoint')} names {newest!r} as the newest checkpoint, but there is no "
            f"{os.path.join(path, newest)}{INDEX_SUFFIX}. {_listing(path)} Copy the missing files, or give the prefix "
            "of another checkpoint: model_dir/model.ckpt-<step>"
        )
    where = path if os.path.isdir(path) else os.path.dirname(path)
    raise FileNotFoundError(
        f"There is no TensorFlow checkpoint at {path}: no {path}{INDEX_SUFFIX}. {_listing(where)} Give its prefix, "
        "model_dir/model.ckpt-<step> without an ending, or a model_dir with the file `checkpoint`"
    )


def _listing(folder: str) -> str:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return f"{folder} does not exist."
    return f"{folder} holds: {shorten(names)}." if names else f"{folder} is empty."


def _newest(folder: str) -> str | None:
    """What the file `checkpoint` of a model_dir names, a text-format `CheckpointState`; None without such a file."""
    try:
        with open(os.path.join(folder, "checkpoint"), "rb") as file:
            found = _NEWEST.search(file.read())
    except OSError:
        return None
    return None if found is None else os.fsdecode(_ESCAPE.sub(_unescaped, found[2]))


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if escape[:1].isdigit():
        return bytes([int(escape, 8) & 0xFF])
    if escape[:1] == b"x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    return _CONTROLS.get(escape, escape)

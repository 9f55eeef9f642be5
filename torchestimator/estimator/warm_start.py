"""Starting from the weights of another training."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchestimator.checkpoint.reader import Checkpoint
from torchestimator.checkpoint.tensorflow import Translation, is_tensorflow_checkpoint, translate_checkpoint
from torchestimator.log import LOG
from torchestimator.model.module import ModelFnModule
from torchestimator.model.seeds import derive_seed, forked_random


class VocabInfo(NamedTuple):
    """How the rows of an embedding move when its vocabulary changes (tf.estimator.VocabInfo)."""

    new_vocab: str
    """Path of the new vocabulary: one term per line, the line number is the id."""
    new_vocab_size: int
    """How many lines of it are used."""
    num_oov_buckets: int
    """Rows after the vocabulary's that out-of-vocabulary terms share."""
    old_vocab: str
    """Path of the vocabulary that the checkpoint was trained with."""
    old_vocab_size: int = -1
    """How many lines of it were used; -1: all."""
    backup_initializer: Callable[[Tensor], object] | None = None
    """Fills the rows of new terms in place, for instance torch.nn.init.xavier_uniform_. None: zeros."""
    axis: int = 0
    """0: terms are rows; 1: terms are columns."""


class _Settings(NamedTuple):
    ckpt_to_initialize_from: str
    vars_to_warm_start: str | Sequence[str] | None = ".*"
    var_name_to_vocab_info: Mapping[str, VocabInfo] | None = None
    var_name_to_prev_var_name: Mapping[str, str] | None = None


class WarmStartSettings(_Settings):
    """What to take over from which checkpoint (tf.estimator.WarmStartSettings).

    Args:
        ckpt_to_initialize_from: path of a checkpoint, or of a model_dir (its newest checkpoint).
        vars_to_warm_start: a regular expression, matched at the start of the names of parameters
            and buffers; a list of such, which also see the name "global_step"; None: only those
            in `var_name_to_vocab_info`.
        var_name_to_vocab_info: for embeddings whose vocabulary has changed.
        var_name_to_prev_var_name: for names that have changed, from new to old.

    Optimizer state is never taken over: training starts fresh from the given weights.
    """

    __slots__ = ()

    def __new__(
        cls,
        ckpt_to_initialize_from: str,
        vars_to_warm_start: str | Sequence[str] | None = ".*",
        var_name_to_vocab_info: Mapping[str, VocabInfo] | None = None,
        var_name_to_prev_var_name: Mapping[str, str] | None = None,
    ) -> "WarmStartSettings":
        if not ckpt_to_initialize_from:
            raise ValueError(
                "`ckpt_to_initialize_from` must name a checkpoint or a model_dir. "
                f"Received: {ckpt_to_initialize_from!r}."
            )
        return super().__new__(
            cls,
            str(ckpt_to_initialize_from),
            vars_to_warm_start,
            dict(var_name_to_vocab_info or {}),
            dict(var_name_to_prev_var_name or {}),
        )


def warm_start_settings(warm_start_from: Any) -> WarmStartSettings | None:
    """The settings that an Estimator's `warm_start_from` means.

    Raises:
        ValueError: neither a path nor settings.
    """
    if warm_start_from is None or isinstance(warm_start_from, WarmStartSettings):
        return warm_start_from
    if isinstance(warm_start_from, str) or hasattr(warm_start_from, "__fspath__"):
        return WarmStartSettings(str(warm_start_from))
    raise ValueError(
        "`warm_start_from` must be the path of a checkpoint or a model_dir, or te.WarmStartSettings. "
        f"Received: {warm_start_from!r}."
    )


def warm_start(module: ModelFnModule, settings: WarmStartSettings, seed: int) -> None:
    """Copies weights from a checkpoint into a built module.

    Args:
        module: what is filled.
        settings: what to take over.
        seed: from which each name's seed is derived, for rows that a backup_initializer fills.

    Raises:
        ValueError: a name in the settings is not used, a shape differs, or the checkpoint lacks a
            name.
    """
    checkpoint = _source(settings.ckpt_to_initialize_from)
    targets = _chosen(module, settings)
    vocabularies = dict(settings.var_name_to_vocab_info or {})
    previous = dict(settings.var_name_to_prev_var_name or {})
    for argument, names in (("var_name_to_prev_var_name", previous), ("var_name_to_vocab_info", vocabularies)):
        unused = sorted(set(names) - set(targets))
        if unused:
            raise ValueError(
                f"`{argument}` has names that are not warm-started: {unused}. Warm-started are: {sorted(targets)}."
            )
    with torch.no_grad():
        for name, target in targets.items():
            source = _read(checkpoint, previous.get(name, name), name)
            if name in vocabularies:
                with forked_random(seed=derive_seed(seed, f"warm start/{name}")):
                    target.copy_(_remapped(source, target, vocabularies[name], name))
            elif source.shape != target.shape:
                raise ValueError(
                    f"{name!r} has shape {list(target.shape)} in the model and {list(source.shape)} in the checkpoint "
                    f"{checkpoint.path}. For an embedding with another vocabulary use te.VocabInfo."
                )
            else:
                target.copy_(source)
    if _takes_step(settings):
        module.global_step = checkpoint.step or 0
    LOG.info("Warm-started %d tensors from %s.", len(targets), checkpoint.path)


def _source(path: str) -> Checkpoint | Translation:
    """A checkpoint of this package, or one that TensorFlow wrote, under the names of the ready-made estimators."""
    return translate_checkpoint(path) if is_tensorflow_checkpoint(path) else Checkpoint(path)


def _chosen(module: ModelFnModule, settings: WarmStartSettings) -> dict[str, Tensor]:
    state: dict[str, Tensor] = module.state_dict()
    patterns = settings.vars_to_warm_start
    if patterns is None:
        expressions = []
    else:
        expressions = [re.compile(pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns)]
    vocabularies = settings.var_name_to_vocab_info or {}
    return {
        name: value
        for name, value in state.items()
        if name in vocabularies or any(expression.match(name) for expression in expressions)
    }


def _takes_step(settings: WarmStartSettings) -> bool:
    patterns = settings.vars_to_warm_start
    if patterns is None or isinstance(patterns, str):
        return False
    return any(re.match(pattern, "global_step") for pattern in patterns)


def _read(checkpoint: Checkpoint | Translation, stored_name: str, name: str) -> Tensor:
    if stored_name not in checkpoint.model_shapes:
        raise ValueError(
            f"The checkpoint {checkpoint.path} has no {stored_name!r} to warm-start {name!r} from. It has: "
            f"{sorted(checkpoint.model_shapes)[:20]}. Give the old name with var_name_to_prev_var_name, or leave it "
            "out with vars_to_warm_start."
        )
    return checkpoint.read_model(stored_name)


def _remapped(source: Tensor, target: Tensor, info: VocabInfo, name: str) -> Tensor:
    if info.axis not in (0, 1):
        raise ValueError(f"`axis` of te.VocabInfo must be 0 or 1. Received: {info.axis}.")
    if _other_axes(source, info.axis) != _other_axes(target, info.axis):
        raise ValueError(
            f"{name!r} has a te.VocabInfo along axis {info.axis}, so its shape may change along that axis only. "
            f"Received: {list(target.shape)} in the model and {list(source.shape)} in the checkpoint."
        )
    new_terms = _terms(info.new_vocab, info.new_vocab_size)
    old_terms = _terms(info.old_vocab, info.old_vocab_size)
    expected = len(new_terms) + info.num_oov_buckets
    if target.shape[info.axis] != expected or source.shape[info.axis] < len(old_terms):
        raise ValueError(
            f"{name!r} does not fit its te.VocabInfo along axis {info.axis}: the model has {target.shape[info.axis]} "
            f"and the vocabulary {expected} with its OOV buckets; the checkpoint has {source.shape[info.axis]} and the "
            f"old vocabulary {len(old_terms)}."
        )
    rows = torch.zeros(target.shape, dtype=target.dtype)
    if info.backup_initializer is not None:
        info.backup_initializer(rows)
    old_ids = {term: index for index, term in enumerate(old_terms)}
    moved = [(new, old_ids[term]) for new, term in enumerate(new_terms) if term in old_ids]
    if moved:
        new_index, old_index = (torch.tensor(index) for index in zip(*moved, strict=True))
        rows.index_copy_(info.axis, new_index, source.index_select(info.axis, old_index).to(rows.dtype))
    return rows


def _other_axes(tensor: Tensor, axis: int) -> list[int] | None:
    return [*tensor.shape[:axis], *tensor.shape[axis + 1 :]] if axis < tensor.dim() else None


def _terms(path: str, size: int) -> list[str]:
    # Line by line, since str.splitlines would also split at separators that terms may contain.
    with open(path, encoding="utf-8") as file:
        terms = [line.removesuffix("\n") for line in file]
    if size > len(terms):
        raise ValueError(f"The vocabulary {path} has {len(terms)} terms, fewer than the {size} asked for.")
    return terms if size < 0 else terms[:size]

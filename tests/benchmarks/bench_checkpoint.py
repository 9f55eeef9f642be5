"""Saving and restoring 500 MB of weights with Adam's slots, against plainly writing and reading the same bytes.

Each ratio is plain seconds over ours, medians of interleaved rounds: 1.0 is as fast as the plain loop, and the plain
loop neither hashes nor verifies. Cold means that the files had to come from the disk, warm from the page cache; a
verified restore from there goes at the speed of sha256 (one thread per file), far below that of copying memory.
"""

import functools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from torchestimator.checkpoint import Checkpoint, CheckpointStore

_MEGABYTE = 1_000_000
_CHUNK_BYTES = 8 << 20
_NUM_LAYERS = 20


def run(weight_bytes: int = 500 * _MEGABYTE, num_rounds: int = 3) -> list[tuple[str, float, str]]:
    """Measures save and restore in a scratch folder below the working directory.

    Args:
        weight_bytes: Size of the float32 weights; the two slots double it again.
        num_rounds: How often each measurement is taken.

    Returns:
        Rows of (name, ratio or number, note).
    """
    layer = weight_bytes // 4 // _NUM_LAYERS
    model = {f"layer{index}/kernel": torch.randn(layer) for index in range(_NUM_LAYERS)}
    slots = {f"{name}/{slot}": torch.rand(layer) for name in model for slot in ("exp_avg", "exp_avg_sq")}
    scratch = Path(tempfile.mkdtemp(prefix=".bench_checkpoint.", dir=Path.cwd()))
    try:
        return [*_measure_save(scratch, model, slots, num_rounds), *_measure_restore(scratch, model, slots, num_rounds)]
    finally:
        shutil.rmtree(scratch)


def _measure_save(
    scratch: Path, model: Mapping[str, Tensor], slots: Mapping[str, Tensor], num_rounds: int
) -> list[tuple[str, float, str]]:
    store = CheckpointStore(scratch / "model_dir", keep_checkpoint_max=1)

    def save() -> None:
        store.save(1, model, slots, {"step": 1})

    def clear() -> None:
        shutil.rmtree(scratch / "model_dir", ignore_errors=True)
        for path in scratch.glob("plain.*"):
            path.unlink()
        os.sync()

    plain_secs, save_secs = [], []
    for _ in range(num_rounds):
        clear()
        plain_secs.append(_seconds(lambda: _write_plain(scratch, model, slots)))
        clear()
        save_secs.append(_seconds(save))
    clear()
    extra = _extra_memory(save)
    num_bytes = _num_bytes(model) + _num_bytes(slots)
    return [
        ("checkpoint save", _ratio(plain_secs, save_secs), _note("against write + fsync", num_bytes, save_secs)),
        ("checkpoint save, extra memory", extra / num_bytes, f"{extra / _MEGABYTE:.0f} MB at the peak"),
    ]


def _measure_restore(
    scratch: Path, model: Mapping[str, Tensor], slots: Mapping[str, Tensor], num_rounds: int
) -> list[tuple[str, float, str]]:
    path = CheckpointStore(scratch / "model_dir").save(1, model, slots, {"step": 1})
    files = {os.path.join(path, "model.safetensors"): model, os.path.join(path, "optimizer.safetensors"): slots}

    def read_plain() -> None:
        for file, tensors in files.items():
            _read_plain(file, tensors)

    # A virtual disk's host keeps what was read once: the first reading would pay for all others.
    _prepare_cache(files, is_cold=True)
    read_plain()
    rows = []
    num_bytes = _num_bytes(model) + _num_bytes(slots)
    for is_cold, verify in ((True, True), (True, False), (False, True), (False, False)):
        plain_secs, restore_secs = [], []
        for _ in range(num_rounds):
            _prepare_cache(files, is_cold)
            plain_secs.append(_seconds(read_plain))
            _prepare_cache(files, is_cold)
            restore_secs.append(_seconds(functools.partial(_restore, path, verify, model, slots)))
        name = f"checkpoint restore, {'cold' if is_cold else 'warm'}{'' if verify else ', not verified'}"
        rows.append((name, _ratio(plain_secs, restore_secs), _note("against plain reading", num_bytes, restore_secs)))
    extra = _extra_memory(functools.partial(_restore, path, True, model, slots))
    rows.append(("checkpoint restore, extra memory", extra / num_bytes, f"{extra / _MEGABYTE:.0f} MB at the peak"))
    return rows


def _restore(path: str, verify: bool, model: Mapping[str, Tensor], slots: Mapping[str, Tensor]) -> None:
    Checkpoint(path, verify=verify).load(model, slots)


def _write_plain(scratch: Path, *groups: Mapping[str, Tensor]) -> None:
    for index, tensors in enumerate(groups):
        descriptor = os.open(scratch / f"plain.{index}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for tensor in tensors.values():
            view = tensor.numpy().data.cast("B")
            for start in range(0, len(view), _CHUNK_BYTES):
                os.write(descriptor, view[start : start + _CHUNK_BYTES])
        os.fsync(descriptor)
        os.close(descriptor)


def _read_plain(path: str, tensors: Mapping[str, Tensor]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    for tensor in tensors.values():
        view = tensor.numpy().data.cast("B")
        for start in range(0, len(view), _CHUNK_BYTES):
            os.readv(descriptor, [view[start : start + _CHUNK_BYTES]])
    os.close(descriptor)


def _prepare_cache(paths: Mapping[str, Mapping[str, Tensor]], is_cold: bool) -> None:
    for path, tensors in paths.items():
        if is_cold:
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
        else:
            _read_plain(path, tensors)


def _extra_memory(action: Callable[[], None]) -> int:
    """Bytes by which the resident memory of this process rises at most during `action`."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    action()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _ratio(plain_secs: list[float], our_secs: list[float]) -> float:
    return statistics.median(plain_secs) / statistics.median(our_secs)


def _num_bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _note(against: str, num_bytes: int, our_secs: list[float]) -> str:
    speed = num_bytes / _MEGABYTE / statistics.median(our_secs)
    return f"{against}; {num_bytes / _MEGABYTE:,.0f} MB at {speed:,.0f} MB/s"

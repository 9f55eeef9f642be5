"""The checkpoints in `data`, which TensorFlow 2.15 wrote, and what it reads in them; `data/write.py` made both."""

import json
import shutil
from pathlib import Path

import numpy as np

from torchestimator.io.crc32c import masked_crc32c
from torchestimator.io.example_bulk import varint

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads((DATA / "expected.json").read_text())


def expected_array(name, tensor):
    """What TensorFlow reads; None for what it cannot read."""
    if EXPECTED[name][tensor] is None:
        return None
    dtype, shape, content = EXPECTED[name][tensor]
    if dtype == "string":
        array = np.empty(len(content), dtype=object)
        array[:] = [bytes.fromhex(each) for each in content]
        return array.reshape(shape)
    return np.frombuffer(bytes.fromhex(content), dtype).reshape(shape)


def copied(name, folder):
    """A checkpoint to be damaged; returns its prefix."""
    target = Path(folder) / name
    shutil.copytree(DATA / name, target)
    (index,) = target.glob("*.index")
    return index.with_suffix("")


def change(path, position, by=1):
    """Changes one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= by
    path.write_bytes(bytes(content))


def block(entries, compression=0):
    """A block of (shared bytes, rest of the key, value)."""
    content = b"".join(
        varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value for shared, rest, value in entries
    )
    content += bytes(4) + (1).to_bytes(4, "little") + bytes([compression])
    return content + masked_crc32c(content).to_bytes(4, "little")


def table(*blocks):
    """A table of these data blocks."""
    content, handles = b"", []
    for each in blocks:
        handles.append(varint(len(content)) + varint(len(each) - 5))
        content += each
    index = block([(0, bytes([number]), handle) for number, handle in enumerate(handles)])
    notes = block([])
    footer = varint(len(content)) + varint(len(notes) - 5) + varint(len(content + notes)) + varint(len(index) - 5)
    return content + notes + index + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")

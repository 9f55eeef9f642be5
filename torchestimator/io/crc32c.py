"""CRC-32C (Castagnoli), the checksum of records and of TensorFlow's checkpoints, with the masking TensorFlow applies.

Byte by byte in Python a picture of 200 kB takes some 20 ms, a visible stall in training. Here numpy advances many
registers side by side, four bytes at a time: one for each record of a batch, or one for each of the equal lanes that a
long input is cut into, whose checksums are then joined by the linearity of CRCs (RFC 3720, appendix B.4, for the
polynomial).
"""

import functools
from typing import Any, TypeAlias

import numpy as np

Bytes: TypeAlias = bytes | bytearray | memoryview | np.ndarray[Any, np.dtype[np.uint8]]

_POLYNOMIAL = 0x82F63B78
_MIN_LANE = 256
"""Bytes of the shortest lanes; longer ones are this times a power of two."""
_MIN_LANES = 8
"""Lanes below which the plain loop is as fast."""
_MAX_LANES = 4096
"""Lanes above which they get longer instead: joining them costs as much as a few hundred bytes of each."""
_STRIP = 256
"""Bytes of each row that are brought side by side at once, so that a long input is not copied as a whole."""
_MIN_ROWS = 8
"""Ranges of similar lengths below which each is advanced alone."""
_MAX_ROW = 1 << 16
"""Bytes above which a range is long enough to be cut into lanes of its own."""
_BLOCK = 1 << 20
"""Bytes of the ranges that are advanced together: what the cache holds."""
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: Bytes) -> int:
    """Return the checksum as it stands in a record: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32c_of_ranges(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the masked checksum of each of many ranges of `data`, short ones of similar lengths side by side.

    Args:
        data: `[bytes]` uint8, contiguous.
        starts: `[ranges]` int64.
        ends: `[ranges]` int64.

    Returns:
        `[ranges]` uint32.
    """
    crcs = np.zeros(len(starts), np.uint32)
    lengths = ends - starts
    # Lengths of one group differ by less than a quarter; each group is padded to its longest.
    groups = (4 * np.log2(np.maximum(lengths, 1))).astype(np.int64)
    for group in np.unique(groups):
        chosen = np.flatnonzero(groups == group)
        longest = int(lengths[chosen].max())
        # A row of the longest length must not begin before the data does.
        is_alone = (ends[chosen] < longest) | (len(chosen) < _MIN_ROWS) | (longest > _MAX_ROW) | (longest < 4)
        for index in chosen[is_alone]:
            crcs[index] = crc32c(data[starts[index] : ends[index]])
        chosen = chosen[~is_alone]
        step = _BLOCK // max(longest, 1)
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            crcs[part] = _crc32c_of_group(data, ends[part], lengths[part], longest)
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_MASK_DELTA)


def _crc32c_of_group(data: np.ndarray, ends: np.ndarray, lengths: np.ndarray, longest: int) -> np.ndarray:
    """Return the CRC-32C of ranges of at least 4 bytes that end at `ends` and have `longest` bytes before that."""
    items: np.ndarray = np.ndarray((len(data) - longest + 1,), f"V{longest}", data, strides=(1,))
    rows = items[ends - longest].view(np.uint8).reshape(len(ends), longest)
    # Zeros leave a register of zero as it is; and a message in a register of ones has the checksum of one whose first
    # four bytes are inverted in a register of zero. So what stands before a range is filled with zeros.
    before = longest - lengths
    if before.any():
        rows[np.arange(longest) < before[:, None]] = 0
    rows[np.arange(len(rows))[:, None], before[:, None] + np.arange(4)] ^= 0xFF
    return ~_advance_rows(np.zeros(len(rows), np.uint32), rows)


def crc32c(data: Bytes) -> int:
    """Return the CRC-32C of `data`."""
    state = 0xFFFFFFFF
    doublings = max(0, (len(data) // (_MIN_LANE * _MAX_LANES)).bit_length())
    lane = _MIN_LANE << doublings
    lanes = len(data) // lane
    if lanes < _MIN_LANES:
        return _advance(state, bytes(data)) ^ 0xFFFFFFFF
    # The bytes that do not fill a lane go first, so that every lane has the same length.
    head = len(data) - lanes * lane
    if head:
        state = crc32c(data[:head]) ^ 0xFFFFFFFF
    return _advance_lanes(state, np.frombuffer(data, np.uint8, offset=head).reshape(lanes, lane)) ^ 0xFFFFFFFF


def _advance(state: int, data: bytes) -> int:
    """Return the register after some bytes."""
    table = _byte_list()
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def _advance_rows(registers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the registers, `[rows]` uint32, each after its row of `rows`, `[rows, bytes]` uint8."""
    bytes_table, (low_table, high_table) = _byte_table(), _word_tables()
    head = rows.shape[1] % 4
    registers = registers.copy()
    for column in rows[:, :head].T:
        registers = bytes_table[(registers ^ column) & 0xFF] ^ (registers >> 8)
    halves = np.empty(len(registers), np.intp)
    high = np.empty_like(registers)
    for begin in range(head, rows.shape[1], _STRIP):
        for column in np.ascontiguousarray(_words(rows[:, begin : begin + _STRIP]).T):
            registers ^= column
            np.right_shift(registers, 16, out=halves, casting="unsafe")
            # Indices are in range; any other mode would go through a buffer.
            np.take(high_table, halves, out=high, mode="clip")
            np.bitwise_and(registers, 0xFFFF, out=halves, casting="unsafe")
            np.take(low_table, halves, out=registers, mode="clip")
            registers ^= high
    return registers


def _words(rows: np.ndarray) -> np.ndarray:
    words: np.ndarray = np.ascontiguousarray(rows).view("<u4")
    return words


def _advance_lanes(state: int, lanes: np.ndarray) -> int:
    """Return the register after `lanes`, `[lanes, bytes]` uint8, one after the other."""
    registers = np.zeros(len(lanes), np.uint32)
    registers[0] = state
    registers = _advance_rows(registers, lanes)
    # A register is linear in its start: the one after two lanes is the first, moved over the second lane's length by
    # zero bytes, XOR the second (which started from zero). Joining neighbours halves their number each time.
    move = _lane_move(lanes.shape[1])
    while len(registers) > 1:
        if len(registers) % 2:
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        registers = _apply(move, registers[0::2]) ^ registers[1::2]
        move = _apply(move, move)
    return int(registers[0])


def _apply(move: np.ndarray, registers: np.ndarray) -> np.ndarray:
    """Return a linear map (`[32]`, the image of each bit) of some registers."""
    images = np.zeros((4, 256), np.uint32)  # of every value of each of the four bytes
    for bit, columns in enumerate(move.reshape(4, 8).T):
        images[:, 1 << bit : 2 << bit] = images[:, : 1 << bit] ^ columns[:, None]
    result: np.ndarray = images[0][registers & 0xFF]
    for byte in range(1, 4):
        result ^= images[byte][(registers >> np.uint32(8 * byte)) & 0xFF]
    return result


@functools.cache
def _byte_table() -> np.ndarray:
    """Return the register after each single byte, `[256]` uint32."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@functools.cache
def _word_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the registers four bytes after each low and each high half of a register, `[65536]` uint32 each."""
    half = np.arange(1 << 16, dtype=np.uint32)
    return _over_zeros(half, 4), _over_zeros(half << 16, 4)


@functools.cache
def _byte_list() -> list[int]:
    """Return the same table as Python integers, which a Python loop reads faster."""
    return [int(entry) for entry in _byte_table()]


@functools.cache
def _lane_move(lane: int) -> np.ndarray:
    """Return the linear map of so many zero bytes, `_MIN_LANE` times a power of two."""
    if lane == _MIN_LANE:
        return _over_zeros(np.uint32(1) << np.arange(32, dtype=np.uint32), lane)
    half = _lane_move(lane // 2)
    return _apply(half, half)


def _over_zeros(registers: np.ndarray, count: int) -> np.ndarray:
    """Return the registers after so many zero bytes."""
    table = _byte_table()
    for _ in range(count):
        registers = table[registers & 0xFF] ^ (registers >> 8)
    return registers

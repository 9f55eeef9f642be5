"""CRC-32C (Castagnoli), the checksum of event files' records, with the masking TensorFlow applies to it.
 Byte by byte in Python a picture of 200 kB takes some 20 ms, a visible stall in training; here long inputs are cut into
equal lanes that numpy advances side by side, and the lanes' checksums are joined by the linearity of CRCs (RFC 3720,
appendix B.4, for the polynomial).
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANE = 256
"""Bytes per lane."""
_MIN_LANES = 8
"""Lanes below which the plain loop is as fast."""
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as it stands in a record: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`."""
    state = 0xFFFFFFFF
    lanes = len(data) // _LANE
    if lanes >= _MIN_LANES:
        # The bytes that do not fill a lane go first, so that every lane has the same length.
        head = len(data) - lanes * _LANE
        state = _advance(state, data[:head])
        state = _advance_lanes(state, np.frombuffer(data, np.uint8, offset=head).reshape(lanes, _LANE))
    else:
        state = _advance(state, data)
    return state ^ 0xFFFFFFFF


def _advance(state: int, data: bytes) -> int:
    """Return the register after some bytes."""
    table = _byte_list()
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def _advance_lanes(state: int, lanes: np.ndarray) -> int:
    """Return the register after `lanes`, `[lanes, bytes]` uint8, one after the other."""
    table = _byte_table()
    registers = np.zeros(len(lanes), np.uint32)
    registers[0] = state
    for column in np.ascontiguousarray(lanes.T):
        registers = table[(registers ^ column) & 0xFF] ^ (registers >> 8)
    # A register is linear in its start: the one after two lanes is the first, moved over the second lane's length by
    # zero bytes, XOR the second (which started from zero). Joining neighbours halves their number each time.
    move = _lane_move()
    while len(registers) > 1:
        if len(registers) % 2:
            registers = np.concatenate([np.zeros(1, np.uint32), registers])
        registers = _apply(move, registers[0::2]) ^ registers[1::2]
        move = _apply(move, move)
    return int(registers[0])


def _apply(move: np.ndarray, registers: np.ndarray) -> np.ndarray:
    """Return a linear map (`[32]`, the image of each bit) of some registers."""
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= np.where((registers >> np.uint32(bit)) & 1, move[bit], np.uint32(0))
    return result


@functools.cache
def _byte_table() -> np.ndarray:
    """Return the register after each single byte, `[256]` uint32."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@functools.cache
def _byte_list() -> list[int]:
    """Return the same table as Python integers, which a Python loop reads faster."""
    return [int(entry) for entry in _byte_table()]


@functools.cache
def _lane_move() -> np.ndarray:
    """Return the linear map of one lane of zero bytes."""
    table = _byte_table()
    registers = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(_LANE):
        registers = table[registers & 0xFF] ^ (registers >> 8)
    return registers

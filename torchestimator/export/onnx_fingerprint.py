"""FarmHash Fingerprint64 of strings inside an ONNX graph, with operators that every ONNX Runtime has.

The graph counterpart of `inputs/fingerprint.py`, whose numbers it gives for every string. ONNX can do little with
strings, so they become integers in two steps:

1. `com.microsoft.Tokenizer` cuts a string into its characters.
2. `com.microsoft.MurmurHash3` turns a character into 32 bits. MurmurHash3 of at most four bytes of known number is
   one-to-one, so its steps taken backwards give the UTF-8 bytes. This needs no table of characters: the graph stays
   small and knows all of Unicode.

The rest is integer arithmetic. Strings of up to 32 bytes, longer ones and those over 64 bytes differ in cost; what no
string of a batch needs is not run.
"""

import numpy as np

from torchestimator.export.onnx_graph import GraphBuilder, Lanes, Value, signed

# FarmHash. -----------------------------------------------------------------------------------------------------------

_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_ALL = (1 << 64) - 1

_BEFORE = 64
"""Offsets count from the start of a string; those of the algorithm go back from its end by at most 64."""
_AHEAD = 3
"""A character that begins up to so many bytes before a word reaches into it."""
_AFTER = 32
"""The furthest byte that is read counted from the start of a string, however short."""

_FIRST_WORDS = (
    # (start, share of the length, share of half the length, mask)
    (0, 0, 0, _ALL),
    (8, 0, 0, _ALL),
    (16, 0, 0, _ALL),
    (24, 0, 0, _ALL),
    (-8, 1, 0, _ALL),
    (-16, 1, 0, _ALL),
    (-24, 1, 0, _ALL),
    (-32, 1, 0, _ALL),
    (-4, 1, 0, _ALL),
    (0, 0, 0, 0xFFFFFFFF),
    (0, 0, 0, 0xFF),
    (0, 0, 1, 0xFF),
    (-1, 1, 0, 0xFF),
)
"""The words that strings of up to 64 bytes are hashed from."""

_ROUND_WORDS = (0, 32, 8, 40, 16, 48, 24, 56)
"""Those of a 64-byte round: the pairs that its two halves mix alike."""


def add_fingerprint64(builder: GraphBuilder, strings: Value) -> Value:
    """Adds the nodes that hash strings.

    Args:
        builder: takes the nodes.
        strings: [rows], at least one, not all of them empty.

    Returns:
        int64 [rows]: the values of `inputs.fingerprint.fingerprint64`.
    """
    return builder.op("Reshape", _Hash(builder, strings).result().value, builder.constant([-1]))


class _Hash:
    """The hash of a batch; letters are those of the algorithm's description."""

    def __init__(self, builder: GraphBuilder, strings: Value) -> None:
        self._builder = builder
        characters, sizes = _add_characters(builder, strings)
        self._column = builder.op("ReduceSum", sizes, builder.constant([1]), keepdims=1)
        self._longest = builder.op("ReduceMax", self._column, builder.constant([0]), keepdims=0)
        self._buffer = self._lay_out(characters, sizes)
        self._n = Lanes(builder, builder.op("Reshape", self._column, builder.constant([1, -1])))

    def result(self) -> Lanes:
        """[1, rows]."""
        builder, n = self._builder, self._n
        w0, w8, w16, w24, e8, e16, e24, e32, e4, low, first, middle, last = self._first_words()
        mul = n * 2 + _K2
        few = (((first + middle * 256) * _K2) ^ ((n + last * 4) * _K0)).xor_shifted(47) * _K2
        over_32 = n > 32
        a = w0 * self._lane(_K2).where(over_32, _K1)
        a8 = w0 + _K2
        c = e8 * mul
        r = Lanes.stack(e8, a8, a + w8, c, w8 + _K2).rotate(37, 25, 43, 30, 18).split(1, 1, 1, 1, 1)
        over_7, over_16 = n > 7, n > 16
        u = (r[2] + r[3] + e16 * _K2).where(over_16, (r[0] * mul + a8).where(over_7, n + low * 8))
        v = (a + r[4] + c).where(over_16, ((r[1] + e8) * mul).where(over_7, e4))
        z = _hash_pair(u, v, mul)
        up_to_32 = z.where(n > 3, few.where(n > 0, _K2))

        def beyond_32() -> Value:
            e = w16 * mul
            g = (u + e32) * mul
            r = Lanes.stack(e + w24, g, w24 + a).rotate(43, 30, 18).split(1, 1, 1)
            up_to_64 = (r[0] + r[1] + (z + e24) * mul, e + r[2] + g, mul)
            over_64 = n > 64
            pair = [x.where(over_64, y) for x, y in zip(self._long(w0), up_to_64, strict=True)]
            return _hash_pair(*pair).where(over_32, up_to_32).value

        some_over_32 = Lanes(builder, self._longest) > 32
        return Lanes(builder, builder.branch(some_over_32, beyond_32, lambda: builder.op("Identity", up_to_32.value)))

    def _lane(self, word: int) -> Lanes:
        return Lanes(self._builder, self._builder.constant([[signed(word)]]))

    def _lay_out(self, characters: Value, sizes: Value) -> Value:
        """[rows, bytes] uint64: each character's bytes as a number, at the place of the first of them."""
        builder = self._builder
        ends = builder.op("CumSum", sizes, builder.constant(1))
        # The absent characters of a short row, all zeros, land on the byte after its last one: a zero as well.
        places = builder.op("Add", builder.op("Sub", ends, sizes), builder.constant(_BEFORE + _AHEAD))
        width = builder.op("Add", self._longest, builder.constant(_BEFORE + _AHEAD + _AFTER))
        shape = builder.op("Concat", builder.op("Shape", sizes, start=0, end=1), width, axis=0)
        zeros = builder.op("Expand", builder.constant(0, np.uint64), shape)
        return builder.op("ScatterElements", zeros, places, characters, axis=1)

    def _first_words(self) -> list[Lanes]:
        builder = self._builder
        steps = np.arange(_AHEAD + 8)
        starts, lengths, halves, masks = (np.array(each, dtype=object) for each in zip(*_FIRST_WORDS, strict=True))
        half = builder.op("Div", self._column, builder.constant(2))
        shares = builder.constant(np.repeat(np.stack([lengths, halves]), steps.size, axis=1))
        moves = builder.op("MatMul", builder.op("Concat", self._column, half, axis=1), shares)
        words = self._load(builder.op("Add", moves, builder.constant(_places(starts.tolist()))), len(_FIRST_WORDS))
        masked = builder.op("BitwiseAnd", words.value, builder.constant([[signed(mask)] for mask in masks]))
        return Lanes(builder, masked).split(*[1] * len(_FIRST_WORDS))

    def _load(self, places: Value, count: int) -> Lanes:
        """Little-endian words at any byte: [rows, count * 11] places of characters -> [count, rows]."""
        builder = self._builder
        pieces = builder.op("GatherElements", self._buffer, places, axis=1)
        pieces = builder.op("Reshape", pieces, builder.constant([-1, count, _AHEAD + 8]))
        begun = [8 * bytes_before for bytes_before in range(_AHEAD, 0, -1)]
        pieces = builder.op("BitShift", pieces, builder.constant(begun + [0] * 8, np.uint64), direction="RIGHT")
        weights = [1] * _AHEAD + [signed(1 << 8 * byte) for byte in range(8)]
        words = builder.op("MatMul", builder.cast(pieces, np.int64), builder.constant(weights))
        return Lanes(builder, builder.op("Transpose", words, perm=[1, 0]))

    def _long(self, w0: Lanes) -> tuple[Lanes, Lanes, Lanes]:
        """Strings of more than 64 bytes: the arguments of the last `_hash_pair`."""
        builder, n = self._builder, self._n
        y = 81 * _K1 + 113
        z = (y * _K2 + 113) & _ALL
        rest = builder.constant([[signed(word)] for word in (y, (z ^ z >> 47) * _K2, _K1, 0, 0, 0, 0)])
        rest = builder.op("Expand", rest, builder.op("Shape", n.value))
        initial = Lanes.stack(w0 + 81 * _K2, Lanes(builder, rest))
        rounds = Lanes(builder, builder.op("Div", (n - 1).value, builder.constant(64)))
        most = builder.op("Div", builder.op("Sub", self._longest, builder.constant(1)), builder.constant(64))
        trips = builder.op("Add", most, builder.op("Min", most, builder.constant(1)))

        def body(index: Value, state: Value) -> Value:
            return self._round(Lanes(builder, index), Lanes(builder, state), rounds).value

        x, y_, z_, mul, v0, w0_, v1, w1 = Lanes(builder, builder.loop(trips, initial.value, body)).split(*[1] * 8)
        u, v = _hash_pair(Lanes.stack(v0, v1), Lanes.stack(w0_, w1), mul).split(1, 1)
        mixed = y_.xor_shifted(47) * _K0
        return u + mixed + z_, v + x, mul

    def _round(self, index: Lanes, state: Lanes, rounds: Lanes) -> Lanes:
        """One round over 64 bytes; a string's last one, over its last 64 bytes, uses other constants."""
        builder, n = self._builder, self._n
        at = (n - 64).minimum(index * 64)
        column = builder.op("Reshape", at.value, builder.constant([-1, 1]))
        words = self._load(builder.op("Add", column, builder.constant(_places(_ROUND_WORDS))), len(_ROUND_WORDS))
        s0, s8, s16, s24 = words.split(2, 2, 2, 2)
        (f8, f40), (f16, f48) = s8.split(1, 1), s16.split(1, 1)
        last = Lanes(builder, builder.cast(builder.op("Equal", rounds.value, index.value), np.int64))
        x, y, z, _, v0, w0, v1, w1 = state.split(*[1] * 8)
        mul = (z & 0xFF) * 2 * last + _K1
        nine = last * 8 + 1
        w0 = w0 + ((n - 1) & 63) * last
        v0 = v0 + w0 * last
        w0 = w0 + v0 * last
        turned = Lanes.stack(x + y + v0 + f8, y + v1 + f48, z + w0).rotate(37, 42, 33) * mul
        x, y, z = turned.split(1, 1, 1)
        x = x ^ (w1 * nine)
        y = y + v0 * nine + f40
        # Both halves of the 64 bytes are mixed alike (WeakHashLen32WithSeeds).
        a = Lanes.stack(v1 * mul, z + w1) + s0
        b = Lanes.stack(x + w0, y + f16)
        sums = a + s8 + s16
        turned_b, turned_sums = Lanes.stack(b + a + s24, sums).rotate(21, 21, 44, 44).split(2, 2)
        after = Lanes.stack(z, y, x, mul, sums + s24, turned_b + turned_sums + a)
        return state.where(index > rounds, after)


def _places(starts: list[int] | tuple[int, ...]) -> list[int]:
    """Where in the buffer the characters lie that words at these offsets have bytes of."""
    return [_BEFORE + start + step for start in starts for step in range(_AHEAD + 8)]


def _hash_pair(u: Lanes, v: Lanes, mul: Lanes) -> Lanes:
    """Hash128to64 with a multiplier (HashLen16)."""
    a = ((u ^ v) * mul).xor_shifted(47)
    return ((v ^ a) * mul).xor_shifted(47) * mul


# Characters. ---------------------------------------------------------------------------------------------------------

_SEEDS = (0, 1)
"""Of two hashes of a character. Up to three bytes they differ just as the seeds do, of four bytes never: with these
seeds that holds for every character."""


def _inverse(word: int) -> int:
    return signed(pow(word, -1, 1 << 32), 32)


def _add_characters(builder: GraphBuilder, strings: Value) -> tuple[Value, Value]:
    """Adds the nodes from strings [rows] to characters.

    Returns:
        [rows, characters] uint64, the UTF-8 bytes as a little-endian number, and int64, how many bytes they are; both
        zero after the end of a string.
    """
    row = builder.op("Reshape", strings, builder.constant([1, -1]))
    tokens = builder.op("Tokenizer", row, domain="com.microsoft", mark=0, mincharnum=1, pad_value="", separators=[""])
    hashes = [builder.op("MurmurHash3", tokens, domain="com.microsoft", positive=1, seed=seed) for seed in _SEEDS]
    first, second = _undo_finish(builder, builder.op("Concat", *hashes, axis=0))
    # first and second are equal but for characters of four bytes.
    short = builder.op("BitwiseXor", first, builder.constant(np.reshape([1, 2, 3], (3, 1, 1)), np.int32))
    long = builder.op("BitwiseXor", first, builder.constant(4, np.int32))
    long = builder.op("Mul", long, builder.constant(_inverse(5), np.int32))
    long = builder.op("Sub", long, builder.constant(signed(0xE6546B64 * _inverse(5), 32), np.int32))
    candidates = builder.op("Concat", short, _rotate32(builder, long, 13), axis=0)
    candidates = builder.op("Mul", candidates, builder.constant(_inverse(0x1B873593), np.int32))
    candidates = _rotate32(builder, candidates, 15)
    candidates = builder.op("Mul", candidates, builder.constant(_inverse(0xCC9E2D51), np.int32))
    return _choose(builder, candidates, builder.op("Equal", first, second))


def _undo_finish(builder: GraphBuilder, hashes: Value) -> tuple[Value, Value]:
    """Takes back MurmurHash3's last steps (fmix32) and the seed: [2, rows, characters] uint32 -> two of int32."""
    h = _xor_shifted32(builder, hashes, 16)
    h = _multiply32(builder, h, 0xC2B2AE35)
    h = _xor_shifted32(builder, h, 13, 26)
    h = _multiply32(builder, h, 0x85EBCA6B)
    h = builder.cast(_xor_shifted32(builder, h, 16), np.int32)
    h = builder.op("BitwiseXor", h, builder.constant(np.reshape(_SEEDS, (2, 1, 1)), np.int32))
    first, second = builder.op("Split", h, builder.constant([1, 1]), outputs=2, axis=0)
    return first, second


def _choose(builder: GraphBuilder, candidates: Value, up_to_three: Value) -> tuple[Value, Value]:
    """The candidate whose number of bytes is the right one: [4, rows, characters] int32 -> [rows, characters]."""
    shape = (4, 1, 1)
    masks = np.array([0xFFFFFF80, 0xFFFFC0E0, 0xFFC0C0F0, 0], dtype=np.uint32).view(np.int32).reshape(shape)
    utf8 = np.array([0, 0x80C0, 0x8080E0, 0], dtype=np.int32).reshape(shape)
    marks = builder.op("BitwiseAnd", candidates, builder.constant(masks, np.int32))
    is_utf8 = builder.op("Equal", marks, builder.constant(utf8, np.int32))
    has_size = builder.op(
        "Equal", up_to_three, builder.constant(np.reshape([True, True, True, False], shape), np.bool_)
    )
    chosen = builder.op("And", is_utf8, has_size)
    zero = builder.constant(0, np.int32)
    over_candidates = builder.constant([0])
    characters = builder.op("ReduceSum", builder.op("Where", chosen, candidates, zero), over_candidates, keepdims=0)
    sizes = builder.op("Where", chosen, builder.constant(np.reshape([1, 2, 3, 4], shape), np.int32), zero)
    sizes = builder.op("ReduceSum", sizes, over_candidates, keepdims=0)
    unsigned = builder.cast(characters, np.uint32)
    return builder.cast(unsigned, np.uint64), builder.cast(sizes, np.int64)


def _xor_shifted32(builder: GraphBuilder, words: Value, *counts: int) -> Value:
    result = words
    for count in counts:
        shifted = builder.op("BitShift", words, builder.constant(count, np.uint32), direction="RIGHT")
        result = builder.op("BitwiseXor", result, shifted)
    return result


def _multiply32(builder: GraphBuilder, words: Value, undone: int) -> Value:
    product = builder.op("Mul", builder.cast(words, np.int32), builder.constant(_inverse(undone), np.int32))
    return builder.cast(product, np.uint32)


def _rotate32(builder: GraphBuilder, words: Value, count: int) -> Value:
    bits = builder.cast(words, np.uint32)
    low = builder.op("BitShift", bits, builder.constant(count, np.uint32), direction="RIGHT")
    high = builder.op("BitShift", bits, builder.constant(32 - count, np.uint32), direction="LEFT")
    return builder.cast(builder.op("BitwiseOr", low, high), np.int32)

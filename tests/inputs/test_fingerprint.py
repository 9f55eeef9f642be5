"""Fingerprint64: TensorFlow's values, from every kind of string array."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.inputs import fingerprint64

TEXT = "The estimator reads features, hashes strings to 64 bits and divides. " * 5

# Fingerprint64 of the first n characters of TEXT, written by Google's own implementation.
PREFIXES = {
    0: 0x9AE16A3B2F90404F,
    1: 0x12F77CD62637857A,
    2: 0x5E667204F36DE5F3,
    3: 0x85887769DDCC73FD,
    4: 0xF4ED8B2E41E836A5,
    5: 0x11A6CC2C22355FD2,
    7: 0xF508EF3005E37B0B,
    8: 0x9F0F835DE122953E,
    9: 0x0DAD591D63CC08AD,
    15: 0x64AFA7CAD86E944A,
    16: 0x5EAA619011232A12,
    17: 0x5418ED40915B2302,
    24: 0xFE99E49C6F1EC247,
    31: 0xCFB4011D37F36E65,
    32: 0x889BDAFFEA47E67E,
    33: 0x79687584AC73340A,
    48: 0x5AB832C1AC53B68E,
    63: 0x7DC1DBF9AFA410C4,
    64: 0x8B0C995661D7FE15,
    65: 0xBAF97D1B0749AD33,
    100: 0x41DE0B4D53DB3679,
    127: 0x460AB9BB4BAE2B45,
    128: 0xC4994E70A107669F,
    129: 0x0447FA6F01884EAB,
    192: 0xF549B32E3430BD95,
    193: 0x166126622DF07463,
    255: 0xA8F8C4C9C6D49987,
    256: 0x59495952E88DE406,
    257: 0x1A0C23D742497362,
    300: 0xB60FA52F097473D7,
}

# Bucket of 1000 that tf.strings.to_hash_bucket_fast gives.
BUCKETS = {
    "a": 939,
    "hello": 296,
    "": 263,
    "-1": 430,
    "tensorflow": 506,
    "\u00e9": 25,
    "\u65e5\u672c": 883,
    "The quick brown fox jumps over the lazy dog": 284,
    "x" * 100: 719,
}


def unsigned(strings):
    return fingerprint64(strings).view(np.uint64)


def as_unicode(strings):
    return np.array(strings)


def as_bytes(strings):
    return np.array([text.encode() for text in strings])


def as_objects(strings):
    return np.array(strings, dtype=object)


def as_byte_objects(strings):
    return np.array([text.encode() for text in strings], dtype=object)


def as_mixed_objects(strings):
    return np.array([text.encode() if i % 2 else text for i, text in enumerate(strings)], dtype=object)


def as_string_dtype(strings):
    return np.array(strings, dtype=np.dtypes.StringDType())


FORMS = [
    list,
    as_unicode,
    as_bytes,
    as_objects,
    as_byte_objects,
    as_mixed_objects,
    pd.Series,
    pd.Categorical,
    lambda strings: pd.Series(strings, dtype="category"),
    lambda strings: pd.Series(strings, dtype="string"),
    lambda strings: as_unicode(strings).astype(as_unicode(strings).dtype.newbyteorder()),
    lambda strings: np.repeat(as_unicode(strings), 2)[::2],
]
if hasattr(np.dtypes, "StringDType"):
    FORMS.append(as_string_dtype)


@pytest.mark.parametrize("form", FORMS)
def test_every_length_class_has_the_values_of_the_original(form):
    strings = [TEXT[:length] for length in PREFIXES]
    assert unsigned(form(strings)).tolist() == list(PREFIXES.values())


@pytest.mark.parametrize("form", FORMS)
def test_buckets_are_those_of_tensorflow(form):
    assert (unsigned(form(list(BUCKETS))) % np.uint64(1000)).tolist() == list(BUCKETS.values())


def test_the_order_of_long_strings_of_mixed_lengths_is_kept():
    lengths = np.random.default_rng(0).permutation(list(PREFIXES) * 50)
    expected = [PREFIXES[length] for length in lengths.tolist()]
    assert unsigned([TEXT[:length] for length in lengths]).tolist() == expected


def test_more_strings_than_a_block_holds():
    strings = np.arange(20_000).astype("U8")
    one_by_one = [int(fingerprint64([text])[0]) for text in strings[::997].tolist()]
    assert fingerprint64(strings)[::997].tolist() == one_by_one


def test_non_ascii_rows_may_stand_anywhere_in_a_long_array():
    strings = np.arange(20_000).astype("U8")
    strings[[0, 5, 8191, 8192, 19_999]] = ["\u00e9", "\u65e5\u672c", "\u00e9", "\u65e5\u672c", "\u00e9"]
    buckets = unsigned(strings)[[0, 5, 8191, 8192, 19_999]] % np.uint64(1000)
    assert buckets.tolist() == [25, 883, 25, 883, 25]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=150), min_size=1))
def test_every_form_of_the_same_strings_gives_the_same_numbers(strings):
    expected = fingerprint64(strings).tolist()
    for form in (as_unicode, as_bytes, as_objects, as_byte_objects, as_mixed_objects, pd.Categorical):
        assert fingerprint64(form(strings)).tolist() == expected
    assert [int(fingerprint64([text])[0]) for text in strings] == expected


def test_a_nul_inside_a_string_is_part_of_it():
    assert fingerprint64(np.array([b"a\0b"])).tolist() == fingerprint64([b"a\0b"]).tolist()
    assert fingerprint64([b"a\0"]).tolist() != fingerprint64([b"a"]).tolist()


def test_the_shape_is_kept():
    strings = np.array([["a", "b", "c"], ["c", "b", "a"]])
    values = fingerprint64(strings)
    assert values.shape == (2, 3)
    assert values.dtype == np.int64
    assert values[0, 2] == values[1, 0] == fingerprint64("c")
    assert fingerprint64([["a"], ["b"]]).shape == (2, 1)
    assert fingerprint64(np.empty((0, 4), dtype="U3")).shape == (0, 4)
    assert fingerprint64([]).shape == (0,)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_values_are_refused_with_their_position(missing):
    with pytest.raises(TypeError, match=r"`strings` .*position 2 .*fillna"):
        fingerprint64(["a", "b", missing])


def test_missing_values_of_pandas_are_refused_with_their_position():
    with pytest.raises(TypeError, match=r"`city` .*position 1 "):
        fingerprint64(pd.Series(["a", None, "b"]), name="city")
    with pytest.raises(TypeError, match=r"`city` .*position 1 "):
        fingerprint64(pd.Series(["a", None, "b"], dtype="category"), name="city")


def test_the_position_in_a_later_block_and_in_a_matrix_is_right():
    strings = np.array(["a"] * 20_000, dtype=object)
    strings[15_000] = 7
    with pytest.raises(TypeError, match=r"position 15000 .*Received: 7 \(int\)"):
        fingerprint64(strings)
    with pytest.raises(TypeError, match=r"position \(150, 0\)"):
        fingerprint64(strings.reshape(200, 100))


def test_numbers_are_refused():
    with pytest.raises(TypeError, match="dtype int64"):
        fingerprint64(np.arange(3))
    with pytest.raises(TypeError, match=r"position 0 .*\(int\)"):
        fingerprint64([1, 2])
    with pytest.raises(TypeError, match=r"position 0 .*\(list\)"):
        fingerprint64([["a"], ["b", "c"]])


@pytest.mark.parametrize("form", [list, as_unicode])
def test_text_that_is_no_utf8_is_refused(form):
    with pytest.raises(ValueError, match=r"position 1\. .*surrogates"):
        fingerprint64(form(["a", "\ud800"]))

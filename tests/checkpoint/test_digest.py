"""digest: the background hash is the plain one."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.checkpoint import CheckpointDamagedError, FileDigest
from torchestimator.checkpoint.digest import NoHash, StreamHash, digest_of


@settings(deadline=None, max_examples=30)
@given(parts=st.lists(st.binary(max_size=5000), max_size=20))
def test_the_stream_hash_is_sha256_of_the_parts_in_order(parts: list[bytes]) -> None:
    with StreamHash() as stream_hash:
        for part in parts:
            stream_hash.update(memoryview(part))
        digest = stream_hash.hexdigest()
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest() == digest_of(b"".join(parts)).sha256


def test_no_hash_is_always_done_with_a_chunk() -> None:
    with NoHash() as no_hash:
        assert no_hash.update(b"x").done()


@pytest.mark.parametrize(("size", "fragment"), [(9, "cut at 9 of 10 bytes"), (11, "11 bytes, 10 were written")])
def test_sizes_are_compared(size: int, fragment: str) -> None:
    digest = FileDigest(10, "")
    digest.check_size("x", 10)
    with pytest.raises(CheckpointDamagedError, match=fragment):
        digest.check_size("x", size)

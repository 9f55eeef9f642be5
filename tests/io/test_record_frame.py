from torchestimator.io.record_frame import frame


def test_a_record_is_what_tensorflow_writes():
    assert frame(b"one").hex() == "0300000000000000b099490e6f6e6501405508"
    assert frame(b"").hex() == "000000000000000029039807d8ea82a2"

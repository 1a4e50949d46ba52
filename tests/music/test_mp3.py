"""MP3: frames that follow each other, and a header by which the music begins where it began."""

import numpy as np
import pytest

from lib.music import mp3

RATE_HZ = 44_100


@pytest.fixture(scope="module")
def stream():
    """Three seconds of noise, stereo."""
    pytest.importorskip("lameenc")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * RATE_HZ + 137, 2)).astype(np.float32)
    return mp3.encode_mp3(samples, RATE_HZ)


def test_the_size_is_that_of_its_bit_rate(stream):
    assert mp3.can_encode() and len(stream) == pytest.approx(3 * mp3.KBPS * 125, rel=0.05)


def test_headers_are_read(stream):
    header = mp3.read_header(stream)
    assert (header.sample_rate_hz, header.kbps, header.num_samples, header.tag_at) == (RATE_HZ, mp3.KBPS, 1152, 36)
    assert mp3.read_header(b"RIFF") is None and mp3.read_header(b"") is None
    assert mp3.count_frames(stream) == sum(1 for _ in frames(stream))


def frames(stream):
    at = 0
    while (header := mp3.read_header(stream, at)) is not None:
        yield stream[at : at + header.num_bytes]
        at += header.num_bytes
    assert at == len(stream), "no byte is left over"


def test_the_first_frame_says_where_the_music_is(stream):
    first, *rest = frames(stream)
    assert first[36:40] == b"Info" and first[36 + 120 : 36 + 129] == b"LAME3.100"
    assert int.from_bytes(first[44:48], "big") == len(rest) and int.from_bytes(first[48:52], "big") == len(stream)
    delay_and_padding = int.from_bytes(first[36 + 141 : 36 + 144], "big")
    delay, padding = delay_and_padding >> 12, delay_and_padding & 4095
    assert delay == mp3.ENCODER_DELAY and len(rest) * 1152 - delay - padding == 3 * RATE_HZ + 137
    assert int.from_bytes(first[36 + 154 : 36 + 156], "big") == mp3.checksum(first[: 36 + 154])


def test_other_streams_get_no_header(stream):
    assert mp3.info_frame(b"RIFF", 10, RATE_HZ) == b""
    assert mp3.info_frame(stream, 3 * RATE_HZ, 48_000) == b"" and mp3.info_frame(stream, 1, RATE_HZ) == b""


def test_the_checksum_is_crc_16():
    assert mp3.checksum(b"123456789") == 0xBB3D

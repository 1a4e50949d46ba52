"""Sound -> MP3 by LAME, with the header that tells a player where in the stream the music begins.

Conventions: samples are float (N, channels) or (N,) in [-1, 1]. A decoder gives DELAY samples of silence before the music;
one that reads the header (LAME's "Info" tag) cuts them off, so that a click at 1 s is heard at 1 s. lameenc does not write
it. Layout: http://gabriel.mp3-tech.org/mp3infotag.html
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.music.audio import to_pcm

KBPS = 112  # stereo: 60 s are 0.84 MB, 1.12 MB in base64
QUALITY = 4  # LAME's, 0 (slow) to 9
ENCODER_DELAY, DECODER_DELAY = 576, 529
DELAY = ENCODER_DELAY + DECODER_DELAY
LONGEST_PADDING = 4095  # samples, in 12 bits
TAG_BYTES = 156
LINEAR = bytes(256 * percent // 100 for percent in range(100))  # where each percent begins: evenly, at a constant bit rate
# kbit/s by the header's index: MPEG-1, and MPEG-2 with its halved sample rates
KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
SAMPLE_RATES_HZ = (44_100, 48_000, 32_000)


def can_encode():
    """Whether LAME is installed."""
    try:
        import lameenc  # noqa: F401
    except ImportError:
        return False
    return True


def encode_mp3(samples, sample_rate_hz, kbps=KBPS):
    """An MP3 of constant bit rate.

    Parameters
    ----------
    samples : float (N, channels) or (N,) in [-1, 1]
    sample_rate_hz : int
    kbps : kbit/s

    Returns
    -------
    bytes

    Raises
    ------
    ImportError : lameenc is not installed, see can_encode
    """
    import lameenc

    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_bit_rate(kbps)
    encoder.set_in_sample_rate(int(sample_rate_hz))
    encoder.set_channels(1 if samples.ndim == 1 else samples.shape[1])
    encoder.set_quality(QUALITY)
    stream = bytes(encoder.encode(to_pcm(samples).tobytes()) + encoder.flush())
    return info_frame(stream, len(samples), sample_rate_hz) + stream


@dataclass(frozen=True)
class Header:
    """The first four bytes of a frame, read.

    Attributes
    ----------
    sample_rate_hz, kbps, num_samples, num_bytes : int, of this frame
    tag_at : where in a frame an Info tag stands, after the side information
    """

    sample_rate_hz: int
    kbps: int
    num_samples: int
    num_bytes: int
    tag_at: int


def read_header(stream, at=0):
    """The Header of the frame that begins at a place of the stream; None where none of layer III does."""
    head = int.from_bytes(stream[at : at + 4], "big")
    version, bit_rate, rate, mono = head >> 19 & 3, head >> 12 & 15, head >> 10 & 3, head >> 6 & 3 == 3
    if head >> 21 != 0x7FF or version not in (2, 3) or head >> 17 & 3 != 1 or bit_rate in (0, 15) or rate == 3:
        return None
    first = version == 3  # MPEG-1
    kbps, sample_rate_hz = (KBPS_1 if first else KBPS_2)[bit_rate], SAMPLE_RATES_HZ[rate] // (1 if first else 2)
    num_samples = 1152 if first else 576
    num_bytes = num_samples // 8 * kbps * 1000 // sample_rate_hz + (head >> 9 & 1)
    return Header(sample_rate_hz, kbps, num_samples, num_bytes, 4 + ((17 if mono else 32) if first else (9 if mono else 17)))


def count_frames(stream):
    """How many frames follow each other from the stream's first byte on."""
    at = count = 0
    while (header := read_header(stream, at)) is not None:
        at, count = at + header.num_bytes, count + 1
    return count


def info_frame(stream, num_samples, sample_rate_hz):
    """A silent frame for the stream's front that says how long the music is; b"" where the stream is of another kind."""
    header, frames = read_header(stream), count_frames(stream)
    if header is None or header.sample_rate_hz != sample_rate_hz or header.tag_at + TAG_BYTES > header.num_bytes:
        return b""
    padding = frames * header.num_samples - ENCODER_DELAY - num_samples
    if not 0 <= padding <= LONGEST_PADDING:
        return b""
    length = len(stream) + header.num_bytes
    front = stream[:4] + bytes(header.tag_at - 4) + b"Info" + (15).to_bytes(4, "big")
    front += frames.to_bytes(4, "big") + length.to_bytes(4, "big") + LINEAR + bytes(4)
    front += b"LAME3.100" + b"\x01" + bytes(10) + bytes([min(255, header.kbps)])
    front += (ENCODER_DELAY << 12 | padding).to_bytes(3, "big") + bytes(4)
    front += length.to_bytes(4, "big") + checksum(stream).to_bytes(2, "big")
    front += checksum(front).to_bytes(2, "big")
    return front.ljust(header.num_bytes, b"\0")


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
        table.append(byte)
    return table


CRC = _crc_table()


def checksum(content):
    """CRC-16 of the bytes, the reflected 0x8005 that LAME uses."""
    value = 0
    for byte in content:
        value = value >> 8 ^ CRC[(value ^ byte) & 255]
    return value

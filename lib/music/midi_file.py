"""Repairs MIDI files before symusic reads them: containers, damaged ends, and events that it would drop.

symusic drops notes that are never released: every track is given a note-off of all keys, NEVER ticks after its end. It
drops what follows a SysEx event under running status, and controllers of tracks and channels without notes; notes that
All Notes Off ends it does not end. Only files in which that may be, by their bytes, are parsed here.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np

PEDAL_CONTROLLER = 64
NEVER = 1 << 27  # ticks: more than a performance has
RESET, DRUMS = 121, 9  # a controller, which lifts the pedal; the channel of drums
ALL_OFF = (120, *range(123, 128))  # controllers that end all notes of a channel
MAX_MIDI_BYTES = 64 * 2**20  # no performance is larger; a hostile file may claim to be
OTHERS = {  # what a file begins with that is no MIDI file -> what it is
    **dict.fromkeys((b"ID3", b"\xff\xfb"), "audio (MP3)"),
    **{b"OggS": "audio (Ogg)", b"fLaC": "audio (FLAC)", b"%PDF": "a PDF", b"PK": "a zip archive: unpack it"},
    **{b"<?xml": "XML", b"\x89PNG": "a picture"},
}
MESSAGE_BYTES = np.full(256, 3, np.int32)  # of a message that begins with a status byte, that byte included
MESSAGE_BYTES[0xC0:0xE0] = 2
MESSAGE_BYTES[0xF1:0xFF] = 1 << 20  # what no file holds
END_OF_TRACK = b"\xff\x2f\x00"
LENGTHS = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}  # data bytes of channel messages


class MidiError(ValueError):
    """A file that is not a usable piano performance; the message says why."""


@dataclass
class Mended:
    """A file that symusic reads rightly.

    Attributes
    ----------
    content : bytes of a MIDI file
    pedal : [(tick, whether it is down)] of each channel, where the content has none: of files that are mended
    """

    content: bytes
    pedal: list[list[tuple[int, bool]]] = field(default_factory=list)


def read_score(content: bytes):
    """symusic's Score in ticks of a file, and the Mended that it was read from.

    A note that is never released lasts until its track ends, and NEVER ticks more.

    Raises
    ------
    MidiError : not a MIDI file, of a kind that can't be read, or cut short
    """
    from symusic import Score

    header, tracks = split_chunks(content)
    whole = join_chunks(header, list(map(_with_releases, tracks)))
    try:
        score = _parsed(Score, whole)
    except MidiError:  # such as running status after SysEx
        score = None
    if score is None or _may_be_unusual(score, tracks) and not _are_plain(tracks):
        mended = _mended(header, tracks)
        return _parsed(Score, mended.content), mended
    return score, Mended(whole)


def _with_releases(track):
    """A track that releases all keys of its channels, NEVER ticks after its end."""
    channels = [channel for channel in range(16) if 0x90 | channel in track]
    if not channels:
        return track
    end = bytes((0x80 | channels[0], 0, 0))  # stands where the track ended
    start = track[:-3] + end if track.endswith(END_OF_TRACK) else track + b"\0" + end
    releases = b"\0".join(bytes((0x80 | channel, key, 0)) for channel in channels for key in range(128))
    return start + _varying(NEVER) + releases + b"\0" + END_OF_TRACK


def _parsed(Score, content):  # noqa: N803
    try:
        return Score.from_midi(content, ttype="tick")
    except Exception as error:  # symusic raises several unrelated types
        raise MidiError(f"can't be read: {error}") from error


def split_chunks(content: bytes) -> tuple[tuple[int, int], list[bytes]]:
    """((format, ticks a quarter), tracks) of a file, out of its container, what follows the last track left out.

    Raises
    ------
    MidiError : see `read_score`
    """
    content = _unwrapped(content)
    length, kind, count, division = struct.unpack(">IHHH", content[4:14].ljust(10, b"\0"))
    if length < 6 or len(content) < 8 + length:
        raise MidiError("is cut short within its header")
    if kind > 1:
        kinds = "of format 2, whose tracks are pieces of their own" if kind == 2 else f"of an unknown format ({kind})"
        raise MidiError(f"is a MIDI file {kinds}. Export them one by one as format 0 or 1")
    if division & 0x8000:
        raise MidiError("counts time in SMPTE frames. Export it with ticks a quarter")
    position, tracks = 8 + length, []
    while position + 8 <= len(content):
        name, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "big")
        if name != b"MTrk" and (len(tracks) >= count or not name.isalnum()):
            break
        length = _length_to_next_track(content, position + 8, length) if name == b"MTrk" else length
        body = content[position + 8 : position + 8 + length]
        if len(body) < length:
            body = _whole_track(body) if name == b"MTrk" and length <= len(content) else None
            if body is None:
                missing = position + 8 + length - len(content)
                raise MidiError(f"is cut short: a chunk claims {length:,} bytes, {missing:,} are missing")
        if name == b"MTrk":
            tracks.append(body)
        position += 8 + length
    if position < len(content) and any(not track for track in tracks):
        raise MidiError("is cut short: a track claims to have no bytes")
    return (kind, division), tracks


def _length_to_next_track(content, start, length):
    """The length of a track, other than its chunk claims where another track begins right behind its end of track."""
    following = content[start + length : start + length + 4]
    if following in (b"MTrk", b"") and b"MTrk" not in content[start + max(0, length - 8) : start + length]:
        return length
    ends = [position for position in _positions(content, b"MTrk", start + max(0, length - 8), start + length + 64)]
    whole = [position for position in ends if content[start:position].rstrip(b"\0").endswith(b"\xff\x2f")]
    return whole[0] - start if whole else length


def _positions(content, what, start, end):
    position = content.find(what, start, end)
    while position >= 0:
        yield position
        position = content.find(what, position + 1, end)


def join_chunks(header: tuple[int, int], tracks: list[bytes]) -> bytes:
    """The bytes of a MIDI file of (format, ticks a quarter) and tracks."""
    parts = [b"MThd", struct.pack(">IHHH", 6, header[0], len(tracks), header[1])]
    for track in tracks:
        parts += [b"MTrk", struct.pack(">I", len(track)), track]
    return b"".join(parts)


def _unwrapped(content):
    if not content:
        raise MidiError("is empty (0 bytes)")
    if len(content) > MAX_MIDI_BYTES:
        raise MidiError(f"is {len(content) >> 20} MB, more than a performance can be")
    if content[:4] == b"RIFF" and content[8:12] == b"RMID":
        content = _data_of_riff(content)
        if content[:4] != b"MThd":
            raise MidiError("is RIFF MIDI (RMID) without a MIDI file in it")
    if content[:4] == b"RIFF":
        raise MidiError(f"is {'audio (WAV)' if content[8:12] == b'WAVE' else 'a RIFF file'}, not MIDI")
    if content[128:132] == b"MThd":
        raise MidiError("is in MacBinary, 128 bytes before the MIDI file: unpack it, or delete these bytes")
    if content[:4] != b"MThd":
        kinds = [name for start, name in OTHERS.items() if content.startswith(start)]
        raise MidiError(f"is {kinds[0]}, not MIDI" if kinds else "is not a MIDI file (it does not begin with MThd)")
    return content


def _data_of_riff(content):
    """What stands in the data chunk of a RIFF file; b"" where there is none."""
    position = 12
    while position + 8 <= len(content):
        name, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        if name == b"data":
            return content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""


def _whole_track(body):
    """A track whose chunk claims too many bytes, as far as its end of track; None where that is missing."""
    for _, status, _, end in _events(body):
        if status == 0x2F:
            return body[:end]
    return None


def _may_be_unusual(score, tracks):
    """Whether a look at the bytes of a file can't rule out that symusic leaves out something."""
    seen = set()  # channels with controllers in a track before
    for track in tracks:
        counts = np.bincount(np.frombuffer(track, np.uint8), minlength=256).reshape(16, 16)  # of bytes, by halves
        onsets, controls, others = (set(np.flatnonzero(counts[kind]).tolist()) for kind in (0x9, 0xB, 0xF))
        programs = counts[0xC].sum()
        is_late = onsets and b"\xff" in track[track.find(0x90 | min(onsets)) : -3]  # a meta event among notes
        if programs > 1 or controls & seen or controls - onsets or others & {0, 7} or is_late:
            return True
        seen |= controls
    numbers = (track.controls.numpy()["number"] for track in score.tracks if len(track.controls))
    return any((number >= ALL_OFF[0]).any() for number in numbers)


def _are_plain(tracks):
    """Whether each controller is in a channel with notes, none ends notes, no two tracks share a pedal, and so on."""
    with_pedal = set()
    for track in tracks:
        messages = _channel_messages(track)
        if messages is None:
            return False
        status, first, second = messages
        kind, channel = status >> 4, status & 15
        onsets, controls = channel[(kind == 9) & (second > 0)], kind == 0xB
        pedals = set(channel[controls & (first == PEDAL_CONTROLLER)].tolist())
        if pedals & with_pedal or np.isin(first[controls], (*ALL_OFF, RESET)).any():
            return False
        if not set(channel[controls].tolist()) <= set(onsets.tolist()):
            return False
        with_pedal |= pedals
    return True


def _channel_messages(track):
    """Status, first and second data byte of the channel messages of a track, each uint8 (E,), quickly.

    None where that needs `_events`: broken, long SysEx or meta events, running status after them or after messages of
    one data byte.
    """
    data = np.frombuffer(track + bytes(8), np.uint8)
    size, more = len(track), data >= 0x80
    where = np.arange(size, dtype=np.int32) + 1  # of the status byte of an event that begins at each byte
    where += more[:size]
    where += more[:size] & more[1 : size + 1]
    where += more[:size] & more[1 : size + 1] & more[2 : size + 2]
    np.minimum(where, size, out=where)
    status = data[where]
    length = np.where(status >= 0x80, MESSAGE_BYTES[status], 2)
    for kinds, offset in (((0xFF,), 2), ((0xF0, 0xF7), 1)):
        rows = np.flatnonzero(np.isin(status, kinds))
        length[rows] = offset + 1 + data[np.minimum(where[rows] + offset, size)].astype(np.int32)
        length[rows[data[np.minimum(where[rows] + offset, size)] >= 0x80]] = size + 1  # a long one
    following, position, events = (where + length).tolist(), 0, []
    while position < size:
        events.append(position)
        position = following[position]
    if position != size:
        return None
    where = where[events]
    status = data[where]
    is_written, is_other = status >= 0x80, status >= 0xF0
    last = np.maximum.accumulate(np.where(is_written, np.arange(len(where)), 0))
    carried = status[last] if len(where) else status
    if (status == 0xF7).any() or (np.bincount(status[(status >> 4) == 0xC] & 15, minlength=16) > 1).any():
        return None  # SysEx in packets, or a channel that changes its program: symusic parts its pedal
    if (~is_written & ((carried < 0x80) | (carried >= 0xC0) & (carried < 0xE0) | (carried >= 0xF0))).any():
        return None
    where = where + is_written
    rows = ~is_other
    return carried[rows], data[where[rows]], data[np.minimum(where[rows] + 1, size)]


def _events(track):
    """(tick, status, data, where it ends) of a track; of meta events the status is their type, and SysEx is 0xF0.

    What is broken ends it. A status byte that is left out is that of the last channel message, after SysEx and meta
    events too.
    """
    position, tick, running = 0, 0, 0
    try:
        while position < len(track):
            delta, position = _number(track, position)
            tick += delta
            status = track[position]
            if status < 0x80:
                status = running
            else:
                position += 1
            if status in (0xF0, 0xF7):
                length, position = _number(track, position)
                data, status = track[position : position + length], 0xF0
            elif status == 0xFF:
                status = track[position]
                length, position = _number(track, position + 1)
                data = track[position : position + length]
            elif status >> 4 in LENGTHS:
                running, length = status, LENGTHS[status >> 4]
                data = track[position : position + length]
            else:
                return
            position += length
            if position > len(track):
                return
            yield tick, status, data, position
    except IndexError:
        return


def _number(track, position):
    """(value, where it ends) of a number of one to four bytes."""
    value = 0
    for _ in range(4):
        byte = track[position]
        value, position = value << 7 | byte & 0x7F, position + 1
        if byte < 0x80:
            break
    return value, position


def _mended(header, tracks):
    """The Mended of tracks that symusic would not read whole: every note released, every status byte written."""
    result, written, pedals = Mended(b""), [], defaultdict(list)
    for track in tracks:
        events = list(_events(track))
        channels = {status & 15 for _, status, data, _ in events if status >> 4 == 9 and data[1]}
        open_notes, end = defaultdict(deque), 0
        rows = []  # (tick, bytes)
        for tick, status, data, _ in events:
            kind, channel, end = status >> 4, status & 15, max(end, tick)
            if status == 0x2F:
                break
            if kind == 9 and data[1]:
                open_notes[channel, data[0]].append(tick)
            elif kind in (8, 9):
                if not open_notes[channel, data[0]]:
                    continue  # no note to end
                open_notes[channel, data[0]].popleft()
            elif kind == 0xB and data[0] in ALL_OFF:
                rows += [(tick, bytes(row)) for row in _released(open_notes, channel)]
                continue
            elif kind == 0xB and channel != DRUMS and data[0] in (PEDAL_CONTROLLER, RESET):
                pedals[channel].append((tick, data[0] == PEDAL_CONTROLLER and data[1] >= 64))
                continue
            elif status == 0xF0 or kind == 0xB and channel not in channels:
                continue
            rows.append((tick, _message(status, data)))
        held = [(end + NEVER, bytes(row)) for channel in channels for row in _released(open_notes, channel)]
        written.append(_track(rows + held, end + NEVER * bool(held)))
    result.pedal = [sorted(rows, key=lambda row: row[0]) for rows in pedals.values()]
    result.content = join_chunks(header, written)
    return result


def _released(open_notes, channel):
    """Note-offs of the notes of a channel that still sound; they do so no more."""
    rows = []
    for (other, pitch), begun in open_notes.items():
        if other == channel:
            rows += [(0x80 | channel, pitch, 0)] * len(begun)
            begun.clear()
    return rows


def _message(status, data):
    return bytes([status, *data]) if status >= 0x80 else bytes([0xFF, status]) + _varying(len(data)) + bytes(data)


def _varying(value):
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def _track(rows, end):
    """The bytes of a track of (tick, bytes) in order."""
    parts, now = [], 0
    for tick, message in rows:
        parts += [_varying(tick - now), message]
        now = tick
    return b"".join([*parts, _varying(end - now), b"\xff\x2f\x00"])

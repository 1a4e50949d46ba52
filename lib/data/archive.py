"""The MIDI files of a zip or a folder, read in memory: nothing is unpacked to the disk.

Both give members as (name, read): name in Unicode's composed form with "/", read() the file's bytes, or MidiError
with the reason why the member is refused.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lib.data.metadata import compose
from lib.data.note_store import CorpusError
from lib.music.notes import MAX_MIDI_BYTES, MIDI_SUFFIXES, MidiError

UTF8_FLAG = 0x800
DRIVE = re.compile(r"^[A-Za-z]:")


def member_name(info):
    """Name of a zip's member: UTF-8 even where the archive forgets to say so, as PiJAMA's does."""
    name = info.filename
    if not info.flag_bits & UTF8_FLAG:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:  # truly cp437, or nothing we know: keep what zipfile made of it
            name = info.filename
    return compose(name)


def is_unsafe(name):
    """Would this path lead out of the folder that it is unpacked to?"""
    path = name.replace("\\", "/")
    return path.startswith("/") or bool(DRIVE.match(path)) or ".." in path.split("/")


def is_midi(name):
    """A MIDI file by its name, and not what macOS leaves behind."""
    parts = name.replace("\\", "/").split("/")
    junk = parts[-1].startswith("._") or "__MACOSX" in parts
    return not junk and name.lower().endswith(MIDI_SUFFIXES)


@dataclass(frozen=True)
class ZipMember:
    """One file of an open archive."""

    name: str
    archive: Any
    info: Any

    def read(self):
        """Its bytes, or MidiError."""
        if is_unsafe(self.name):
            raise MidiError("has an unsafe path, which leads out of the archive")
        if self.info.file_size > MAX_MIDI_BYTES:
            raise MidiError(f"claims {self.info.file_size >> 20} MB, more than a performance can be")
        try:
            return self.archive.read(self.info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise MidiError(f"is damaged in the archive: {error}") from error
        except (RuntimeError, NotImplementedError) as error:  # a password; an unknown compression
            raise MidiError(f"can't be unpacked: {error}") from error


class ZipSource:
    """A zip as a source of pieces; use it in a with block."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise CorpusError(f"there is no archive at {self.path}")
        try:
            self.archive = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            size = f"{self.path.stat().st_size:,} bytes"
            raise CorpusError(
                f"{self.path} ({size}) is not a zip archive, or was cut short: {error}; download it again"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.archive.close()

    def members(self):
        """All MIDI members, in order of their names."""
        members = [ZipMember(member_name(i), self.archive, i) for i in self.archive.infolist() if not i.is_dir()]
        return sorted((m for m in members if is_midi(m.name)), key=lambda m: m.name)

    def table(self, name):
        """Bytes of the member with this file name, or None."""
        for info in self.archive.infolist():
            member = ZipMember(member_name(info), self.archive, info)
            if PurePosixPath(member.name).name == name:
                return member.read()
        return None


@dataclass(frozen=True)
class FileMember:
    """One file of a folder."""

    name: str
    path: Path

    def read(self):
        """Its bytes, or MidiError."""
        try:
            if (size := self.path.stat().st_size) > MAX_MIDI_BYTES:
                raise MidiError(f"is {size >> 20} MB, more than a performance can be")
            return self.path.read_bytes()
        except OSError as error:
            raise MidiError(f"can't be opened: {error.strerror}") from error


class FolderSource:
    """A folder as a source of pieces."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise CorpusError(f"there is no folder at {self.path}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def members(self):
        """All MIDI files below the folder, in order of their names."""
        paths = ((p, p.relative_to(self.path).as_posix()) for p in self.path.rglob("*"))
        members = [FileMember(compose(name), path) for path, name in paths if is_midi(name) and path.is_file()]
        return sorted(members, key=lambda member: member.name)

    def table(self, name):
        """Bytes of the first file of this name, or None."""
        return next((path.read_bytes() for path in sorted(self.path.rglob(name))), None)

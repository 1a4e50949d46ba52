"""Charts in files: iReal Pro (an irealb:// address or its HTML), MusicXML, typed chords in a text file."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.music.chart import Chart
from lib.music.chords import ChordError
from lib.music.ireal import ireal_tunes
from lib.music.music_xml import read_music_xml

MUSIC_XML = (".musicxml", ".xml", ".mxl")
OTHERS = {  # suffixes of what is no chart for us -> what it is, and the way out
    **dict.fromkeys((".mscz", ".mscx"), "is a MuseScore file. Export it as MusicXML (File, Export)"),
    **dict.fromkeys((".mgu", ".sgu"), "is a Band-in-a-Box file. Export it as MusicXML"),
    **dict.fromkeys(
        (".pdf", ".png", ".jpg", ".jpeg"), "is a picture of a chart. Type its chords, or find it as MusicXML"
    ),
    **dict.fromkeys((".mp3", ".wav", ".m4a", ".ogg", ".flac"), "is audio. Type its chords, or find them as a chart"),
    **dict.fromkeys((".mid", ".midi", ".kar", ".rmi"), "is a MIDI file, no chart: continue it with --continue"),
    **dict.fromkeys((".gp", ".gp5", ".gpx", ".sib", ".musx"), "is another notation program's. Export it as MusicXML"),
}
LONGEST_PATH = 4096  # bytes
MOST_TITLES = 20  # that a message lists


@dataclass(frozen=True)
class Tune:
    """A tune of a file.

    Attributes
    ----------
    title : str
    read : callable() -> Chart; ChordError: it can't be read
    transposition : semitones up that the file itself asks for; they are in the Chart
    """

    title: str
    read: Callable[[], Chart]
    transposition: int = 0


@dataclass(frozen=True)
class ChartFile:
    """A tune that is read.

    Attributes
    ----------
    title, transposition : as of Tune
    chart : Chart
    """

    title: str
    chart: Chart
    transposition: int = 0

    @property
    def metre(self) -> str:
        """Of its first bar, such as "3/4"."""
        return "{}/{}".format(*self.chart.once_through[0].metre)


def find_tunes(source: Path | str) -> list[Tune]:
    """The tunes of a file or of a text, one at least.

    Parameters
    ----------
    source : path of a file; a str that names none is typed chords or an irealb:// address

    Raises
    ------
    ChordError : there is no chart in it
    FileNotFoundError : there is no such file
    """
    path = source if isinstance(source, Path) else _path_of(source)
    if path is None:
        return _tunes_of_text(source, "the text", "")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.suffix.lower() in OTHERS:
        raise ChordError(f"{path} {OTHERS[path.suffix.lower()]}.")
    content = path.read_bytes()
    if path.suffix.lower() in MUSIC_XML:
        try:
            title, chart, semitones = read_music_xml(content)
        except ChordError as error:
            where = f", bar {error.bar}:" if error.bar else ""
            raise ChordError(f"{path}{where} {error.reason}") from error
        return [Tune(title or path.stem, lambda: chart, semitones)]
    return _tunes_of_text(_decoded(content), path, path.stem)


def _path_of(source):
    """The path that a text is: of a file, or at least like one; None: it is typed."""
    if re.search(r"[|\n]|irealb(ook)?:", source) or len(source.encode()) > LONGEST_PATH:
        return None
    try:
        is_file = Path(source).is_file()
    except OSError:  # a part that is too long
        is_file = False
    return Path(source) if is_file or re.fullmatch(r"\S+\.\w{2,8}", source) else None


def find_tune(source: Path | str, title: str | None = None) -> Tune:
    """The tune of a file or of a text.

    Parameters
    ----------
    source : as for `find_tunes`
    title : title, or part of one, where there are several; case, accents' form and punctuation do not matter

    Raises
    ------
    ChordError : no such tune, or several and none chosen; the nearest titles are named
    """
    tunes = find_tunes(source)
    chosen = [tune for tune in tunes if title is None or _key(title) in _key(tune.title)]
    chosen = [tune for tune in chosen if title is not None and _key(title) == _key(tune.title)][:1] or chosen
    if len(chosen) == 1:
        return chosen[0]
    titles = [tune.title for tune in chosen or tunes]
    if title is not None and not chosen:
        keys = {_key(name): name for name in titles}
        near = [keys[key] for key in difflib.get_close_matches(_key(title), keys, n=5, cutoff=0.5)]
        which = f"has no tune {title!r}" + f". The nearest: {'; '.join(near)}" * bool(near)
    else:
        which = f"holds {len(chosen)} tunes: choose one by its title (--tune)"
    more = f"; and {len(titles) - MOST_TITLES} more" if len(titles) > MOST_TITLES else ""
    raise ChordError(f"{source} {which}. It holds: {'; '.join(titles[:MOST_TITLES])}{more}.")


def read_chart(source: Path | str, title: str | None = None) -> ChartFile:
    """A tune of a file; errors as of `find_tune`, and ChordError of what can't be read, by its bar."""
    tune = find_tune(source, title)
    try:
        return ChartFile(tune.title, tune.read(), tune.transposition)
    except ChordError as error:
        is_file = isinstance(source, Path) or _path_of(source) is not None
        where = (str(source) if is_file else "", tune.title, f"bar {error.bar}" if error.bar else "")
        raise ChordError(": ".join(filter(None, (", ".join(filter(None, where)), error.reason)))) from error


def _tunes_of_text(text, source, title):
    if "irealb" in text.lower():
        tunes = [Tune(tune.title, tune.chart, tune.transposition) for tune in ireal_tunes(text)]
        if tunes:
            return tunes
    kinds = f"an irealb:// address of iReal Pro, MusicXML ({', '.join(MUSIC_XML)}) nor typed chords"
    if re.search(r"<\s*(html|body|a|div|p|\?xml)\b", text, re.IGNORECASE) or "\0" in text:
        raise ChordError(f"{source} holds no chart: neither {kinds}.")
    if not title:
        return [Tune("", lambda: Chart.parse(text))]
    try:
        chart = Chart.parse(text)
    except ChordError as error:
        if error.bar in (None, 1) and not re.search(r"[|\n:;]", text.strip()):
            raise ChordError(f"{source} holds no chart: neither {kinds} ({error})") from error
        raise ChordError(f"{source}{f', bar {error.bar}' if error.bar else ''}: {error.reason}") from error
    return [Tune(title, lambda: chart)]


def _decoded(content):
    """The text of a file in UTF-8, UTF-16 with its mark, or Latin-1."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _key(title):
    """A title as titles are compared."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", title)).casefold()
    return " ".join(re.sub(r"['’‘`´]", "", re.sub(r"[^\w'’‘`´]+", " ", plain)).split())

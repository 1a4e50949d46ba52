"""A listening test as one HTML page that needs no network: blind pairs and blind ratings, answers saved as JSON.

Two kinds of items. `ab`: two takes, which is better, or neither. `rate`: all systems' takes on a scale of 0 to 100, a
reference hidden among them and played openly too where one is named, and a low anchor, as MUSHRA does (ITU-R BS.1534-3,
https://www.itu.int/rec/R-REC-BS.1534). The page knows takes by random ids; the key, which says whose they are, is
another file. Order and sides are drawn anew for each listener, in the page.

Excerpts start at the first sound and are equally loud: `Audio` of lib/music/audio.py, loudness as the root mean square
of what sounds, without frequency weighting; between recordings of one instrument that is close enough.
"""

from __future__ import annotations

import dataclasses
import glob
import html
import itertools
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.apps.listening_test.ratings import KEY_KIND
from lib.config import ConfigError, choose
from lib.display.page import fill_page, read_parts
from lib.display.player import sound_values
from lib.music.audio import PEAK, Audio, render_audio
from lib.music.notes import MIDI_SUFFIXES, Notes, read_midi

FOLDER = Path(__file__).parent
KINDS = {"ab": ("ab",), "rate": ("rate",), "both": ("ab", "rate")}
WAV_SUFFIXES = (".wav",)
QUESTION = "jazz piano"
PRACTICE = ("p1", "p2")  # ids of practice_takes
SILENT = 1e-3  # of the loudest sample: what is below is no sound
LEAD_S = 0.05  # of silence that is left before the first sound
FADE_S = 0.5  # of an excerpt that is cut
BLOCK_S = 0.4
GATE = 0.1  # of the loudest block: softer ones do not count as sounding


# --- What is compared ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListeningPlan:
    """What is compared.

    Attributes
    ----------
    takes : dict system -> list of Path, as many of each; those of one rank belong together
    kinds : "ab", "rate" or "both"
    reference, anchor : names of systems, or None
    seconds : of each take, at most
    """

    takes: dict[str, list[Path]]
    kinds: str = "both"
    reference: str | None = None
    anchor: str | None = None
    seconds: float = 15.0


def parse_takes(texts: Iterable[str]) -> dict[str, list[Path]]:
    """["ours=outputs/a/*.mid", "real=FOLDER"] as dict system -> sorted list of Path.

    Raises
    ------
    ConfigError : not NAME=FILES, a name twice, no file there, or files of another kind
    """
    takes = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        if not equals or not name.strip() or name.strip() in takes:
            raise ConfigError(
                f"--takes wants NAME=FILES, each name once, such as 'ours=outputs/a/*.mid'; got {text!r}."
            )
        takes[name.strip()] = _files(pattern)
    if len(takes) < 2:
        raise ConfigError("A comparison wants two systems at least: --takes ours='a/*.mid' --takes real='b/*.mid'.")
    return takes


def _files(pattern):
    folder, known = Path(pattern), (*MIDI_SUFFIXES, *WAV_SUFFIXES)
    paths = [*folder.iterdir()] if folder.is_dir() else [Path(path) for path in glob.glob(pattern, recursive=True)]
    takes = sorted(path for path in paths if path.suffix.lower() in known)
    if len(takes) < len(paths) and not folder.is_dir():
        raise ConfigError(f"{next(path for path in paths if path not in takes)}: takes are .mid or .wav files.")
    if not takes:
        raise ConfigError(f"There is no .mid or .wav file at {pattern}.")
    return takes


def make_plan(
    takes: dict[str, list[Path]],
    items: int | None = None,
    kinds: str = "both",
    reference: str | None = None,
    anchor: str | None = None,
    seconds: float = 15.0,
) -> ListeningPlan:
    """ListeningPlan: takes of one file name belong together where all systems have the same, else those of one rank.

    Parameters
    ----------
    takes : of `parse_takes`
    items : how many takes of each system, evenly spread; None: as many as the system with the fewest has
    kinds, reference, anchor, seconds : see ListeningPlan

    Raises
    ------
    ConfigError : more items than takes, or names that are not there
    """
    choose("kind of test", kinds, KINDS)
    for role, name in (("reference", reference), ("anchor", anchor)):
        if name is not None:
            choose(f"{role}:", name, takes)
    if reference is not None and reference == anchor:
        raise ConfigError(f"{reference!r} can't be the reference and the anchor.")
    scarcest = min(takes, key=lambda name: len(takes[name]))
    fewest = len(takes[scarcest])
    if (items or fewest) > fewest:
        raise ConfigError(f"--items {items}: {scarcest} has {fewest} takes only.")
    alike = len({tuple(sorted(path.stem for path in paths)) for paths in takes.values()}) == 1
    chosen = np.linspace(0, fewest - 1, items or fewest).round().astype(int)
    ranked = {name: sorted(paths, key=lambda path: path.stem if alike else path) for name, paths in takes.items()}
    takes = {name: [paths[index] for index in chosen] for name, paths in ranked.items()}
    return ListeningPlan(takes, kinds, reference, anchor, seconds)


# --- The page ------------------------------------------------------------------------------------------------------


def listening_test(
    plan: ListeningPlan,
    title: str = "",
    question: str = QUESTION,
    soundfont: Path | None = None,
    must_hear_s: float = 5.0,
) -> tuple[str, dict]:
    """The page, and the key to the answers that it will give.

    Parameters
    ----------
    plan : ListeningPlan
    title : str, shown to listeners: it should not say what is compared
    question : what the takes are judged as
    soundfont : of MIDI takes
    must_hear_s : of each take, before an answer counts

    Returns
    -------
    (str, dict) : HTML, and the key: test, takes (id -> system, file), items, reference, anchor

    Raises
    ------
    MidiError, ConfigError, SoundFontError : a take can't be read
    """
    test = secrets.token_hex(8)
    ids = {name: ["t" + secrets.token_hex(5) for _ in paths] for name, paths in plan.takes.items()}
    files = {take: path for name, paths in plan.takes.items() for take, path in zip(ids[name], paths)}
    sounds = {take: _sound_of(path, soundfont) for take, path in files.items()}
    sounds |= {take: render_audio(notes, soundfont) for take, notes in zip(PRACTICE, practice_takes())}
    levelled = dict(zip(sounds, equally_loud([excerpt(audio, plan.seconds) for audio in sounds.values()])))
    items = [item for kind in KINDS[plan.kinds] for item in _items(plan, kind, ids)]
    page = {
        "test": test,
        "title": title or "Listening test",
        "question": question,
        "mustHear": must_hear_s,
        "items": items,
        "practice": [_practice(kind, plan.reference) for kind in KINDS[plan.kinds]],
        "sounds": {take: sound_values(levelled[take])["sound"] for take in sorted(levelled)},  # the order says nothing
    }
    takes = {take: {"system": name, "file": str(files[take])} for name in ids for take in ids[name]}
    key = {"kind": KEY_KIND, "test": test, "takes": takes, "items": items}
    return _page(page), {**key, "reference": plan.reference, "anchor": plan.anchor}


def _items(plan, kind, ids):
    """Items of a kind, sorted by random ids, as their takes are: the order says nothing."""
    items = []
    for rank in range(len(next(iter(ids.values())))):
        for names in itertools.combinations(ids, 2) if kind == "ab" else [tuple(ids)]:
            reference = ids[plan.reference][rank] if kind == "rate" and plan.reference else None
            takes = sorted(ids[name][rank] for name in names)
            items.append({"id": "i" + secrets.token_hex(4), "kind": kind, "takes": takes, "reference": reference})
    return sorted(items, key=lambda item: item["id"])


def _practice(kind, reference):
    shown = PRACTICE[0] if kind == "rate" and reference else None
    return {"id": f"practice {kind}", "kind": kind, "takes": list(PRACTICE), "reference": shown}


def practice_takes() -> tuple[Notes, Notes]:
    """Two Notes to try the page with, none of the takes: a phrase, and the same with wrong keys and late notes."""
    onset_s = np.arange(16) * 0.25
    pitch = np.array([62, 65, 69, 72, 71, 67, 65, 62, 64, 67, 71, 74, 72, 67, 64, 60])
    wrong = pitch + np.where(np.arange(16) % 3 == 2, 1, 0)
    late_s = onset_s + np.where(np.arange(16) % 4 == 1, 0.09, 0.0)
    velocity, length_s = np.full(16, 70), np.full(16, 0.24)
    return Notes.from_arrays(onset_s, length_s, pitch, velocity), Notes.from_arrays(late_s, length_s, wrong, velocity)


def _page(values):
    script = read_parts(FOLDER, *(f"listening_test_{name}.js" for name in ("sound", "page", "items")))
    return fill_page(
        read_parts(FOLDER, "listening_test.html"),
        title=html.escape(values["title"]),
        style=read_parts(FOLDER, "listening_test.css"),
        test=json.dumps(values, ensure_ascii=False).replace("<", "\\u003c"),
        script=script,
    )


# --- Sounds --------------------------------------------------------------------------------------------------------


def _sound_of(path, soundfont):
    return read_wav(path) if path.suffix.lower() in WAV_SUFFIXES else render_audio(read_midi(path), soundfont)


def read_wav(path: Path | str) -> Audio:
    """The sound of a WAV file.

    Returns
    -------
    Audio; one channel sounds on both sides, of more than two the first two are taken

    Raises
    ------
    ConfigError : not a WAV file, or an empty one; the message names it
    """
    import soundfile

    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ConfigError(f"{path} is not a WAV file that can be read: {error.error_string}") from None
    if not len(samples):
        raise ConfigError(f"{path} holds no sound.")
    return Audio(samples[:, [0, min(1, samples.shape[1] - 1)]], rate_hz, "file")


def excerpt(audio: Audio, seconds: float) -> Audio:
    """The first so many seconds of what sounds, faded out where music is cut.

    Parameters
    ----------
    audio : Audio
    seconds : float, at most

    Returns
    -------
    Audio
    """
    loud = np.flatnonzero(np.abs(audio.samples).max(1) > SILENT * max(np.abs(audio.samples).max(initial=0), SILENT))
    first = max(0, loud[0] - round(LEAD_S * audio.sample_rate_hz)) if len(loud) else 0
    size = round(seconds * audio.sample_rate_hz)
    samples = audio.samples[first : first + size].copy()
    if len(audio.samples) - first > size:
        fade = min(len(samples), round(FADE_S * audio.sample_rate_hz))
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return dataclasses.replace(audio, samples=samples)


def loudness(audio: Audio) -> float:
    """Root mean square of the blocks of 0.4 s that sound; 0 where none does."""
    size = round(BLOCK_S * audio.sample_rate_hz)
    power = [float(np.square(audio.samples[at : at + size]).mean()) for at in range(0, len(audio.samples), size)]
    gate = GATE**2 * max(power, default=0.0)
    return float(np.sqrt(np.mean([value for value in power if value >= gate]))) if gate else 0.0


def equally_loud(sounds: Sequence[Audio]) -> list[Audio]:
    """All with the same loudness: the greatest at which no peak passes -1 dB. Silent ones are left as they are.

    Parameters
    ----------
    sounds : list of Audio

    Returns
    -------
    list of Audio
    """
    levels = [(loudness(audio), float(np.abs(audio.samples).max(initial=0))) for audio in sounds]
    common = min((PEAK * rms / peak for rms, peak in levels if rms), default=0.0)
    gains = [common / rms if rms else 1.0 for rms, _ in levels]
    return [dataclasses.replace(audio, samples=audio.samples * np.float32(gain)) for audio, gain in zip(sounds, gains)]

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
import itertools
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.apps.listening_test.ratings import KEY_KIND
from lib.config import ConfigError, choose
from lib.display.page import make_page
from lib.display.player import sound_values
from lib.music.audio import PEAK, Audio, render_audio
from lib.music.notes import MIDI_SUFFIXES, Notes, read_midi

KINDS = {"ab": ("ab",), "rate": ("rate",), "both": ("ab", "rate")}
PRACTICE = ("p1", "p2")  # ids of practice_takes
SILENT = 1e-3  # of the loudest sample: what is below is no sound
LEAD_S = 0.05  # of silence that is left before the first sound
FADE_S = 0.5  # of an excerpt that is cut
BLOCK_S = 0.4
GATE = 0.1  # of the loudest block: softer ones do not count as sounding


def parse_takes(texts: Iterable[str]) -> dict[str, list[Path]]:
    """["ours=outputs/a/*.mid", "real=FOLDER"] as dict system -> sorted list of Path.

    ConfigError where a text is not NAME=FILES, a name comes twice, no file is there, or files are of another kind.
    """
    takes = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        name, folder = name.strip(), Path(pattern)
        if not equals or not name or name in takes:
            raise ConfigError(f"--takes wants NAME=FILES, each name once, as 'ours=outputs/a/*.mid'; got {text!r}.")
        paths = sorted(folder.iterdir() if folder.is_dir() else map(Path, glob.glob(pattern, recursive=True)))
        takes[name] = [path for path in paths if path.suffix.lower() in (*MIDI_SUFFIXES, ".wav")]
        if len(takes[name]) < len(paths) and not folder.is_dir():
            wrong = next(path for path in paths if path not in takes[name])
            raise ConfigError(f"{wrong}: takes are .mid or .wav files.")
        if not takes[name]:
            raise ConfigError(f"There is no .mid or .wav file at {pattern}.")
    if len(takes) < 2:
        raise ConfigError("A comparison wants two systems at least: --takes ours='a/*.mid' --takes real='b/*.mid'.")
    return takes


def choose_takes(takes: dict[str, list[Path]], items: int | None = None) -> dict[str, list[Path]]:
    """So many takes of each system, evenly spread; None: as many as the system with the fewest has.

    Those of one rank belong together: of one file name where all systems have the same. ConfigError where a system has
    fewer.
    """
    scarcest = min(takes, key=lambda name: len(takes[name]))
    fewest = len(takes[scarcest])
    if (items or fewest) > fewest:
        raise ConfigError(f"--items {items}: {scarcest} has {fewest} takes only.")
    alike = len({tuple(sorted(path.stem for path in paths)) for paths in takes.values()}) == 1
    chosen = np.linspace(0, fewest - 1, items or fewest).round().astype(int)
    ranked = {name: sorted(paths, key=lambda path: path.stem if alike else path) for name, paths in takes.items()}
    return {name: [paths[index] for index in chosen] for name, paths in ranked.items()}


def make_test(
    takes: dict[str, list[Path]],
    kinds: str = "both",
    reference: str | None = None,
    anchor: str | None = None,
    seconds: float = 15.0,
    must_hear_s: float = 5.0,
    title: str = "Listening test",
    question: str = "jazz piano",
    soundfont: Path | None = None,
) -> tuple[str, dict]:
    """The page as HTML, and the key to the answers that it will give: test, takes (id -> system, file), items,
    reference, anchor.

    Parameters
    ----------
    takes : of `choose_takes`
    kinds : "ab", "rate" or "both"
    reference, anchor : names of systems, or None
    seconds, must_hear_s : of each take at most, and before an answer counts
    title, question : what listeners read, which should not say what is compared; what takes are judged as

    Raises
    ------
    ConfigError : there is no such system or kind; MidiError, ConfigError, SoundFontError : a take can't be read
    """
    choose("kind of test", kinds, KINDS)
    for role, name in (("reference:", reference), ("anchor:", anchor)):
        if name is not None:
            choose(role, name, takes)
    if reference is not None and reference == anchor:
        raise ConfigError(f"{reference!r} can't be the reference and the anchor.")
    ids = {name: ["t" + secrets.token_hex(5) for _ in paths] for name, paths in takes.items()}
    files = {take: path for name, paths in takes.items() for take, path in zip(ids[name], paths)}
    sounds = {}
    for take, path in files.items():
        is_wav = path.suffix.lower() == ".wav"
        sounds[take] = read_wav(path) if is_wav else render_audio(read_midi(path), soundfont)
    sounds |= {take: render_audio(notes, soundfont) for take, notes in zip(PRACTICE, practice_takes())}
    levelled = dict(zip(sounds, equally_loud([excerpt(audio, seconds) for audio in sounds.values()])))
    items, practice = [], []
    for kind in KINDS[kinds]:
        items += _items(kind, ids, reference)
        shown = PRACTICE[0] if kind == "rate" and reference else None
        practice.append({"id": f"practice {kind}", "kind": kind, "takes": list(PRACTICE), "reference": shown})
    test = {"test": secrets.token_hex(8), "items": items}
    encoded = {take: sound_values(levelled[take])["sound"] for take in sorted(levelled)}  # the order says nothing
    page = {**test, "question": question, "mustHear": must_hear_s, "practice": practice, "sounds": encoded}
    systems = {take: {"system": name, "file": str(files[take])} for name in ids for take in ids[name]}
    key = {"kind": KEY_KIND, **test, "takes": systems, "reference": reference, "anchor": anchor}
    return make_page(Path(__file__).parent, "listening_test", title, test=page), key


def _items(kind, ids, reference):
    """Items of a kind, sorted by random ids, as their takes are: the order says nothing."""
    items = []
    for takes in zip(*ids.values()):
        shown = dict(zip(ids, takes))[reference] if kind == "rate" and reference else None
        for chosen in itertools.combinations(takes, 2) if kind == "ab" else [takes]:
            items.append({"id": "i" + secrets.token_hex(4), "kind": kind, "takes": sorted(chosen), "reference": shown})
    return sorted(items, key=lambda item: item["id"])


def practice_takes() -> tuple[Notes, Notes]:
    """Two Notes to try the page with, none of the takes: a phrase, and the same with wrong keys and late notes."""
    rank = np.arange(16)
    onset_s, velocity, length_s = rank * 0.25, np.full(16, 70), np.full(16, 0.24)
    pitch = np.array([62, 65, 69, 72, 71, 67, 65, 62, 64, 67, 71, 74, 72, 67, 64, 60])
    late_s, wrong = onset_s + np.where(rank % 4 == 1, 0.09, 0.0), pitch + (rank % 3 == 2)
    return Notes.from_arrays(onset_s, length_s, pitch, velocity), Notes.from_arrays(late_s, length_s, wrong, velocity)


def read_wav(path: Path | str) -> Audio:
    """The sound of a WAV file: one channel sounds on both sides, of more than two the first two are taken.

    ConfigError, which names it, where it is none, or empty.
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
    """At most so many seconds of what sounds, faded out where music is cut."""
    peaks, rate_hz = np.abs(audio.samples).max(1), audio.sample_rate_hz
    loud = np.flatnonzero(peaks > SILENT * max(peaks.max(initial=0), SILENT))
    first = max(0, loud[0] - round(LEAD_S * rate_hz)) if len(loud) else 0
    size = round(seconds * rate_hz)
    samples = audio.samples[first : first + size].copy()
    if len(audio.samples) - first > size:
        fade = min(len(samples), round(FADE_S * rate_hz))
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return dataclasses.replace(audio, samples=samples)


def loudness(audio: Audio) -> float:
    """Root mean square of the blocks of 0.4 s that sound; 0 where none does."""
    size = round(BLOCK_S * audio.sample_rate_hz)
    power = [float(np.square(audio.samples[at : at + size]).mean()) for at in range(0, len(audio.samples), size)]
    gate = GATE**2 * max(power, default=0.0)
    return float(np.sqrt(np.mean([value for value in power if value >= gate]))) if gate else 0.0


def equally_loud(sounds: Sequence[Audio]) -> list[Audio]:
    """All with the same loudness: the greatest at which no peak passes -1 dB. Silent ones are left as they are."""
    levels = [(loudness(audio), float(np.abs(audio.samples).max(initial=0))) for audio in sounds]
    common = min((PEAK * rms / peak for rms, peak in levels if rms), default=0.0)
    gains = [common / rms if rms else 1.0 for rms, _ in levels]
    return [dataclasses.replace(audio, samples=audio.samples * np.float32(gain)) for audio, gain in zip(sounds, gains)]

"""A listening test as one HTML page that needs no network: blind pairs and blind ratings, answers saved as JSON.

Two kinds of items. `ab`: two takes, which is better, or neither. `rate`: all systems' takes on a scale of 0 to 100, a reference
hidden among them and heard openly too where one is named, and a low anchor, as MUSHRA does (ITU-R BS.1534-3,
https://www.itu.int/rec/R-REC-BS.1534). The page knows takes by numbers that mean nothing; the key, which says whose they are,
is another file. Order and sides are drawn anew for each listener, in the page.
"""

from __future__ import annotations

import glob
import html
import itertools
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.apps.listening_test.excerpts import equally_loud, excerpt
from lib.config import ConfigError, choose
from lib.display.page import fill_page, read_parts
from lib.display.player import sound_values
from lib.music.audio import Audio, render_audio
from lib.music.notes import MIDI_SUFFIXES, Notes, read_midi

FOLDER = Path(__file__).parent
KINDS = {"ab": ("ab",), "rate": ("rate",), "both": ("ab", "rate")}
WAV_SUFFIXES = (".wav",)
KEY_KIND = "listening test key"
QUESTION = "jazz piano"


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes
    ----------
    takes : dict system -> list of Path, as many of each; those at one place belong together
    kinds : "ab", "rate" or "both"
    reference, anchor : names of systems, or None
    seconds : of each take, at most
    """

    takes: dict
    kinds: str = "both"
    reference: str | None = None
    anchor: str | None = None
    seconds: float = 15.0


def parse_takes(texts):
    """["ours=outputs/a/*.mid", "real=FOLDER"] as dict system -> sorted list of Path.

    Raises
    ------
    ConfigError : not NAME=FILES, a name twice, no file there, or files of another kind
    """
    takes = {}
    for text in texts:
        name, equals, pattern = text.partition("=")
        if not equals or not name.strip() or name.strip() in takes:
            raise ConfigError(f"--takes wants NAME=FILES, each name once, such as 'ours=outputs/a/*.mid'; got {text!r}.")
        takes[name.strip()] = _files(pattern)
    if len(takes) < 2:
        raise ConfigError("A comparison wants two systems at least: --takes ours='a/*.mid' --takes real='b/*.mid'.")
    return takes


def _files(pattern):
    folder, known = Path(pattern), (*MIDI_SUFFIXES, *WAV_SUFFIXES)
    found = [*folder.iterdir()] if folder.is_dir() else [Path(path) for path in glob.glob(pattern, recursive=True)]
    wrong = [path for path in found if path.suffix.lower() not in known and not folder.is_dir()]
    if wrong:
        raise ConfigError(f"{wrong[0]}: takes are .mid or .wav files.")
    found = sorted(path for path in found if path.suffix.lower() in known)
    if not found:
        raise ConfigError(f"There is no .mid or .wav file at {pattern}.")
    return found


def make_plan(takes, items=None, kinds="both", reference=None, anchor=None, seconds=15.0):
    """Plan: takes of one file name belong together where all systems have the same names, else those at one place in order.

    Parameters
    ----------
    takes : of `parse_takes`
    items : how many takes of each system, evenly spread; None: as many as the system with the fewest has
    kinds, reference, anchor, seconds : see Plan

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
    fewest = min(len(paths) for paths in takes.values())
    if (items or fewest) > fewest:
        who = min(takes, key=lambda name: len(takes[name]))
        raise ConfigError(f"--items {items}: {who} has {fewest} takes only.")
    alike = len({tuple(sorted(path.stem for path in paths)) for paths in takes.values()}) == 1
    takes = {name: sorted(paths, key=lambda path: path.stem if alike else path) for name, paths in takes.items()}
    places = np.linspace(0, fewest - 1, items or fewest).round().astype(int)
    return Plan({name: [paths[place] for place in places] for name, paths in takes.items()}, kinds, reference, anchor, seconds)


def listening_test(plan, title="", question=QUESTION, soundfont=None, must_hear_s=5.0):
    """The page, and the key to the answers that it will give.

    Parameters
    ----------
    plan : Plan
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
    test, ids = secrets.token_hex(8), {}
    for name, paths in plan.takes.items():
        for place in range(len(paths)):
            ids[name, place] = "t" + secrets.token_hex(5)
    files = {ids[name, place]: path for name, paths in plan.takes.items() for place, path in enumerate(paths)}
    sounds = [excerpt(_sound_of(path, soundfont), plan.seconds) for path in files.values()]
    practice = [excerpt(render_audio(notes, soundfont), plan.seconds) for notes in practice_takes()]
    levelled = equally_loud([*sounds, *practice])
    items = [item for kind in KINDS[plan.kinds] for item in _items(plan, kind, ids)]
    names = sorted(files)  # an order that says nothing
    by_id = dict(zip([*files, "p1", "p2"], levelled))
    page = {"test": test, "title": title or "Listening test", "question": question, "mustHear": must_hear_s, "items": items,
            "practice": [_practice(kind, plan.reference) for kind in KINDS[plan.kinds]],
            "sounds": {name: sound_values(by_id[name])["sound"] for name in [*names, "p1", "p2"]}}  # fmt: skip
    whose = {take: {"system": name, "file": str(files[take])} for (name, _), take in ids.items()}
    key = {"kind": KEY_KIND, "test": test, "takes": whose, "items": items, "reference": plan.reference, "anchor": plan.anchor}
    return _page(page), key


def _items(plan, kind, ids):
    """Items of a kind; their takes in an order that says nothing."""
    found = []
    for place in range(len(next(iter(plan.takes.values())))):
        groups = itertools.combinations(plan.takes, 2) if kind == "ab" else [tuple(plan.takes)]
        for names in groups:
            reference = ids[plan.reference, place] if kind == "rate" and plan.reference else None
            takes = sorted(ids[name, place] for name in names)
            found.append({"id": "i" + secrets.token_hex(4), "kind": kind, "takes": takes, "reference": reference})
    return sorted(found, key=lambda item: item["id"])


def _practice(kind, reference):
    shown = "p1" if kind == "rate" and reference else None
    return {"id": f"practice {kind}", "kind": kind, "takes": ["p1", "p2"], "reference": shown}


def practice_takes():
    """Two Notes to try the page with, none of the takes: a phrase, and the same stumbling over wrong keys."""
    onset_s = np.arange(16) * 0.25
    pitch = np.array([62, 65, 69, 72, 71, 67, 65, 62, 64, 67, 71, 74, 72, 67, 64, 60])
    wrong = pitch + np.where(np.arange(16) % 3 == 2, 1, 0)
    late_s = onset_s + np.where(np.arange(16) % 4 == 1, 0.09, 0.0)
    velocity, length_s = np.full(16, 70), np.full(16, 0.24)
    return Notes.from_arrays(onset_s, length_s, pitch, velocity), Notes.from_arrays(late_s, length_s, wrong, velocity)


def _sound_of(path, soundfont):
    return read_wav(path) if path.suffix.lower() in WAV_SUFFIXES else render_audio(read_midi(path), soundfont)


def _page(values):
    script = read_parts(FOLDER, *(f"listening_test_{name}.js" for name in ("sound", "page", "items")))
    test = json.dumps(values, ensure_ascii=False).replace("<", "\\u003c")
    return fill_page(read_parts(FOLDER, "listening_test.html"), title=html.escape(values["title"]),
                     style=read_parts(FOLDER, "listening_test.css"), test=test, script=script)  # fmt: skip


def read_wav(path):
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

"""Fixtures: solos of the released weights, as files and as takes."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def played():
    """Two Solos: straight at 120, and one of 12/8 that swings at 133 quarters a minute."""
    from lib.generation.generate import generate, load_improviser
    from lib.generation.request import GenerateRequest

    improviser, steps = load_improviser(released=True, device="cpu"), {"num_steps": 10}
    straight = GenerateRequest(bars=8, seed=1, chords="Cmaj7 | Dm7 G7 | Em7 A7", feel="straight", **steps)
    chords, time = "FΔ/A | B♭ø", {"tempo_bpm": 133.0, "metre": "12/8", "feel": "swing"}
    swung = GenerateRequest(bars=4, seed=2, chords=chords, **time, **steps)
    return [generate(improviser, request) for request in (straight, swung)]


@pytest.fixture(scope="session")
def solos(played, tmp_path_factory):
    """Their files, as `generate` writes them."""
    folder = tmp_path_factory.mktemp("solos")
    return [solo.write(folder / f"solo-{number}.mid") for number, solo in enumerate(played, 1)]


@pytest.fixture(scope="session")
def takes(solos):
    from lib.apps.fl_studio.script import read_take

    return [read_take(path) for path in solos]


@pytest.fixture(scope="session")
def text(takes):
    from lib.apps.fl_studio.script import script_text

    return script_text(takes, "Mehldau Solo")


@pytest.fixture(scope="session")
def take_of():
    """callable(pitches, ...) -> ScriptTake: a key after the other."""
    from lib.apps.fl_studio.script import ScriptTake, steady
    from lib.music.notes import Notes

    def make(pitches, beats=0.5, tempo_bpm=120.0, chords=(), name="plain"):
        onset_s = np.arange(len(pitches)) * beats * 60 / tempo_bpm
        velocity = np.linspace(1, 127, len(pitches))
        notes = Notes.from_arrays(onset_s, np.full(len(pitches), 0.2), pitches, velocity)
        return ScriptTake(name, notes, steady(tempo_bpm), chords=chords)

    return make

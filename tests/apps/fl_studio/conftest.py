"""Fixtures: solos of the released weights, as files and as takes."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def solos(tmp_path_factory):
    """Two solos, one in three at 97 bpm, written as `generate` writes them."""
    from lib.generation.generate import generate, load_improviser
    from lib.generation.request import GenerateRequest
    from lib.music.hands import left_hand
    from lib.music.notes import write_midi

    folder, improviser = tmp_path_factory.mktemp("solos"), load_improviser(released=True, device="cpu")
    asked = [GenerateRequest(seconds=16.0, seed=1, num_steps=10, chords="Cmaj7 | Dm7 G7 | Em7 A7"),
             GenerateRequest(seconds=8.0, seed=2, num_steps=10, chords="FΔ/A | B♭ø", tempo_bpm=97.0, beats_per_bar=3)]  # fmt: skip
    for number, request in enumerate(asked, 1):
        solo = generate(improviser, request)
        path = folder / f"solo-{number}.mid"
        write_midi(solo.notes, path, request.tempo_bpm, solo.chords, left_hand(solo.notes), request.beats_per_bar)
    return sorted(folder.iterdir())


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
    from lib.apps.fl_studio.script import ScriptTake
    from lib.music.notes import Notes

    def make(pitches, beats=0.5, tempo_bpm=120.0, chords=(), name="plain"):
        onset_s = np.arange(len(pitches)) * beats * 60 / tempo_bpm
        velocity = np.linspace(1, 127, len(pitches))
        return ScriptTake(name, Notes.from_arrays(onset_s, np.full(len(pitches), 0.2), pitches, velocity), tempo_bpm, chords)

    return make

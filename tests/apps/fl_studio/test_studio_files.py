"""The .mid in a program that is not ours: MuseScore reads it without a screen and says what it found."""

import os
import shutil
import subprocess
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

from lib.music.midi_writer import write_midi
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

MUSESCORES = ("mscore3", "musescore3", "mscore", "musescore", "mscore4portable")
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@pytest.fixture(scope="module")
def musescore():
    found = next(filter(None, map(shutil.which, MUSESCORES)), None)
    if found is None:
        pytest.skip("MuseScore is not installed (apt install musescore3)")
    return found


def opened(musescore, midi, folder):
    """The score as MusicXML, written by MuseScore."""
    (folder / "home").mkdir(mode=0o700, exist_ok=True)
    home = {name: str(folder / "home") for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment, out = {**os.environ, **home, "QT_QPA_PLATFORM": "offscreen"}, folder / f"{midi.stem}.musicxml"
    done = subprocess.run([musescore, "-o", out, midi], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return ElementTree.parse(out).getroot()


def pitches(part):
    """How often each pitch begins: notes that a tie goes on with don't."""
    found = Counter()
    for note in part.iter("note"):
        pitch = note.find("pitch")
        if pitch is not None and note.find("tie[@type='stop']") is None:
            alter = int(pitch.findtext("alter", "0"))
            found[12 * (int(pitch.findtext("octave")) + 1) + STEPS[pitch.findtext("step")] + alter] += 1
    return found


@pytest.mark.slow
def test_a_tune_on_the_beat_arrives_exactly(musescore, tmp_path):
    right, left = [60, 62, 64, 65, 67, 69, 71, 72, 74], [48, 43, 45]
    onset_s = [*np.arange(9) * 0.5, *np.arange(3) * 1.5]
    notes = Notes.from_arrays(onset_s, [0.5] * 9 + [1.5] * 3, right + left, [80] * 12)
    waltz = TempoMap.constant(120.0, Metre(3, 4), 3)
    midi = write_midi(notes, tmp_path / "waltz.mid", waltz, [(0.0, "CΔ")], notes.pitch < 55)
    score = opened(musescore, midi, tmp_path)
    hands = {name.text.split(", ")[-1]: pitches(part) for name, part in zip(score.iter("part-name"), score.iter("part"))}
    assert hands == {"Right hand": Counter(right), "Left hand": Counter(left)}
    time = next(score.iter("time"))
    assert (time.findtext("beats"), time.findtext("beat-type")) == ("3", "4")
    assert next(score.iter("sound")).get("tempo") == "120"


@pytest.mark.slow
def test_a_solo_arrives_whole(musescore, tmp_path):
    from lib.generation.generate import generate, load_improviser
    from lib.generation.request import GenerateRequest

    solo = generate(load_improviser(released=True, device="cpu"), GenerateRequest(bars=10, seed=1))
    midi = solo.write(tmp_path / "solo.mid")
    found = sum(map(pitches, opened(musescore, midi, tmp_path).iter("part")), Counter())
    played = Counter(solo.notes.pitch.tolist())
    # MuseScore rounds to written values: two strikes of a key within a sixteenth become one
    assert len(solo.notes) > 100 and sum((played - found).values()) <= 0.03 * len(solo.notes) and not found - played

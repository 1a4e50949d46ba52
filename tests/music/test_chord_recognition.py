"""Chord recognition on voicings whose chord is known."""

import numpy as np
import pytest
import torch

from lib.music.chart import QUALITIES, QUALITY_NAMES, chord_features, chord_of, parse_chord
from lib.music.chord_recognition import label_features, labels_to_symbols, recognise_chords
from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH, notes_to_piano_roll, sounding_roll


def voicing(root, intervals, frames=200):
    """A bass note and a close voicing above middle C, held."""
    sounding = torch.zeros(1, 88, frames)
    sounding[0, 36 + root - LOWEST_PITCH] = 0.6
    for interval in intervals:
        sounding[0, 60 + (root + interval) % 12 - LOWEST_PITCH] = 0.5
    return sounding


@pytest.mark.parametrize("quality", QUALITY_NAMES)
def test_a_voicing_in_every_key(quality):
    for root in range(12):
        labels = recognise_chords(voicing(root, QUALITIES[quality]))
        wanted = chord_of(root, QUALITY_NAMES.index(quality)).symbol
        assert set(labels_to_symbols(labels)[0]) == {wanted}


def test_a_progression_changes_where_it_is_played():
    sounding = torch.cat([voicing(0, (0, 4, 7, 11), 100), voicing(9, (0, 3, 7, 10), 100)], -1)
    symbols = labels_to_symbols(recognise_chords(sounding))[0]
    assert symbols[:20] == ["Cmaj7"] * 20 and symbols[-20:] == ["Am7"] * 20
    change = symbols.index("Am7")
    assert abs(change - 25) <= 4 and set(symbols) == {"Cmaj7", "Am7"}


def test_passing_notes_do_not_change_the_chord():
    chord = [(0.0, 4.0, pitch, 70) for pitch in (36, 52, 58, 64)]
    line = [(0.25 * i, 0.25, 72 + step, 80) for i, step in enumerate([0, 2, 4, 5, 7, 9, 10, 9, 7, 5, 4, 2, 0, 2, 4, 0])]
    notes = Notes.from_arrays(*(np.array(column) for column in zip(*(chord + line), strict=True)))
    symbols = labels_to_symbols(recognise_chords(sounding_roll(notes_to_piano_roll(notes, 200))))[0]
    assert set(symbols) == {"C7"}


def test_slash_bass_and_silence():
    sounding = torch.zeros(1, 88, 400)
    sounding[:, 40 - LOWEST_PITCH, :200] = 0.7  # E below C major
    for pitch in (60, 64, 67, 72):
        sounding[:, pitch - LOWEST_PITCH, :200] = 0.5
    symbols = labels_to_symbols(recognise_chords(sounding))[0]
    assert symbols[10] == "C/E"
    assert symbols[-10:] == ["N.C."] * 10


def test_features_agree_with_those_of_symbols():
    labels = recognise_chords(voicing(2, (0, 3, 7, 10)))
    features = label_features(labels)
    assert features.shape == (1, 50, 37)
    assert torch.equal(features[0, 7:8], chord_features([parse_chord("Dm7")]))
    silent = label_features(recognise_chords(torch.zeros(1, 88, 200)))
    assert not silent.any()


def test_examples_of_a_batch_do_not_touch():
    one, other = voicing(0, (0, 4, 7)), voicing(5, (0, 3, 7))
    both = recognise_chords(torch.cat([one, other]))
    assert torch.equal(both.root[:1], recognise_chords(one).root)
    assert torch.equal(both.quality[1:], recognise_chords(other).quality)

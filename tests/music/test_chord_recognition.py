"""Chord recognition on voicings whose chord is known."""

import itertools

import numpy as np
import pytest
import torch

from lib.music.chart import chord_features, chord_frames
from lib.music.chord_recognition import chord_symbols, recognise_chords
from lib.music.chords import QUALITIES, QUALITY_NAMES, Chord, parse_chord
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
        wanted = Chord.of(root, QUALITY_NAMES.index(quality)).symbol
        assert set(chord_symbols(labels)[0]) == {wanted}


def test_a_progression_changes_where_it_is_played():
    sounding = torch.cat([voicing(0, (0, 4, 7, 11), 100), voicing(9, (0, 3, 7, 10), 100)], -1)
    symbols = chord_symbols(recognise_chords(sounding))[0]
    assert symbols[:20] == ["Cmaj7"] * 20 and symbols[-20:] == ["Am7"] * 20
    change = symbols.index("Am7")
    assert abs(change - 25) <= 4 and set(symbols) == {"Cmaj7", "Am7"}


def test_passing_notes_do_not_change_the_chord():
    chord = [(0.0, 4.0, pitch, 70) for pitch in (36, 52, 58, 64)]
    line = [(0.25 * i, 0.25, 72 + step, 80) for i, step in enumerate([0, 2, 4, 5, 7, 9, 10, 9, 7, 5, 4, 2, 0, 2, 4, 0])]
    notes = Notes.from_arrays(*(np.array(column) for column in zip(*(chord + line), strict=True)))
    symbols = chord_symbols(recognise_chords(sounding_roll(notes_to_piano_roll(notes, 200))))[0]
    assert set(symbols) == {"C7"}


def test_slash_bass_and_silence():
    sounding = torch.zeros(1, 88, 400)
    sounding[:, 40 - LOWEST_PITCH, :200] = 0.7  # E below C major
    for pitch in (60, 64, 67, 72):
        sounding[:, pitch - LOWEST_PITCH, :200] = 0.5
    symbols = chord_symbols(recognise_chords(sounding))[0]
    assert symbols[10] == "C/E"
    assert symbols[-10:] == ["N.C."] * 10


def test_features_agree_with_those_of_symbols():
    frames = recognise_chords(voicing(2, (0, 3, 7, 10)))
    assert frames.shape == (1, 50, 3) and frames.dtype == torch.int8
    features = chord_features(frames)
    assert features.shape == (1, 50, 37)
    assert torch.equal(features[0, 7:8], chord_features(chord_frames([parse_chord("Dm7")])))
    silent = chord_features(recognise_chords(torch.zeros(1, 88, 200)))
    assert not silent.any()


def test_a_chord_of_a_frame_is_that_of_its_symbol():
    for root, quality, bass in itertools.product(range(12), range(len(QUALITIES)), range(12)):
        chord = Chord.of(root, quality, bass)
        assert parse_chord(chord.symbol) == chord and chord.frame == (root, quality, bass)


def test_examples_of_a_batch_do_not_touch():
    one, other = voicing(0, (0, 4, 7)), voicing(5, (0, 3, 7))
    both = recognise_chords(torch.cat([one, other]))
    assert torch.equal(both[:1], recognise_chords(one)) and torch.equal(both[1:], recognise_chords(other))

"""Chord recognition on voicings whose chord is known."""

import itertools

import numpy as np
import pytest
import torch

from lib.music.chart import chord_features, chord_frames
from lib.music.chord_recognition import CELL, _switch_costs, chord_symbols, recognise_chords
from lib.music.chords import QUALITIES, QUALITY_NAMES, Chord, parse_chord
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENT_STRIDE, LOWEST_PITCH, notes_to_piano_roll, sounding_roll
from lib.music.tempo_map import LONGEST_BAR, UNKNOWN_CLOCK, BeatNotes, Metre, TempoMap, clock_frames


def recognised(sounding, metre=None, beats_before=0):
    """Chords of a sounding roll, in bars of a metre that begin so many beats before it; None: no beat is known."""
    length = sounding.shape[-1] // LATENT_STRIDE
    clock = np.tile(UNKNOWN_CLOCK, (length, 1))
    if metre:
        before = round(6 * beats_before)
        clock = clock_frames(TempoMap.constant(120, Metre.parse(metre), 20), before + length)[before:]
    return recognise_chords(sounding, torch.from_numpy(clock.astype(np.int64)).expand(len(sounding), -1, -1))


def voicing(root, intervals, frames=8 * FRAMES_PER_BEAT):
    """A bass note and a close voicing above middle C, held."""
    sounding = torch.zeros(1, 88, frames)
    sounding[0, 36 + root - LOWEST_PITCH] = 0.6
    for interval in intervals:
        sounding[0, 60 + (root + interval) % 12 - LOWEST_PITCH] = 0.5
    return sounding


@pytest.mark.parametrize("quality", QUALITY_NAMES)
def test_a_voicing_in_every_key(quality):
    for root in range(12):
        labels = recognised(voicing(root, QUALITIES[quality]))
        wanted = Chord.of(root, QUALITY_NAMES.index(quality)).symbol
        assert set(chord_symbols(labels)[0]) == {wanted}


@pytest.mark.parametrize("metre", [None, "4/4"])
def test_a_progression_changes_where_it_is_played(metre):
    sounding = torch.cat([voicing(0, (0, 4, 7, 11), 96), voicing(9, (0, 3, 7, 10), 96)], -1)
    symbols = chord_symbols(recognised(sounding, metre))[0]
    assert symbols[:20] == ["Cmaj7"] * 20 and symbols[-20:] == ["Am7"] * 20
    change = symbols.index("Am7")
    assert abs(change - 24) <= 3 and set(symbols) == {"Cmaj7", "Am7"}
    assert metre is None or change == 24, "with the bar known, on its line"


def test_a_short_chord_on_a_bar_line_is_heard_where_one_between_beats_is_not():
    long = voicing(0, (0, 4, 7, 11), 4 * FRAMES_PER_BEAT)
    sounding = torch.cat([long, voicing(2, (0, 3, 7, 10), FRAMES_PER_BEAT), long], -1)
    on_bar, off_beat = (set(chord_symbols(recognised(sounding, "4/4", before))[0]) for before in (0, 0.5))
    assert on_bar == {"Cmaj7", "Dm7"} and off_beat == {"Cmaj7"}


def test_a_change_costs_least_on_bar_lines_more_on_half_bars_beats_and_between_them():
    clocks = ([0, 0, 24], [0, 12, 24], [0, 6, 24], [3, 3, 24], [0, LONGEST_BAR, 0], UNKNOWN_CLOCK)
    costs = [_cost_of(clock) for clock in clocks]
    assert costs[0] < costs[1] < costs[2] < costs[3] and costs[4] == costs[5] == costs[2]


def _cost_of(clock):
    return float(_switch_costs(torch.tensor([[clock] * 3]))[0, 0])


def test_passing_notes_do_not_change_the_chord():
    chord = [(0.0, 8.0, pitch, 70) for pitch in (36, 52, 58, 64)]
    line = [(0.5 * i, 0.5, 72 + step, 80) for i, step in enumerate([0, 2, 4, 5, 7, 9, 10, 9, 7, 5, 4, 2, 0, 2, 4, 0])]
    onset, length, pitch, velocity = (np.array(column) for column in zip(*sorted(chord + line), strict=True))
    notes = BeatNotes(onset, onset + length, pitch, velocity, np.zeros((0, 2)))
    sounding = sounding_roll(notes_to_piano_roll(notes, 8 * FRAMES_PER_BEAT))
    for metre in (None, "4/4", "3/4"):
        assert set(chord_symbols(recognised(sounding, metre))[0]) == {"C7"}


def test_slash_bass_and_silence():
    sounding = torch.zeros(1, 88, 400)
    sounding[:, 40 - LOWEST_PITCH, :200] = 0.7  # E below C major
    for pitch in (60, 64, 67, 72):
        sounding[:, pitch - LOWEST_PITCH, :200] = 0.5
    symbols = chord_symbols(recognised(sounding))[0]
    assert symbols[10] == "C/E"
    assert symbols[-10:] == ["N.C."] * 10


def test_a_chord_lasts_half_a_beat_at_least_and_covers_every_latent_frame():
    for latents in (47, 48, 49):
        chords = recognised(voicing(2, (0, 3, 7, 10), latents * LATENT_STRIDE))
        assert chords.shape == (1, latents, 3)
    random = torch.rand(1, 88, 8 * FRAMES_PER_BEAT, generator=torch.Generator().manual_seed(0))
    chords = recognised(random * (random > 0.97), "4/4")[0]
    changes = (chords[1:] != chords[:-1]).any(1).nonzero().flatten() + 1
    assert len(changes) and (changes % CELL == 0).all()


def test_features_agree_with_those_of_symbols():
    frames = recognised(voicing(2, (0, 3, 7, 10)))
    assert frames.shape == (1, 48, 3) and frames.dtype == torch.int8
    features = chord_features(frames)
    assert features.shape == (1, 48, 37)
    assert torch.equal(features[0, 7:8], chord_features(chord_frames([parse_chord("Dm7")])))
    silent = chord_features(recognised(torch.zeros(1, 88, 200)))
    assert not silent.any()


def test_a_chord_of_a_frame_is_that_of_its_symbol():
    for root, quality, bass in itertools.product(range(12), range(len(QUALITIES)), range(12)):
        chord = Chord.of(root, quality, bass)
        assert parse_chord(chord.symbol) == chord and chord.frame == (root, quality, bass)


def test_examples_of_a_batch_do_not_touch():
    one, other = voicing(0, (0, 4, 7)), voicing(5, (0, 3, 7))
    both = recognised(torch.cat([one, other]), "4/4")
    assert torch.equal(both[:1], recognised(one, "4/4")) and torch.equal(both[1:], recognised(other, "4/4"))

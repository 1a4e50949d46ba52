"""Excerpts keep notes and beats together under every alteration, and a network learns from them."""

import numpy as np
import pytest
import torch

from lib.models.beat_tracker import NUM_INPUTS, BeatNetwork
from lib.music.beat_tracking import ACTIVATION_HZ
from lib.music.notes import Notes
from lib.training.stages.beat_tracker import (
    EXCERPT_FRAMES,
    LabelledNotes,
    excerpt,
    fit_beat_network,
    smear,
    spans,
    swing,
)


def example(steady=True, beats=120, period_s=0.5):
    """A note on each beat; every fourth is a downbeat, and the second half of the piece is not known."""
    beats_s = 3.0 + period_s * np.arange(beats)
    notes = Notes(beats_s, np.full(beats, 0.3), np.full(beats, 60), np.full(beats, 70))
    half = np.arange(beats) < beats // 2
    return LabelledNotes(notes, beats_s, beats_s[::4], half, half, steady)


@pytest.mark.parametrize("seed", range(6))
def test_notes_on_beats_stay_on_beats(seed):
    inputs, targets, weights = excerpt(example(), np.random.default_rng(seed))
    assert inputs.shape == (NUM_INPUTS, EXCERPT_FRAMES) and targets.shape == weights.shape == (2, EXCERPT_FRAMES)
    onsets, beats = inputs[:88].max(0) > 0, targets[0] == 1
    onsets = onsets[slice(*np.flatnonzero(beats)[[0, -1]])]  # the beats' own; there may be notes before and after
    assert onsets.sum() >= 0.6 * beats.sum() > 8 and not onsets[~beats[slice(*np.flatnonzero(beats)[[0, -1]])]].any()
    assert (targets[1] == 1).sum() <= beats.sum() // 4 + 1 and (targets[1] <= targets[0]).all()
    gap_s = np.median(np.diff(np.flatnonzero(beats))) / ACTIVATION_HZ
    assert 0.5 / np.exp(0.36) < gap_s < 0.5 * np.exp(0.36)


def test_only_known_beats_count():
    beats_s = 1.0 + 0.5 * np.arange(8)
    weights = spans(beats_s, np.arange(8) >= 4)
    frames = np.flatnonzero(weights)
    assert frames[0] == 150 - 3 and frames[-1] == 250 - 4
    assert not spans(beats_s, np.zeros(8, dtype=bool)).any()


def test_targets_are_peaks_three_frames_wide():
    target = smear(np.array([0.0, 1.0, 29.98, 99.0]))
    assert target[:3].tolist() == [1, 0.5, 0] and target[49:52].tolist() == [0.5, 1, 0.5] and target[-2:].tolist() == [0.5, 1]


def test_swing_moves_the_second_eighth_and_keeps_beats():
    moved = [swing(np.array([1.0, 1.5, 2.0, 2.25]), np.random.default_rng(seed)) for seed in range(40)]
    assert all(positions[[0, 2]].tolist() == [1, 2] for positions in moved)
    swung = [positions for positions in moved if positions[1] != 1.5]
    assert 5 < len(swung) < 25 and all(1.56 <= p[1] <= 1.7 and p[3] == pytest.approx(2 + (p[1] - 1) / 2) for p in swung)


def test_a_small_network_learns_beats_that_are_notes():
    torch.manual_seed(0)
    lines = []
    network = BeatNetwork(8)
    fit_beat_network(network, lambda rng: [example(seed % 2 == 0) for seed in range(2)], 100, 3e-2, report=lines.append)
    assert not network.training and lines[0].startswith("step 100 loss")
    inputs, targets, weights = excerpt(example(), np.random.default_rng(99))
    with torch.inference_mode():
        logits = network(torch.from_numpy(inputs[None]))[0, 0].numpy()
    known = weights[0] > 0
    assert logits[known & (targets[0] == 1)].mean() > logits[known & (targets[0] == 0)].mean() + 1

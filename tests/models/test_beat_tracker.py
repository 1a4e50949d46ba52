"""The tracker's parts: what the network hears, what is written to a file, which grids are kept, what has no beat."""

import numpy as np
import pytest
import torch

from lib.models.beat_tracker import (
    NUM_INPUTS,
    BeatNetwork,
    BeatTracker,
    DownbeatNetwork,
    TrackerSettings,
    beat_inputs,
    predict_activations,
    steady_runs,
)
from lib.music.beat_tracking import ACTIVATION_HZ, LINE, keeps_own_grid
from lib.music.notes import Notes
from lib.music.tempo_map import NO_BEAT

BINS = 48


def profiles():
    """Log profiles (1, 3, BINS) with peaks on the beat, and half-way where lines are played."""
    phase = np.arange(BINS) / BINS
    density = np.tile(0.3 + 2 * np.exp(-0.5 * (np.minimum(phase, 1 - phase) / 0.03) ** 2), (1, 3, 1))
    density[0, LINE] += np.exp(-0.5 * ((phase - 0.5) / 0.03) ** 2)
    return np.log(density / density.mean(2, keepdims=True))


def tracker(steady=None, **settings):
    torch.manual_seed(0)
    settings = TrackerSettings(steady=steady or {}, **settings)
    return BeatTracker(BeatNetwork(16).eval(), DownbeatNetwork(width=16).eval(), profiles(), settings)


def stride(bpm=120, beats=80, start_s=0.3, seed=0):
    """Bass and chord in turn under a line in eighths."""
    rng, period = np.random.default_rng(seed), 60 / bpm
    beat = start_s + period * np.arange(beats)
    onset_s = np.r_[beat[::2], np.repeat(beat[1::2], 3), beat, beat + period / 2]
    pitch = np.r_[np.full(beats // 2, 40), np.tile([58, 62, 65], beats // 2), rng.integers(70, 84, 2 * beats)]
    onset_s = onset_s + rng.normal(0, 0.006, len(onset_s))
    return Notes.from_arrays(onset_s, np.full(len(onset_s), 0.2), pitch, np.full(len(onset_s), 70))


def test_onsets_lie_in_their_frames_and_keys():
    notes = Notes.from_arrays([0.0, 0.1, 0.1, 9.0], np.ones(4), [21, 60, 108, 60], [127, 64, 64, 64])
    inputs = beat_inputs(notes, 100)
    assert inputs.shape == (NUM_INPUTS, 100) and inputs[0, 0] == 1 and (inputs[:88] > 0).sum() == 3
    assert inputs[39, 5] == pytest.approx(64 / 127) and inputs[88, 5] == pytest.approx(2 / 8)


def test_activations_do_not_depend_on_what_follows_much_later():
    network, notes = BeatNetwork(16).eval(), stride(beats=120)
    short, long = (predict_activations(network, part) for part in (notes.between(0.0, 45.0), notes))
    frames = 30 * ACTIVATION_HZ
    for name in ("beat", "downbeat"):
        assert np.allclose(getattr(short, name)[..., :frames], getattr(long, name)[..., :frames], atol=1e-4)
    assert len(long.beat) == len(long.downbeat) >= 60 * ACTIVATION_HZ


def test_a_piece_that_follows_the_player_has_felt_beats_and_bars_as_written():
    beats_s, downbeats_s = tracker().find_written_bars(stride())
    assert np.diff(beats_s).min() > 0.19 and np.diff(beats_s).max() <= 2.0
    assert set(downbeats_s) <= set(beats_s) and 2 <= len(beats_s) / len(downbeats_s) <= 4
    median = np.median(tracker(min_confidence=-9.0).track(stride(), steady=False).bpm)
    assert 75 <= median <= 170


def test_a_stride_piece_is_mapped_to_its_beats():
    tempo_map = tracker(min_confidence=0.0).track(stride(bpm=132))
    position = tempo_map.to_beats(0.3 + 60 / 132 * np.arange(4, 76))
    assert np.abs(position - np.rint(position)).max() < 0.1
    assert np.median(tempo_map.bpm) == pytest.approx(132, rel=0.02)
    assert not (tempo_map.bars["kind"] == NO_BEAT).any()


def test_music_that_gains_nothing_runs_at_125_without_beat_or_bar():
    tempo_map = tracker(min_confidence=99.0).track(stride())
    assert tempo_map.bars["kind"].tolist() == [NO_BEAT]
    assert tempo_map.bpm == pytest.approx(125, rel=0.02)


def test_too_few_notes_to_track_have_no_beat():
    notes = Notes.from_arrays([0.0, 1.0], [0.5, 0.5], [60, 62], [64, 64])
    assert tracker().track(notes).bars["kind"].tolist() == [NO_BEAT]
    nothing = Notes.from_arrays([], [], [], [])
    assert tracker().track(nothing).bars["kind"].tolist() == [NO_BEAT]


def test_a_saved_tracker_tracks_the_same(tmp_path):
    first = tracker({"period_s": (0.4, 0.7)}, sure_bar=0.5)
    first.save(tmp_path / "tracker.safetensors")
    second = BeatTracker.load(tmp_path / "tracker.safetensors")
    assert second.settings.sure_bar == 0.5 and tuple(second.settings.steady["period_s"]) == (0.4, 0.7)
    maps = [each.track(stride()) for each in (first, second)]
    assert maps[0].beats_s == pytest.approx(maps[1].beats_s)
    assert (tmp_path / "tracker.safetensors").stat().st_size < 1e6


def test_a_file_keeps_the_grid_that_its_notes_sit_on():
    grid_s = 0.5 * np.arange(100)
    on_grid_s = 0.125 * np.arange(300)
    assert keeps_own_grid(on_grid_s, grid_s, grid_s * 1.013)
    assert not keeps_own_grid(np.random.default_rng(0).uniform(0, 40, 500), grid_s, grid_s * 1.013)
    assert not keeps_own_grid(on_grid_s, grid_s * 1.013, grid_s)


def test_a_written_grid_replaces_tracked_beats():
    notes, own_s = stride(bpm=150, start_s=0.0), 0.4 * np.arange(90)
    tempo_map = tracker({"period_s": (0.45, 0.58)}).track(notes, own_beats_s=own_s)
    assert tempo_map.beats_s == pytest.approx(own_s) and (tempo_map.bars["confidence"] == 1).all()
    twice = tracker({"period_s": (0.45, 0.58)}).track(notes, own_beats_s=0.2 * np.arange(180))
    assert np.diff(twice.beats_s) == pytest.approx(0.4)  # the felt level of 300 a minute


def test_short_stretches_in_or_out_of_time_are_dropped():
    mask = np.r_[np.ones(20), np.zeros(3), np.ones(20), np.zeros(20), np.ones(3), np.zeros(20)].astype(bool)
    runs = steady_runs(mask)
    assert runs[:43].all() and not runs[43:].any()
    assert steady_runs(np.ones(5, dtype=bool)).all() and not steady_runs(np.zeros(5, dtype=bool)).any()

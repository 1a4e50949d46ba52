"""Beats of synthetic performances are found again: steady, drifting, swung, and not where there are none."""

import numpy as np
import pytest

from lib.music.beat_tracking import (
    ACTIVATION_HZ,
    BASS,
    CHORD,
    LINE,
    Activations,
    BeatModel,
    BeatPath,
    OnsetGroups,
    activation_scores,
    change_costs,
    decode,
    group_index,
    group_onsets,
    onset_gains,
    onset_scores,
    phase_lock,
)

BINS = 48


def peaked(*peaks, floor=0.3, width=0.03):
    """Log profile (BINS,) with peaks (phase, height)."""
    phase = np.arange(BINS) / BINS
    profile = np.full(BINS, floor)
    for place, height in peaks:
        distance = np.minimum(abs(phase - place), 1 - abs(phase - place))
        profile += height * np.exp(-0.5 * (distance / width) ** 2)
    return np.log(profile / profile.mean())


STRAIGHT = np.stack(
    [peaked((0, 3), (0.5, 1)), peaked((0, 2), (0.5, 1.3)), peaked((0, 1.6), (0.5, 1.4), (0.25, 0.8), (0.75, 0.8))]
)
SWUNG = np.stack(
    [peaked((0, 3), (2 / 3, 1)), peaked((0, 2), (2 / 3, 1.3)), peaked((0, 1.6), (2 / 3, 1.4), (1 / 3, 0.5))]
)
MODEL = BeatModel(np.stack([STRAIGHT, SWUNG]), feel_change=1e6)


def performance(beats_s, second_eighth=0.5, jitter_s=0.008, seed=0):
    """Bass on the beats, chords on some, a line in eighths: groups in time order."""
    rng = np.random.default_rng(seed)
    position = np.arange(len(beats_s) - 1)
    eighths = position + second_eighth
    kinds = np.where(position % 2 == 0, BASS, CHORD)
    kept = rng.random(len(eighths)) < 0.8
    where = np.r_[position, eighths[kept]]
    time_s = np.interp(where, np.arange(len(beats_s)), beats_s) + rng.normal(0, jitter_s, len(where))
    order = np.argsort(time_s)
    kind = np.r_[kinds, np.full(kept.sum(), LINE)][order]
    return OnsetGroups(time_s[order], kind, np.ones(len(order)))


def agreement(found_s, beats_s):
    """Share of the beats with a found beat within 40 ms."""
    inside = beats_s[2:-3]
    return float((np.abs(inside[:, None] - found_s[None]).min(1) < 0.04).mean())


@pytest.mark.parametrize("bpm", [88, 120, 156])
@pytest.mark.parametrize(("second_eighth", "feel"), [(0.5, 0), (2 / 3, 1)])
def test_steady_beats_and_their_feel_are_found(bpm, second_eighth, feel):
    beats_s = 0.7 + 60 / bpm * np.arange(100)
    path = decode(performance(beats_s, second_eighth), MODEL)
    assert agreement(path.beats_s, beats_s) > 0.97
    assert np.median(np.diff(path.beats_s)) == pytest.approx(60 / bpm, abs=0.01)
    assert np.bincount(path.feel, minlength=2).argmax() == feel


def test_a_slowly_changing_tempo_is_followed():
    periods = 0.5 * np.exp(np.linspace(0, 0.3, 120))
    beats_s = np.r_[0.4, 0.4 + np.cumsum(periods)]
    assert agreement(decode(performance(beats_s), MODEL).beats_s, beats_s) > 0.95


def test_feel_changes_within_a_piece_when_that_is_cheap():
    beats_s = 0.5 * np.arange(121)
    straight, swung = performance(beats_s[:61]), performance(beats_s[60:], 2 / 3)
    columns = [np.concatenate([getattr(straight, c), getattr(swung, c)]) for c in ("time_s", "kind", "weight")]
    model = BeatModel(MODEL.log_profiles, feel_change=4.0)
    feel = decode(OnsetGroups(*columns), model).feel
    assert feel[5:50].mean() < 0.1 and feel[70:110].mean() > 0.9


def quavers():
    """A line in even eighths at 120, which says nothing about where beats lie."""
    return OnsetGroups(0.25 * np.arange(400), np.full(400, LINE), np.ones(400))


def heard(end_s, beats_s):
    """Activations with peaks at beats."""
    frames = int(end_s * ACTIVATION_HZ) + 10
    beat = np.full(frames, -2.0, dtype=np.float32)
    beat[np.rint(np.asarray(beats_s) * ACTIVATION_HZ).astype(int)] = 3.0
    return Activations(beat, beat)


def test_activations_decide_between_levels_that_onsets_leave_open():
    truth_s = 0.25 + 0.5 * np.arange(198)
    model = BeatModel(MODEL.log_profiles, beat_weight=1.0, beat_offset=-1.0)
    path = decode(quavers(), model, heard(100, truth_s))
    assert agreement(path.beats_s, truth_s) > 0.97 and len(path.beats_s) < 205


def test_activations_alone_find_beats_without_profiles():
    truth_s = 0.3 + 0.8 * np.arange(100)
    model = BeatModel(
        None, hz=50, period_s=(0.2, 2.0), changes=(1, 2, 4), stiffness=5.0, beat_weight=1.0, beat_offset=-1.0
    )
    assert agreement(decode(quavers(), model, heard(100, truth_s)).beats_s, truth_s) > 0.97


def test_no_path_beats_the_one_found_on_a_short_piece():
    """Dynamic programming against every sequence of beats there is."""
    groups, activations = performance(0.1 + 0.5 * np.arange(5), jitter_s=0.02), heard(4, [0.6, 1.4])
    model = BeatModel(
        MODEL.log_profiles,
        10,
        (0.4, 0.7),
        changes=(1,),
        stiffness=10.0,
        feel_change=1.0,
        beat_weight=0.3,
    )
    num_frames = int(groups.time_s[-1] * model.hz) + 2
    scores = onset_scores(groups, model, num_frames) + activation_scores(activations, model, num_frames)
    costs, periods = dict(change_costs(model)), model.periods

    def score_of(path):
        """Score of (feel, period's index) of each beat from a frame on."""
        frame, total = path[0], 0.0
        for (feel, k), before in zip(path[1], (None, *path[1])):
            total += scores[feel, k, frame]
            frame += periods[k]
            if before is not None:
                total -= model.feel_change * (before[0] != feel)
                total -= costs[before[1] - k][min(k, before[1]), 0] if before[1] != k else 0.0
        return total

    def paths_from(frame, beats):
        if frame >= num_frames:
            yield beats
            return
        for feel in range(2):
            for k in range(len(periods)):
                if not beats or abs(beats[-1][1] - k) <= 1:
                    yield from paths_from(frame + periods[k], (*beats, (feel, k)))

    every = ((first, beats) for first in range(periods[-1]) for beats in paths_from(first, ()))
    best = max(every, key=score_of)
    path = decode(groups, model, activations)
    assert np.rint(np.diff(path.beats_s) * model.hz).astype(int).tolist() == [periods[k] for _, k in best[1]]
    assert path.feel.tolist() == [feel for feel, _ in best[1]] and round(path.beats_s[0] * model.hz) == best[0]


def test_notes_struck_together_are_one_group_of_the_right_kind():
    onset_s = np.array([0.0, 0.01, 0.02, 0.5, 1.0, 1.01, 1.02])
    groups = group_onsets(onset_s, np.array([40, 60, 64, 72, 60, 64, 67]), np.array([60, 60, 60, 60, 90, 60, 60]))
    assert groups.kind.tolist() == [BASS, LINE, CHORD]
    assert groups.time_s == pytest.approx([0.01, 0.5, 1.01])
    assert group_index(onset_s).tolist() == [0, 0, 0, 1, 2, 2, 2] and groups.weight.tolist() == [1, 1, 1.5]


def test_lock_is_one_on_the_grid_and_none_off_it():
    beats_s = 0.5 * np.arange(65)
    assert phase_lock(0.125 * np.arange(256), beats_s, (4,)) == pytest.approx(1)
    assert phase_lock(0.125 * np.arange(256), beats_s, (3,)) < 0.05
    assert phase_lock(np.random.default_rng(0).uniform(0, 32, 4000), beats_s).max() < 0.06
    assert phase_lock(np.array([99.0]), beats_s).tolist() == [0, 0]


def test_onsets_gain_under_the_feel_in_which_they_were_played():
    beats_s = 0.5 * np.arange(200)
    groups = performance(beats_s, 2 / 3)
    swung, straight = (
        onset_gains(groups, BeatPath(beats_s, np.full(199, feel)), MODEL.log_profiles)[1].mean() for feel in (1, 0)
    )
    assert swung > straight + 0.4
    beat, gain = onset_gains(groups, BeatPath(beats_s[50:60], np.zeros(9, dtype=int)), MODEL.log_profiles)
    assert (beat == -1).sum() > 100 and not gain[beat == -1].any() and beat.max() == 8

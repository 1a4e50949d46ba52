"""Form: what comes back is found at its length; shuffled bars have none, and a loop has far too much."""

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import real_clips
from lib.apps.evaluate.clips import Clip, ClipSet
from lib.apps.evaluate.measures import beat_features, solo_measures
from lib.apps.evaluate.structure import (
    _fitness,
    bar_recurrence,
    fitness_scape,
    looped,
    plot_scapes,
    structure_measures,
)
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap

BAR = 4  # beats, of half a second each
KEYS = ("structure_2_8", "structure_8_16", "structure_16")


def section(seed, bars):
    """Notes on eighths in a key of its own."""
    generator = np.random.default_rng(seed)
    onset_s = np.arange(bars * BAR * 2) / 4
    scale = generator.choice(np.arange(12), 5, replace=False)
    count = len(onset_s)
    kept = generator.random(count) < 0.7
    pitch = 48 + 12 * generator.integers(0, 2, count) + generator.choice(scale, count)
    columns = (onset_s, np.full(count, 0.24), pitch, generator.integers(40, 90, count))
    return Notes.from_arrays(*(column[kept] for column in columns))


def solo(sections, bars):
    """A clip of sections of so many bars each."""
    notes = section(0, 1).between(0, 0)
    for number, part in enumerate(sections):
        notes = notes.followed_by(part, number * bars * BAR / 2)
    beats = len(sections) * bars * BAR
    return Clip(notes, TempoMap.constant(120, Metre(4, 4), beats // BAR), beats)


def test_a_perfect_repetition_has_the_fitness_of_the_paper():
    clip = solo([section(n, 4) for n in range(2)], 4)
    features = np.tile(np.eye(16), (2, 1))  # each beat is like the one four bars later, and no other
    scape = fitness_scape(clip, features)
    assert scape.shape == (4, 8) and np.isnan(scape[0]).all() and np.isnan(scape[3, 5:]).all()
    assert scape[3, 0] == pytest.approx(0.5)  # score (32 - 16) / 32 cells, coverage (32 - 16) / 32 beats
    assert scape[1, 0] == pytest.approx(2 * 0.5 * 0.25 / 0.75)  # two bars of four: half of the coverage
    assert np.nanmax(scape) == scape[3, 0]


def fitness_step_by_step(matrix, first, length):
    """The fitness of one segment as the paper has it: the best path family, then the way back."""
    beats, nowhere = len(matrix), -np.inf
    score, back = np.full((beats + 1, length + 1), nowhere), {}
    score[0, 0] = 0  # before the first beat
    for n in range(1, beats + 1):
        skip = {(n - 1, 0): score[n - 1, 0], (n - 1, length): score[n - 1, length]}
        back[n, 0] = max(skip, key=skip.get)
        score[n, 0] = skip[back[n, 0]]
        for m in range(1, length + 1):
            ways = [(n, 0)] if m == 1 else [(n - 1, m - 1), (n - 2, m - 1), (n - 1, m - 2)]
            ways = [(i, j) for i, j in ways if i >= 0 and (j > 0 or m == 1)] or [(n, 0)]
            back[n, m] = max(ways, key=lambda way: score[way])
            if m == 1 or ways != [(n, 0)]:
                score[n, m] = score[back[n, m]] + matrix[n - 1, first + m - 1]
    at = max([(beats, 0), (beats, length)], key=lambda end: score[end])
    best, cells, covered = score[at], 0, set()
    while at != (0, 0):
        before = back[at]
        if at[1]:
            cells += 1
            covered |= set(range(before[0] + 1, at[0] + 1)) | {at[0]}
        at = before
    normalised, coverage = (best - length) / max(cells, 1), (len(covered) - length) / beats
    return 2 * normalised * coverage / (normalised + coverage) if min(normalised, coverage) > 0 else 0.0


def test_it_is_the_fitness_of_the_paper_step_by_step():
    generator = np.random.default_rng(3)
    pattern = generator.integers(0, 5, 10)
    steps = np.concatenate([pattern, generator.integers(0, 5, 4), np.delete(pattern, 4), generator.integers(0, 5, 9)])
    matrix = np.where(steps[:, None] == steps, generator.uniform(0.2, 1, (32, 32)), -0.7)
    for length in (4, 8, 12):
        starts = np.arange(0, 32 - length, 4)
        expected = [fitness_step_by_step(matrix, start, length) for start in starts]
        assert _fitness(matrix, starts, length) == pytest.approx(expected)
        assert max(expected) > 0.05


def test_a_form_is_found_at_its_length():
    a, b, c = (section(seed, 8) for seed in (1, 2, 3))
    song, through = solo([a, a, b, a] * 2, 8), solo([section(seed, 8) for seed in range(10, 18)], 8)
    shuffled = ClipSet([song], ("song",)).shuffled().clips[0]
    loop = song.with_notes(looped(song))
    form, free, mixed, bot = (structure_measures(clip, beat_features(clip)) for clip in (song, through, shuffled, loop))
    for key in KEYS[1:]:  # in short segments shuffled bars come back as often
        assert form[key] > 3 * free[key] and form[key] > 1.3 * mixed[key], key
    scape = fitness_scape(song, beat_features(song))
    assert scape[7, 0] > 0.6 and scape[31, 0] == pytest.approx(0.5, abs=0.05), "a chorus of 32 bars, twice"
    assert all(bot[key] > 1.3 * form[key] for key in KEYS if key != "structure_8_16") and bot[KEYS[1]] > form[KEYS[1]]
    assert free["bar_recurrence"] < 0.1 < form["bar_recurrence"] < bot["bar_recurrence"]
    assert solo([a, b, c], 8).beats == 96


def test_bars_that_recur():
    one, two = section(4, 1), section(5, 1)
    assert bar_recurrence(solo([one, two, one, one], 1)) == pytest.approx(2 / 3)
    assert np.isnan(bar_recurrence(solo([one], 1))) and bar_recurrence(solo([one, two], 1)) == 0


def test_too_little_music_says_nothing():
    short, silent = solo([section(1, 1)], 1), solo([section(1, 1).between(0, 0)] * 16, 1)
    for clip in (short, silent):
        found = structure_measures(clip, beat_features(clip))
        assert np.isnan([found[key] for key in KEYS]).all() and np.isnan(found["bar_recurrence"])
    assert solo_measures(silent).keys() == solo_measures(short).keys()


def test_the_loop_bot_plays_its_first_two_bars_in_time():
    clip = solo([section(seed, 4) for seed in range(4)], 4)
    notes = looped(clip)
    first = notes.between(0, 4.0)
    assert len(notes) == 8 * len(first) and notes.between(8.0, 12.0).pitch.tolist() == first.pitch.tolist()


def test_a_scape_is_drawn_and_described():
    clip = solo([section(seed, 4) for seed in range(4)], 4)
    figure = plot_scapes({"a solo": fitness_scape(clip, beat_features(clip))})
    assert len(figure.axes) == 2 and figure.axes[0].get_title() == "a solo"


def test_real_solos_lie_between_shuffled_bars_and_a_loop(pijama):
    real = real_clips(pijama, "Brad Mehldau", "validation", 4, 256)
    sets = {"real": real, "shuffled": real.shuffled(), "loop": real.changed(lambda clip, _: looped(clip))}
    rows = {name: [structure_measures(clip, beat_features(clip)) for clip in part.clips] for name, part in sets.items()}
    means = {name: {key: np.nanmean([row[key] for row in part]) for key in part[0]} for name, part in rows.items()}
    for key in (*KEYS, "bar_recurrence"):
        assert means["shuffled"][key] < means["real"][key] < means["loop"][key] / 1.3, (key, means)

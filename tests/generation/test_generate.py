"""From a run to a solo: reproducible, as long as asked, over the chords asked, steered by rules."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from lib.checkpoints.checkpoint import CheckpointError
from lib.config import ConfigError, build, preset
from lib.data.corpora import open_corpus
from lib.diffusion.sampling import NUM_REVISIONS, guided_steps
from lib.generation.generate import generate, generate_many, infill, load_improviser
from lib.generation.request import GenerateRequest, Order
from lib.music.chart import Chart
from lib.music.chords import ChordError
from lib.music.notes import Notes, read_midi
from lib.music.piano_roll import FRAMES_PER_BEAT, PianoRoll
from lib.music.rules import Rule
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, Metre, TempoMap, bar_table, in_beats
from lib.training.loop import train


@pytest.fixture(scope="module")
def improviser(tiny_runs):
    return load_improviser(tiny_runs / "brad_final", device="cpu")


@pytest.fixture(scope="module")
def pianist(demo_data, tmp_path_factory):
    """An improviser that has learned just enough to play and to listen; preset tiny alone would be silent."""
    runs, rare = tmp_path_factory.mktemp("small"), {"save_every": 1000, "validate_every": 1000}
    train(preset("vqvae", "tiny", steps=100, lr=6e-3, **rare), demo_data, runs)
    train(preset("style_encoder", "tiny", steps=20, lr=3e-3, **rare), demo_data, runs)
    train(preset("diffusion", "tiny", steps=150, lr=1e-2, ema_decay=0.9, **rare), demo_data, runs)
    return load_improviser(runs / "diffusion", device="cpu")


def request(**wishes):
    return build(GenerateRequest, {"seconds": 4.0, "num_steps": 4, **wishes})


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("onset_s", "pitch", "velocity"))


def test_the_same_seed_plays_the_same_solo(pianist):
    first, again, other = (generate(pianist, request(seed=seed)).notes for seed in (1, 1, 2))
    assert len(first) and same(first, again) and not same(first, other)


def frames_of(solo):
    """Onsets of the new music in frames from its first beat on, float64."""
    begins = float(solo.tempo_map.to_beats(solo.begins_s))
    return (in_beats(solo.notes, solo.tempo_map).onset - begins) * FRAMES_PER_BEAT


@pytest.mark.parametrize(
    ("tempo_bpm", "metre", "bar_s"),
    [
        (120.0, "4/4", 2.0),
        (90.0, "3/4", 2.0),
        (150.0, "12/8", 2.4),
        (100.0, "7/8", 2.1),
        (60.0, "4/4", 4.0),
        (240.0, "4/4", 1.0),
    ],
)
def test_a_solo_is_in_time_whatever_tempo_and_metre(pianist, tmp_path, tempo_bpm, metre, bar_s):
    solo = generate(pianist, request(seconds=None, bars=4, tempo_bpm=tempo_bpm, metre=metre, seed=3))
    assert len(solo.notes) and solo.ends_s == pytest.approx(4 * bar_s)
    frames = frames_of(solo)
    assert np.abs(frames - np.rint(frames)).max() < 1e-6 and solo.notes.onset_s.max() < 4 * bar_s
    lines_s = solo.tempo_map.bar_lines_s()
    assert lines_s[:4] == pytest.approx(bar_s * np.arange(4)) and 75 <= solo.tempo_map.bpm[0] <= 170
    assert np.rint(solo.tempo_map.bars["numerator"][0]) == int(metre.split("/")[0])
    back = in_beats(read_midi(solo.write(tmp_path / "solo.mid")), solo.tempo_map)
    assert np.array_equal(np.rint(back.onset * FRAMES_PER_BEAT), np.rint(frames)), "the file has the exact frames"


@pytest.mark.parametrize(("fields", "seconds"), [({"choruses": 2}, 8.0), ({"bars": 3}, 6.0), ({}, 30.0), ({"seconds": 5.5}, 5.5)])
def test_choruses_bars_or_seconds(tiny_runs, improviser, fields, seconds):
    chart = {"chords": "Cmaj7 | Dm7"} if fields else {"chords": "Cmaj7 | Dm7 | G7"}
    solo = generate(improviser, build(GenerateRequest, {**chart, "num_steps": 1, **fields}))
    assert (solo.begins_s, solo.ends_s) == (0.0, seconds)
    assert solo.piano_roll.num_frames == math.ceil(seconds * 2 * 6 - 1e-9) * 4 and solo.notes.onset_s.max(initial=0) < seconds


@pytest.mark.parametrize("seconds", [5.0, 10.24, 25.0])
def test_as_long_as_asked(pianist, seconds):
    ends_s = [generate(pianist, request(seconds=seconds, seed=seed)).notes.onset_s.max(initial=0) for seed in range(1, 9)]
    assert 0.7 * seconds < max(ends_s) < seconds  # so little trained, it may rest for a while


def test_a_longer_solo_begins_like_the_shorter(pianist):
    short, long = (generate(pianist, request(seconds=seconds)).notes for seconds in (20.0, 30.0))
    window_s = 16.0  # 32 beats
    assert len(short.between(0, window_s)) and same(short.between(0, window_s), long.between(0, window_s))


def test_the_chart_is_told_where_it_changes(pianist):
    solo = generate(pianist, request(chords="Cmaj7 | Dm7 G7", seconds=6.0, tempo_bpm=120))
    assert [symbol for _, symbol in solo.chords] == ["Cmaj7", "Dm7", "G7", "Cmaj7"]
    assert np.allclose([time_s for time_s, _ in solo.chords], [0, 2, 3, 4], atol=1e-9)


def test_going_on_from_a_performance(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 9.3)
    for before in (played, played.between(0, 1.5)):  # longer than what is heard of it, and shorter
        solo = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), prompt=before)
        assert before.end_s <= solo.begins_s < before.end_s + 0.5 and solo.begins_s % 0.5 == pytest.approx(0), "a beat"
        assert np.isclose(solo.tempo_map.bar_lines_s(), solo.begins_s).any(), "on which a bar begins"
        kept, new = solo.notes.between(0, solo.begins_s), solo.notes.between(solo.begins_s, np.inf)
        assert same(kept, before) and len(new) and new.onset_s.max() < 6.0
        assert [symbol for _, symbol in solo.chords] == ["Cmaj7", "Dm7", "Cmaj7"]
        assert np.allclose([time_s for time_s, _ in solo.chords], solo.begins_s + np.array([0, 2, 4]))
    other = open_corpus("demo", demo_data).piece_notes(1).between(0, 9.3)
    others = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), prompt=other)
    assert not same(others.notes.between(others.begins_s, np.inf), new)  # it listens


def test_a_prompt_with_its_own_beats_is_continued_on_the_next_of_them(pianist, tmp_path):
    """A performance at 97 whose first beat comes at 0.3 s, in bars of 3/4; new music at 120 in 4/4 behind it."""
    tempo_map = TempoMap.constant(97.0, Metre.parse("3/4"), 4, start_s=0.3)
    beats_s = tempo_map.beats_s[:8]
    played = Notes.from_arrays(beats_s, np.full(8, 0.3), np.full(8, 60), np.full(8, 80))
    solo = generate(pianist, request(seconds=4.0), prompt=played, tempo_map=tempo_map)
    assert solo.begins_s == pytest.approx(tempo_map.beats_s[8]) and played.end_s <= solo.begins_s
    assert solo.tempo_map.to_beats(beats_s) == pytest.approx(1 + np.arange(8)), "a beat was added to cover second 0"
    new = solo.tempo_map.to_beats(solo.begins_s + 0.5 * np.arange(6)) - solo.tempo_map.to_beats(solo.begins_s)
    assert new == pytest.approx(np.arange(6))
    kinds = solo.tempo_map.bars["kind"].tolist()
    assert kinds[:4] == [BEATS_ONLY, IN_BARS, IN_BARS, BEATS_ONLY], "the last bar of 3/4 is cut"
    back = read_midi(solo.write(tmp_path / "solo.mid"))
    assert np.allclose(back.onset_s, solo.notes.onset_s, atol=2e-3)


def test_silence_is_continued(pianist):
    empty = Notes.from_arrays([], [], [], [])
    assert generate(pianist, request(), prompt=empty).begins_s == 0.0


def test_a_passage_is_played_anew_and_the_rest_stays(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 30.0)
    for from_s, to_s in ((4.0, 8.0), (0.0, 3.2), (8.0, 24.0)):  # in the middle, at the start, longer than a window
        solo = infill(pianist, request(chords="Cmaj7 | Dm7"), played, from_s, to_s)
        assert (solo.begins_s, solo.ends_s) == pytest.approx((from_s, to_s))
        for start_s, end_s in ((0, solo.begins_s), (solo.ends_s, np.inf)):
            assert same(solo.notes.between(start_s, end_s), played.between(start_s, end_s))
        new = solo.notes.between(solo.begins_s, solo.ends_s)
        assert len(new) and not same(new, played.between(solo.begins_s, solo.ends_s))
        assert solo.chords[0] == (solo.begins_s, "Cmaj7")
    for from_s, to_s in ((5.0, 5.0), (-1.0, 3.0), (40.0, 50.0)):
        with pytest.raises(ConfigError, match="not a passage of a performance of"):
            infill(pianist, request(), played, from_s, to_s)
    with pytest.raises(ConfigError, match="contains no beat to begin on; the next one is at 4.50 s"):
        infill(pianist, request(), played, 4.1, 4.4)


def test_new_music_in_a_passage_lies_on_the_beats_of_the_performance(pianist):
    beats_s = 0.2 + np.cumsum(np.r_[0, np.linspace(0.4, 0.6, 40)])
    tempo_map = TempoMap(beats_s, bar_table(4.0 * np.arange(10), np.full(10, 4.0), IN_BARS, 1.0, Metre(4, 4)))
    played = Notes.from_arrays(beats_s[:40], np.full(40, 0.3), 40 + np.arange(40), np.full(40, 80))
    solo = infill(pianist, request(chords="Cmaj7 | Dm7", seed=2), played, 5.0, 9.0, tempo_map=tempo_map)
    first = math.ceil(tempo_map.to_beats(5.0))
    assert solo.begins_s == pytest.approx(beats_s[first]) and solo.ends_s == 9.0
    new = in_beats(solo.notes.between(solo.begins_s, 9.0), solo.tempo_map)
    onset = solo.tempo_map.to_beats(solo.notes.onset_s)
    inside = (solo.notes.onset_s >= solo.begins_s - 1e-9) & (solo.notes.onset_s < 9.0)
    frames = onset[inside] * FRAMES_PER_BEAT
    assert len(new) and np.abs(frames - np.rint(frames)).max() < 1e-6
    assert solo.chords[0][0] == pytest.approx(beats_s[first]) and solo.chords[1][0] == pytest.approx(beats_s[first + 4])
    assert same(solo.notes.between(0, solo.begins_s), played.between(0, solo.begins_s))


def test_music_that_begins_within_a_bar_goes_on_in_it(pianist):
    """As in a duet: a prompt of two beats and a quarter, then silence; the music is to begin on the fourth beat."""
    prompt, four, told = Notes.from_arrays([0.0, 0.5, 1.0], [0.4, 0.4, 0.2], [60, 62, 64], [80] * 3), Metre(4, 4), []
    chart = Chart.parse("Cmaj7 | Dm7").excerpt(3, 8)

    def rules(part):
        told.append(part)
        return []

    order = {"notes": prompt, "to_s": 1.5, "rules": rules, "tempo_map": TempoMap.constant(120.0, four, 4)}
    charted, own = generate_many(
        pianist,
        [
            Order(request(seconds=None, choruses=1), chart=chart, **order),
            Order(request(seconds=None, bars=2, own_changes=True), into_bar=Fraction(3), **order),
        ],
    )
    for solo, part in zip((charted, own), told[:2], strict=True):
        assert (solo.begins_s, solo.ends_s) == (1.5, pytest.approx(5.5))
        first = -part.start
        assert part.clock[first : first + 12, 1].tolist() == [*range(18, 24), *range(6)], "a beat, then a bar line"
        assert set(part.clock[first : first + 12, 2].tolist()) == {24}
        assert solo.tempo_map.bar_lines_s()[-3:] == pytest.approx([1.5, 2.0, 4.0])


def test_a_passage_has_the_bars_and_the_tempo_of_the_performance(pianist):
    beats_s = np.cumsum(np.r_[0, np.full(20, 0.5), np.full(20, 0.4)])  # 120, then 150
    tempo_map = TempoMap(beats_s, bar_table(3.0 * np.arange(13), np.full(13, 3.0), IN_BARS, 1.0, Metre(3, 4)))
    played, told = Notes.from_arrays(beats_s[:40], np.full(40, 0.3), 40 + np.arange(40), np.full(40, 80)), []
    infill(pianist, request(), played, 10.0, 14.0, rules=lambda part: told.append(part) or [], tempo_map=tempo_map)
    clock, bpm, first = told[0].clock, told[0].bpm, -told[0].start
    assert clock[first, 1] == 2 * 6 and set(clock[:first, 2]) == {18}, "the 21st beat is the third of a bar"
    assert bpm[first - 40] == pytest.approx(120, rel=0.02) and bpm[first + 40] == pytest.approx(150, rel=0.02)


def test_what_comes_before_a_passage_and_after_it_is_heard(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 20.0)
    after = played.between(0, 10.0).followed_by(open_corpus("demo", demo_data).piece_notes(7).between(0, 10.0), 10.0)
    for seed in range(4):
        one, other = (infill(pianist, request(seed=seed), notes, 6.0, 9.0).notes for notes in (played, after))
        if not same(one.between(6.0, 9.0), other.between(6.0, 9.0)):
            return
    raise AssertionError("four infillings are the same, whatever follows them")


def test_the_chorus_before_is_a_reference_from_the_second_window_on(pianist):
    chorus = {"seconds": 30.0, "chords": "Cmaj7 | Dm7 | Fm7 | Bb7"}  # of 8 s; a window is 16 s
    reminded, free = (generate(pianist, request(recall=recall, **chorus)).notes for recall in (1.0, 0.0))
    assert same(reminded.between(0, 16.0), free.between(0, 16.0)), "the first window has nothing to come back to"
    assert not same(reminded.between(16.0, 30.0), free.between(16.0, 30.0))


def test_a_vamp_is_kept_before_it_comes_back(pianist):
    """Its own bars are those of a solo without one; what comes after them is another."""
    plain, vamp = (generate(pianist, request(seconds=None, bars=8, recall=1.0, vamp=bars)) for bars in (None, 2))
    assert same(plain.notes.between(0, 4.0), vamp.notes.between(0, 4.0))
    assert not same(plain.notes.between(4.0, 16.0), vamp.notes.between(4.0, 16.0))


def test_a_theme_is_a_reference_from_the_first_bar_on(pianist, demo_data):
    theme = in_beats(open_corpus("demo", demo_data).piece_notes(0), TempoMap.constant(120, Metre(4, 4), 30)).between(0, 8)
    solos = [
        generate(pianist, request(recall=recall), theme=notes).notes for recall, notes in ((1.0, None), (1.0, theme), (0.0, theme))
    ]
    assert not same(solos[0], solos[1]) and same(solos[0], solos[2])


@pytest.mark.parametrize("other", [{"feel": "swing"}, {"feel": "straight"}, {"metre": "3/4"}, {"tempo_bpm": 132.0}])
def test_feel_metre_and_tempo_are_told_to_the_model(pianist, other):
    """Other music, in frames, for the same seed: the model hears the difference."""
    plain, changed = (generate(pianist, request(seconds=None, bars=8, **fields)) for fields in ({}, other))
    count = min(len(plain.notes), len(changed.notes))
    assert count and not np.array_equal(frames_of(plain)[:count], frames_of(changed)[:count])


def test_rules_of_ones_own(pianist):
    def black_keys(wishes):
        keys = torch.tensor([(pitch + 21) % 12 in (1, 3, 6, 8, 10) for pitch in range(88)]).float()
        share = lambda roll: (roll.onset * keys[:, None]).sum((1, 2)) / roll.onset.sum((1, 2)).clamp(min=1)  # noqa: E731
        return [Rule("black_keys", share, torch.tensor(1.0), lambda found, target: target - found)]

    wish = request(seconds=10.0, chords="N.C.", num_steps=8, num_candidates=8)
    free, steered = (generate(pianist, wish, rules=rules).notes.pitch % 12 for rules in (None, black_keys))
    assert np.isin(steered, (1, 3, 6, 8, 10)).mean() > np.isin(free, (1, 3, 6, 8, 10)).mean() + 0.1


def test_chords_and_style_are_heard_by_the_model(pianist):
    plain = generate(pianist, request(chords="Cmaj7")).notes
    assert not same(plain, generate(pianist, request(chords="F#7alt")).notes)
    names = pianist.styles.names
    assert not same(generate(pianist, request(style=names[0])).notes, generate(pianist, request(style=names[1])).notes)


@pytest.mark.slow
def test_rules_bring_the_solo_nearer(pianist):
    """More notes are played where more are asked for, and candidates come nearer than one try."""
    wishes = {"seconds": 10.0, "num_steps": 8, "chords": "N.C."}
    losses, counts = {}, {}
    for density in (1.0, 9.0):
        for candidates in (1, 8):
            asked = [request(seed=s, num_candidates=candidates, density=density, **wishes) for s in range(4)]
            solos = [generate(pianist, one) for one in asked]
            losses[density, candidates] = np.mean([solo.rule_losses["note_density"] for solo in solos])
            counts[density, candidates] = np.mean([len(solo.notes) for solo in solos])
    assert losses[1.0, 8] < losses[1.0, 1] and losses[9.0, 8] < losses[9.0, 1]
    assert counts[9.0, 8] > 2 * counts[1.0, 8]


def test_a_short_passage_is_guided_in_the_last_half_of_its_steps_and_revised(pianist, monkeypatch):
    counts, states = [], []
    monkeypatch.setattr("lib.diffusion.sampling.guided_steps", lambda count: counts.append(count) or guided_steps(count))
    notes = generate(pianist, request(seconds=10.24)).notes
    infill(pianist, request(num_steps=30, num_candidates=2, density=9.0), notes, 4.0, 4.8, states.append)
    assert counts == [10] and {state["num_steps"] for state in states} == {10 + NUM_REVISIONS}  # 1.6 beats
    assert len(states) == 10 + NUM_REVISIONS


def test_pitch_classes_are_a_rule_too(pianist):
    solo = generate(pianist, request(pitch_classes=(1, 0) * 6, num_candidates=2))
    assert set(solo.rule_losses) == {"pitch_class_histogram", "chord_progression"}


def test_progress_is_reported_and_a_raise_cancels(pianist):
    states = []
    generate(pianist, request(seconds=30.0), states.append)
    windows = {(state["window"], state["num_windows"]) for state in states}
    assert windows == {(0, 3), (1, 3), (2, 3)} and states[-1]["step"] == states[-1]["num_steps"] == 4
    assert isinstance(states[0]["piano_roll"](), PianoRoll)

    def cancel(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(pianist, request(), cancel)


def test_errors_name_the_offender(improviser, tiny_runs):
    with pytest.raises(ChordError, match="'Qm7'"):
        generate(improviser, request(chords="Cmaj7 | Qm7"))
    with pytest.raises(ConfigError, match="'Cora Canonbi'.*Did you mean 'Cora Canonby'"):
        generate(improviser, request(style="Cora Canonbi"))
    with pytest.raises(CheckpointError, match="brad_finl.*Did you mean 'brad_final'"):
        load_improviser(tiny_runs / "brad_finl")
    with pytest.raises(CheckpointError, match="not a finished improviser"):
        load_improviser(tiny_runs / "vqvae")
    with pytest.raises(ConfigError, match="either --released .* or --run RUN"):
        load_improviser()


def test_a_run_and_its_finished_folder_play_alike(tiny_runs, improviser):
    from_run = load_improviser(tiny_runs / "fine_tune", device="cpu")
    one, other = generate(improviser, request()), generate(from_run, request())
    assert same(one.notes, other.notes) and from_run.pianist == improviser.pianist


def test_changes_of_the_pianists_own(tiny_runs):
    improviser = load_improviser(tiny_runs / "brad_final")
    assert len(improviser.changes["Cora Canonby"]) > 10 and set(improviser.changes) == set(improviser.styles.names)
    request = GenerateRequest(chords="own", seconds=6.0, num_steps=2, seed=4)
    solo = generate(improviser, request)
    assert solo.request.chords != "own" and len(solo.chords) > 1
    again = generate(improviser, solo.request)
    assert again.chords == solo.chords and same(again.notes, solo.notes)
    on = generate(improviser, request, prompt=solo.notes)
    assert on.request.chords not in ("own", solo.request.chords)
    anew = infill(improviser, request, solo.notes, 1.0, 3.0)
    assert anew.chords and all(0.9 < time_s < 3.1 for time_s, _ in anew.chords)


def test_own_changes_come_as_fast_as_the_pianist_plays_them_however_the_tempo_is_written(improviser):
    """240 quarters a minute, 120 and 60 are felt as 120 beats: bars of two, four and eight of them."""
    own = {"chords": "own", "num_steps": 1, "seed": 4}
    written = ((240.0, 8), (120.0, 4), (60.0, 2))
    solos = [generate(improviser, GenerateRequest(tempo_bpm=bpm, bars=bars, **own)) for bpm, bars in written]
    assert len(solos[0].chords) > 1 and {solo.ends_s for solo in solos} == {8.0}
    assert solos[0].chords == solos[1].chords == solos[2].chords


def test_several_solos_are_each_what_they_are_alone(pianist, demo_data):
    """Alike and not, of other lengths, going on and filling gaps: company changes nothing."""
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 20.0)
    capitals = {"chords": "A: Cmaj7 | Dm7; B: Fm7 | Bb7; ABAB", "recall": 1.0}
    wishes = [{"seed": 1}, {"seed": 2, "chords": "Fm7 | Bb7"}, {"seed": 3, "seconds": 20.0}, {"seed": 4, "num_steps": 6},
              {"seed": 5, "seconds": 17.0, **capitals}, {"seed": 6, "style": pianist.styles.names[0]}]  # fmt: skip
    orders = [Order(request(**wish)) for wish in wishes]
    orders += [Order(request(seed=7), played), Order(request(seed=8), played, 4.0, 9.0)]
    alone = [generate(pianist, order.request, prompt=order.notes) for order in orders[:-1]]
    alone.append(infill(pianist, request(seed=8), played, 4.0, 9.0))
    together = generate_many(pianist, orders)
    assert all(same(one.notes, other.notes) and len(one.notes) for one, other in zip(alone, together))
    assert [solo.chords for solo in alone] == [solo.chords for solo in together]


def test_rules_choose_for_each_solo_by_itself(pianist):
    densities = (2.0, 9.0, "2,9", "9,2")  # an arc, too, over less than a window
    requests = [request(num_candidates=4, seed=seed, density=density) for seed, density in enumerate(densities)]
    together = generate_many(pianist, [Order(one) for one in requests])
    alone = [generate(pianist, one) for one in requests]
    assert all(same(one.notes, other.notes) for one, other in zip(alone, together))
    assert [solo.rule_losses for solo in alone] == [solo.rule_losses for solo in together]


def test_solos_that_are_alike_share_the_passes_of_the_model(pianist, monkeypatch):
    sizes, forward = [], type(pianist.dit).forward
    counted = lambda dit, codes, *rest: sizes.append(len(codes)) or forward(dit, codes, *rest)  # noqa: E731
    monkeypatch.setattr(type(pianist.dit), "forward", counted)
    reports = [[], [], []]
    generate_many(pianist, [Order(request(seed=seed), callback=reports[seed].append) for seed in range(3)])
    assert set(sizes) == {6} and [len(states) for states in reports] == [4, 4, 4]  # each with its chords, and without
    assert all(isinstance(states[0]["piano_roll"](), PianoRoll) and len(states[0]["piano_roll"]()) == 1 for states in reports)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_key_is_struck_while_a_note_around_the_passage_holds_it(improviser, seed):
    held = Notes.from_arrays(np.zeros(20), np.full(20, 12.0), np.arange(50, 70), np.full(20, 64))
    solo = infill(improviser, GenerateRequest(chords="Cmaj7", num_steps=2, seed=seed), held, 4.0, 8.0)
    played = read_midi(solo.midi())
    assert len(played) == len(solo.notes) and not np.isin(solo.new_notes.pitch, held.pitch).any()
    around = played.onset_s == 0
    np.testing.assert_allclose(played.duration_s[around], 12.0, atol=2e-3)
    order, read_order = (np.lexsort((notes.onset_s, notes.pitch)) for notes in (solo.notes, played))
    np.testing.assert_allclose(played.duration_s[read_order], solo.notes.duration_s[order], atol=5e-3)

"""From a run to a solo: reproducible, as long as asked, over the chords asked, steered by rules."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.checkpoints.checkpoint import CheckpointError
from lib.config import ConfigError, build, preset
from lib.data.corpora import open_corpus
from lib.diffusion.sampling import NUM_REVISIONS, guided_steps
from lib.generation.generate import OVERLAP, WINDOW, Order, generate, generate_many, infill, load_improviser
from lib.generation.request import GenerateRequest
from lib.generation.sliding_window import _credit_sources
from lib.music.chords import ChordError
from lib.music.metrics import note_f1
from lib.music.piano_roll import PianoRoll
from lib.music.rules import Rule
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


@pytest.mark.parametrize("seconds", [5.0, 10.24, 25.0])
def test_as_long_as_asked(pianist, seconds):
    ends_s = [generate(pianist, request(seconds=seconds, seed=seed)).notes.onset_s.max(initial=0) for seed in range(1, 9)]
    assert 0.7 * seconds < max(ends_s) < seconds  # so little trained, it may rest for a while


def test_a_longer_solo_begins_like_the_shorter(pianist):
    short, long = generate(pianist, request(seconds=10.24)).notes, generate(pianist, request(seconds=25.0)).notes
    settled_s = (WINDOW - OVERLAP) / 12.5 - 0.5  # the decoder hears a little of what follows
    assert note_f1(short.between(0, settled_s), long.between(0, settled_s)).onset > 0.95


def test_the_chart_is_told_where_it_changes(pianist):
    solo = generate(pianist, request(chords="Cmaj7 | Dm7 G7", seconds=6.0, tempo_bpm=120))
    assert [symbol for _, symbol in solo.chords] == ["Cmaj7", "Dm7", "G7", "Cmaj7"]
    assert np.allclose([time_s for time_s, _ in solo.chords], [0, 2, 3, 4], atol=0.08)


def test_going_on_from_a_performance(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 9.3)
    for before in (played, played.between(0, 1.5)):  # longer than what is heard of it, and shorter
        solo = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), prompt=before)
        assert before.end_s <= solo.begins_s < before.end_s + 0.08 and solo.bars_from_s == solo.begins_s
        kept, new = solo.notes.between(0, solo.begins_s), solo.notes.between(solo.begins_s, np.inf)
        assert same(kept, before) and len(new) and new.onset_s.max() < 6.0
        assert [symbol for _, symbol in solo.chords] == ["Cmaj7", "Dm7", "Cmaj7"]
        assert np.allclose([time_s for time_s, _ in solo.chords], solo.begins_s + np.array([0, 2, 4]))
    other = open_corpus("demo", demo_data).piece_notes(1).between(0, 9.3)
    others = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), prompt=other)
    assert not same(others.notes.between(others.begins_s, np.inf), new)  # it listens


def test_a_passage_is_played_anew_and_the_rest_stays(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 30.0)
    for from_s, to_s in ((4.0, 8.0), (0.0, 3.2), (8.0, 24.0)):  # in the middle, at the start, longer than a window
        solo = infill(pianist, request(chords="Cmaj7 | Dm7"), played, from_s, to_s)
        assert (solo.begins_s, solo.ends_s) == pytest.approx((from_s, to_s), abs=0.08)
        for start_s, end_s in ((0, solo.begins_s), (solo.ends_s, np.inf)):
            assert same(solo.notes.between(start_s, end_s), played.between(start_s, end_s))
        new = solo.notes.between(solo.begins_s, solo.ends_s)
        assert len(new) and not same(new, played.between(solo.begins_s, solo.ends_s))
        assert solo.chords[0] == (solo.begins_s, "Cmaj7") and solo.bars_from_s == 0.0
    for from_s, to_s in ((5.0, 5.0), (-1.0, 3.0), (40.0, 50.0)):
        with pytest.raises(ConfigError, match="no passage of a performance of"):
            infill(pianist, request(), played, from_s, to_s)


def test_what_comes_before_a_passage_and_after_it_is_heard(pianist, demo_data):
    played = open_corpus("demo", demo_data).piece_notes(0).between(0, 20.0)
    after = played.between(0, 10.0).followed_by(open_corpus("demo", demo_data).piece_notes(7).between(0, 10.0), 10.0)
    for seed in range(4):
        one, other = (infill(pianist, request(seed=seed), notes, 6.0, 9.0).notes for notes in (played, after))
        if not same(one.between(6.0, 9.0), other.between(6.0, 9.0)):
            return
    raise AssertionError("four infillings are the same, whatever follows them")


def test_a_section_in_capitals_comes_again(pianist):
    """A of two bars, 4 s, at 120: what it was the first time is what it is the third, a small a is not."""
    solo = generate(pianist, request(seconds=24.0, chords="A: Cmaj7 | Dm7; B: Fm7 | Bb7; ABABaa", recall=1.0))
    first, again, free = (solo.notes.between(start_s, start_s + 4.0) for start_s in (0.0, 8.0, 16.0))
    assert len(first) > 1 and note_f1(first, again).onset > 0.8 and note_f1(first, free).onset < 0.6
    anew = generate(pianist, request(seconds=24.0, chords="A: Cmaj7 | Dm7; B: Fm7 | Bb7; ABABaa", recall=0.0)).notes
    assert note_f1(anew.between(0.0, 4.0), anew.between(8.0, 12.0)).onset < 0.6


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
    assert counts == [10] and {state["num_steps"] for state in states} == {10 + NUM_REVISIONS} and len(states) == 10 + NUM_REVISIONS


def test_what_is_taken_up_is_to_blame_where_it_is_from():
    window = SimpleNamespace(copies=torch.tensor([[5, 1], [6, 2], [7, 2]]))
    moved = _credit_sources(torch.arange(8.0).repeat(3, 1), window)
    assert moved.tolist() == [[0, 1 + 5, 2 + 6 + 7, 3, 4, 0, 0, 0]] * 3


def test_pitch_classes_are_a_rule_too(pianist):
    solo = generate(pianist, request(pitch_classes=(1, 0) * 6, num_candidates=2))
    assert set(solo.rule_losses) == {"pitch_class_histogram", "chord_progression"}


def test_progress_is_reported_and_a_raise_cancels(pianist):
    states = []
    generate(pianist, request(seconds=20.0), states.append)
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
    with pytest.raises(ConfigError, match="either --run RUN or --released"):
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

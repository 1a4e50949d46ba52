"""From a run to a solo: reproducible, as long as asked, over the chords asked, steered by rules."""

import dataclasses

import numpy as np
import pytest

from lib.config import ConfigError, GenerateRequest, build, preset
from lib.data.corpora import open_corpus
from lib.data.notes import Notes
from lib.generate import OVERLAP, WINDOW, generate, load_improviser, reconstruct
from lib.music.chords import ChordError
from lib.music.metrics import note_f1
from lib.music.piano_roll import PianoRoll
from lib.training.checkpoint import CheckpointError
from lib.training.loop import train


@pytest.fixture(scope="module")
def improviser(tiny_runs):
    return load_improviser(tiny_runs / "brad_final", device="cpu")


@pytest.fixture(scope="module")
def pianist(demo_data, tmp_path_factory):
    """An improviser that has learned just enough to play and to listen; preset tiny alone would be silent."""
    runs, rare = tmp_path_factory.mktemp("small"), {"save_every": 1000, "validate_every": 1000, "lr": 3e-3}
    train(preset("vqvae", "tiny", steps=800, groups=8, **{**rare, "lr": 1e-2}), demo_data, runs)
    train(preset("style_encoder", "tiny", steps=40, **rare), demo_data, runs)
    train(preset("diffusion", "tiny", steps=700, ema_decay=0.9, **rare), demo_data, runs)
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
        solo = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), before=before)
        assert before.end_s <= solo.begins_s < before.end_s + 0.08
        kept, new = solo.notes.between(0, solo.begins_s), solo.notes.between(solo.begins_s, np.inf)
        assert same(kept, before) and len(new) and new.onset_s.max() < 6.0
        assert [symbol for _, symbol in solo.chords] == ["Cmaj7", "Dm7", "Cmaj7"]
        assert np.allclose([time_s for time_s, _ in solo.chords], solo.begins_s + np.array([0, 2, 4]))
    other = open_corpus("demo", demo_data).piece_notes(1).between(0, 9.3)
    others = generate(pianist, request(seconds=6.0, chords="Cmaj7 | Dm7"), before=other)
    assert not same(others.notes.between(others.begins_s, np.inf), new)  # it listens


def test_chords_and_style_are_heard_by_the_model(pianist):
    plain = generate(pianist, request(chords="Cmaj7")).notes
    assert not same(plain, generate(pianist, request(chords="F#7alt")).notes)
    names = pianist.styles.names
    assert not same(generate(pianist, request(style=names[0])).notes, generate(pianist, request(style=names[1])).notes)


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


def test_reconstruct(tiny_runs):
    notes = Notes.from_arrays([0.0, 1.0], [0.5, 0.5], [60, 64], [80, 80])
    decoded, score = reconstruct(tiny_runs / "vqvae", notes, "cpu")
    assert isinstance(decoded, Notes) and set(dataclasses.asdict(score)) == {"onset", "onset_offset", "onset_velocity"}
    assert all(0 <= value <= 1 for value in dataclasses.asdict(score).values())

"""The figures of beats and the recipe of the tracker, in parts: what they read, measure and learn from."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import asap  # noqa: E402
import beat_recipe as recipe  # noqa: E402
import beats as figures  # noqa: E402
import downbeat_recipe  # noqa: E402

from lib.data.note_store import Piece  # noqa: E402
from lib.models.beat_tracker import BeatNetwork, BeatTracker, DownbeatNetwork  # noqa: E402
from lib.music.beat_tracking import BeatModel, decode, phase_lock  # noqa: E402
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap  # noqa: E402


def stride(beats=160, period_s=0.5, seed=0):
    """Bass and chord in turn under a swung line, a little out of time."""
    rng, beat_s = np.random.default_rng(seed), 0.4 + period_s * np.arange(beats)
    onset_s = np.r_[beat_s[::2], np.repeat(beat_s[1::2], 3), beat_s, beat_s + period_s * 2 / 3]
    pitch = np.r_[np.full(beats // 2, 40), np.tile([58, 62, 65], beats // 2), rng.integers(70, 84, 2 * beats)]
    onset_s = onset_s + rng.normal(0, 0.008, len(onset_s))
    return Notes.from_arrays(onset_s, np.full(len(onset_s), 0.2), pitch, np.full(len(onset_s), 70))


def archive(path):
    """asap.zip with two performances of a piece, one of them in MAESTRO's test split."""
    beats_s = 0.5 * np.arange(12)
    notes = Notes(beats_s, np.full(12, 0.4), np.full(12, 60, dtype=np.uint8), np.full(12, 70, dtype=np.uint8))
    lines = "\n".join(f"{t}\t{t}\t{'db,4/4,0' if i % 4 == 0 else 'b'}" for i, t in enumerate(beats_s))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.csv", "midi_performance,maestro_midi_performance\nA/B/x.mid,{maestro}/2018/y.midi\n")
        for name in ("x", "z"):
            file.writestr(f"A/B/{name}.mid", to_midi(notes))
            file.writestr(f"A/B/{name}_annotations.txt", lines)
        file.writestr("A/B/midi_score.mid", to_midi(notes))
    return path


def test_annotated_performances_are_read_by_split(tmp_path):
    found = asap.read_asap(archive(tmp_path / "asap.zip"), frozenset({"2018/y.midi"}))
    assert [(p.folder, p.in_maestro_test, len(p.beats_s)) for p in found] == [("A/B", True, 12), ("A/B", False, 12)]
    assert found[0].downbeats_s.tolist() == [0.0, 2.0, 4.0] and found[0].split == asap.split_of("A/B")
    others = {"train", "validation", "test"} - {found[0].split}
    assert not asap.read_asap(tmp_path / "asap.zip", splits=tuple(others))


def test_beats_at_another_level_count_at_their_best():
    beats_s = 0.5 * np.arange(60)
    assert figures.f_measure(beats_s, beats_s + 0.05) == 1 and figures.f_measure(beats_s, beats_s + 0.2) == 0
    for other_s in (beats_s[::2], np.arange(0, 29.5, 0.25)):
        assert figures.f_measure(beats_s, other_s) < 0.7
        assert max(figures.f_measure(beats_s, level_s) for level_s in figures.levels_of(other_s)) > 0.97


def test_what_falls_on_one_is_counted_against_the_recordings_other_beats():
    tempo_map = TempoMap.constant(120, Metre.parse("4/4"), 8)
    beat_in_bar = figures.beats_in_bars(tempo_map)
    bass = np.where(beat_in_bar == 0, 1.0, 0.25)
    assert figures.on_one(beat_in_bar, bass, np.full(len(bass), np.nan)).tolist() == [8, 2, 0, 0]


def test_shuffled_gaps_keep_no_time():
    notes, beats_s = stride(), 0.4 + 0.5 * np.arange(160)
    locks = [
        phase_lock(each.onset_s, beats_s).max()
        for each in (notes, figures.shuffle_gaps(notes, np.random.default_rng(0)))
    ]
    assert locks[0] > 0.8 > 0.3 > locks[1]


def test_nothing_is_learnt_from_what_is_measured():
    pieces = [Piece("pijama", f"{i}.mid", "Dick Hyman" if i % 3 else "Brad Mehldau", end_s=200.0) for i in range(200)]
    measured = {index for index, _ in figures.benchmark_pieces(pieces)}
    assert len(measured) == 35 and not measured & set(recipe.learning_pieces(type("Store", (), {"pieces": pieces}), 0))


def test_profiles_learn_swing_and_label_its_beats():
    groups = figures.groups_of(stride())
    model = BeatModel(recipe.initial_profiles())
    (_, before), (model, gain) = recipe.learn_profiles([groups] * 2, model, 2)
    assert gain > before > 0.2
    feel = np.bincount(decode(groups, model).feel, minlength=3).argmax()
    line = model.log_profiles[feel, 2]
    assert line[31:34].max() > line[23:26].max() + 0.5, "two thirds against one half"
    labels = recipe.label_beats(groups, model, seed=0)
    assert labels.known.sum() > 100 and np.diff(labels.beats_s) == pytest.approx(0.5, abs=0.021)


def test_downbeats_and_confidence_are_fitted():
    rng = np.random.default_rng(0)
    performance = asap.AnnotatedPerformance(
        "A/B", "x", "train", False, stride(), 0.4 + 0.5 * np.arange(160), 0.4 + 2.0 * np.arange(40)
    )
    sequences = downbeat_recipe.annotated_sequences(performance, rng)
    assert sequences and sequences[0].downbeat.mean() == pytest.approx(0.25, abs=0.01)
    network = downbeat_recipe.fit_downbeats([sequences], steps=30, batch_size=4, width=8)
    assert downbeat_recipe.logits_of(network, sequences[0].evidence).shape == (160,)
    tracker = BeatTracker(BeatNetwork(8).eval(), DownbeatNetwork(width=8).eval(), recipe.initial_profiles())
    coefficients = recipe.confidence_coefficients(tracker, [stride(seed=1), stride(seed=2)], steady=True)
    assert len(coefficients) == 4 and np.isfinite(coefficients).all()
    draw = recipe.examples_drawn(
        [performance],
        [recipe.labelled_example(stride(), recipe.BeatLabels(0.5 * np.arange(9), np.ones(9, dtype=bool)))],
    )
    assert [example.steady for example in draw(rng)] == [False] * 7 + [True] * 3

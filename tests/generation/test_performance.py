"""When the beats of a user's file are: as it writes them where its notes sit there, else tracked."""

from pathlib import Path

import numpy as np
import pytest

from lib.generation.performance import as_theme, read_performance, tempo_and_metre, written_map
from lib.generation.request import GenerateRequest
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, NO_BEAT, Metre, TempoMap, bar_table


def midi_of(tempo_map, onsets_in_beats, path):
    onset_s = tempo_map.to_seconds(np.asarray(onsets_in_beats))
    notes = Notes.from_arrays(onset_s, np.full(len(onset_s), 0.1), 60 + np.arange(len(onset_s)) % 12, np.full(len(onset_s), 80))
    path.write_bytes(to_midi(notes, tempo_map))
    return path


@pytest.mark.parametrize(("metre", "bpm"), [("4/4", 100.0), ("3/4", 160.0), ("7/8", 90.0), ("12/8", 80.0)])
def test_a_file_of_ours_keeps_its_beats_and_bars(metre, bpm, tmp_path):
    metre = Metre.parse(metre)
    written = TempoMap.constant(bpm, metre, 8)
    notes, tempo_map = read_performance(midi_of(written, np.arange(0, 8 * metre.beats - 0.5, 0.5), tmp_path / "own.mid"))
    assert len(notes) == np.ceil((8 * metre.beats - 0.5) / 0.5)
    count = min(tempo_map.num_beats, written.num_beats)
    assert count >= written.num_beats - 1 and np.allclose(tempo_map.beats_s[:count], written.beats_s[:count], atol=2e-3)
    assert (tempo_map.bars[:7]["kind"] == IN_BARS).all()
    for name in ("start", "beats", "numerator", "denominator", "felt"):
        assert np.allclose(tempo_map.bars[:7][name], written.bars[:7][name]), name


@pytest.mark.parametrize(("metre", "tempo_bpm"), [("4/4", 240.0), ("12/8", 100.0), ("3/4", 60.0)])
def test_a_solo_of_ours_keeps_its_beats_however_freely_it_is_played(metre, tempo_bpm, tmp_path):
    request = GenerateRequest(metre=metre, tempo_bpm=tempo_bpm)
    written = request.timing.tempo_map(request.blank_chart(), 192)
    onsets = np.unique(np.random.default_rng(0).integers(0, 24 * 28, 60)) / 24
    _, tempo_map = read_performance(midi_of(written, onsets, tmp_path / "own.mid"))
    assert np.allclose(tempo_map.beats_s[:28], written.beats_s[:28], atol=1e-3) and (tempo_map.bars["kind"] == IN_BARS).all()


def test_a_tempo_change_and_a_change_of_metre_are_read(tmp_path):
    beats_s = np.cumsum(np.r_[0, np.full(12, 0.5), np.full(12, 0.4)])
    fours = bar_table(4.0 * np.arange(3), np.full(3, 4.0), IN_BARS, 1.0, Metre(4, 4))
    threes = bar_table(12 + 3.0 * np.arange(4), np.full(4, 3.0), IN_BARS, 1.0, Metre(3, 4))
    bars = np.concatenate([fours, threes])
    _, tempo_map = read_performance(midi_of(TempoMap(beats_s, bars), np.arange(0, 24, 0.5), tmp_path / "own.mid"))
    assert np.allclose(tempo_map.beats_s[:24], beats_s[:24], atol=2e-3)
    assert tempo_map.bars["beats"][:7].tolist() == [4, 4, 4, 3, 3, 3, 3]


def test_felt_beats_of_a_fast_file_are_halves():
    tempo_map = written_map(0.25 * np.arange(33), [(0.0, 4, 4)])
    assert np.allclose(np.diff(tempo_map.beats_s), 0.5) and tempo_map.bars["beats"].tolist() == [2.0] * 8
    assert tempo_map.quarters_per_beat == pytest.approx(2), "240 quarters a minute"


def test_a_bar_that_another_metre_cuts_is_no_bar():
    tempo_map = written_map(0.5 * np.arange(25), [(0.0, 4, 4), (6.0, 3, 4)])
    assert tempo_map.bars["kind"].tolist()[:3] == [IN_BARS, BEATS_ONLY, IN_BARS]
    assert tempo_map.bars["beats"].tolist()[:3] == [4.0, 2.0, 3.0]


def test_a_recording_is_tracked(tmp_path):
    generator = np.random.default_rng(0)
    beats_s = np.cumsum(np.r_[0.3, np.full(100, 60 / 132)])  # at 132, in a file that says 120
    onset_s = np.sort(np.concatenate([beats_s, beats_s + 30 / 132])) + generator.normal(0, 0.008, 202)
    pitch = np.where(np.arange(202) % 2, 60 + np.arange(202) % 24, 40 + np.arange(202) % 7)
    notes = Notes.from_arrays(onset_s, np.full(202, 0.2), pitch, np.where(np.arange(202) % 2, 60, 90))
    path = tmp_path / "played.mid"
    path.write_bytes(to_midi(notes))
    _, tempo_map = read_performance(path)
    assert np.median(tempo_map.bpm) == pytest.approx(132, rel=0.02)
    near = np.abs(tempo_map.beats_s[5:-5, None] - beats_s).min(1)
    assert np.median(near) < 0.03, "on the beats that were played, not on the file's"


def test_a_theme_begins_with_its_bar(tmp_path):
    path = midi_of(TempoMap.constant(100.0, Metre.parse("3/4"), 4), [4, 4.5, 5, 7], tmp_path / "theme.mid")
    theme = as_theme(*read_performance(path))
    assert theme.onset == pytest.approx([1, 1.5, 2, 4], abs=1e-3), "a rest of a bar is left out, a pick-up is not"


@pytest.mark.parametrize(("metre", "bpm"), [("4/4", 120.0), ("7/8", 90.0), ("12/8", 100.0)])
def test_tempo_and_metre_go_on(metre, bpm):
    tempo_map = TempoMap.constant(bpm, Metre.parse(metre), 4)
    quarters_bpm = bpm * 4 * float(Metre.parse(metre).felt)
    assert tempo_and_metre(tempo_map, 4.0) == {"tempo_bpm": pytest.approx(quarters_bpm, abs=0.01), "metre": metre}


def test_a_tempo_that_no_request_may_have_is_brought_within():
    beats_s = np.cumsum(np.r_[0, np.full(8, 0.5), np.full(8, 7.0)])
    bars = bar_table(4.0 * np.arange(4), np.full(4, 4.0), IN_BARS, 1.0, Metre(4, 4))
    assert tempo_and_metre(TempoMap(beats_s, bars), beats_s[-1]) == {"tempo_bpm": 20.0, "metre": "4/4"}


@pytest.mark.parametrize(
    "quarters_s", [np.zeros(9), np.arange(9) * 60.0, np.arange(9) * 1e-6, np.array([0.0, 0.5, 0.5, 1.0, 1.5])]
)
def test_a_file_whose_beats_no_music_has_is_tracked(quarters_s, monkeypatch):
    notes = Notes.from_arrays(quarters_s, np.full(len(quarters_s), 0.1), np.full(len(quarters_s), 60), np.full(len(quarters_s), 80))
    monkeypatch.setattr("lib.generation.performance.read_midi_and_quarters", lambda source: (notes, quarters_s))
    assert (read_performance(b"")[1].bars["kind"] == NO_BEAT).all()


def test_a_waltz_of_another_program_is_continued_in_its_metre():
    path = Path(__file__).parent.parent / "fixtures" / "midi" / "40-waltz-3-4-90bpm.mid"
    notes, tempo_map = read_performance(path)
    assert tempo_and_metre(tempo_map, notes.end_s) == {"tempo_bpm": 90.0, "metre": "3/4"}

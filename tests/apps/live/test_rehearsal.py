"""A duet without MIDI devices: what is written down, what is remarked, and the whole of it with the released model."""

import contextlib
import dataclasses
import socket

import numpy as np
import pytest
from instruments import Keyboard, Synthesizer, read_journal, wait_for

from lib.apps.live import rehearsal
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.model_process import Answer
from lib.apps.live.rehearsal import rehearse
from lib.config import ConfigError
from lib.music.beat_tracking import phase_lock
from lib.music.notes import Notes
from lib.music.tempo_map import BeatNotes

BEAT_S = 0.5
PHRASE = Notes.from_arrays([n * BEAT_S / 2 for n in range(16)], [0.2] * 16, [60 + n % 7 for n in range(16)], [80] * 16, [(0.5, 1)])
REQUEST = DuetRequest(tempo_bpm=60 / BEAT_S, bars=2, chords="Dm7 | G7")


@pytest.fixture
def questions(monkeypatch):
    """The model plays eighths up from a C, with a pedal, in 0.1 s; the questions it got."""
    questions = []

    def scale(question, *_):
        questions.append(question)
        onset = np.arange(2 * question.beats) / 2
        columns = onset, onset + 0.6, 72 + np.arange(len(onset)) % 12, np.full(len(onset), 80)
        return Answer(question, BeatNotes(*columns, np.array([[0.0, 3.0]])), took_s=0.1)

    monkeypatch.setattr(rehearsal, "answer", scale)
    monkeypatch.setattr(rehearsal, "warm_up", lambda *_: Answer(None, None, took_s=0.1))
    return questions


def test_the_answer_enters_on_the_beat_after_the_silence(questions):
    found = rehearse(PHRASE, REQUEST, improviser=None)
    assert found.answers_s == pytest.approx(10 * BEAT_S) and len(found.answer) == 16
    assert list(found.answer.pitch[:3]) == [72, 73, 74] and found.remarks == ["answering 16 notes"]
    (question,) = questions
    assert len(question.prompt) == 16 and question.beats == 8 and question.prompt.onset[0] == 10


def test_call_and_answer_stand_on_one_line_of_time(questions):
    late = Notes.from_arrays(PHRASE.onset_s + 0.1, PHRASE.duration_s, PHRASE.pitch, PHRASE.velocity)
    found = rehearse(late, REQUEST, improviser=None)
    assert found.answers_s == pytest.approx(0.1 + 10 * BEAT_S), "your first note is beat one"
    assert found.answer.pedal_s.tolist() == [[0, 1.5]] and found.answer.end_s == pytest.approx(4), "all is released at the end"
    assert found.notes.onset_s[16:] == pytest.approx(found.answers_s + np.arange(16) * 0.25)
    assert found.tempo_map.bar_lines_s() == pytest.approx(0.1 + 2 * np.arange(5))
    assert found.tempo_map.bpm == pytest.approx(120) and found.tempo_map.quarters_per_beat[0] == 1


def test_an_answer_that_comes_too_late_enters_whole_bars_later_and_says_so(questions, monkeypatch):
    at_once = rehearsal.answer
    monkeypatch.setattr(rehearsal, "answer", lambda *words: dataclasses.replace(at_once(*words), took_s=2.5))
    found = rehearse(PHRASE, REQUEST, improviser=None)
    assert found.answers_s == pytest.approx(14 * BEAT_S) and "late" in found.remarks[0] and len(found.answer) == 16


def test_an_answer_that_fails_is_a_remark_and_silence_after_the_call(questions, monkeypatch):
    monkeypatch.setattr(rehearsal, "answer", lambda question, *_: Answer(question, None, "out of memory"))
    found = rehearse(PHRASE, REQUEST, improviser=None)
    assert not len(found.answer) and "out of memory" in found.remarks[-1]
    assert len(found.notes) == len(PHRASE) and found.answers_s == pytest.approx(PHRASE.end_s)


def test_what_cannot_be_rehearsed_is_said():
    assert "no note" in rehearse(PHRASE.between(99, 100), REQUEST, None).remarks[0]
    with pytest.raises(ConfigError, match="mode"):
        rehearse(PHRASE, DuetRequest(mode="fours"), None)


def test_a_key_that_is_struck_again_is_heard_as_it_is():
    """Two notes of a pitch, one touching the other, as models play them."""
    with contextlib.closing(Synthesizer()) as synthesizer, contextlib.closing(Keyboard()) as keyboard:
        line = socket.create_connection(("127.0.0.1", int(keyboard.name.rsplit(":", 1)[1])))
        keyboard.accept(5)
        keyboard.play(Notes.from_arrays([0.0, 0.1], [0.1, 0.1], [60, 60], [70, 80]))
        relay = socket.create_connection(("127.0.0.1", int(synthesizer.name.rsplit(":", 1)[1])))
        relay.sendall(line.recv(4096))
        assert wait_for(lambda: len(synthesizer.heard) == 4)
        relay.close(), line.close()
    assert [message.type for _, message in synthesizer.heard] == ["note_on", "note_off"] * 2


def test_a_journal_is_read_while_it_is_written(tmp_path):
    path = tmp_path / "duet.jsonl"
    assert read_journal(path) == []
    path.write_text('{"kind": "ready", "words": ""}\n{"kind": "late", "words": "late"}\n{"kind": "li', encoding="utf-8")
    assert [line["kind"] for line in read_journal(path)] == ["ready", "late"] and read_journal(path, "late")[0]["words"] == "late"


@pytest.mark.slow
@pytest.mark.parametrize(("feel", "division"), [("straight", 4), ("swing", 3)])
def test_the_released_model_answers_on_the_grid_of_the_tempo_that_is_asked_for(feel, division):
    from lib.generation.generate import load_improviser

    improviser, beats = load_improviser(released=True, device="cpu"), []
    for seed, chords in enumerate([REQUEST.chords, None, REQUEST.chords], 1):
        request = dataclasses.replace(REQUEST, bars=4, chords=chords, feel=feel, seed=seed)
        found = rehearse(PHRASE, request, improviser)
        onset = found.tempo_map.to_beats(found.answers_s + found.answer.onset_s)
        assert len(onset) >= 10 and any("answering 16 notes" in text for text in found.remarks)
        assert onset[0] >= 8 - 1 / 24 and onset[-1] - onset[0] <= 16
        beats.append(onset)
    locks = [phase_lock(np.concatenate(beats), np.arange(60.0), (each,))[0] for each in (division, 7 - division)]
    assert locks[0] >= 0.5 > locks[1], locks

"""A duet without MIDI devices: what is written down, what is remarked, and the whole of it with the released model."""

import contextlib
import socket

import pytest
from instruments import Keyboard, Synthesizer, read_journal, wait_for

from lib.apps.live import rehearsal
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.messages import key
from lib.apps.live.model_process import Answer
from lib.apps.live.rehearsal import _written_down, rehearse
from lib.config import ConfigError
from lib.music.notes import Notes

BEAT_S = 0.5
PHRASE = Notes.from_arrays([n * BEAT_S / 2 for n in range(16)], [0.2] * 16, [60 + n % 7 for n in range(16)], [80] * 16, [(0.5, 1)])
REQUEST = DuetRequest(tempo_bpm=60 / BEAT_S, bars=2, chords="Dm7 | G7")


def test_call_and_answer_stand_on_one_line_of_time():
    found = _written_down(PHRASE, [key(4.7, 5.2, 50, 70), key(4.9, 5.5, 52, 70)], ["answering"])
    assert found.answers_s == pytest.approx(4.7) and len(found.answer) == 2
    assert found.notes.onset_s[-1] == pytest.approx(4.9) and found.notes.end_s == pytest.approx(5.5)


def test_no_answer_is_silence_after_the_call():
    found = _written_down(PHRASE, [], ["late"])
    assert len(found.answer) == 0 and len(found.notes) == len(PHRASE) and found.answers_s == pytest.approx(PHRASE.end_s)


@pytest.fixture
def questions(monkeypatch):
    """The model plays a scale, at once; the questions it got."""
    questions = []

    def scale(question, *_):
        questions.append(question)
        count = 2 * question.beats
        onsets_s = [n * question.beat_s / 2 for n in range(count)]
        return Answer(question, Notes.from_arrays(onsets_s, [0.2] * count, [72 + n % 12 for n in range(count)], [80] * count))

    monkeypatch.setattr(rehearsal, "answer", scale)
    return questions


def test_the_answer_enters_on_the_beat_after_the_phrase(questions):
    found = rehearse(PHRASE, REQUEST, improviser=None)
    assert found.answers_s == pytest.approx(8 * BEAT_S, abs=0.01) and len(found.answer) == 16
    assert list(found.answer.pitch[:3]) == [72, 73, 74] and found.remarks == ["answering 16 notes", "listening"]
    assert [question.prompt.end_s > 3.5 for question in questions][-1], "the last question has nearly all of the phrase"


def test_an_answer_that_fails_is_a_remark(questions, monkeypatch):
    monkeypatch.setattr(rehearsal, "answer", lambda question, *_: Answer(question, None, "out of memory"))
    found = rehearse(PHRASE, REQUEST, improviser=None)
    assert not len(found.answer) and "out of memory" in found.remarks[-1]


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
def test_the_released_model_answers_on_a_beat():
    from lib.generation.generate import load_improviser

    found = rehearse(PHRASE, REQUEST, load_improviser(released=True, device="cpu"))
    assert len(found.answer) >= 3 and found.answer.end_s <= 2 * 4 * BEAT_S + 0.3
    assert abs(found.answers_s / BEAT_S - round(found.answers_s / BEAT_S)) * BEAT_S < 0.01, found.answers_s
    assert any("answering 16 notes" in text for text in found.remarks)

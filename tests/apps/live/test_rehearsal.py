"""A duet without MIDI devices: what is written down, what is said, and the whole of it with the released model."""

import contextlib
import socket

import pytest
from mido import Message

from lib.apps.live import rehearsal
from lib.apps.live.instruments import Keyboard, Synthesizer, wait_for
from lib.apps.live.rehearsal import RehearsalError, _written_down, read_journal, rehearse
from lib.music.notes import Notes

BEAT_S = 0.5
PHRASE = Notes.from_arrays([n * BEAT_S / 2 for n in range(16)], [0.2] * 16, [60 + n % 7 for n in range(16)], [80] * 16, [(0.5, 1)])


def test_call_and_answer_stand_on_one_line_of_time():
    heard = [(104.7, Message("note_on", note=50, velocity=70)), (105.2, Message("note_off", note=50)),
             (105.7, Message("control_change", control=123, value=0))]  # fmt: skip
    found = _written_down(PHRASE, 104.0, heard, ["answering"])
    assert found.answers_s == pytest.approx(PHRASE.end_s + 0.7) and len(found.answer) == 1
    assert found.notes.onset_s[-1] == pytest.approx(PHRASE.end_s + 0.7) and found.notes.end_s == pytest.approx(PHRASE.end_s + 1.2)


def test_no_answer_is_silence_after_the_call():
    found = _written_down(PHRASE, 104.0, [], ["late"])
    assert len(found.answer) == 0 and len(found.notes) == len(PHRASE) and found.answers_s == pytest.approx(PHRASE.end_s)


def test_nothing_to_answer_and_a_partner_that_does_not_come_are_said():
    assert "no note" in rehearse(PHRASE.between(99, 100), ["--released"]).said[0]
    with pytest.raises(RehearsalError, match="H7"):
        rehearse(PHRASE, ["--released", "--chords", "H7"])


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


def test_a_partner_that_ends_before_it_has_answered_is_an_error(monkeypatch):
    def ends(keyboard, notes):
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Keyboard, "play", ends)
    monkeypatch.setattr(rehearsal, "_wait_for_partner", lambda partner, *rest: partner.kill())
    with pytest.raises(RehearsalError, match="ended by itself"):
        rehearse(PHRASE, ["--released"])


def test_what_fails_before_the_phrase_has_ended_is_not_the_answer(tmp_path):
    path, kinds = tmp_path / "duet.jsonl", ["ready", "failed", "phrase_ended", "answers", "listens"]
    for count in range(1, 6):
        path.write_text("".join(f'{{"kind": "{kind}", "words": ""}}\n' for kind in kinds[:count]), encoding="utf-8")
        assert rehearsal._is_over(path) == (count == 5)


def test_a_journal_is_read_while_it_is_written(tmp_path):
    path = tmp_path / "duet.jsonl"
    assert read_journal(path) == []
    path.write_text('{"kind": "ready", "words": ""}\n{"kind": "late", "words": "late"}\n{"kind": "li', encoding="utf-8")
    assert [line["kind"] for line in read_journal(path)] == ["ready", "late"] and read_journal(path, "late")[0]["words"] == "late"


@pytest.mark.slow
def test_the_partner_answers_on_a_beat_and_leaves():
    found = rehearse(PHRASE, ["--released", "--tempo", "120", "--bars", "2", "--chords", "Dm7 | G7"])
    assert len(found.answer) >= 3 and found.answer.end_s <= 2 * 4 * BEAT_S + 0.3
    assert abs(found.answers_s / BEAT_S - round(found.answers_s / BEAT_S)) * BEAT_S < 0.1, found.answers_s
    assert any("answering 16 notes" in words for words in found.said) and found.said[-1].startswith("silence")

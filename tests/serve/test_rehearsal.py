"""A duet without MIDI devices: what is written down, what is said, and the whole of it with the released model."""

import pytest
from mido import Message

from lib.data.notes import Notes
from lib.serve.rehearsal import RehearsalError, _written_down, read_journal, rehearse

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

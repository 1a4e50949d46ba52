"""A duet without MIDI devices: a phrase is played into `python -m lib duet`, and what it answers is written down."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lib.apps.live.instruments import Keyboard, Synthesizer, wait_for
from lib.apps.live.phrase import Phrase
from lib.music.notes import Notes

FOOT_SWITCH = 20  # the controller that ends the phrase: the phrase itself may have rests
READY_S, ANSWER_S, END_S = 300.0, 120.0, 20.0  # who is not ready, or has not answered, by then is not waited for
LOOK_S = 0.1
OVER = ("listens", "given_up", "failed")  # what the partner tells when it has answered, or will not


class RehearsalError(RuntimeError):
    """The partner did not come; the message is what it said."""


@dataclass(frozen=True)
class Rehearsal:
    """What was played.

    Attributes
    ----------
    call : Notes from 0 on
    answer : Notes from 0 on, empty where none came in time
    answers_s : when the answer began, in seconds of the call; where there is none, the end of the call
    said : list of str, what the partner said meanwhile, such as that it was late
    """

    call: Notes
    answer: Notes
    answers_s: float
    said: list

    @property
    def notes(self):
        """Notes of both, one after the other."""
        return self.call.followed_by(self.answer, self.answers_s)


def rehearse(phrase, words):
    """Play a phrase to the partner in real time, and stop it when it has answered.

    Parameters
    ----------
    phrase : Notes from 0 on
    words : list of str, the command's options beside its ports, such as --released and --bars 4

    Returns
    -------
    Rehearsal

    Raises
    ------
    RehearsalError : the command ended, or was not ready in time; the message is what it said last
    """
    if not len(phrase):
        return Rehearsal(phrase, phrase, 0.0, ["the phrase has no note: nothing to answer"])
    with (tempfile.TemporaryDirectory() as folder, contextlib.closing(Keyboard()) as keyboard,
          contextlib.closing(Synthesizer()) as synthesizer):  # fmt: skip
        journal, errors = Path(folder) / "duet.jsonl", Path(folder) / "errors.txt"
        ports = ["--input", keyboard.name, "--output", synthesizer.name, "--ends-by", f"cc:{FOOT_SWITCH}"]
        line = [sys.executable, "-m", "lib", "duet", *words, *ports, "--journal", str(journal)]
        with open(errors, "wb") as file, subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=file) as partner:
            try:
                _wait_for_partner(partner, keyboard, journal, errors)
                released_s = _play(keyboard, phrase, partner, errors)
                over = wait_for(lambda: _is_over(journal) or partner.poll() is not None, ANSWER_S, LOOK_S)
                _check_alive(partner, errors)
            finally:
                _stop(partner)
        said = [line["words"] for line in read_journal(journal) if line["words"]]
        said += [] if over else [f"no answer within {ANSWER_S:g} s"]
    return _written_down(phrase, released_s, synthesizer.heard, said)


def read_journal(path, *kinds):
    """Whole lines of a duet's journal, of these kinds or of all: list of dict."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]
    return [line for line in lines if not kinds or line["kind"] in kinds]


def _wait_for_partner(partner, keyboard, journal, errors):
    def has_ended():
        return partner.poll() is not None

    came = wait_for(lambda: has_ended() or keyboard.accept(0), READY_S, LOOK_S)
    ready = came and wait_for(lambda: has_ended() or read_journal(journal, "ready"), READY_S, LOOK_S)
    _check_alive(partner, errors)
    if not ready:
        raise RehearsalError(f"The partner was not ready after {READY_S:g} s.")


def _play(keyboard, phrase, partner, errors):
    """Play the phrase and its end; when its last key was released."""
    try:
        released_s = keyboard.play(phrase)
        keyboard.send("control_change", control=FOOT_SWITCH, value=127)
    except (OSError, ValueError) as error:  # it hung up
        wait_for(lambda: partner.poll() is not None, END_S, LOOK_S)
        _check_alive(partner, errors)
        raise RehearsalError(f"The partner hung up: {error}") from None
    return released_s


def _check_alive(partner, errors):
    if partner.poll() is not None:
        said = errors.read_text(encoding="utf-8", errors="replace").strip()
        raise RehearsalError(said or f"The partner ended by itself ({partner.returncode}).")


def _is_over(journal):
    """Whether the partner has answered the phrase, or will not: what failed while the phrase was played was a first try."""
    lines = [line["kind"] for line in read_journal(journal)]
    return "phrase_ended" in lines and any(kind in OVER for kind in lines[lines.index("phrase_ended") :])


def _stop(partner):
    partner.terminate()
    try:
        partner.wait(END_S)
    except subprocess.TimeoutExpired:
        partner.kill()


def _written_down(phrase, released_s, heard, said):
    """Rehearsal of what a synthesizer has heard: list of (time_s, mido.Message)."""
    answer, last_s = Phrase(), released_s
    for last_s, message in heard:
        answer.hear(message, last_s)
    end_s = float((phrase.onset_s + phrase.duration_s).max())
    answers_s = end_s + max(0.0, answer.begun_s - released_s) if len(answer) else end_s
    return Rehearsal(phrase, answer.notes(last_s), answers_s, said)

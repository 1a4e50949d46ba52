"""A rehearsal: the model answers a phrase as in call and response, but without ports and processes.

An answer takes as long as it took on this machine, so that one too late for a duet is late here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.model_process import PROMPT_BEATS, Question, answer, warm_up
from lib.apps.live.partner import LATE, LEAD_S, lead_s, num_beats
from lib.apps.live.tempo import OwnTempo
from lib.checkpoints.load import Improviser
from lib.config import ConfigError
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap, in_beats, in_seconds


@dataclass(frozen=True)
class Rehearsal:
    """What was played."""

    call: Notes  # from 0 on
    answer: Notes  # from 0 on, empty where none came
    answers_s: float  # the beat on which the answer enters, in seconds of the call; where there is none, the call's end
    remarks: list[str]  # what the partner would have said meanwhile, such as that it was late
    tempo_map: TempoMap | None = None  # of both, its first bar line at the call's first note; None without a call

    @property
    def notes(self) -> Notes:
        """Notes of both, one after the other."""
        return self.call.followed_by(self.answer, self.answers_s)


def rehearse(phrase: Notes, request: DuetRequest, improviser: Improviser) -> Rehearsal:
    """Let the model answer a phrase, from 0 on, which ends with its last key; its tempo is the request's.

    ConfigError : a request of another mode than "call".
    """
    if request.mode != "call":
        raise ConfigError(f'A rehearsal answers a phrase: mode must be "call", got {request.mode!r}.')
    if not len(phrase):
        return Rehearsal(phrase, phrase, 0.0, ["the phrase has no note: nothing to answer"])
    tempo = OwnTempo(request.tempo_bpm, Metre.parse(request.metre))
    tempo.begin(float(phrase.onset_s[0]))
    grid, felt_bpm = tempo.now, 60 / tempo.now.beat_s
    prompt = in_beats(phrase, TempoMap.constant(felt_bpm, grid.metre, 1, grid.origin_s))
    end = float(prompt.release.max())
    asked_s, silence_s = grid.time_of(end), grid.time_of(end + request.silence_beats)
    expected_s = warm_up(request, improviser).took_s
    start = grid.next_beat(max(silence_s, asked_s + lead_s(expected_s)) + LEAD_S)
    beats = num_beats(request.bars, end, grid.metre.beats)
    prompt = prompt.between(start - PROMPT_BEATS, start)
    reply = answer(Question(1, prompt, start, beats, grid.beat_s), request, improviser)
    ready_s = max(silence_s, asked_s + reply.took_s) + LEAD_S / 2
    entry, played, remarks = grid.next_like(start, ready_s), Notes.from_arrays([], [], [], []), []
    if ready_s > grid.time_of(start):
        remarks.append(LATE)
    if reply.notes is None or not len(reply.notes):
        remarks.append(f"no music came: {reply.reason or 'the model played nothing'}")
    else:
        remarks.append(f"answering {len(phrase)} notes")
        played = in_seconds(reply.notes, TempoMap.constant(felt_bpm, grid.metre, 1)).until(beats * grid.beat_s)
    answers_s = grid.time_of(entry) if len(played) else phrase.end_s
    num_bars = math.ceil((entry + beats) / grid.metre.beats)
    tempo_map = TempoMap.constant(felt_bpm, grid.metre, num_bars, grid.origin_s)
    return Rehearsal(phrase, played, answers_s, remarks, tempo_map)

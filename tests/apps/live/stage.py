"""A partner on a stage without time: an output that writes down, a model that plays a scale after so many seconds."""

from __future__ import annotations

import numpy as np
from mido import Message

from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.model_process import Answer
from lib.apps.live.tempo import OwnTempo
from lib.music.tempo_map import BeatNotes, Metre

STEP_S = 0.005


class Output:
    """Keeps orders and spans."""

    def __init__(self):
        self.orders, self.spans = [], []

    def order(self, name, *words):
        self.orders.append(name)
        if name == "play":
            self.spans += words[0]
        if name in ("clear", "panic"):
            self.spans = [span for span in self.spans if span.on_s <= self.now_s]

    now_s = 0.0


class Model:
    """Answers `takes_s` after the last ask with eighths from middle C up, on the beat; `late` beats late."""

    late = 0.0

    def __init__(self, stage, takes_s):
        self.stage, self.takes_s, self.expected_s = stage, takes_s, takes_s
        self.asks, self.current, self.dropped = [], None, 0

    def ask(self, ask):
        self.asks.append(ask)
        self.current = (ask, self.stage.now_s)

    def drop(self):
        self.dropped += self.current is not None
        self.current = None

    def receive(self):
        if self.current is None or self.stage.now_s < self.current[1] + self.takes_s:
            return None
        (ask, asked_s), self.current = self.current, None
        took_s = self.stage.now_s - asked_s
        self.expected_s = max(took_s, (self.expected_s + took_s) / 2)
        onset = np.arange(2 * ask.beats) / 2 + self.late
        columns = onset, onset + 0.2, 60 + np.arange(len(onset)) % 12, np.full(len(onset), 80)
        return Answer(ask, BeatNotes(*columns, np.zeros((0, 2))), took_s=took_s)


class Stage:
    """A partner with all it needs."""

    def __init__(self, kind, takes_s=0.5, **options):
        self.now_s, self.events, self.output, self.model = 1000.0, [], Output(), Model(self, takes_s)
        self.request = DuetRequest(**options)
        self.tempo = OwnTempo(self.request.tempo_bpm, Metre.parse(self.request.metre))
        self.partner = kind(self.request, self.tempo, self.output, self.model, self.report)

    def report(self, kind, text, **values):
        self.events.append((kind, values))

    def kinds(self):
        """What was told, but for what is no event."""
        return [kind for kind, _ in self.events if kind not in ("play", "take")]

    def until(self, now_s):
        """Let time pass."""
        while self.now_s < now_s:
            self.now_s = self.output.now_s = min(self.now_s + STEP_S, now_s)
            self.partner.tick(self.now_s)

    def wait(self, seconds):
        self.until(self.now_s + seconds)

    def send(self, kind, **values):
        self.partner.receive(Message(kind, **values), self.now_s)

    def phrase(self, notes=4, seconds=0.25):
        """Play so many notes, each that long, from now on. Returns when the first began and the last ended."""
        begun_s = self.now_s
        for pitch in range(60, 60 + notes):
            self.send("note_on", note=pitch, velocity=80)
            self.wait(seconds)
            self.send("note_off", note=pitch)
        return begun_s, self.now_s

    @property
    def played(self):
        """[(time_s, pitch)] that the output plays."""
        return sorted((span.on_s, span.on.note) for span in self.output.spans if span.on.type == "note_on")

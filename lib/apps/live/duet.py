"""The partner: hears messages, knows the beat, asks the model ahead of time, hands its notes to the sender.

Here is what call and response (call.py) and taking turns (turns.py) share. Nothing here waits and nothing reads a clock: `hear` and
`tick` are told the time, so that a test can play an hour in a second.
"""

from __future__ import annotations

from lib.apps.live.composer import Ask
from lib.apps.live.messages import ALL_SOUND_OFF
from lib.apps.live.phrase import Phrase, parse_cue

LEAD_S = 0.03  # so long before its time a note must be with the sender
HORIZON_S = 0.4  # so far ahead notes are handed out; what comes later can still follow the tempo, or be withdrawn
HEARD_S = 10.0  # of what was played goes to the model


class Partner:
    """What all partners do.

    Parameters
    ----------
    wished : DuetRequest
    tempo : tempo.OwnTempo or tempo.ClockTempo
    voice : see voice.Voice: order
    composer : see composer.Composer: ask, drop, take, expected_s
    tell : callable(kind, words, **values), told what happens; words are for people, or empty
    """

    def __init__(self, wished, tempo, voice, composer, tell=lambda kind, words, **values: None):
        self.wished, self.tempo, self.voice, self.composer, self.tell = wished, tempo, voice, composer, tell
        self.phrase = Phrase(parse_cue(wished.ends_by), wished.silence_beats)
        self.lines, self.number, self.take = [], 0, None
        self.standing = True

    @property
    def bar(self):
        """Beats of a bar."""
        return self.wished.beats_per_bar

    def hear(self, message, now_s):
        """Take in a message of the human's. All notes off is no panic: old keyboards send it with each last key."""
        self.tempo.hear(message, now_s)
        if message.type == "control_change" and message.control == ALL_SOUND_OFF:
            self.panic()
        elif self.phrase.hear(message, now_s):
            self.note_began(now_s)

    def note_began(self, now_s):
        """The human has struck a key."""

    def tick(self, now_s):
        """Do what is to be done now; called some hundred times a second."""
        grid = self.tempo.grid(now_s)
        if grid is None:
            self.halt()
            return
        self.standing = False
        self._receive()
        self.step(now_s, grid)
        self.lines = [line for line in self.lines if grid.beat_at(now_s) < line.end_beat + self.bar]
        for line in self.lines:
            if spans := line.due(grid, now_s + HORIZON_S):
                self.voice.order("play", spans)
                self.tell("play", "", spans=[(span.on_s, span.off_s, span.on.hex()) for span in spans])

    def step(self, now_s, grid):
        """What this kind of partner does."""
        raise NotImplementedError

    def ask(self, before, start_beat, beats, beat_s):
        """Ask the model; what it was asked before is forgotten. Returns the number of the ask."""
        self.number, self.take = self.number + 1, None
        before = None if before is None else before.between(max(0.0, before.end_s - HEARD_S), before.end_s + 1)
        self.composer.ask(Ask(self.number, before, start_beat, beats, beat_s))
        return self.number

    def withdraw(self):
        """Take back what is to come and end what sounds of it."""
        if self.lines:
            self.lines = []
            self.voice.order("clear")

    def panic(self):
        """Silence, at once."""
        self.lines = []
        self.composer.drop()
        self.voice.order("panic")
        self.phrase.clear()
        self.begin_anew()
        self.tell("panic", "silence")

    def halt(self):
        """There is no beat: the clock stands."""
        if not self.standing:
            self.standing = True
            self.withdraw()
            self.composer.drop()
            self.phrase.clear()
            self.begin_anew()
            self.tell("halt", "the clock stands")

    def begin_anew(self):
        """Forget plans; the clock will start somewhere else."""
        self.take = None

    def _receive(self):
        take = self.composer.take()
        if take is None or take.ask.number != self.number:
            return
        self.take = take
        self.tell("take", "", took_s=self.composer.took_s, number=take.ask.number)
        if take.notes is None or not len(take.notes):
            self.tell("failed", f"no music came: {take.why or 'the model played nothing'}")
            self.take = None
            self.failed()

    def failed(self):
        """The model had nothing to say."""

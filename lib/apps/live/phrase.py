"""The human's phrase: from MIDI messages to notes in beats, and when it has ended.

Conventions: all times are beats of the duet's grid (see tempo), stamped when a message is received, so that a tempo
that changes meanwhile bends nothing; a phrase begins at its first note. What ends it is one of `silence` (so many beats
without a key down), `pedal` (the soft pedal), `cc:NUMBER` (a controller or a foot switch) or `key:PITCH`, a key that is
then no part of the music.
"""

from __future__ import annotations

import math

import numpy as np
from mido import Message

from lib.music.beat_notes import BeatNotes
from lib.music.notes import PEDAL_CONTROLLER, PEDAL_DOWN

BREATH_BEATS = 0.1  # without a key down: the phrase may be over
KEPT_BEATS = 128.0  # of a phrase: the model gets the last ones only
SHORTEST_BEATS = 0.02  # of a note


class Phrase:
    """What the human has played since the last answer.

    Parameters
    ----------
    cue : see duet_request.parse_cue
    silence_beats : without a key down, after which the phrase has ended (where silence ends it)
    """

    def __init__(self, cue=("silence", None), silence_beats=2.0):
        self.cue, self.silence_beats = cue, silence_beats
        self.pedal_down = None
        self.clear()

    def clear(self):
        """Begin again; a pedal that is down is down in the new phrase too."""
        self.rows = []  # [on, off, pitch, velocity]
        self.pedals = []
        self.down = {}  # pitch -> its row
        self.count, self.released, self.cued = 0, None, False
        self.pedal_down = None if self.pedal_down is None else -math.inf

    def __len__(self):
        """Notes begun so far."""
        return self.count

    @property
    def begun(self) -> float | None:
        """When the first note began, or None."""
        return self.rows[0][0] if self.rows else None

    def may_begin(self, message: Message) -> bool:
        """Whether a message is the first note of a phrase."""
        return not len(self) and message.type == "note_on" and message.velocity > 0

    def receive(self, message: Message, beat: float) -> bool:
        """Take a message in.

        Returns
        -------
        bool : whether a note began
        """
        if message.type == "control_change":
            self._control(message, beat)
        if message.type not in ("note_on", "note_off"):
            return False
        began = message.type == "note_on" and message.velocity > 0
        if self.cue == ("key", message.note):
            self.cued |= began and len(self) > 0
            return False
        self._release(message.note, beat)
        if began:
            self._strike(message, beat)
        return began

    def release_all(self, beat: float) -> None:
        """The keyboard is gone: what was down on it is up, or the phrase would never end."""
        for pitch in list(self.down):
            self._release(pitch, beat)
        self._lift_pedal(beat)

    def _control(self, message, beat):
        down = message.value >= PEDAL_DOWN
        if self.cue == ("cc", message.control):
            self.cued |= down and len(self) > 0
        if message.control == PEDAL_CONTROLLER:
            if not down:
                self._lift_pedal(beat)
            elif self.pedal_down is None:
                self.pedal_down = beat

    def _lift_pedal(self, beat):
        if self.pedal_down is not None:
            self.pedals.append((self.pedal_down, beat))
            self.pedal_down = None

    def _strike(self, message, beat):
        row = [beat, None, message.note, message.velocity]
        self.rows.append(row)
        self.down[message.note] = row
        self.count += 1
        while self.rows[0][1] is not None and self.rows[0][1] < beat - KEPT_BEATS:
            self.rows.pop(0)
        self.pedals = [pedal for pedal in self.pedals if pedal[1] > beat - KEPT_BEATS]

    def _release(self, pitch, beat):
        row = self.down.pop(pitch, None)
        if row is not None:
            row[1] = max(beat, row[0] + SHORTEST_BEATS)
            self.released = beat

    def silence(self, beat: float) -> float:
        """For how many beats no key has been down; 0 where one is, or nothing was played."""
        return 0.0 if self.down or self.released is None else beat - self.released

    def breathes(self, beat: float) -> bool:
        """Whether it may be over: time to make ready."""
        return len(self) > 0 and (self.cued or self.silence(beat) >= BREATH_BEATS)

    def ended(self, beat: float) -> bool:
        """Whether it is over."""
        if self.cue[0] != "silence":
            return self.cued
        return len(self) > 0 and self.silence(beat) >= self.silence_beats

    def notes(self, beat: float) -> BeatNotes:
        """Notes so far; keys that are down end now."""
        rows = [(on, max(beat, on + SHORTEST_BEATS) if off is None else off, p, v) for on, off, p, v in self.rows]
        on, off, pitch, velocity = np.array(rows).reshape(-1, 4).T
        pedals = [*self.pedals, *([(self.pedal_down, beat)] if self.pedal_down is not None else [])]
        pedal = np.clip(np.array(pedals).reshape(-1, 2), self.begun if rows else beat, None)
        return BeatNotes(on, off, pitch.astype(np.uint8), velocity.astype(np.uint8), pedal[pedal[:, 1] > pedal[:, 0]])

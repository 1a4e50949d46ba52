"""The human's phrase: from MIDI messages to Notes, and when it has ended.

Conventions: times are those of time.perf_counter; a phrase begins at its first note. What ends it is one of `silence`
(so many beats without a key down), `pedal` (the soft pedal), `cc:NUMBER` (a controller or a foot switch) or
`key:PITCH`, a key that is then no part of the music.
"""

from __future__ import annotations

import numpy as np
from mido import Message

from lib.music.notes import PEDAL_CONTROLLER, PEDAL_DOWN, Notes

BREATH_BEATS = 0.1  # without a key down: the phrase may be over
KEPT_S = 60.0  # of a phrase: the model gets the last seconds only


class Phrase:
    """What the human has played since the last answer.

    Parameters
    ----------
    cue : see duet_request.parse_cue
    silence_beats : without a key down, after which the phrase has ended (where silence ends it)
    """

    def __init__(self, cue=("silence", None), silence_beats=2.0):
        self.cue, self.silence_beats = cue, silence_beats
        self.pedal_down_s = None
        self.clear()

    def clear(self):
        """Begin again; keys that are down belong to the new phrase."""
        self.rows = []  # [on_s, off_s, pitch, velocity]
        self.pedals = []
        self.down = {}  # pitch -> its row
        self.count, self.released_s, self.cued = 0, None, False

    def __len__(self):
        """Notes begun so far."""
        return self.count

    @property
    def begun_s(self):
        """When the first note began, or None."""
        return self.rows[0][0] if self.rows else None

    def receive(self, message: Message, now_s: float) -> bool:
        """Take a message in.

        Returns
        -------
        bool : whether a note began
        """
        if message.type == "control_change":
            self._control(message, now_s)
        if message.type not in ("note_on", "note_off"):
            return False
        began = message.type == "note_on" and message.velocity > 0
        if self.cue == ("key", message.note):
            self.cued |= began and len(self) > 0
            return False
        self._release(message.note, now_s)
        if began:
            self._strike(message, now_s)
        return began

    def release_all(self, now_s: float) -> None:
        """The keyboard is gone: what was down on it is up, or the phrase would never end."""
        for pitch in list(self.down):
            self._release(pitch, now_s)
        if self.pedal_down_s is not None:
            self.pedals.append((self.pedal_down_s, now_s))
            self.pedal_down_s = None

    def _control(self, message, now_s):
        down = message.value >= PEDAL_DOWN
        if self.cue == ("cc", message.control):
            self.cued |= down and len(self) > 0
        if message.control == PEDAL_CONTROLLER:
            if down and self.pedal_down_s is None:
                self.pedal_down_s = now_s
            elif not down and self.pedal_down_s is not None:
                self.pedals.append((self.pedal_down_s, now_s))
                self.pedal_down_s = None

    def _strike(self, message, now_s):
        row = [now_s, None, message.note, message.velocity]
        self.rows.append(row)
        self.down[message.note] = row
        self.count += 1
        while self.rows[0][1] is not None and self.rows[0][1] < now_s - KEPT_S:
            self.rows.pop(0)
        self.pedals = [pedal for pedal in self.pedals if pedal[1] > now_s - KEPT_S]

    def _release(self, pitch, now_s):
        row = self.down.pop(pitch, None)
        if row is not None:
            row[1], self.released_s = now_s, now_s

    def silent_s(self, now_s: float) -> float:
        """For how long no key has been down; 0 where one is, or nothing was played."""
        return 0.0 if self.down or self.released_s is None else now_s - self.released_s

    def breathes(self, now_s: float, beat_s: float) -> bool:
        """Whether it may be over: time to make ready."""
        return len(self) > 0 and (self.cued or self.silent_s(now_s) >= BREATH_BEATS * beat_s)

    def ended(self, now_s: float, beat_s: float) -> bool:
        """Whether it is over."""
        if self.cue[0] != "silence":
            return self.cued
        return len(self) > 0 and self.silent_s(now_s) >= self.silence_beats * beat_s

    def notes(self, now_s: float) -> Notes:
        """Notes so far, from 0 on; keys that are down end now."""
        if not self.rows:
            return Notes.from_arrays([], [], [], [])
        start_s = self.begun_s
        on_s, off_s, pitch, velocity = zip(*((on, off or max(now_s, on + 0.01), p, v) for on, off, p, v in self.rows))
        pedals = [*self.pedals, *([(self.pedal_down_s, now_s)] if self.pedal_down_s is not None else [])]
        pedal_s = np.clip(np.array(pedals).reshape(-1, 2) - start_s, 0, None)
        durations_s = np.maximum(np.subtract(off_s, on_s), 0.001)
        return Notes.from_arrays(
            np.subtract(on_s, start_s), durations_s, pitch, velocity, pedal_s[pedal_s[:, 1] > pedal_s[:, 0]]
        )

"""The human's phrase: turns MIDI messages into notes in beats, and detects its end.

Conventions: all times are beats of the duet's grid (see tempo), stamped when a message is received, so that a tempo
that changes meanwhile bends nothing; a phrase begins at its first note. What ends it is one of `silence` (so many beats
without a key down), `pedal` (the soft pedal), `cc:NUMBER` (a controller or a foot switch) or `key:PITCH`, a key that is
then no part of the music.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from mido import Message

from lib.music.notes import PEDAL_CONTROLLER, PEDAL_DOWN
from lib.music.tempo_map import BeatNotes

BREATH_BEATS = 0.1  # without a key down: the phrase may be over
KEPT_BEATS = 128.0  # of a phrase: the model gets the last ones only
SHORTEST_BEATS = 0.02  # of a note
PEDAL = -1  # its pitch among those of keys


class Phrase:
    """What the human has played since the last answer; for `cue` see duet_request.parse_cue.

    `silence_beats` are those without a key down after which it has ended, where silence ends it.
    """

    def __init__(self, cue=("silence", None), silence_beats=2.0):
        self.cue, self.silence_beats = cue, silence_beats
        self.ends_by_silence = cue[0] == "silence"
        self.down = {}  # pitch -> its row
        self.clear()

    def clear(self):
        """Begin again; a pedal that is down is down in the new phrase too."""
        self.down = {PEDAL: [-np.inf, None, PEDAL, 0]} if PEDAL in self.down else {}
        self.rows = list(self.down.values())  # on, off, pitch, velocity
        self.begun, self.count, self.released, self.cued = None, 0, None, False

    def __len__(self):
        """Notes begun so far."""
        return self.count

    def is_note(self, message: Message) -> bool:
        """Whether a message begins a note of the music."""
        return message.type == "note_on" and message.velocity > 0 and self.cue != ("key", message.note)

    def receive(self, message: Message, beat: float) -> None:
        """Take in a note_on, note_off or control_change."""
        is_key = message.type != "control_change"
        number = message.note if is_key else message.control
        down = (message.type == "note_on" and message.velocity > 0) if is_key else message.value >= PEDAL_DOWN
        if self.cue == ("key" if is_key else "cc", number):
            self.cued |= down and len(self) > 0
        elif is_key:
            self._release(number, beat)
            if down:
                self._press(number, message.velocity, beat)
                self.begun = beat if self.begun is None else self.begun
                self.count += 1
        elif number == PEDAL_CONTROLLER and not down:
            self._release(PEDAL, beat)
        elif number == PEDAL_CONTROLLER and PEDAL not in self.down:
            self._press(PEDAL, 0, beat)

    def release_all(self, beat: float) -> None:
        """The keyboard is gone: what was down on it is up, or the phrase would never end."""
        for pitch in list(self.down):
            self._release(pitch, beat)

    def _press(self, pitch, velocity, beat):
        self.rows = [row for row in self.rows if row[1] is None or row[1] >= beat - KEPT_BEATS]
        self.down[pitch] = [beat, None, pitch, velocity]
        self.rows.append(self.down[pitch])

    def _release(self, pitch, beat):
        if (row := self.down.pop(pitch, None)) is not None:
            row[1] = max(beat, row[0] + SHORTEST_BEATS)
            self.released = self.released if pitch == PEDAL else beat

    def silence(self, beat: float) -> float:
        """For how many beats no key has been down; 0 where one is, or nothing was played."""
        return 0.0 if self.down.keys() - {PEDAL} or self.released is None else beat - self.released

    def may_have_ended(self, beat: float) -> bool:
        """Whether it is over, or no key is down: time to make ready."""
        return self.has_ended(beat) or len(self) > 0 and self.silence(beat) >= BREATH_BEATS

    def has_ended(self, beat: float) -> bool:
        """Whether it is over."""
        if self.ends_by_silence:
            return len(self) > 0 and self.silence(beat) >= self.silence_beats
        return self.cued

    def notes(self, beat: float, others: Iterable = ()) -> BeatNotes:
        """Notes so far, with rows of others; keys that are down end now."""
        rows = [(on, max(beat, on + SHORTEST_BEATS) if off is None else off, *key) for on, off, *key in self.rows]
        rows = np.array(sorted([*rows, *others], key=lambda row: row[0])).reshape(-1, 4)
        is_pedal = rows[:, 2] == PEDAL
        on, off, pitch, velocity = rows[~is_pedal].T
        pedal = np.clip(rows[is_pedal, :2], on[0] if len(on) else beat, None)
        return BeatNotes(on, off, pitch.astype(np.uint8), velocity.astype(np.uint8), pedal[pedal[:, 1] > pedal[:, 0]])

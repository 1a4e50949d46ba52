"""What the partner is to play: notes placed on beats, sent a little ahead of time, so that they follow the tempo."""

from __future__ import annotations

import numpy as np

from lib.apps.live.messages import key, pedal, without_overlap


class Line:
    """Notes from an entry to an end.

    Parameters
    ----------
    notes : Notes from 0 on, at beat_s a beat
    beat_s : of the Notes
    at_beat : of the Grid, where 0 is
    entry_beat, end_beat : what begins before or after is left out, what is held over the end is let go of there
    on_beat : move all of it, so that its first note is on the entry's beat
    channel : 0-15
    """

    def __init__(self, notes, beat_s, at_beat, entry_beat, end_beat, on_beat=True, channel=0):
        self.entry_beat, self.end_beat, self.channel = entry_beat, end_beat, channel
        on = at_beat + notes.onset_s / beat_s
        off = np.minimum(on + notes.duration_s / beat_s, end_beat)
        pedals = at_beat + notes.pedal_s / beat_s
        kept = (on >= entry_beat - 1e-9) & (on < end_beat)
        late = float(on[kept][0]) - entry_beat if kept.any() else 0.0
        move = late if on_beat and late < 1 else late % 1.0 if on_beat else 0.0
        columns = (on[kept] - move, off[kept] - move, notes.pitch[kept], notes.velocity[kept])
        self.rows = list(zip(*(column.tolist() for column in columns)))  # plain numbers: the sender has no numpy
        pedals = np.clip(pedals - move, entry_beat, end_beat)
        self.pedals = pedals[pedals[:, 1] > pedals[:, 0]].tolist()
        self.first_beat = self.rows[0][0] if self.rows else None
        self.played = []  # rows that were handed out

    def due(self, grid, until_s):
        """Spans that begin before a time, each handed out once."""
        until = grid.beat_at(until_s)
        now, self.rows = [row for row in self.rows if row[0] < until], [row for row in self.rows if row[0] >= until]
        downs, self.pedals = [row for row in self.pedals if row[0] < until], [row for row in self.pedals if row[0] >= until]
        self.played += now
        keys = [key(grid.time_of(on), grid.time_of(off), pitch, velocity, self.channel) for on, off, pitch, velocity in now]
        return without_overlap([*keys, *(pedal(grid.time_of(down), grid.time_of(up), self.channel) for down, up in downs)])

    def all_rows(self):
        """(on, off, pitch, velocity) in beats, played and to come."""
        return [*self.played, *self.rows]

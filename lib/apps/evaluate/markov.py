"""The baseline: a Markov model of order 5 over (interval, duration, onset gap), with the pianist's own touch and pedal.

A state is the last five symbols; where it was never followed by anything, shorter ones are asked (Katz's idea, without
discounts: the longest state that was seen at least FEWEST times decides).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lib.music.notes import Notes

ORDER, FEWEST = 5, 2
GAPS_S = np.array([0.0, 0.02, 0.06, 0.1, 0.14, 0.18, 0.24, 0.32, 0.45, 0.65, 1.0, 1.6, 3.0])
DURATIONS_S = np.array([0.03, 0.06, 0.1, 0.15, 0.22, 0.32, 0.5, 0.8, 1.3, 2.5, 5.0])


def nearest(values, grid):
    """Places in a grid."""
    return np.abs(values[:, None] - grid).argmin(1)


class MarkovBaseline:
    """Fitted to performances.

    Parameters
    ----------
    performances : list of Notes
    order : symbols a state has at most
    """

    def __init__(self, performances, order=ORDER):
        self.order, self.follows = order, [defaultdict(list) for _ in range(order + 1)]
        self.starts, self.pedals = [], []
        for notes in performances:
            self._count(notes)

    def _count(self, notes):
        interval = np.diff(notes.pitch.astype(int))
        gap, duration = nearest(np.diff(notes.onset_s), GAPS_S), nearest(notes.duration_s[1:], DURATIONS_S)
        symbols = list(zip(interval.tolist(), duration.tolist(), gap.tolist(), strict=True))
        for place in range(len(symbols)):
            following = (*symbols[place], int(notes.velocity[place + 1]))
            for length in range(min(self.order, place) + 1):
                self.follows[length][tuple(symbols[place - length : place])].append(following)
        self.starts.append((int(notes.pitch[0]), symbols[: self.order]))
        self.pedals.append(notes.pedal_s)

    def play(self, seconds, seed):
        """Notes of so many seconds; the pedal is a stretch of a real performance's."""
        generator = np.random.default_rng(seed)
        pitch, symbols = self.starts[generator.integers(len(self.starts))]
        symbols, time_s, rows = list(symbols), 0.0, []
        while time_s < seconds:
            interval, duration, gap, velocity = self._next(symbols, pitch, generator)
            pitch, time_s = pitch + interval, time_s + float(GAPS_S[gap])
            rows.append((time_s, float(DURATIONS_S[duration]), pitch, velocity))
            symbols.append((interval, duration, gap))
        onset_s, duration_s, pitches, velocity = zip(*(row for row in rows if row[0] < seconds), strict=True)
        return Notes.from_arrays(onset_s, duration_s, pitches, velocity, self._pedal(seconds, generator))

    def _next(self, symbols, pitch, generator):
        for length in range(min(self.order, len(symbols)), -1, -1):
            found = self.follows[length].get(tuple(symbols[len(symbols) - length :]), [])
            found = [f for f in found if 21 <= pitch + f[0] <= 108]
            if len(found) >= (FEWEST if length else 1):
                return found[generator.integers(len(found))]
        raise ValueError("no performance was counted")

    def _pedal(self, seconds, generator):
        pedal_s = self.pedals[generator.integers(len(self.pedals))]
        if not len(pedal_s):
            return ()
        start_s = generator.uniform(0, max(0.1, pedal_s[-1, 1] - seconds))
        cut = np.clip(pedal_s, start_s, start_s + seconds) - start_s
        return cut[cut[:, 1] > cut[:, 0]]

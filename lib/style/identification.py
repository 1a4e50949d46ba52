"""Who may be playing: what an Ear makes of a performance, beside the recordings it knows, and in words.

Conventions: percentiles are in [0, 100], against the library's recordings; evidence is in nats.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lib.music.style_features import HABITS, habits
from lib.style.classifier import EVIDENCE_S, from_first_onset
from lib.style.verification import Traits


@dataclass(frozen=True)
class Identification:
    """Who may be playing, and what speaks for it.

    Attributes
    ----------
    pianists : [(name, probability)], likeliest first; with `unknown`, if known, they sum to 1 over all that the Ear knows
    unknown : probability that it is none of these; None where the library had no strangers to learn that from
    nearest : [(pianist, album, title, likeness in [-1, 1])], the most alike recordings first; two of one player have
        seldom more than 0.5, two of different players seldom more than 0.15
    habits : [HabitFound], what is most like the likeliest pianist and least like the others first
    times_s, evidence : (W,), the middle of each ten seconds, and how much more likely (in nats) they make the
        likeliest pianist than the others on average
    """

    pianists: list
    unknown: float
    nearest: list
    habits: list
    times_s: np.ndarray
    evidence: np.ndarray

    def as_values(self):
        """All of it as plain values for JSON."""
        values = dataclasses.asdict(self)
        typical, atypical = self.extremes() or (None, None)
        arrays = {name: np.round(getattr(self, name), 3).tolist() for name in ("times_s", "evidence")}
        return {**values, **arrays, "most_typical_s": typical, "least_typical_s": atypical}

    def in_words(self):
        """A few lines for people."""
        lines = [f"{probability:6.1%}  {name}" for name, probability in self.pianists]
        unknown = "     ?" if self.unknown is None else f"{self.unknown:6.1%}"
        lines += [f"{unknown}  none of the players it knows", "", "nearest recordings:"]
        lines += [f"  {likeness:.2f}  {pianist}: {title} ({album})" for pianist, album, title, likeness in self.nearest]
        if self.habits:
            lines += ["", f"what speaks for {self.pianists[0][0]}:"]
        for habit in self.habits:
            place, theirs = f"above {habit.percentile:.0f} % of the recordings", f"{habit.pianists_percentile:.0f} %"
            lines.append(f"  {habit.says}: {habit.value:.2f} {habit.unit}, {place} (this pianist's median: {theirs})")
        if (places := self.extremes()) is not None:
            typical, atypical = (f"{int(s // 60)}:{s % 60:04.1f}" for s in places)
            lines += ["", f"most typical ten seconds from {typical}, least typical from {atypical}"]
        return "\n".join(lines)

    def extremes(self):
        """(start_s of the most typical ten seconds, of the least typical); None where there is no evidence."""
        if not len(self.times_s):
            return None
        return tuple(float(self.times_s[place]) - EVIDENCE_S / 2 for place in (self.evidence.argmax(), self.evidence.argmin()))


@dataclass(frozen=True)
class HabitFound:
    """A habit of this performance beside the library's: values, and percentiles in [0, 100] of it and the pianist's median."""

    name: str
    says: str
    value: float
    unit: str
    percentile: float
    pianists_percentile: float


def identify(ear, library, notes, top=5):
    """Who may be playing.

    Parameters
    ----------
    ear : Ear, calibrated
    library : Library
    notes : Notes
    top : how many pianists and at most how many habits to name

    Returns
    -------
    Identification

    Raises
    ------
    TooShort : under 5 s of music or 10 notes
    """
    heard, begun = ear.hear(notes), from_first_onset(notes)
    vector = library.verifier.vectors(Traits.of([heard], [begun]))[0]
    likeness = library.vectors @ vector
    known = library.probability_of_known(vector, ear.names)
    order = heard.log_probability.argsort()[::-1]
    share = 1.0 if known is None else known
    pianists = [(ear.names[p], float(np.exp(heard.log_probability[p]) * share)) for p in order[:top]]
    rows = likeness.argsort()[::-1][:3]
    nearest = [(library.pianists[n], library.albums[n], library.titles[n], float(likeness[n])) for n in rows]
    times_s, evidence = ear.evidence(notes)
    others = np.delete(evidence, order[0], 1)
    for_it = evidence[:, order[0]] - others.mean(1) if others.size else np.zeros(len(evidence))
    found = _habits_of(library, habits(begun), pianists[0][0])[:top]
    return Identification(pianists, None if known is None else 1 - known, nearest, found, times_s, for_it)


def _habits_of(library, values, pianist):
    """HabitFound that this performance and the pianist's have in common against the rest, the most telling first."""
    own, found = library.habits[np.array(library.pianists) == pianist], []
    if not len(own):
        return found
    for column, habit in enumerate(HABITS):
        everyone, value = library.habits[:, column], values[habit.name]
        place, theirs = (100 * (everyone < v).mean() for v in (value, np.median(own[:, column])))
        if (together := (place - 50) * (theirs - 50)) > 0:
            says = habit.much if place > 50 else habit.little
            found.append((together, HabitFound(habit.name, says, float(value), habit.unit, float(place), float(theirs))))
    return [habit for _, habit in sorted(found, key=lambda pair: -pair[0])]

"""Identification: the classifier's probabilities, the nearest recordings, and the evidence for the first name.

Conventions: percentiles are in [0, 100], against the gallery's recordings; evidence is in nats.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from lib.music.style_features import STYLE_DESCRIPTORS, style_descriptors
from lib.music.time_grid import time_resolution_s
from lib.style.classifier import EVIDENCE_S, from_first_onset
from lib.style.gallery import Boundary
from lib.style.verification import Features

COARSE_S = 0.02  # of a grid: nobody plays onto it, a sequencer or a transcriber wrote the times


@dataclass(frozen=True)
class Identification:
    """Who may be playing, and what speaks for it.

    Attributes
    ----------
    pianists : [(name, probability)], likeliest first; with `unknown` they sum to 1 over all of the classifier's
    unknown : probability that it is none of these; None where the gallery could not learn that
    nearest : [(pianist, album, title, similarity in [-1, 1])], the most alike recordings first; two of one player have
        seldom more than 0.5, two of different players seldom more than 0.15
    habits : [HabitFound], what is most like the likeliest pianist and least like the others first
    times_s, evidence : (W,), the middle of each ten seconds, and how much more likely (in nats) they make the
        likeliest pianist than the others on average
    boundary : between players it knows and others, for this length; None as `unknown`
    remarks : sentences about the performance: why it tells little, what was left out of its file
    """

    pianists: list[tuple[str, float]]
    unknown: float | None
    nearest: list[tuple[str, str, str, float]]
    habits: list[HabitFound]
    times_s: np.ndarray
    evidence: np.ndarray
    boundary: Boundary | None = None
    remarks: list[str] = field(default_factory=list)

    def as_values(self):
        """All of it as plain values for JSON."""
        values = dataclasses.asdict(self)
        typical, atypical = self.extremes() or (None, None)
        arrays = {name: np.round(getattr(self, name), 3).tolist() for name in ("times_s", "evidence")}
        return {**values, **arrays, "most_typical_s": typical, "least_typical_s": atypical}

    def describe(self):
        """A few lines for people."""
        lines = [f"{probability:6.1%}  {name}" for name, probability in self.pianists]
        unknown = "     ?" if self.unknown is None else f"{self.unknown:6.1%}"
        lines.append(f"{unknown}  none of the players it knows")
        if self.boundary is not None:
            lines.append(f"        {describe_rates(self.boundary)}")
        lines += [*([""] if self.remarks else []), *self.remarks, "", "nearest recordings:"]
        for pianist, album, title, similarity in self.nearest:
            lines.append(f"  {similarity:.2f}  {pianist}: {title} ({album})")
        if self.habits:
            lines += ["", f"what speaks for {self.pianists[0][0]}:"]
        for habit in self.habits:
            rank = f"above {habit.percentile:.0f} % of the recordings"
            median = f"this pianist's median: {habit.pianists_percentile:.0f} %"
            lines.append(f"  {habit.says}: {habit.value:.2f} {habit.unit}, {rank} ({median})")
        if (extremes := self.extremes()) is not None:
            typical, atypical = (f"{int(s // 60)}:{s % 60:04.1f}" for s in extremes)
            lines += ["", f"most typical ten seconds from {typical}, least typical from {atypical}"]
        return "\n".join(lines)

    def extremes(self):
        """(start_s of the most typical ten seconds, of the least typical); None where there is no evidence."""
        if not len(self.times_s):
            return None
        rows = self.evidence.argmax(), self.evidence.argmin()
        return tuple(float(self.times_s[row]) - EVIDENCE_S / 2 for row in rows)


def describe_rates(boundary: Boundary) -> str:
    """How often "none of the players" is right, by the length of a performance."""
    rates = f"{boundary.known_rate:.0%} of the players it knows, {boundary.unknown_rate:.0%} of others"
    return f"(answered correctly at {boundary.seconds:.0f} s: {rates})"


@dataclass(frozen=True)
class HabitFound:
    """A habit of this performance beside the gallery's: its value, its percentile, that of the pianist's median."""

    name: str
    says: str
    value: float
    unit: str
    percentile: float
    pianists_percentile: float


def identify(classifier, gallery, notes, top=5, beat_s=None, left_out=()):
    """Who may be playing.

    Parameters
    ----------
    classifier : StyleClassifier, calibrated
    gallery : Gallery
    notes : Notes
    top : how many pianists and at most how many habits to name
    beat_s : seconds a beat of the file the notes are from, if it says so
    left_out : what else the file holds, as of notes.read_piano

    Returns
    -------
    Identification

    Raises
    ------
    TooShort : under 5 s of music or 10 notes
    """
    prediction, performance = classifier.predict(notes), from_first_onset(notes)
    vector = gallery.verifier.vectors(Features.of([prediction], [performance]))[0]
    similarity = gallery.vectors @ vector
    known = gallery.probability_of_known(vector, classifier.names, performance.end_s)
    order = prediction.log_probability.argsort()[::-1]
    share = 1.0 if known is None else known
    pianists = [(classifier.names[p], float(np.exp(prediction.log_probability[p]) * share)) for p in order[:top]]
    rows = similarity.argsort()[::-1][:3]
    nearest = [(gallery.pianists[n], gallery.albums[n], gallery.titles[n], float(similarity[n])) for n in rows]
    times_s, evidence = classifier.evidence(notes)
    others = np.delete(evidence, order[0], 1)
    in_favour = evidence[:, order[0]] - others.mean(1) if others.size else np.zeros(len(evidence))
    telling = _habits_of(gallery, style_descriptors(performance), pianists[0][0])[:top]
    unknown = None if known is None else 1 - known
    boundary, remarks = gallery.boundary(performance.end_s), _remarks(notes, beat_s, left_out)
    return Identification(pianists, unknown, nearest, telling, times_s, in_favour, boundary, remarks)


def _remarks(notes, beat_s, left_out):
    """Sentences for Identification.remarks."""
    step_s = time_resolution_s(notes.onset_s, beat_s)
    remarks = [f"Left out of the file: {', '.join(left_out)}."] if left_out else []
    remarks.append(f"Times in steps of {1000 * step_s:.3g} ms.")
    missing = ["touch: every note is as loud"] if np.ptp(notes.velocity) == 0 else []
    missing += ["timing: notes begin on the grid of a sequencer"] if step_s > COARSE_S else []
    missing += ["pedal: there is none"] if not len(notes.pedal_s) else []
    if missing:
        remarks.append(f"This file tells little about who plays: it says nothing of {'; nor of '.join(missing)}.")
    return remarks


def _habits_of(gallery, values, pianist):
    """HabitFound that this performance and the pianist's have in common against the rest, the most telling first."""
    own, shared = gallery.habits[np.array(gallery.pianists) == pianist], []
    if not len(own):
        return []
    for column, habit in enumerate(STYLE_DESCRIPTORS):
        everyone, value = gallery.habits[:, column], values[habit.name]
        rank, pianists_rank = (100 * (everyone < v).mean() for v in (value, np.median(own[:, column])))
        if (agreement := (rank - 50) * (pianists_rank - 50)) > 0:
            says = habit.much if rank > 50 else habit.little
            figures = (float(value), habit.unit, float(rank), float(pianists_rank))
            shared.append((agreement, HabitFound(habit.name, says, *figures)))
    return [habit for _, habit in sorted(shared, key=lambda pair: -pair[0])]

"""The sections of an evaluation: functions of Measurements that give figures, or raise Missing with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from lib.apps.evaluate import copying, perturbations, transfer
from lib.apps.evaluate.chord_adherence import agreements, required_half_bars, rule_losses
from lib.apps.evaluate.clip_sets import CHORDS, PAIRED, SETS, ClipSet, ClipSets, Missing
from lib.apps.evaluate.intervals import Figure, estimate, mean_of, ratio_of
from lib.apps.evaluate.measures import (
    ATTRIBUTES,
    SMG_MISSING,
    clip_measures,
    has_second_opinion,
    means_of,
    smg_measures,
    solo_measures,
    table_of,
)
from lib.apps.evaluate.reference_classifier import pianist_probability
from lib.apps.evaluate.similarity import Features, Similarity, embedded, widest_directions
from lib.music.metrics import note_f1

DOSE_DRAWS = 100  # of the intervals of doses, of which there are many
FREE = 8  # clips without chords, at most, where no more are guided
SOLO_SETS = ("real_solos", "solos", "shuffled_solos")
SECOND_OPINION_SETS = ("real", "generated", "markov", "shuffled")


class Measurements:
    """What is measured of each set of clips, once.

    Parameters
    ----------
    clip_sets : ClipSets

    Attributes
    ----------
    missing : dict set or measure -> why it can't be given
    directions : (S, D), see similarity.widest_directions
    """

    def __init__(self, clip_sets: ClipSets):
        self.clip_sets, self.missing = clip_sets, {}
        self.directions = widest_directions(clip_sets.gallery.styles)
        self._tables, self._features, self._probabilities = {}, {}, {}

    def sets(self, names: Iterable[str] = SETS) -> dict[str, ClipSet]:
        """The sets that can be had; why others can't is kept in `missing`."""
        sets = {}
        for name in names:
            try:
                sets[name] = self.clip_sets.get(name)
            except Missing as reason:
                self.missing[name] = str(reason)
        return sets

    def require(self, name: str) -> None:
        """Missing where there is no such set."""
        if name not in self.sets((name,)):
            raise Missing(self.missing[name])

    def table(self, name: str) -> dict[str, np.ndarray]:
        """dict measure -> (N,) of a set; of solos the measures of form."""
        if name not in self._tables:
            measure = solo_measures if name in SOLO_SETS else clip_measures
            self._tables[name] = table_of(self.clip_sets.get(name), measure)
        return self._tables[name]

    def features(self, name: str) -> Features:
        """Features of a set."""
        if name not in self._features:
            self._features[name] = self.features_of(self.clip_sets.get(name), self.table(name))
        return self._features[name]

    def features_of(self, clip_set: ClipSet, table: dict[str, np.ndarray] | None = None) -> Features:
        """Features of any ClipSet."""
        table = table or table_of(clip_set, clip_measures)
        size = self.clip_sets.gallery.styles.shape[1]
        styles = embedded(self.clip_sets.classifier, clip_set.clips, size)
        return Features(np.stack([table[name] for name in ATTRIBUTES], 1), styles, clip_set.groups)

    def probability(self, name: str) -> np.ndarray | None:
        """(N,) of the pianist by the reference classifier for each clip of a set; None where it does not know him."""
        if name not in self._probabilities:
            self._probabilities[name] = self.probability_of(self.clip_sets.get(name))
        return self._probabilities[name]

    def probability_of(self, clip_set: ClipSet) -> np.ndarray | None:
        """The same of any ClipSet."""
        try:
            return pianist_probability(self.clip_sets.reference_classifier, clip_set.clips, self.clip_sets.pianist)
        except Missing as reason:
            self.missing["judge"] = str(reason)
            return None

    def clips(self) -> dict[str, dict]:
        """For comparisons: set -> groups, values of every clip by measure, and styles."""
        rows = {}
        for name, clip_set in self.sets(("real", *PAIRED)).items():
            rows[name] = {"groups": clip_set.groups, "values": dict(self.table(name))}
            if name not in SOLO_SETS:
                if self.probability(name) is not None:
                    rows[name]["values"]["judge"] = self.probability(name)
                rows[name]["styles"] = self.features(name).styles.round(4)
        return rows


def similarity(measured: Measurements) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure, against the held-out recordings."""
    measured.require("real")
    sections = {}
    for name, clip_set in measured.sets().items():
        figures = {}
        if name != "real":
            figures = Similarity(measured.features(name), measured.features("real"), measured.directions).figures()
        probability = measured.probability(name)
        sections[name] = figures if probability is None else {**figures, "judge": mean_of(probability, clip_set.groups)}
    return sections


def attributes(measured: Measurements) -> dict:
    """set -> attribute -> overlapping_area and divergence."""
    measured.require("real")
    real, directions = measured.features("real"), measured.directions
    names = measured.sets(name for name in SETS if name != "real")
    return {name: Similarity(measured.features(name), real, directions).by_attribute() for name in names}


def means(measured: Measurements, names: Iterable[str] = SETS) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure of its mean over clips."""
    return {name: means_of(measured.table(name), clips.groups) for name, clips in measured.sets(names).items()}


def form(measured: Measurements) -> dict[str, dict[str, Figure]]:
    """Of longer solos: real_solos, solos and shuffled_solos -> measure -> Figure."""
    figures = means(measured, SOLO_SETS)
    if not figures:
        raise Missing(measured.missing["solos"])
    return figures


def codec(measured: Measurements) -> dict[str, Figure]:
    """onset, onset_offset, onset_velocity: note F1 (mir_eval) of held-out clips through the codec and back."""
    measured.require("real")
    real, decoded = measured.clip_sets.real, measured.clip_sets.codec
    rows = [dataclasses.asdict(note_f1(*pair)) for pair in zip(real.clips, decoded.clips, strict=True)]
    return {name: mean_of([row[name] for row in rows], real.groups) for name in rows[0]}


def chord_adherence(measured: Measurements) -> dict:
    """chord_agreement of clips with chords, guided, without chords, and of real clips through the codec; rule_losses
    without and with rules."""
    clip_sets, sets = measured.clip_sets, measured.sets((CHORDS, "guided", "codec"))
    if not {CHORDS, "guided"} & set(sets):
        raise Missing("The size of this evaluation has neither clips over chords nor guided ones.")
    required = [required_half_bars(chart) for chart, _ in clip_sets.charts]
    free = clip_sets.without_chords(max(clip_sets.size.guided, min(FREE, clip_sets.size.with_chords)))
    shown = {name: {**sets, "free": free}.get(name) for name in (CHORDS, "guided", "free", "codec")}
    section = {
        "chord_agreement": {name: _agreement(required, clips) for name, clips in shown.items() if clips is not None}
    }
    if "guided" in sets:
        orders = clip_sets.guided_orders
        sides = [[rule_losses(*pair) for pair in zip(orders, clips)] for clips in (free.clips, sets["guided"].clips)]
        names = sides[0][0]
        section["rule_losses"] = {name: _drop(*([row[name] for row in side] for side in sides)) for name in names}
    return section


def _agreement(required, clips):
    rows = [agreements(*pair) for pair in zip(required, clips.clips)]
    return mean_of(np.concatenate(rows), np.repeat(clips.groups[: len(rows)], list(map(len, rows))))


def _drop(before, after):
    """Means of losses, and by which share rules lower them."""
    before, after = np.array(before), np.array(after)
    groups = range(len(before))

    def drop(weights):
        return 1 - float(weights @ after) / max(float(weights @ before), 1e-9)

    return {"free": mean_of(before, groups), "guided": mean_of(after, groups), "drop": estimate(drop, groups)}


def synthetic_transfer(measured: Measurements) -> dict:
    """See transfer.transfer_figures."""
    return transfer.transfer_figures(measured.clip_sets)


def copied(measured: Measurements) -> dict:
    """Similarity to the nearest training passage and longest shared run, of generated and of real held-out clips; and
    each passage."""
    pieces, store = measured.clip_sets.training_pieces, measured.clip_sets.store
    section = {}
    for name, clips in measured.sets(("generated", "real")).items():
        nearest = copying.nearest_passages(clips.clips, pieces, clips.seconds, f"copying: {name}")
        section[name] = {
            "likeness": mean_of([passage.likeness for passage in nearest], clips.groups),
            "run": mean_of([passage.run for passage in nearest], clips.groups),
            "nearest": [{**dataclasses.asdict(passage), "title": _title(store, passage.piece)} for passage in nearest],
        }
    if len(section) == 2:
        for key in ("likeness", "run"):
            sides = ([row[key] for row in section[name]["nearest"]] for name in ("generated", "real"))
            section[f"{key}_ratio"] = ratio_of(*sides)
    return section


def _title(store, index):
    piece = store.pieces[index]
    return f"{piece.title or piece.member} ({piece.album})" if piece.album else piece.title or piece.member


def self_check(measured: Measurements) -> dict:
    """doses, verdicts, control: what the measures say of real music made worse on purpose, and of the shuffled bars."""
    real = measured.features("real")

    def measure(clips):
        figures = Similarity(measured.features_of(clips), real, measured.directions).figures(DOSE_DRAWS)
        probability = measured.probability_of(clips)
        return figures if probability is None else {**figures, "judge": mean_of(probability, clips.groups)}

    rows = perturbations.dose_response(measured.clip_sets.training, measure)
    shuffled = measure(measured.clip_sets.shuffled)
    bad = perturbations.badness
    control = {
        key: bad(key, shuffled[key].value) > bad(key, figure.value)
        for key, figure in rows[0]["figures"].items()
        if key in shuffled
    }
    return {"doses": rows, "verdicts": perturbations.verdicts(rows), "control": control}


def second_opinion(measured: Measurements) -> dict[str, dict[str, Figure]]:
    """set -> measure of smg-metrics -> Figure."""
    if not has_second_opinion():
        raise Missing(SMG_MISSING)
    section = {}
    for name, clips in measured.sets(SECOND_OPINION_SETS).items():
        rows = [(smg_measures(notes), group) for notes, group in zip(clips.clips, clips.groups) if len(notes)]
        tables, groups = zip(*rows) if rows else ((), ())
        section[name] = {key: mean_of([row[key] for row in tables], groups) for key in (tables[0] if tables else ())}
    return section


# name in evaluation.json -> function of Measurements that gives that section
SECTIONS = {
    "likeness": similarity,
    "attributes": attributes,
    "means": means,
    "form": form,
    "codec": codec,
    "obedience": chord_adherence,
    "transfer": synthetic_transfer,
    "copying": copied,
    "selfcheck": self_check,
    "second_opinion": second_opinion,
}

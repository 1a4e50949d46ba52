"""The sections of an evaluation: functions of Measurements that give figures, or raise Missing with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from itertools import cycle

import numpy as np

from lib.apps.evaluate import copying, perturbations, transfer
from lib.apps.evaluate.chord_adherence import agreements, rule_losses
from lib.apps.evaluate.clip_sets import PAIRED, SETS, ClipSets, Missing
from lib.apps.evaluate.clips import ClipSet
from lib.apps.evaluate.intervals import Figure, estimate, mean_of, ratio_of
from lib.apps.evaluate.measures import (
    ATTRIBUTES,
    SMG_MISSING,
    clip_measures,
    has_second_opinion,
    smg_measures,
    solo_measures,
    table_of,
)
from lib.apps.evaluate.reference_classifier import pianist_probability
from lib.apps.evaluate.similarity import ClipFeatures, Similarity, embedded, widest_directions
from lib.music.metrics import PARTS_OF_BEAT, mean_phase, note_f1

DOSE_DRAWS = 100  # of the intervals of doses, of which there are many
FREE = 8  # clips without chords, at most, where no more are guided
SOLO_SETS = ("real_solos", "solos", "shuffled_solos")
SECOND_OPINION_SETS = ("real", "generated", "markov", "shuffled")


class MeasuredSet:
    """A ClipSet, and what is measured of it, each once.

    Parameters
    ----------
    clips : ClipSet
    measurements : Measurements, whose classifiers measure it
    measure : measures.clip_measures or measures.solo_measures
    """

    def __init__(self, clips: ClipSet, measurements: Measurements, measure=clip_measures):
        self.clips, self._clip_sets, self._measure = clips, measurements.clip_sets, measure
        self._reference_classifier = measurements.reference_classifier

    @cached_property
    def table(self) -> dict[str, np.ndarray]:
        """measure -> (N,)."""
        return table_of(self.clips, self._measure)

    @cached_property
    def features(self) -> ClipFeatures:
        """What similarity is measured on."""
        size = self._clip_sets.gallery.styles.shape[1]
        styles = embedded(self._clip_sets.classifier, self.clips.notes, size)
        return ClipFeatures(np.stack([self.table[name] for name in ATTRIBUTES], 1), styles, self.clips.groups)

    @cached_property
    def probability(self) -> np.ndarray | None:
        """(N,) of the pianist by the reference classifier; None where it does not know him."""
        if self._reference_classifier is None:
            return None
        return pianist_probability(self._reference_classifier, self.clips.notes, self._clip_sets.pianist)

    def similarity(self, real: MeasuredSet, directions: np.ndarray) -> Similarity:
        """To the held-out recordings."""
        return Similarity(self.features, real.features, directions)

    def with_judge(self, figures: dict[str, Figure]) -> dict[str, Figure]:
        """The figures, and that of the reference classifier where it knows the pianist."""
        return (
            figures if self.probability is None else {**figures, "judge": mean_of(self.probability, self.clips.groups)}
        )


class Measurements:
    """The sets of an evaluation, measured.

    Parameters
    ----------
    clip_sets : ClipSets

    Attributes
    ----------
    missing : dict set or measure -> why it can't be given
    directions : (S, D), see similarity.widest_directions
    reference_classifier : None where it does not know the pianist
    """

    def __init__(self, clip_sets: ClipSets):
        self.clip_sets, self.missing, self._sets = clip_sets, {}, {}
        self.directions = widest_directions(clip_sets.gallery.styles)
        try:
            self.reference_classifier = clip_sets.reference_classifier
        except Missing as reason:
            self.reference_classifier, self.missing["judge"] = None, str(reason)

    def __getitem__(self, name: str) -> MeasuredSet:
        """A set; Missing where it can't be had."""
        if name not in self._sets:
            measure = solo_measures if name in SOLO_SETS else clip_measures
            try:
                self._sets[name] = MeasuredSet(self.clip_sets.get(name), self, measure)
            except Missing as reason:
                self.missing[name] = str(reason)
                raise
        return self._sets[name]

    def sets(self, names: Iterable[str] = SETS) -> dict[str, MeasuredSet]:
        """The sets that can be had; why others can't is kept in `missing`."""
        sets = {}
        for name in names:
            with suppress(Missing):
                sets[name] = self[name]
        return sets

    def rows(self) -> dict[str, dict]:
        """For comparisons: set -> groups, values of every clip by measure, and styles."""
        rows = {}
        for name, measured in self.sets(("real", *PAIRED)).items():
            rows[name] = {"groups": measured.clips.groups, "values": dict(measured.table)}
            if name not in SOLO_SETS:
                if measured.probability is not None:
                    rows[name]["values"]["judge"] = measured.probability
                rows[name]["styles"] = measured.features.styles.round(4)
        return rows


def similarity(measurements: Measurements) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure, against the held-out recordings."""
    real, section = measurements["real"], {}
    for name, measured in measurements.sets().items():
        figures = {} if name == "real" else measured.similarity(real, measurements.directions).figures()
        section[name] = measured.with_judge(figures)
    return section


def attributes(measurements: Measurements) -> dict:
    """set -> attribute -> overlapping_area and divergence, against the held-out recordings."""
    real, sets = measurements["real"], measurements.sets(name for name in SETS if name != "real")
    return {name: measured.similarity(real, measurements.directions).by_attribute() for name, measured in sets.items()}


def means(measurements: Measurements, names: Iterable[str] = SETS) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure of its mean over clips."""
    sets = measurements.sets(names)
    return {
        name: {key: mean_of(values, measured.clips.groups) for key, values in measured.table.items()}
        for name, measured in sets.items()
    }


def form(measurements: Measurements) -> dict[str, dict[str, Figure]]:
    """Of longer solos: real_solos, solos and shuffled_solos -> measure -> Figure."""
    figures = means(measurements, SOLO_SETS)
    if not figures:
        raise Missing(measurements.missing["solos"])
    return figures


def in_time(measurements: Measurements) -> dict[str, dict[str, Figure]]:
    """set -> part of the beat -> Figure of the phase lock R of the onsets of all its clips; `grid` is the better of
    triplets and sixteenths. `other_beats` are the held-out clips by the beats of one another."""
    sets = {name: measured.clips for name, measured in measurements.sets().items()}
    if "real" in sets:
        clips = sets["real"].clips
        moved = [dataclasses.replace(beats, notes=clip.notes) for clip, beats in zip(clips, clips[1:] + clips[:1])]
        sets["other_beats"] = dataclasses.replace(sets["real"], clips=moved)
    return {name: _locks(clip_set) for name, clip_set in sets.items()}


def _locks(clip_set):
    positions = [clip.in_beats.onset for clip in clip_set.clips]
    counts = np.array(list(map(len, positions)))
    sums = {
        name: counts * [mean_phase(onsets, parts) for onsets in positions] for name, parts in PARTS_OF_BEAT.items()
    }

    def lock(*names):
        def statistic(weights):
            return max(abs(weights @ sums[name]) for name in names) / max(weights @ counts, 1)

        return estimate(statistic, clip_set.groups, bounds=(0, 1))

    return {"grid": lock("triplets", "sixteenths"), **{name: lock(name) for name in sums}}


def codec(measurements: Measurements) -> dict[str, Figure]:
    """onset, onset_offset, onset_velocity: note F1 (mir_eval) of held-out clips through the codec and back."""
    real, decoded = (measurements[name].clips for name in ("real", "codec"))
    rows = [dataclasses.asdict(note_f1(*pair)) for pair in zip(real.notes, decoded.notes, strict=True)]
    return {name: mean_of([row[name] for row in rows], real.groups) for name in rows[0]}


def chord_adherence(measurements: Measurements) -> dict:
    """chord_agreement of clips with chords, guided, without chords, and of real clips through the codec; rule_losses
    without and with rules."""
    clip_sets = measurements.clip_sets
    sets = {name: measured.clips for name, measured in measurements.sets(("generated", "guided", "codec")).items()}
    sets["free"] = free = clip_sets.without_chords(max(clip_sets.size.guided, min(FREE, clip_sets.size.clips)))
    charts = [prompt.chart for prompt in clip_sets.prompts]
    names = [name for name in ("generated", "guided", "free", "codec") if name in sets]
    section = {"chord_agreement": {name: _agreement(charts, sets[name]) for name in names}}
    if "guided" in sets:
        orders = clip_sets.guided_orders
        sides = [[rule_losses(*pair) for pair in zip(orders, clips.clips)] for clips in (free, sets["guided"])]
        section["rule_losses"] = {rule: _drop(*([row[rule] for row in side] for side in sides)) for rule in sides[0][0]}
    return section


def _agreement(charts, clips):
    rows = [agreements(*pair) for pair in zip(cycle(charts), clips.clips)]
    return mean_of(np.concatenate(rows), np.repeat(clips.groups, list(map(len, rows))))


def _drop(before, after):
    """Means of losses, and by which share rules lower them."""
    before, after = np.array(before), np.array(after)
    groups = range(len(before))

    def drop(weights):
        return 1 - float(weights @ after) / max(float(weights @ before), 1e-9)

    return {"free": mean_of(before, groups), "guided": mean_of(after, groups), "drop": estimate(drop, groups)}


def synthetic_transfer(measurements: Measurements) -> dict:
    """See transfer.transfer_figures."""
    return transfer.transfer_figures(measurements.clip_sets)


def copied(measurements: Measurements) -> dict:
    """Similarity to the nearest training passage and longest shared run, of generated and of real held-out clips; and
    each passage."""
    pieces, store = measurements.clip_sets.training_pieces, measurements.clip_sets.store
    section = {}
    for name, measured in measurements.sets(("generated", "real")).items():
        clips = measured.clips
        nearest = copying.nearest_passages(clips.clips, pieces, f"copying: {name}")
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


def self_check(measurements: Measurements) -> dict:
    """doses, verdicts, control: what the measures say of real music made worse on purpose, and of the shuffled bars."""
    real, clip_sets = measurements["real"], measurements.clip_sets

    def measure(clips):
        measured = MeasuredSet(clips, measurements)
        return measured.with_judge(measured.similarity(real, measurements.directions).figures(DOSE_DRAWS))

    rows = perturbations.dose_response(clip_sets.training, measure)
    whole, shuffled, bad = rows[0]["figures"], measure(clip_sets.shuffled), perturbations.badness
    control = {key: bad(key, shuffled[key].value) > bad(key, whole[key].value) for key in whole if key in shuffled}
    return {"doses": rows, "verdicts": perturbations.verdicts(rows), "control": control}


def second_opinion(measurements: Measurements) -> dict[str, dict[str, Figure]]:
    """set -> measure of smg-metrics -> Figure."""
    if not has_second_opinion():
        raise Missing(SMG_MISSING)
    section = {}
    for name, measured in measurements.sets(SECOND_OPINION_SETS).items():
        pairs = zip(measured.clips.clips, measured.clips.groups)
        rows = [(smg_measures(clip), group) for clip, group in pairs if len(clip.notes)]
        tables, groups = zip(*rows) if rows else ((), ())
        section[name] = {key: mean_of([row[key] for row in tables], groups) for key in (tables[0] if tables else ())}
    return section


# name in evaluation.json -> function of Measurements that gives that section
SECTIONS = {
    "likeness": similarity,
    "attributes": attributes,
    "means": means,
    "in_time": in_time,
    "form": form,
    "codec": codec,
    "obedience": chord_adherence,
    "transfer": synthetic_transfer,
    "copying": copied,
    "selfcheck": self_check,
    "second_opinion": second_opinion,
}

"""The sections of an evaluation: functions of ClipSets that give figures, or raise Missing with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import cycle

import numpy as np

from lib.apps.evaluate import copying, perturbations
from lib.apps.evaluate.clip_sets import COMPARED, GUIDED, SOLO_SETS, ClipSets, Missing
from lib.apps.evaluate.clips import make_orders
from lib.apps.evaluate.intervals import Figure, estimate, mean_of, ratio_of
from lib.apps.evaluate.likelihood import nll_figures
from lib.apps.evaluate.measures import agreements, beat_features, rule_losses, smg_measures
from lib.apps.evaluate.mismatch import mismatch_figures
from lib.apps.evaluate.outside_embedding import outside_figures
from lib.apps.evaluate.similarity import ClipMeasures
from lib.apps.evaluate.structure import fitness_scape
from lib.apps.evaluate.transfer import transfer_figures
from lib.music.metrics import PARTS_OF_BEAT, mean_phase, note_f1

DOSE_DRAWS = 100  # of the intervals of doses, of which there are many
SMG_MISSING = "smg-metrics is not installed: pip install -r requirements-evaluate.txt"
SECOND_OPINION_SETS = ("real", "generated", "markov", "shuffled")


def figures_of(sets: ClipSets, measured: ClipMeasures, draws: int | None = None) -> dict[str, Figure]:
    """Those of similarity to the held-out recordings, and `judge` where it knows the pianist: his mean probability."""
    figures = {} if measured is sets.measured("real") else sets.similarity(measured).figures(draws)
    if "judge" in measured.values:
        figures["judge"] = mean_of(measured.values["judge"], measured.groups)
    return figures


def similarity(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure, against the held-out recordings."""
    sets["real"]  # without them there is none of the others
    return {name: figures_of(sets, sets.measured(name)) for name in sets.available()}


def attributes(sets: ClipSets) -> dict:
    """set -> attribute -> overlapping_area and divergence, against the held-out recordings."""
    sets["real"]
    names = [name for name in sets.available() if name != "real"]
    return {name: sets.similarity(sets.measured(name)).by_attribute() for name in names}


def means(sets: ClipSets, names: Iterable[str] = COMPARED) -> dict[str, dict[str, Figure]]:
    """set -> measure -> Figure of its mean over clips."""
    measured = {name: sets.measured(name) for name in sets.available(names)}
    return {
        name: {key: mean_of(values, row.groups) for key, values in row.values.items() if key != "judge"}
        for name, row in measured.items()
    }


def form(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """Of longer solos: set of SOLO_SETS -> measure -> Figure."""
    figures = means(sets, SOLO_SETS)
    if not figures:
        raise Missing(sets.missing["solos"])
    return figures


def scapes(sets: ClipSets) -> dict[str, np.ndarray]:
    """set of SOLO_SETS -> structure.fitness_scape of its first solo, where that has notes and bars enough for one."""
    first = {name: clips.clips[0] for name, clips in sets.available(SOLO_SETS).items()}
    if not first:
        raise Missing(sets.missing["solos"])
    found = {name: fitness_scape(clip, beat_features(clip)) for name, clip in first.items()}
    return {name: scape for name, scape in found.items() if len(scape) > 1}


def in_time(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """set -> part of the beat -> Figure of the phase lock R of the onsets of all its clips; `grid` is the better of
    triplets and sixteenths. `other_beats` are the held-out clips by the beats of one another."""
    clip_sets = sets.available()
    if "real" in clip_sets:
        clips = clip_sets["real"].clips
        moved = [beats.with_notes(clip.notes) for clip, beats in zip(clips, clips[1:] + clips[:1])]
        clip_sets["other_beats"] = dataclasses.replace(clip_sets["real"], clips=moved)
    return {name: _locks(clip_set) for name, clip_set in clip_sets.items()}


def _locks(clip_set):
    positions = [clip.in_beats.onset for clip in clip_set.clips]
    counts = np.array(list(map(len, positions)))
    sums = {name: counts * [mean_phase(each, parts) for each in positions] for name, parts in PARTS_OF_BEAT.items()}

    def lock(*names):
        def statistic(weights):
            return max(abs(weights @ sums[name]) for name in names) / max(weights @ counts, 1)

        return estimate(statistic, clip_set.groups, bounds=(0, 1))

    return {"grid": lock("triplets", "sixteenths"), **{name: lock(name) for name in sums}}


def codec(sets: ClipSets) -> dict[str, Figure]:
    """onset, onset_offset, onset_velocity: note F1 (mir_eval) of held-out clips through the codec and back."""
    rows = [dataclasses.asdict(note_f1(*pair)) for pair in zip(sets["real"].notes, sets["codec"].notes, strict=True)]
    return {name: mean_of([row[name] for row in rows], sets["real"].groups) for name in rows[0]}


def chord_adherence(sets: ClipSets) -> dict:
    """chord_agreement of clips with chords, guided, without chords, and of real clips through the codec; rule_losses
    without and with rules."""
    clip_sets, section = sets.available(("generated", "guided", "free", "codec")), {"chord_agreement": {}}
    for name, clips in clip_sets.items():
        rows = [agreements(*pair) for pair in zip(cycle(sets.charts), clips.clips)]
        groups = np.repeat(clips.groups, list(map(len, rows)))
        section["chord_agreement"][name] = mean_of(np.concatenate(rows), groups)
    if "guided" in clip_sets:
        orders = make_orders(sets.requests(sets.size.guided, **GUIDED))
        sides = [[rule_losses(*pair) for pair in zip(orders, sets[name].clips)] for name in ("free", "guided")]
        section["rule_losses"] = {rule: _drop(*([row[rule] for row in side] for side in sides)) for rule in sides[0][0]}
    return section


def _drop(before, after):
    """Means of losses, and by which share rules lower them."""
    before, after = np.array(before), np.array(after)
    groups = range(len(before))

    def drop(weights):
        return 1 - float(weights @ after) / max(float(weights @ before), 1e-9)

    return {"free": mean_of(before, groups), "guided": mean_of(after, groups), "drop": estimate(drop, groups)}


def copied(sets: ClipSets) -> dict:
    """Similarity to the nearest training passage, most beats and notes in a row that are shared, of generated, of real
    held-out clips and of the copy bot; ratios of the first two; and each passage."""
    pieces, store = sets.training_pieces, sets.store
    section, values = {}, {"likeness": [], "beats": [], "run": []}
    for name, clips in sets.available(("generated", "real", "copy_bot")).items():
        nearest = copying.nearest_passages(clips.clips, pieces, f"copying: {name}")
        for key, columns in values.items():
            columns.append([passage[key] for passage in nearest])
        figures = {key: mean_of(columns[-1], clips.groups) for key, columns in values.items()}
        for passage in nearest:
            piece = store.pieces[passage["piece"]]
            passage["title"] = (piece.title or piece.member) + (f" ({piece.album})" if piece.album else "")
        section[name] = {**figures, "nearest": nearest}
    if "real" in section:
        section |= {f"{key}_ratio": ratio_of(*columns[:2]) for key, columns in values.items()}
    return section


def self_check(sets: ClipSets) -> dict:
    """doses, verdicts, control: what the measures say of real music made worse on purpose, and of the shuffled bars."""

    def measure(clips):
        return figures_of(sets, sets.measure(clips), DOSE_DRAWS)

    rows = perturbations.dose_response(sets["training"], measure)
    whole, shuffled, bad = rows[0]["figures"], measure(sets["shuffled"]), perturbations.badness
    control = {key: bad(key, shuffled[key].value) > bad(key, whole[key].value) for key in whole if key in shuffled}
    return {"doses": rows, "verdicts": perturbations.verdicts(rows), "control": control}


def second_opinion(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """set -> measure of smg-metrics -> Figure."""
    if not find_spec("smg_metrics"):
        raise Missing(SMG_MISSING)
    section = {}
    for name, clips in sets.available(SECOND_OPINION_SETS).items():
        rows = [smg_measures(clip) for clip in clips.clips]
        names = dict.fromkeys(key for row in rows for key in row)
        section[name] = {key: mean_of([row.get(key, np.nan) for row in rows], clips.groups) for key in names}
    return section


# name in evaluation.json (likeness is similarity, obedience is chord adherence) -> function of ClipSets that gives it
SECTIONS = {
    "likeness": similarity,
    "attributes": attributes,
    "means": means,
    "in_time": in_time,
    "form": form,
    "scapes": scapes,
    "codec": codec,
    "obedience": chord_adherence,
    "transfer": transfer_figures,
    "mismatch": mismatch_figures,
    "likelihood": nll_figures,
    "copying": copied,
    "outside": outside_figures,
    "selfcheck": self_check,
    "second_opinion": second_opinion,
}

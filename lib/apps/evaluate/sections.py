"""The sections of an evaluation: each a function of Measured that gives figures, or raises Missing with the reason."""

from __future__ import annotations

import dataclasses

import numpy as np

from lib.apps.evaluate import copying, selfcheck, standard, transfer
from lib.apps.evaluate.clips import Missing
from lib.apps.evaluate.heard import SETS
from lib.apps.evaluate.intervals import estimate, mean_of
from lib.apps.evaluate.judging import judge_probability, judged
from lib.apps.evaluate.likeness import Likeness, judge_figure
from lib.apps.evaluate.measures import means_of
from lib.apps.evaluate.obedience import agreements, asked_half_bars, rule_losses
from lib.music.metrics import note_f1

DOSE_DRAWS = 100  # of the intervals of doses, of which there are many
FREE = 8  # clips that hear of no chords, at most, where no more are guided
SECOND_OPINION_SETS = ("real", "generated", "markov", "shuffled")


def likeness(measured):
    """set -> measure -> Figure, against the held-out recordings."""
    real = measured.heard("real") if "real" in measured.sets(("real",)) else None
    if real is None:
        raise Missing(measured.missing["real"])
    found = {}
    for name in measured.sets():
        figures = {} if name == "real" else Likeness(measured.heard(name), real, measured.directions).figures()
        try:
            figures["judge"] = judge_figure(measured.judged(name), measured.heard(name).groups)
        except Missing as reason:
            measured.missing["judge"] = str(reason)
        found[name] = figures
    return found


def attributes(measured):
    """set -> attribute -> overlapping_area and divergence."""
    if "real" not in measured.sets(("real",)):
        raise Missing(measured.missing["real"])
    real, found = measured.heard("real"), {}
    for name in measured.sets([name for name in SETS if name != "real"]):
        pairs = Likeness(measured.heard(name), real, measured.directions).by_attribute()
        found[name] = {key: {"overlapping_area": area, "divergence": far} for key, (area, far) in pairs.items()}
    return found


def means(measured):
    """set -> measure -> Figure of its mean over clips."""
    return {name: means_of(measured.table(name), clips.groups) for name, clips in measured.sets().items()}


def codec(measured):
    """onset, onset_offset, onset_velocity: note F1 (mir_eval) of held-out clips through the codec and back."""
    sets = measured.sets(("real", "codec"))
    if len(sets) < 2:
        raise Missing(measured.missing["real"])
    pairs = zip(sets["real"].clips, sets["codec"].clips, strict=True)
    rows = [dataclasses.asdict(note_f1(original, back)) for original, back in pairs]
    return {name: mean_of([row[name] for row in rows], sets["real"].groups) for name in rows[0]}


def form(measured):
    """Of longer solos: real_solos, solos and shuffled_solos -> measure -> Figure."""
    sets = measured.sets(("real_solos", "solos", "shuffled_solos"))
    if not sets:
        raise Missing(measured.missing["solos"])
    return {name: means_of(measured.form(name), clips.groups) for name, clips in sets.items()}


def obedience(measured):
    """chord_agreement of clips told and guided, of ones that heard of no chords, and of real clips through the codec; rule losses
    without and with rules."""
    material, sets = measured.material, measured.sets(("told", "guided", "codec"))
    if not {"told", "guided"} & set(sets):
        raise Missing("Neither clips that are told chords nor guided ones were asked for.")
    asked = [asked_half_bars(chart) for chart, _ in material.charts]
    free = material.without_changes(max(material.size.guided, min(FREE, material.size.told)))
    sets = {**{name: sets[name] for name in ("told", "guided") if name in sets}, "free": free, **sets}
    found = {"chord_agreement": {name: _agreement(asked, clips) for name, clips in sets.items()}}
    if "guided" in sets:
        found["rule_losses"] = _rule_losses(material.guided_orders, free.clips, sets["guided"].clips)
    return found


def _rule_losses(orders, free, guided):
    """rule -> Figures without, with and lowered by."""
    sides = [[rule_losses(order, notes) for order, notes in zip(orders, clips)] for clips in (free, guided)]
    return {name: _drop(*(np.array([row[name] for row in side]) for side in sides)) for name in sides[0][0]}


def _agreement(asked, clips):
    found = [agreements(frames, notes) for frames, notes in zip(asked, clips.clips)]
    values, groups = np.concatenate(found), np.repeat(clips.groups[: len(found)], [len(one) for one in found])
    return mean_of(values.astype(float), groups)


def _drop(before, after):
    """Means of losses, and by which share rules lower them."""
    groups = range(len(before))

    def drop(weights):
        return 1 - float(weights @ after) / max(float(weights @ before), 1e-9)

    return {"free": mean_of(before, groups), "guided": mean_of(after, groups), "drop": estimate(drop, groups)}


def synthetic_transfer(measured):
    """Accuracies of classifiers that learnt from generated music, and from as much real music, on held-out recordings."""
    material = measured.material
    names = transfer.pianists_of(material.base.improviser, material.store)
    generated, clips = transfer.generated_windows(material.base, names, material.size.each)
    held = transfer.real_windows(material.store, names, material.split)
    if not len(held.who):
        raise Missing(f"{material.store.path.parent.name} has no {material.split} recording of the twelve pianists.")
    found = {"pianists": names, "tested": sorted(set(held.who)), "clips_each": material.size.each, "chance": 1 / len(names)}
    for key, windows in (("generated", generated), ("real", _as_many(material, names))):
        by_window, by_recording, recordings = transfer.namings(transfer.train(windows), held)
        found[key] = {"windows": mean_of(by_window.astype(float), held.recordings),
                      "recordings": mean_of(by_recording.astype(float), recordings)}  # fmt: skip
    found["judge_agrees"] = _judge_agrees(material, names, clips)
    return found


def _as_many(material, names):
    """Windows of real training recordings, as many of each pianist as were generated."""
    windows = transfer.real_windows(material.store, names, "train", 4)
    order = np.random.default_rng(0).permutation(len(windows.who))
    chosen = [place for name in names for place in order[windows.who[order] == name][: material.size.each]]
    return transfer.Windows(windows.features[chosen], windows.who[chosen], windows.recordings[chosen])


def _judge_agrees(material, names, clips):
    """Share of the clips whose style the judge names, among these; None where it does not know them all."""
    try:
        judge = material.judge
    except Missing:
        return None
    if not set(names) <= set(judge.names):
        return None
    right = judged(judge, clips.clips, names).argmax(1) == np.repeat(np.arange(len(names)), material.size.each)
    return mean_of(right.astype(float), clips.groups)


def copied(measured):
    """Likeness to the nearest training passage and longest shared run, of generated and of real held-out clips; and each place."""
    material = measured.material
    if not material.training_pieces:
        raise Missing(f"{material.store.path.parent.name} has no training recording of {material.pianist}.")
    found = {}
    for name, clips in measured.sets(("generated", "real")).items():
        nearest = copying.nearest_passages(clips.clips, material.training_pieces, clips.seconds, f"copying: {name}")
        found[name] = {"likeness": mean_of([one.likeness for one in nearest], clips.groups),
                       "run": mean_of([one.run for one in nearest], clips.groups),
                       "nearest": [{**dataclasses.asdict(one), "title": _title(material.store, one.piece)} for one in nearest]}
    if len(found) == 2:
        for key in ("likeness", "run"):
            found[f"{key}_ratio"] = _ratio(*([one[key] for one in found[name]["nearest"]] for name in ("generated", "real")))
    return found


def _ratio(values, others):
    values, others = np.array(values, float), np.array(others, float)
    return estimate(lambda w, o: (w @ values / w.sum()) / max(o @ others / o.sum(), 1e-9), range(len(values)), range(len(others)))


def _title(store, index):
    piece = store.pieces[index]
    return f"{piece.title or piece.member} ({piece.album})" if piece.album else piece.title or piece.member


def self_check(measured):
    """Dose and response: what the measures say of real music made worse on purpose, and of the shuffled bars."""
    material, real = measured.material, measured.heard("real")
    try:
        judge = material.judge
    except Missing:
        judge = None

    def measure(clips):
        figures = Likeness(measured.hear(clips), real, measured.directions).figures(DOSE_DRAWS)
        if judge is None:
            return figures
        return {**figures, "judge": judge_figure(judge_probability(judge, clips.clips, material.pianist), clips.groups)}

    rows, shuffled = selfcheck.dose_response(material.training, measure), measure(material.shuffled)
    worse = {key: selfcheck.is_worse(key, shuffled[key].value, figure.value)
             for key, figure in rows[0]["figures"].items() if key in shuffled}  # fmt: skip
    return {"doses": rows, "verdicts": selfcheck.verdicts(rows), "control": worse}


def second_opinion(measured):
    """set -> measure of smg-metrics -> Figure."""
    if not standard.has_second_opinion():
        raise Missing(standard.SMG_MISSING)
    found = {}
    for name, clips in measured.sets(SECOND_OPINION_SETS).items():
        rows = [(standard.smg_measures(notes), group) for notes, group in zip(clips.clips, clips.groups) if len(notes)]
        keys = rows[0][0] if rows else ()
        found[name] = {key: mean_of([row[key] for row, _ in rows], [group for _, group in rows]) for key in keys}
    return found

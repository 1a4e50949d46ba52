"""Trains the released beat tracker from nothing: profiles, beats of jazz to learn from, networks, confidence.

    python tests/benchmarks/beat_recipe.py --data-dir data [--asap asap.zip] --out beat_tracker.safetensors

Reads the note stores of PiJAMA and MAESTRO (for the names of its test pieces, which are left out). No piece that
beats.py measures is read. Jazz has no annotations: its phase profiles are learnt by hard EM on notes left out, and the
beats that two searches agree on, each without another fifth of the onsets, are what the networks learn from. The
released file took the same functions step by step. About four hours of one core at the default sizes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from asap import AnnotatedPerformance, read_asap  # noqa: E402
from beats import ASAP, benchmark_pieces, excerpt, groups_of, shuffle_gaps  # noqa: E402
from downbeat_recipe import BeatSequence, learn_downbeats  # noqa: E402

from lib.data.note_store import NoteStore  # noqa: E402
from lib.models.beat_tracker import (  # noqa: E402
    BeatNetwork,
    BeatTracker,
    TrackerSettings,
    confidence_terms,
    predict_activations,
)
from lib.music.bar_lines import bar_evidence  # noqa: E402
from lib.music.beat_tracking import (  # noqa: E402
    NUM_KINDS,
    BeatModel,
    BeatPath,
    OnsetGroups,
    decode,
    group_index,
    onset_gains,
    phases_at,
)
from lib.music.notes import Notes, select  # noqa: E402
from lib.training.stages.beat_tracker import LabelledNotes, fit_beat_network  # noqa: E402

BINS = 48
PEAKS = {  # phase and height of what is played between the beats, by feel: bass, chord, line
    "sixteenths": (
        ((0.5, 1.2), (0.25, 0.3), (0.75, 0.3)),
        ((0.5, 1.2), (0.25, 0.4), (0.75, 0.4)),
        ((0.5, 1.3), (0.25, 0.9), (0.75, 0.9)),
    ),
    "swing": (((2 / 3, 0.8), (1 / 3, 0.2)), ((2 / 3, 1.2), (1 / 3, 0.3)), ((2 / 3, 1.5), (1 / 3, 0.7))),
    "eighths": (((0.5, 1.3),), ((0.5, 1.4),), ((0.5, 1.6),)),
}
ON_BEAT = ((3.2, 0.3), (2.2, 0.4), (1.6, 0.5))  # height at the beat and floor: bass, chord, line
PEAK_WIDTH = 0.025  # beats
PROFILE_LEFT_OUT, SMOOTHING, FLOOR, PRIOR_COUNT = 0.25, (0.25, 0.5, 0.25), 0.02, 2.0
LABEL_LEFT_OUT, LABEL_GAIN, LABEL_AGREEMENT, SAME_BEAT_S = 0.2, 0.15, 0.85, 0.045
GAIN_BEATS, AGREEMENT_BEATS, MIN_LABELS = 16, 4, 40
SHUFFLED_SHARE = 0.25  # of the performances are also fitted with their gaps shuffled: nothing keeps time there
PROFILE_PIECES, LABEL_PIECES, CONFIDENCE_PIECES = 90, 800, 70
PROFILE_S, LABEL_S, CONFIDENCE_S = 180.0, 270.0, 180.0
PROFILE_ROUNDS = 4
BATCH_SIZE, JAZZ_EXAMPLES = 10, 3


def initial_profiles() -> np.ndarray:
    """Log profiles to begin EM with, (feels, NUM_KINDS, BINS)."""
    phase, feels = np.arange(BINS) / BINS, []
    for kinds in PEAKS.values():
        profiles = np.empty((NUM_KINDS, BINS))
        for profile, peaks, (height, floor) in zip(profiles, kinds, ON_BEAT):
            profile[:] = floor
            for peak, size in ((0.0, height), *peaks):
                distance = np.minimum(abs(phase - peak), 1 - abs(phase - peak))
                profile += size * np.exp(-0.5 * (distance / PEAK_WIDTH) ** 2)
        feels.append(profiles / profiles.mean(1, keepdims=True))
    return np.log(np.array(feels))


def phase_histogram(groups: OnsetGroups, path: BeatPath, feels: int) -> np.ndarray:
    """Weight of the onsets by feel, kind and phase, (feels, NUM_KINDS, BINS)."""
    histogram = np.zeros((feels, NUM_KINDS, BINS))
    beat, phase = phases_at(groups.time_s, path.beats_s)
    inside = beat >= 0
    bin_index = np.rint(phase[inside] * BINS).astype(np.int64) % BINS
    np.add.at(histogram, (path.feel[beat[inside]], groups.kind[inside], bin_index), groups.weight[inside])
    return histogram


def log_profiles_from(histogram: np.ndarray) -> np.ndarray:
    """Log density over a flat one from counts (feels, NUM_KINDS, BINS), smoothed round the beat."""
    counts = histogram + PRIOR_COUNT
    before, here, after = SMOOTHING
    counts = here * counts + before * np.roll(counts, 1, 2) + after * np.roll(counts, -1, 2)
    return np.log((1 - FLOOR) * counts / counts.mean(2, keepdims=True) + FLOOR)


def learn_profiles(performances: list[OnsetGroups], model: BeatModel, rounds: int, seed: int = 0):
    """Hard EM: track without a quarter of the onsets, then count where in the beat that quarter falls.

    Counting what was left out keeps the profiles honest: what was tracked sits on the grid in any case.

    Yields
    ------
    (BeatModel, nats an onset left out under the profiles before), once a round
    """
    feels = len(model.log_profiles)
    for turn in range(rounds):
        histogram, gains = np.zeros_like(model.log_profiles), []
        for number, groups in enumerate(performances):
            held = np.random.default_rng([seed, turn, number]).random(len(groups)) < PROFILE_LEFT_OUT
            path, left_out = decode(groups.part(~held), model), groups.part(held)
            histogram += phase_histogram(left_out, path, feels)
            gains.append(onset_gains(left_out, path, model.log_profiles)[1])
        model = replace(model, log_profiles=log_profiles_from(histogram))
        yield model, float(np.concatenate(gains).mean())


@dataclass(frozen=True)
class BeatLabels:
    """Beats (B,) of a piece in seconds, and which of them are sure enough to learn from, bool (B,)."""

    beats_s: np.ndarray
    known: np.ndarray


def label_beats(groups: OnsetGroups, model: BeatModel, seed: int) -> BeatLabels | None:
    """Beats that two searches, each without another fifth of the onsets, agree on and that predict what was left out.

    None where fewer than MIN_LABELS are sure.
    """
    paths, gains = [], []
    for turn in range(2):
        held = np.random.default_rng([seed, turn]).random(len(groups)) < LABEL_LEFT_OUT
        path = decode(groups.part(~held), model)
        paths.append(path)
        gains.append(smoothed_gain(*onset_gains(groups.part(held), path, model.log_profiles), len(path.feel)))
    beats_s, other_s = paths[0].beats_s[:-1], paths[1].beats_s
    after = np.clip(np.searchsorted(other_s, beats_s), 1, len(other_s) - 1)
    same = np.minimum(abs(beats_s - other_s[after]), abs(beats_s - other_s[after - 1])) < SAME_BEAT_S
    window = np.ones(2 * AGREEMENT_BEATS + 1)
    agreement = np.convolve(same, window / len(window), "same")
    gain = np.minimum(gains[0], np.interp(beats_s, other_s[:-1], gains[1]))
    known = (gain > LABEL_GAIN) & (agreement > LABEL_AGREEMENT)
    return BeatLabels(beats_s, known) if known.sum() > MIN_LABELS else None


def smoothed_gain(beat, gain, num_beats: int) -> np.ndarray:
    """Mean gain of onsets within GAIN_BEATS of each beat, (num_beats,)."""
    total = np.bincount(beat[beat >= 0], gain[beat >= 0], num_beats)
    count = np.bincount(beat[beat >= 0], minlength=num_beats).astype(float)
    window = np.ones(2 * GAIN_BEATS + 1)
    return np.convolve(total, window, "same")[:num_beats] / np.maximum(
        np.convolve(count, window, "same")[:num_beats], 4
    )


def observations(tracker: BeatTracker, notes: Notes, steady: bool, rng) -> tuple[np.ndarray, np.ndarray]:
    """Terms (N, 4) and gain in nats (N,) of the onsets left out."""
    groups, group = groups_of(notes), group_index(notes.onset_s)
    held = rng.random(len(groups)) < LABEL_LEFT_OUT
    activations = predict_activations(tracker.network, select(notes, ~held[group]))
    path = tracker.find_beats(groups.part(~held), activations, steady)
    terms = confidence_terms(groups.part(~held), path, activations, tracker.log_profiles)
    beat, gain = onset_gains(groups.part(held), path, tracker.log_profiles)
    return terms[beat[beat >= 0]], gain[beat >= 0]


def confidence_coefficients(tracker: BeatTracker, performances: list[Notes], steady: bool, seed: int = 0):
    """Coefficients of `confidence_terms`, by least squares over all onsets left out."""
    rng, rows = np.random.default_rng(seed), []
    for number, notes in enumerate(performances):
        rows.append(observations(tracker, notes, steady, rng))
        if number % round(1 / SHUFFLED_SHARE) == 0:
            rows.append(observations(tracker, shuffle_gaps(notes, rng), steady, rng))
    terms, gain = (np.concatenate(columns) for columns in zip(*rows))
    return tuple(float(c) for c in np.linalg.lstsq(terms, gain, rcond=None)[0])


def maestro_test_members(data_dir: Path) -> frozenset[str]:
    """YEAR/FILE of MAESTRO's test split, from its note store."""
    pieces = NoteStore.open(data_dir / "maestro" / "notes.store").pieces
    return frozenset("/".join(piece.member.split("/")[-2:]) for piece in pieces if piece.split == "test")


def learning_pieces(store: NoteStore, seed: int) -> list[int]:
    """Indices of PiJAMA's pieces that the benchmark does not measure, in random order, Mehldau's first."""
    hidden = {index for index, _ in benchmark_pieces(store.pieces)}
    free = [i for i, piece in enumerate(store.pieces) if not piece.duet and piece.seconds > 90 and i not in hidden]
    order = np.random.default_rng(seed).permutation(free)
    return sorted(map(int, order), key=lambda i: store.pieces[i].pianist != "Brad Mehldau")


def jazz_labels(store: NoteStore, indices, model: BeatModel, report) -> dict[int, BeatLabels]:
    """The labels of the pieces of which some beats are sure."""
    labels = {}
    for number, index in enumerate(indices):
        groups = groups_of(excerpt(store, index, LABEL_S))
        found = label_beats(groups, model, index) if len(groups) > 100 else None
        if found is not None:
            labels[index] = found
        if number % 100 == 99:
            report(f"labels: {len(labels)} of {number + 1} pieces")
    return labels


def annotated_example(performance: AnnotatedPerformance) -> LabelledNotes:
    known = np.ones(len(performance.beats_s), dtype=bool)
    return LabelledNotes(performance.notes, performance.beats_s, performance.downbeats_s, known, known, steady=False)


def labelled_example(notes: Notes, labels: BeatLabels) -> LabelledNotes:
    """A piece with tracked beats; where its bars begin is unknown."""
    nowhere = np.zeros(len(labels.beats_s), dtype=bool)
    return LabelledNotes(notes, labels.beats_s, labels.beats_s[:0], labels.known, nowhere, steady=True)


def examples_drawn(performances: list[AnnotatedPerformance], jazz: list[LabelledNotes]):
    """A function that draws a batch: pieces of (n)ASAP by the root of how many performances they have, and jazz."""
    by_piece: dict[str, list[LabelledNotes]] = {}
    for performance in performances:
        by_piece.setdefault(performance.folder, []).append(annotated_example(performance))
    pieces = list(by_piece.values())
    chance = np.sqrt([len(piece) for piece in pieces])

    def draw(rng):
        drawn = [pieces[i] for i in rng.choice(len(pieces), BATCH_SIZE - JAZZ_EXAMPLES, p=chance / chance.sum())]
        drawn = [piece[rng.integers(len(piece))] for piece in drawn]
        return drawn + [jazz[i] for i in rng.integers(len(jazz), size=JAZZ_EXAMPLES)]

    return draw


def with_confidence(tracker: BeatTracker, store: NoteStore, indices, asap: Path) -> BeatTracker:
    """The tracker with coefficients of its confidence, fitted on jazz and on (n)ASAP's validation pieces."""
    jazz = [excerpt(store, index, CONFIDENCE_S) for index in indices]
    classical = [p.notes.until(CONFIDENCE_S) for p in read_asap(asap, splits=("validation",))[::3]]
    steady, free = confidence_coefficients(tracker, jazz, True), confidence_coefficients(tracker, classical, False)
    return replace(tracker, settings=replace(tracker.settings, steady_confidence=steady, free_confidence=free))


def train(data_dir: Path, asap: Path, steps: int, seed: int, report=print) -> BeatTracker:
    """The whole recipe; see the module."""
    torch.manual_seed(seed)
    store, settings = NoteStore.open(data_dir / "pijama" / "notes.store"), TrackerSettings()
    pieces, model = learning_pieces(store, seed), BeatModel(initial_profiles())
    groups = [groups_of(excerpt(store, index, PROFILE_S)) for index in pieces[:PROFILE_PIECES]]
    for learnt, gain in learn_profiles(groups, model, PROFILE_ROUNDS, seed):
        model = learnt
        report(f"profiles: {gain:.3f} nats an onset left out")
    labels = jazz_labels(store, pieces[:-CONFIDENCE_PIECES][:LABEL_PIECES], model, report)
    performances = [p for p in read_asap(asap, maestro_test_members(data_dir), ("train",)) if not p.in_maestro_test]
    notes = {index: excerpt(store, index, LABEL_S + 10) for index in labels}
    draw = examples_drawn(performances, [labelled_example(notes[index], labels[index]) for index in labels])
    network = fit_beat_network(BeatNetwork(), draw, steps, seed=seed, report=report)
    evidence = {index: bar_evidence(notes[index], labels[index].beats_s) for index in labels}
    sequences = [
        BeatSequence(str(i), e, np.zeros(len(e), dtype=np.float32), labels[i].known.astype(np.float32))
        for i, e in evidence.items()
    ]
    downbeats = learn_downbeats(performances, sequences, seed, report)
    tracker = BeatTracker(network, downbeats, model.log_profiles, settings)
    return with_confidence(tracker, store, pieces[-CONFIDENCE_PIECES:], asap)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the note stores")
    parser.add_argument("--asap", type=Path, default=ASAP, help="asap.zip of (n)ASAP")
    parser.add_argument("--steps", type=int, default=6000, help="of the beat network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def report(line):
        print(line, flush=True)

    train(arguments.data_dir, arguments.asap, arguments.steps, arguments.seed, report).save(arguments.out)


if __name__ == "__main__":
    main()

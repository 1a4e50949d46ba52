"""The downbeat network's part of beat_recipe.py: learnt on the bars of (n)ASAP, then also on those it finds in jazz."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from asap import AnnotatedPerformance  # noqa: E402

from lib.models.beat_tracker import DownbeatNetwork  # noqa: E402
from lib.music.bar_lines import NUM_EVIDENCE, BarModel, bar_evidence, find_bars  # noqa: E402
from lib.music.beat_tracking import group_index  # noqa: E402
from lib.music.notes import select  # noqa: E402

SEQUENCE_BEATS = 128
BEAT_JITTER_S = 0.012  # tracked beats are not exact
MAX_DROPPED = 0.25  # at most this share of the onset groups is left out
SURE = 0.8  # probability from which on a found bar is learnt from
MIN_SURE_BEATS = 48
SLOW_BPM, FAST_BPM = 95.0, 140.0  # pieces below are also learnt at twice the beats, above at half
EVIDENCE_NOISE = 0.1
DOWNBEAT_ROUNDS = 3


@dataclass(frozen=True)
class BeatSequence:
    """Evidence (B, E) of one performance, whether a bar begins on each beat (B,), and how much that counts (B,)."""

    piece: str
    evidence: np.ndarray
    downbeat: np.ndarray
    weight: np.ndarray


def annotated_sequences(performance: AnnotatedPerformance, rng: np.random.Generator) -> list[BeatSequence]:
    """A performance at its own level and, where it is slow or fast, at another; beats jittered, some notes left out."""
    notes, sequences = performance.notes, []
    for beats_s in levels(performance.beats_s, performance.downbeats_s):
        downbeat = np.isin(beats_s, performance.downbeats_s)
        jittered = beats_s + rng.normal(0, BEAT_JITTER_S, len(beats_s))
        if (np.diff(jittered) <= 0).any() or len(beats_s) < 16:
            continue
        group = group_index(notes.onset_s)
        kept = (rng.random(group[-1] + 1) >= rng.uniform(0, MAX_DROPPED))[group]
        evidence = bar_evidence(select(notes, kept), jittered)
        sequences.append(BeatSequence(performance.folder, evidence, downbeat.astype(np.float32), np.ones(len(beats_s))))
    return sequences


def levels(beats_s, downbeats_s):
    """The annotated beats; then twice as many where they are slow, or every other one where they are fast."""
    yield beats_s
    bpm = 60 / np.median(np.diff(beats_s))
    if bpm < SLOW_BPM:
        yield np.sort(np.r_[beats_s, (beats_s[1:] + beats_s[:-1]) / 2])
    elif bpm > FAST_BPM:
        phase = int(np.isin(beats_s[1::2], downbeats_s).sum() > np.isin(beats_s[::2], downbeats_s).sum())
        yield beats_s[phase::2]


def fit_downbeats(
    groups, steps: int = 700, batch_size: int = 24, peak_rate: float = 3e-3, seed: int = 0, width: int = 48
):
    """A downbeat network trained on groups of BeatSequences, each group an equal share of every batch.

    Pieces are drawn by the root of how many sequences they have.
    """
    torch.manual_seed(seed)
    rng, network = np.random.default_rng(seed), DownbeatNetwork(NUM_EVIDENCE, width)
    seen = np.concatenate([sequence.evidence for sequences in groups for sequence in sequences[::5]])
    network.mean.copy_(torch.from_numpy(seen.mean(0)))
    network.scale.copy_(torch.from_numpy(seen.std(0) + 0.1))
    optimizer = torch.optim.AdamW(network.parameters(), peak_rate, weight_decay=0.03)
    chances = [piece_chances(sequences) for sequences in groups]
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * min(1, (step + 1) / 50) * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        drawn = [
            sequences[i]
            for sequences, chance in zip(groups, chances)
            for i in rng.choice(len(sequences), batch_size // len(groups), p=chance)
        ]
        evidence, downbeat, weight = stacked(drawn, rng)
        noise = (
            torch.from_numpy(rng.normal(0, EVIDENCE_NOISE, evidence.shape).astype(np.float32)) * network.scale[:, None]
        )
        loss = binary_cross_entropy_with_logits(network(evidence + noise), downbeat, reduction="none")
        loss = (loss * weight).sum() / weight.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def piece_chances(sequences: list[BeatSequence]) -> np.ndarray:
    _, index, counts = np.unique([s.piece for s in sequences], return_inverse=True, return_counts=True)
    chance = 1 / np.sqrt(counts[index])
    return chance / chance.sum()


def stacked(sequences, rng):
    """Random stretches of SEQUENCE_BEATS: evidence (B, E, beats), downbeats and weights (B, beats)."""
    evidence = np.zeros((len(sequences), NUM_EVIDENCE, SEQUENCE_BEATS), dtype=np.float32)
    downbeat, weight = np.zeros((2, len(sequences), SEQUENCE_BEATS), dtype=np.float32)
    for row, sequence in enumerate(sequences):
        start = rng.integers(0, max(1, len(sequence.evidence) - SEQUENCE_BEATS + 1))
        part = slice(start, start + SEQUENCE_BEATS)
        size = len(sequence.evidence[part])
        evidence[row, :, :size] = sequence.evidence[part].T
        downbeat[row, :size], weight[row, :size] = sequence.downbeat[part], sequence.weight[part]
    return torch.from_numpy(evidence), torch.from_numpy(downbeat), torch.from_numpy(weight)


@torch.inference_mode()
def logits_of(network: DownbeatNetwork, evidence: np.ndarray) -> np.ndarray:
    """Log odds of a downbeat (B,) from evidence (B, E)."""
    return network(torch.from_numpy(evidence.T)[None])[0].numpy()


def found_sequences(network, sequences: list[BeatSequence], model: BarModel) -> list[BeatSequence]:
    """Hard EM's E step: the sequences with the bars that the network finds in them; only sure beats count."""
    found = []
    for sequence in sequences:
        logits = logits_of(network, sequence.evidence)
        path = find_bars(logits - logits.mean(), model)
        weight = sequence.weight * (path.probability > SURE)
        if weight.sum() >= MIN_SURE_BEATS:
            downbeat = (path.beat_in_bar == 0).astype(np.float32)
            found.append(BeatSequence(sequence.piece, sequence.evidence, downbeat, weight))
    return found


def learn_downbeats(performances, jazz: list[BeatSequence], seed: int, report) -> DownbeatNetwork:
    """The downbeat network by hard EM on jazz, begun on annotated bars."""
    rng = np.random.default_rng(seed)
    annotated = [sequence for performance in performances for sequence in annotated_sequences(performance, rng)]
    network = fit_downbeats([annotated], seed=seed)
    for turn in range(DOWNBEAT_ROUNDS):
        found = found_sequences(network, jazz, BarModel())
        report(f"bars: {len(found)} of {len(jazz)} pieces, round {turn}")
        network = fit_downbeats([annotated, found] if found else [annotated], seed=seed + turn)
    return network

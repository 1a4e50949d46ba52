"""The beat network: excerpts of performances whose beats are known -> activations.

It is trained once, by tests/benchmarks/beat_recipe.py, and released; no run of the user's trains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.models.beat_tracker import BeatNetwork, beat_inputs
from lib.music.beat_tracking import ACTIVATION_HZ, group_index
from lib.music.notes import Notes, select

EXCERPT_FRAMES = 1500  # 30 s
TEMPO_SPREAD = 0.35  # log of the tempo's factor, uniform to either side
TRANSPOSITIONS = (-5, 6)
SWING_SHARE, SWING_RANGE = 0.35, (0.56, 0.70)  # share of excerpts swung, where the second eighth then lies
STIFF_SHARE, STIFFNESS = 0.5, (0.3, 1.0)  # share of excerpts whose tempo is pulled towards a constant one, and how far
DROP_SHARE, MAX_DROPPED = 0.7, 0.25  # share of excerpts that lack onset groups, at most so many of them
LOUDNESS = (0.7, 1.3)  # factor of the velocities
POSITIVE_WEIGHT = (2.0, 3.0)  # of beats and of downbeats
KNOWN_EARLY = 3  # frames before a beat that belong to it


@dataclass(frozen=True)
class LabelledNotes:
    """One performance to learn from.

    Attributes
    ----------
    notes : Notes
    beats_s, downbeats_s : seconds (B,), (D,); downbeats are among the beats
    known, downbeat_known : bool (B,), whether the beat and the way to the next one are sure, whether its bar is
    steady : jazz; in other music eighths may be swung as augmentation
    """

    notes: Notes
    beats_s: np.ndarray
    downbeats_s: np.ndarray
    known: np.ndarray
    downbeat_known: np.ndarray
    steady: bool


def warp_beats(beats_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """New times of the beats: the tempo scaled, in some excerpts pulled towards a constant one; the first below 1 s."""
    warped_s = beats_s / np.exp(rng.uniform(-TEMPO_SPREAD, TEMPO_SPREAD))
    if rng.random() < STIFF_SHARE:
        constant_s = np.linspace(warped_s[0], warped_s[-1], len(warped_s))
        warped_s = warped_s + rng.uniform(*STIFFNESS) * (constant_s - warped_s)
    return warped_s - warped_s[0] + rng.uniform(0, 1.0)


def swing(position: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in beats with the second eighth moved late, in some excerpts; the rest of the beat follows linearly."""
    if rng.random() >= SWING_SHARE:
        return position
    return np.floor(position) + np.interp(position % 1, [0, 0.5, 1], [0, rng.uniform(*SWING_RANGE), 1])


def alter(notes: Notes, beats_s: np.ndarray, new_s: np.ndarray, swung: bool, rng: np.random.Generator) -> Notes:
    """The notes between beats, moved to new times of the beats, in another key and loudness, some left out."""
    grid, new_grid = (np.r_[2 * x[0] - x[1], x, 2 * x[-1] - x[-2]] for x in (beats_s, new_s))
    notes = select(notes, (notes.onset_s >= grid[0]) & (notes.onset_s < grid[-1]))
    index = np.arange(len(grid))
    position = np.interp(notes.onset_s, grid, index)
    position = swing(position, rng) if swung else position
    notes = Notes(
        np.interp(position, index, new_grid),
        notes.duration_s,
        notes.pitch.astype(np.int64) + rng.integers(TRANSPOSITIONS[0], TRANSPOSITIONS[1] + 1),
        np.clip(notes.velocity * rng.uniform(*LOUDNESS), 1, 127),
    )
    dropped = rng.uniform(0, MAX_DROPPED) if rng.random() < DROP_SHARE else 0.0
    group = group_index(notes.onset_s)
    return select(notes, (rng.random(len(group) + 1) >= dropped)[group])


def excerpt(example: LabelledNotes, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random, altered excerpt of EXCERPT_FRAMES (T).

    Returns
    -------
    (inputs (NUM_INPUTS, T), beats and downbeats (2, T), how much they count (2, T))
    """
    length_s, beats_s = EXCERPT_FRAMES / ACTIVATION_HZ, example.beats_s
    start_s = rng.choice(beats_s[example.known]) - rng.uniform(0, 0.8 * length_s)
    first, last = np.searchsorted(beats_s, [start_s - 2, start_s + length_s * np.exp(TEMPO_SPREAD) + 2])
    first = max(0, min(first, len(beats_s) - 4))
    part = slice(first, max(last, first + 4))
    old_s, new_s = beats_s[part], warp_beats(beats_s[part], rng)
    notes = alter(example.notes, old_s, new_s, not example.steady, rng)
    targets = np.stack([smear(new_s), smear(new_s[np.isin(old_s, example.downbeats_s)])])
    weights = np.stack([spans(new_s, known[part]) for known in (example.known, example.downbeat_known)])
    return beat_inputs(notes, EXCERPT_FRAMES), targets, weights


def smear(times_s: np.ndarray) -> np.ndarray:
    """1 at the frame of each time, 0.5 beside it, float32 (EXCERPT_FRAMES,)."""
    target = np.zeros(EXCERPT_FRAMES + 2, dtype=np.float32)
    frame = np.rint(times_s * ACTIVATION_HZ).astype(np.int64) + 1
    frame = frame[(frame > 0) & (frame <= EXCERPT_FRAMES)]
    target[frame - 1] = target[frame + 1] = 0.5
    target[frame] = 1.0
    return target[1:-1]


def spans(beats_s: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 in the frames of known beats and of the way to the next one, float32 (EXCERPT_FRAMES,)."""
    frame = np.arange(EXCERPT_FRAMES) + KNOWN_EARLY
    beat = np.searchsorted(np.rint(beats_s * ACTIVATION_HZ), frame, "right") - 1
    inside = (beat >= 0) & (frame / ACTIVATION_HZ < 2 * beats_s[-1] - beats_s[-2])
    return (inside & known[np.maximum(beat, 0)]).astype(np.float32)


def beat_loss(network: BeatNetwork, inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy of beats and downbeats where they are known."""
    events = network(inputs).float()
    positive = torch.tensor(POSITIVE_WEIGHT)[:, None]
    loss = functional.binary_cross_entropy_with_logits(events, targets, pos_weight=positive, reduction="none")
    return (loss * weights).sum() / weights.sum().clamp(min=1)


def fit_beat_network(
    network: BeatNetwork,
    draw: Callable[[np.random.Generator], list[LabelledNotes]],
    steps: int,
    peak_rate: float = 3e-3,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> BeatNetwork:
    """Train a network in place: AdamW, warm-up, then a cosine to zero.

    Parameters
    ----------
    draw : gives the examples of a step
    report : called with a line every 100 steps
    """
    rng, losses = np.random.default_rng(seed), []
    optimizer = torch.optim.AdamW(network.parameters(), peak_rate, weight_decay=0.02, betas=(0.9, 0.98))
    network.train()
    for step in range(steps):
        decay = 0.5 * (1 + np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = peak_rate * min(1.0, (step + 1) / 100) * (decay + 0.01)
        columns = zip(*(excerpt(example, rng) for example in draw(rng)))
        batch = [torch.from_numpy(np.stack(column)) for column in columns]
        with torch.autocast("cpu", torch.bfloat16):
            loss = beat_loss(network, *batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            report(f"step {step + 1} loss {np.mean(losses[-100:]):.4f}")
    return network.eval()

"""Which chord sounds, from the sounding roll: templates over a smoothed chroma, and a Viterbi path over time.

The path changes its chord only where the evidence outweighs SWITCH_COST, as in template-based chord recognition
with a hidden Markov model (Sheh & Ellis 2003; Fujishima 1999 for the templates).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import CHORD_DIM, QUALITIES, QUALITY_NAMES, chord_of
from lib.music.piano_roll import LATENT_STRIDE, LOWEST_PITCH, NUM_PITCHES

SMOOTHING = 9  # latent frames (0.72 s): about a half note at a medium tempo
BASS_CEILING = 55  # MIDI pitch (G3): above it nothing counts as a bass
BASS_WEIGHT = 0.15  # of the root's share in the bass against the chroma's fit
SWITCH_COST = 0.6  # evidence a change of chord must bring, summed over frames
QUIET = 0.02  # mean velocity share below which nothing is recognised
# plain chords explain plain music: what a rarer quality must be better by
HANDICAP = {"maj": 0.0, "m": 0.0, "7": 0.0, "maj7": 0.01, "m7": 0.01, "m7b5": 0.03, "dim7": 0.05, "7sus4": 0.05,
            "6": 0.04, "m6": 0.05, "mmaj7": 0.05, "aug": 0.06}  # fmt: skip


@dataclass(frozen=True)
class ChordLabels:
    """Chords over time, int64 (B, T'): root and bass 0-11, quality an index into QUALITY_NAMES; -1 is unknown."""

    root: Tensor
    quality: Tensor
    bass: Tensor


@lru_cache(maxsize=4)
def _templates(device):
    """(Q * 12, 12), unit length, root the fastest index; and the handicaps (Q * 12,)."""
    rows = torch.zeros(len(QUALITIES), 12, 12)
    for quality, intervals in enumerate(QUALITIES.values()):
        for root in range(12):
            rows[quality, root, [(root + interval) % 12 for interval in intervals]] = 1.0
            rows[quality, root, root] = 1.2  # the root is doubled more often than not
    handicap = torch.tensor([HANDICAP[name] for name in QUALITY_NAMES]).repeat_interleave(12)
    return functional.normalize(rows.flatten(0, 1), dim=-1).to(device), handicap.to(device)


def fold(keys, weight=None):
    """(B, 88, T) -> (B, 12, T): the sum of each pitch class over the octaves; weight (88,) if some count more."""
    keys = keys if weight is None else keys * weight[:, None]
    keys = functional.pad(keys, (0, 0, LOWEST_PITCH % 12, -(LOWEST_PITCH % 12 + NUM_PITCHES) % 12))
    return keys.unflatten(1, (-1, 12)).sum(1)


def smooth(chroma, frames):
    """(B, 12, T): the mean over an odd number of frames around each, fewer at the borders."""
    return functional.avg_pool1d(chroma, frames, 1, frames // 2, count_include_pad=False)


@torch.no_grad()
def recognise_chords(sounding, stride=LATENT_STRIDE):
    """The chord of each latent frame.

    Parameters
    ----------
    sounding : Tensor (B, 88, T) in [0, 1], of piano_roll.sounding_roll
    stride : frames a latent frame

    Returns
    -------
    ChordLabels, (B, T / stride)
    """
    keys = functional.avg_pool1d(sounding.float(), stride, stride)  # (B, 88, T')
    chroma = smooth(fold(keys), SMOOTHING)
    bass = smooth(fold(keys, _bass_weight(keys.device)), SMOOTHING)
    loud = chroma.sum(1) > QUIET  # (B, T')
    templates, handicap = _templates(keys.device)
    fit = torch.einsum("sc,bct->bts", templates, functional.normalize(chroma.sqrt(), dim=1))
    at_root = functional.normalize(bass, p=1, dim=1).transpose(1, 2).repeat(1, 1, len(QUALITIES))  # (B, T', S)
    state = _best_path(fit + BASS_WEIGHT * at_root - handicap)
    unknown = torch.full_like(state, -1)
    has_bass = loud & (bass.sum(1) > QUIET / 4)
    root = torch.where(loud, state % 12, unknown)
    heard = torch.where(has_bass, _steady_bass(bass, state), root)
    return ChordLabels(root, torch.where(loud, state // 12, unknown), heard)


@lru_cache(maxsize=4)
def _bass_weight(device):
    """(88,): 1 at the bottom, falling to 0 at BASS_CEILING."""
    pitch = torch.arange(NUM_PITCHES, device=device) + LOWEST_PITCH
    return ((BASS_CEILING - pitch) / (BASS_CEILING - 36)).clamp(0, 1)


def _best_path(score):
    """Viterbi over (B, T, S) with one cost for any change: (B, T)."""
    total, came_from = score[:, 0], []
    for step in range(1, score.shape[1]):
        best, best_state = total.max(-1, keepdim=True)
        changes = best - SWITCH_COST > total
        came_from.append((changes, best_state))
        total = torch.where(changes, best - SWITCH_COST, total) + score[:, step]
    state = total.argmax(-1, keepdim=True)
    path = [state]
    for changes, best_state in reversed(came_from):
        state = torch.where(changes.gather(1, state), best_state, state)
        path.append(state)
    return torch.cat(path[::-1], 1)


def _steady_bass(bass, state):
    """(B, T): the bass's pitch class where it is a tone of the chord and clearly not its root; else the root."""
    tones = (_templates(bass.device)[0] > 0)[state]  # (B, T, 12)
    share = functional.normalize(bass, p=1, dim=1).transpose(1, 2) * tones
    most, pitch_class = share.max(-1)
    root = state % 12
    at_root = share.gather(-1, root[..., None])[..., 0]
    return torch.where(most > 2 * at_root + 0.1, pitch_class, root)


def label_features(labels):
    """What a model is told, as chords.chord_features says it.

    Returns
    -------
    Tensor (B, T', CHORD_DIM) in {0, 1}
    """
    known = labels.root >= 0
    states = labels.quality.clamp(min=0) * 12 + labels.root.clamp(min=0)
    chroma = (_templates(states.device)[0] > 0)[states]
    root = functional.one_hot(labels.root.clamp(min=0), 12)
    bass = functional.one_hot(labels.bass.clamp(min=0), 12)
    features = torch.cat([root, chroma, bass, torch.ones_like(root[..., :1])], -1).float()
    assert features.shape[-1] == CHORD_DIM
    return features * known[..., None]


def labels_to_symbols(labels):
    """[[symbol, ...] for each example], "N.C." where unknown."""
    columns = (labels.root.tolist(), labels.quality.tolist(), labels.bass.tolist())
    return [
        [chord_of(*one).symbol if one[0] >= 0 else "N.C." for one in zip(*example, strict=True)]
        for example in zip(*columns, strict=True)
    ]

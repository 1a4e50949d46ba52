"""Which chord sounds, from the sounding roll: templates over a smoothed chroma, and a Viterbi path over time.

The path changes its chord only where the evidence outweighs SWITCH_COST, as in template-based chord recognition
with a hidden Markov model (Sheh & Ellis 2003; Fujishima 1999 for the templates).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import CHROMA, NO_CHORD_FRAME
from lib.music.chords import NO_CHORD, QUALITIES, QUALITY_NAMES, Chord
from lib.music.piano_roll import LATENT_STRIDE, LOWEST_PITCH, NUM_PITCHES, pitch_class_sums, smooth
from lib.music.viterbi import viterbi

SMOOTHING = 9  # latent frames (0.72 s): about a half note at a medium tempo
BASS_CEILING = 55  # MIDI pitch (G3): above it nothing counts as a bass
BASS_WEIGHT = 0.15  # of the root's share in the bass against the chroma's fit
SWITCH_COST = 0.6  # evidence a change of chord must bring, summed over frames
QUIET = 0.02  # mean velocity share below which nothing is recognised
HANDICAP = {  # plain chords explain plain music: what a rarer quality must be better by
    "maj": 0.0,
    "m": 0.0,
    "7": 0.0,
    "maj7": 0.01,
    "m7": 0.01,
    "m7b5": 0.03,
    "dim7": 0.05,
    "7sus4": 0.05,
    "6": 0.04,
    "m6": 0.05,
    "mmaj7": 0.05,
    "aug": 0.06,
}


@lru_cache(maxsize=4)
def _templates(device):
    """(Q * 12, 12), unit length, root the fastest index; and the handicaps (Q * 12,)."""
    rows = CHROMA + 0.2 * torch.eye(12)  # the root is doubled more often than not
    handicap = torch.tensor([HANDICAP[name] for name in QUALITY_NAMES]).repeat_interleave(12)
    return functional.normalize(rows.flatten(0, 1), dim=-1).to(device), handicap.to(device)


@torch.no_grad()
def recognise_chords(sounding: Tensor, stride: int = LATENT_STRIDE) -> Tensor:
    """The chord of each latent frame.

    Parameters
    ----------
    sounding : Tensor (B, 88, T) in [0, 1], of piano_roll.sounding_roll
    stride : frames a latent frame

    Returns
    -------
    int8 (B, T / stride, 3) : chord frames, see lib.music.chart
    """
    keys = functional.avg_pool1d(sounding.float(), stride, stride)  # (B, 88, T')
    chroma = smooth(pitch_class_sums(keys), SMOOTHING)
    pitch = torch.arange(NUM_PITCHES, device=keys.device)[:, None] + LOWEST_PITCH
    low = ((BASS_CEILING - pitch) / (BASS_CEILING - 36)).clamp(0, 1)  # 1 at the bottom, falling to 0 at the ceiling
    bass = smooth(pitch_class_sums(keys * low), SMOOTHING)
    loud = chroma.sum(1) > QUIET  # (B, T')
    templates, handicap = _templates(keys.device)
    fit = torch.einsum("sc,bct->bts", templates, functional.normalize(chroma.sqrt(), dim=1))
    share = functional.normalize(bass, p=1, dim=1).transpose(1, 2)  # (B, T', 12)
    state = viterbi(fit + BASS_WEIGHT * share.repeat(1, 1, len(QUALITIES)) - handicap, _switch)
    root, has_bass = state % 12, loud & (bass.sum(1) > QUIET / 4)
    most, lowest = (share * (templates > 0)[state]).max(-1)  # of the chord's tones
    is_other = has_bass & (most > 2 * share.gather(-1, root[..., None])[..., 0] + 0.1)  # and clearly not its root
    frames = torch.stack([root, state // 12, torch.where(is_other, lowest, root)], -1)
    return torch.where(loud[..., None], frames, torch.tensor(NO_CHORD_FRAME, device=frames.device)).to(torch.int8)


def _switch(totals):
    """The way into each state (viterbi): on from itself, or from the best of all at one cost for any change."""
    best, best_state = totals.max(-1, keepdim=True)
    changes, states = best - SWITCH_COST > totals, torch.arange(totals.shape[-1], device=totals.device)
    return torch.where(changes, best - SWITCH_COST, totals), torch.where(changes, best_state, states)


def chord_symbols(frames: Tensor) -> list:
    """Symbols of chord frames (..., 3), nested as they are: "N.C." where there is none."""
    if frames.ndim > 1:
        return [chord_symbols(part) for part in frames]
    root, quality, bass = frames.tolist()
    return NO_CHORD[0] if root < 0 else Chord.of(root, quality, bass).symbol

"""Recognises chords from the sounding roll: templates over a smoothed chroma, and a Viterbi path over time.

The path changes its chord only where the evidence outweighs SWITCH_COST, as in template-based chord recognition
with a hidden Markov model (Sheh & Ellis 2003; Fujishima 1999 for the templates).
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from lib.music.chart import CHROMA, NO_CHORD_FRAME
from lib.music.chords import NO_CHORD, QUALITIES, QUALITY_NAMES, Chord
from lib.music.piano_roll import LATENT_STRIDE, LATENTS_PER_BEAT, LOWEST_PITCH, NUM_PITCHES, pitch_class_sums, smooth
from lib.music.viterbi import viterbi

CELL = LATENTS_PER_BEAT // 2  # latent frames that share a chord: half a beat
SMOOTHING = 3  # cells
BASS_CEILING = 55  # MIDI pitch (G3): above it nothing counts as a bass
BASS_WEIGHT = 0.15  # of the root's share in the bass against the chroma's fit
SWITCH_COST = 0.3  # evidence a change of chord on a beat must bring, summed over cells
ON_BAR, ON_HALF_BAR, OFF_BEAT = 0.5, 0.75, 2.0  # the cost where the clock knows better
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
def recognise_chords(sounding: Tensor, clock: Tensor) -> Tensor:
    """The chord of each latent frame; chords change on beats rather than between, on bar lines rather than on beats.

    Parameters
    ----------
    sounding : Tensor (B, 88, T) in [0, 1], of piano_roll.sounding_roll
    clock : int (B, T / LATENT_STRIDE, 3), of tempo_map.clock_frames

    Returns
    -------
    int8 (B, T / LATENT_STRIDE, 3) : chord frames, see lib.music.chart
    """
    num_latents = sounding.shape[-1] // LATENT_STRIDE
    frames = CELL * LATENT_STRIDE
    sounding = functional.pad(sounding.float(), (0, -sounding.shape[-1] % frames))
    keys = functional.avg_pool1d(sounding, frames, frames)  # (B, 88, T'), T' cells
    chroma = smooth(pitch_class_sums(keys), SMOOTHING)
    pitch = torch.arange(NUM_PITCHES, device=keys.device)[:, None] + LOWEST_PITCH
    low = ((BASS_CEILING - pitch) / (BASS_CEILING - 36)).clamp(0, 1)  # 1 at the bottom, falling to 0 at the ceiling
    bass = smooth(pitch_class_sums(keys * low), SMOOTHING)
    loud = chroma.sum(1) > QUIET  # (B, T')
    templates, handicap = _templates(keys.device)
    fit = torch.einsum("sc,bct->bts", templates, functional.normalize(chroma.sqrt(), dim=1))
    share = functional.normalize(bass, p=1, dim=1).transpose(1, 2)  # (B, T', 12)
    scores = fit + BASS_WEIGHT * share.repeat(1, 1, len(QUALITIES)) - handicap
    state = viterbi(scores, partial(_switch, _switch_costs(clock)))
    root, has_bass = state % 12, loud & (bass.sum(1) > QUIET / 4)
    most, lowest = (share * (templates > 0)[state]).max(-1)  # of the chord's tones
    is_other = has_bass & (most > 2 * share.gather(-1, root[..., None])[..., 0] + 0.1)  # and clearly not its root
    chords = torch.stack([root, state // 12, torch.where(is_other, lowest, root)], -1)
    chords = torch.where(loud[..., None], chords, torch.tensor(NO_CHORD_FRAME, device=chords.device)).to(torch.int8)
    return chords.repeat_interleave(CELL, 1)[:, :num_latents]


def _switch_costs(clock):
    """(B, T'): what a change at the beginning of each cell costs."""
    in_beat, in_bar, length = clock[:, ::CELL].long().unbind(-1)
    cost = torch.where(in_beat == LATENTS_PER_BEAT, 1.0, torch.where(in_beat == 0, 1.0, OFF_BEAT))
    cost = torch.where((length > 0) & (2 * in_bar == length) & (in_beat == 0), ON_HALF_BAR, cost)
    return SWITCH_COST * torch.where((length > 0) & (in_bar == 0), ON_BAR, cost)


def _switch(costs, totals, time):
    """The way into each state (viterbi): on from itself, or from the best of all at one cost for any change."""
    best, best_state = totals.max(-1, keepdim=True)
    changed = best - costs[:, time, None]
    changes, states = changed > totals, torch.arange(totals.shape[-1], device=totals.device)
    return torch.where(changes, changed, totals), torch.where(changes, best_state, states)


def chord_symbols(frames: Tensor) -> list:
    """Symbols of chord frames (..., 3), nested as they are: "N.C." where there is none."""
    if frames.ndim > 1:
        return [chord_symbols(part) for part in frames]
    root, quality, bass = frames.tolist()
    return NO_CHORD if root < 0 else Chord.of(root, quality, bass).symbol

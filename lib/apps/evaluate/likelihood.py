"""How likely a model holds real music to be, by pianist: with who plays as its style, with another, of shuffled bars.

Conventions: nats a note, the bound of masked diffusion (Sahoo et al. 2024) on the codes of a clip, which the codec has
already made plainer: figures of different codecs can't be compared. Its conditions are style, chords as recognised,
tempo and bars, without a reference. The mask ratios of a clip are spread evenly over [0, 1]; masks are the same for
all.
"""

from __future__ import annotations

import numpy as np
import torch

from lib.apps.evaluate.clip_sets import ClipSets, Missing, real_clips
from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.intervals import Figure, mean_of
from lib.apps.evaluate.transfer import TWELVE
from lib.checkpoints.load import Improviser
from lib.config import build
from lib.diffusion.sampling import training_mask_ratio
from lib.generation.request import GenerateRequest
from lib.generation.sliding_window import Conditioning
from lib.keyed_random import uniforms
from lib.music.tempo_map import tempo_frames
from lib.progress import progress_bar

MASKS = 4  # of a clip
MASK_PURPOSE = "mask"
MOST_CLIPS = 8  # of a pianist


@torch.inference_mode()
def nll_nats(improviser: Improviser, clip: Clip, style: str | None) -> float:
    """Nats a note of a clip for a model with a style (None: whom it was adapted to); NaN without notes."""
    codes, count = improviser.vqvae.encode(clip.piano_roll.to(improviser.device)), len(clip.notes)  # (1, N, G)
    length = codes.shape[1]
    request = build(GenerateRequest, {**clip.prompt(clip.beats), "density": None})
    bpm = tempo_frames(clip.tempo_map, length)
    conditioning = Conditioning.of(request, request.parsed_chart(), length, clock=clip.clock, bpm=bpm)
    nothing = torch.zeros_like(codes), torch.zeros_like(codes[..., 0], dtype=torch.bool)
    conditions = conditioning.model_conditions(improviser.style(style), *nothing).repeat(MASKS)
    ratio = training_mask_ratio((torch.arange(MASKS, device=codes.device) + 0.5) / MASKS)
    mask = uniforms(0, MASK_PURPOSE, range(MASKS), (length,), codes.device) < ratio[:, None]  # (MASKS, N)
    codes = codes.repeat(MASKS, 1, 1)
    nll, _ = improviser.dit.nll(improviser.dit(codes, mask, conditions)[mask], codes[mask])
    weight = (1 / mask.sum(1).clamp(min=1))[:, None].expand(mask.shape)[mask]
    return float((nll * weight).sum()) / MASKS * length / count if count else np.nan


def nll_figures(sets: ClipSets) -> dict[str, dict[str, Figure]]:
    """pianist -> own, other (another's style) and shuffled -> Figure of nats a note, for the pianist of
    the evaluation and a dozen that the model and the corpus have in common."""
    if not sets.size.each:
        raise Missing("The size of this evaluation has no clips of twelve styles: --each 0.")
    improviser, store, known = sets.tuned, sets.store, sets.tuned.styles.names
    names = dict.fromkeys([sets.pianist, *TWELVE, *known])
    names, figures = [name for name in names if name in known and name in store.pianists], {}
    for name in progress_bar(names[: 1 + len(TWELVE)], desc="likelihood", unit="pianist"):
        other = known[known.index(name) - 1]
        try:
            clips = real_clips(store, name, sets.split, min(sets.size.each, MOST_CLIPS))
        except Missing:
            continue
        rows = {"own": (clips, name), "other": (clips, other), "shuffled": (clips.shuffled(), name)}
        figures[name] = {
            key: mean_of([nll_nats(improviser, clip, style) for clip in part.clips], clips.groups)
            for key, (part, style) in rows.items()
        }
    if not figures:
        raise Missing(f"{store.path.parent.name} has no {sets.split} recording of a pianist that the model knows.")
    return figures

"""The improviser as a user has it: loaded from a run, with styles of one's own, and what it knows of a pianist."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lib.checkpoints import load
from lib.checkpoints.load import Improviser
from lib.config import RELEASED, ConfigError
from lib.devices import choose_device
from lib.generation.conditioning import latent_end_s
from lib.generation.request import GenerateRequest
from lib.music.chart import Chart
from lib.music.chord_recognition import recognise_chords
from lib.music.harmony import invent_chart, read_changes
from lib.music.notes import Notes
from lib.music.piano_roll import notes_to_piano_roll, sounding_roll
from lib.style.embeddings import with_own

PROMPT_S = 10.0  # of a prompt's end, whose chords an invented chart continues


def load_improviser(
    run: Path | str | None = None,
    released: bool = False,
    device: str = "auto",
    styles_dir: Path | None = None,
    base: bool = False,
) -> Improviser:
    """The improviser of a run or a finished folder, or the released one.

    Parameters
    ----------
    run : brad_final, or a run folder of diffusion or fine_tune
    released : use the weights in data/released instead
    device : auto, cuda, mps or cpu
    styles_dir : folder of the user's own styles (style.embeddings.add_style), or None
    base : of a finished folder the model before it was adapted to a pianist

    Raises
    ------
    ConfigError : neither or both are given; CheckpointError : nothing to load there
    """
    if (run is None) != released:
        raise ConfigError("Give either --run RUN or --released.")
    improviser = load.load_improviser(RELEASED if released else run, choose_device(device), base)
    return dataclasses.replace(improviser, styles=with_own(improviser.styles, improviser.style_encoder, styles_dir))


def own_chart(improviser: Improviser, request: GenerateRequest, seconds: float, prompt: Notes | None = None) -> Chart:
    """The Chart that the asked pianist invents for so many seconds, continuing the chords of a prompt."""
    rows = improviser.changes.by(request.style or improviser.pianist)
    after = None if prompt is None else _last_changes(prompt)
    return invent_chart(rows, seconds, request.tempo_bpm, request.beats_per_bar, request.seed, after)


def _last_changes(notes: Notes) -> np.ndarray:
    """The changes of the end of a performance, rows of music.harmony."""
    end_s = latent_end_s(notes)
    last = notes_to_piano_roll(notes.between(max(0.0, end_s - PROMPT_S), end_s))
    return read_changes(recognise_chords(sounding_roll(last))[0].numpy())

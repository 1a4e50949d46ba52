"""Sends a performance through the codec and back: the upper limit of what the models can play."""

from __future__ import annotations

from pathlib import Path

import torch

from lib.checkpoints.load import load_vqvae
from lib.devices import choose_device
from lib.models.vqvae import VQVAE
from lib.music.metrics import NoteF1, note_f1
from lib.music.notes import Notes
from lib.music.piano_roll import notes_to_piano_roll, piano_roll_to_notes
from lib.music.tempo_map import STEADY, TempoMap, in_beats, in_seconds


def reconstruct(
    run: Path | str, notes: Notes, device: str = "auto", tempo_map: TempoMap = STEADY
) -> tuple[Notes, NoteF1]:
    """Notes through the codec and back, in one pass however long they are.

    Parameters
    ----------
    run : a vqvae run, or the folder of a finished improviser
    notes : Notes
    tempo_map : whose beats the codec counts in; by default a frame is 20 ms

    Returns
    -------
    (Notes, NoteF1) : the decoded performance, and how much of it is right

    Raises
    ------
    CheckpointError : nothing to load there
    """
    vqvae, _ = load_vqvae(run, choose_device(device))
    estimate = codec_round_trip(vqvae, notes, tempo_map)
    return estimate, note_f1(notes, estimate)


@torch.inference_mode()
def codec_round_trip(vqvae: VQVAE, notes: Notes, tempo_map: TempoMap = STEADY) -> Notes:
    """Notes through a codec and back, in the beats of a map: Notes."""
    piano_roll = notes_to_piano_roll(in_beats(notes, tempo_map)).to(next(vqvae.parameters()).device)
    return in_seconds(piano_roll_to_notes(vqvae.decode(vqvae.encode(piano_roll)))[0], tempo_map)

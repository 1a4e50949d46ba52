"""Notes in beats <-> piano roll. All tensors of piano rolls follow these conventions, whoever makes them:

FRAMES_PER_BEAT frames a felt beat, NUM_PITCHES keys from LOWEST_PITCH up. A roll is float (B, 3, 88, T) with the lanes

    ONSET      1 in the frame nearest to where a note begins, else 0
    DURATION   at an onset: how long the key is held, `encode_duration` of its frames, in (0, 1]; else 0
    VELOCITY   at an onset: MIDI velocity / 127, in (0, 1]; else 0

and the sustain pedal is float (B, 1, T): 1 while it is down, else 0. A note is written once, where it begins; how long
it sounds, the pedal included, `sounding_roll` says. A tempo map (lib.music.tempo_map) says when a beat is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.music.tempo_map import FRAMES_PER_BEAT, FREE_BPM, LATENT_STRIDE, LATENTS_PER_BEAT, BeatNotes

NUM_PITCHES = 88
LOWEST_PITCH = 21
WINDOW = 192  # latent frames that a generator sees at once: 32 beats
WINDOW_FRAMES = WINDOW * LATENT_STRIDE
CHUNK_S = 10.24  # of music without beats, as a style encoder reads it
CHUNK_FRAMES = round(CHUNK_S * FREE_BPM / 60 * FRAMES_PER_BEAT)  # 512
MAX_DURATION_FRAMES = 2048  # 85 beats; a key held longer is written as held so long
DURATION_TOLERANCE_FRAMES = 2.5  # 50 ms at 125 a minute
ONSET, DURATION, VELOCITY = 0, 1, 2
SHORTEST_FRAMES = 0.5  # of a decoded note


@dataclass(frozen=True)
class PianoRoll:
    """A batch of rolls, see the module's conventions.

    Attributes
    ----------
    roll : Tensor (B, 3, 88, T) in [0, 1]
    pedal : Tensor (B, 1, T) in {0, 1}
    """

    roll: Tensor
    pedal: Tensor

    def __len__(self) -> int:
        return self.roll.shape[0]

    def __getitem__(self, batch) -> PianoRoll:
        return PianoRoll(self.roll[batch], self.pedal[batch])

    @property
    def num_frames(self) -> int:
        """T."""
        return self.roll.shape[-1]

    @property
    def onset(self) -> Tensor:
        """(B, 88, T)"""
        return self.roll[:, ONSET]

    def to(self, device) -> PianoRoll:
        """The same roll on another device."""
        return PianoRoll(self.roll.to(device), self.pedal.to(device))

    def crop(self, first: int, last: int) -> PianoRoll:
        """Frames first to last - 1."""
        return PianoRoll(self.roll[..., first:last], self.pedal[..., first:last])


def encode_duration(frames: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Frames (>= 0) -> log scale in [0, 1]."""
    log1p = torch.log1p if isinstance(frames, Tensor) else np.log1p
    return log1p(frames.clip(0, MAX_DURATION_FRAMES)) / math.log1p(MAX_DURATION_FRAMES)


def decode_duration(value: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Inverse of encode_duration, in frames."""
    expm1 = torch.expm1 if isinstance(value, Tensor) else np.expm1
    return expm1(value * math.log1p(MAX_DURATION_FRAMES))


def duration_tolerance(value: Tensor) -> Tensor:
    """How far an encoded duration may be off and still count as right: 20 % of it, or a short while (mir_eval)."""
    frames = decode_duration(value)
    allowed = (0.2 * frames).clip(DURATION_TOLERANCE_FRAMES)
    return allowed / (1 + frames) / math.log1p(MAX_DURATION_FRAMES)


def rasterise(windows: list[BeatNotes], num_frames: int, device: torch.device | str = "cpu") -> PianoRoll:
    """Many windows at once.

    Parameters
    ----------
    windows : B BeatNotes, the first frame at beat 0; pitch and velocity of any kind of number
    num_frames : T
    device : where the rolls are made

    Returns
    -------
    PianoRoll (B, 3, 88, T); notes outside the keyboard or the window are left out; of two that begin in one cell the
    later stays
    """
    size = len(windows)
    batch = np.repeat(np.arange(size), [len(window) for window in windows])
    names = ("onset", "release", "pitch", "velocity")
    onset, release, pitch, velocity = (np.concatenate([getattr(w, name) for w in windows]) for name in names)
    frame = np.floor(onset * FRAMES_PER_BEAT + 0.5).astype(np.int64)
    key = pitch.astype(np.int64) - LOWEST_PITCH
    inside = (frame >= 0) & (frame < num_frames) & (key >= 0) & (key < NUM_PITCHES)
    cell = ((batch * NUM_PITCHES + key) * num_frames + frame)[inside]
    held = encode_duration((release - onset) * FRAMES_PER_BEAT)
    values = np.stack([held, np.clip(velocity, 1, 127) / 127.0])[:, inside]
    cell, last = np.unique(cell[::-1], return_index=True)  # a scatter with doubles would depend on the device
    values = values[:, ::-1][:, last].astype(np.float32)
    roll = torch.zeros(3, size * NUM_PITCHES * num_frames, device=device)
    columns = torch.from_numpy(np.concatenate([np.ones((1, len(cell)), np.float32), values])).to(device)
    roll[:, torch.from_numpy(cell).to(device)] = columns
    roll = roll.view(3, size, NUM_PITCHES, num_frames).transpose(0, 1).contiguous()  # (B, 3, 88, T)
    return PianoRoll(roll, _rasterise_pedal(windows, num_frames).to(device))


def _rasterise_pedal(windows, num_frames):
    """(B, 1, T): 1 from the frame of the pedal's going down until the frame of its release."""
    batch = np.repeat(np.arange(len(windows)), [len(window.pedal) for window in windows])
    pedal = np.concatenate([window.pedal for window in windows])
    edges = np.floor(pedal * FRAMES_PER_BEAT + 0.5).astype(np.int64).clip(0, num_frames)
    change = np.zeros((len(windows), num_frames + 1), np.float32)
    np.add.at(change, (batch, edges[:, 0]), 1)
    np.add.at(change, (batch, edges[:, 1]), -1)
    down = change.cumsum(axis=1)[:, :num_frames] > 0.5
    return torch.from_numpy(down.astype(np.float32))[:, None]


def notes_to_piano_roll(notes: BeatNotes, num_frames: int | None = None) -> PianoRoll:
    """One performance as PianoRoll with B = 1.

    Parameters
    ----------
    notes : BeatNotes
    num_frames : T; None: as long as the notes, in whole latent frames
    """
    if num_frames is None:
        num_frames = max(1, math.ceil(notes.end * LATENTS_PER_BEAT - 1e-6)) * LATENT_STRIDE
    return rasterise([notes], num_frames)


def piano_roll_to_notes(piano_roll: PianoRoll) -> list[BeatNotes]:
    """Rolls -> the notes of each; a key struck again ends its note.

    Returns
    -------
    list of B BeatNotes, the roll's first frame at beat 0
    """
    roll, pedal = piano_roll.roll.detach().cpu().numpy(), piano_roll.pedal.detach().cpu().numpy()
    return [_notes_of(lanes, down[0]) for lanes, down in zip(roll, pedal)]


def _notes_of(lanes, down):
    key, frame = np.nonzero(lanes[ONSET])  # ordered by key, then time
    duration = np.maximum(decode_duration(lanes[DURATION][key, frame].astype(np.float64)), SHORTEST_FRAMES)
    room = np.full(len(key), np.inf)
    again = key[1:] == key[:-1]
    room[:-1][again] = (frame[1:] - frame[:-1])[again]
    velocity = np.rint(lanes[VELOCITY][key, frame] * 127).clip(1, 127)
    edges = np.diff(np.concatenate([[0], down.astype(np.int8), [0]]))
    pedal = np.stack([np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0]], 1) / FRAMES_PER_BEAT
    onset, release = frame / FRAMES_PER_BEAT, (frame + np.minimum(duration, room)) / FRAMES_PER_BEAT
    order = np.lexsort((key, frame))
    return BeatNotes(*(x[order] for x in (onset, release, key + LOWEST_PITCH, velocity)), pedal)


def sounding_roll(piano_roll: PianoRoll) -> Tensor:
    """What sounds, (B, 88, T) in [0, 1]: velocity / 127 from each onset until both the key and the pedal are let go."""
    onset = piano_roll.onset > 0
    size, keys, num_frames = onset.shape
    time = torch.arange(num_frames, device=onset.device)
    latest = torch.where(onset, time, -1).cummax(-1).values  # (B, 88, T) frame of the key's last onset
    held = decode_duration(piano_roll.roll[:, DURATION]).round().clamp(min=1)
    end = (time + held).clamp(max=num_frames).long()
    release = _next_release(piano_roll.pedal[:, 0] > 0)  # (B, T + 1)
    end = release[:, None].expand(-1, keys, -1).gather(-1, end)
    at = latest.clamp(min=0)
    sounds = (latest >= 0) & (time < end.gather(-1, at))
    return piano_roll.roll[:, VELOCITY].gather(-1, at) * sounds


def _next_release(down):
    """(B, T) bool -> (B, T + 1): the first frame at or after t in which the pedal is up (T: the end)."""
    num_frames = down.shape[-1]
    time = torch.arange(num_frames, device=down.device)
    up = torch.where(down, num_frames, time)
    up = torch.nn.functional.pad(up, (0, 1), value=num_frames)
    return up.flip(-1).cummin(-1).values.flip(-1)


def pitch_class_sums(keys: Tensor) -> Tensor:
    """(B, 88, T) -> (B, 12, T): the sum of each pitch class, from C, over the octaves."""
    keys = torch.nn.functional.pad(keys, (0, 0, LOWEST_PITCH % 12, -(LOWEST_PITCH % 12 + NUM_PITCHES) % 12))
    return keys.unflatten(1, (-1, 12)).sum(1)


def smooth(values: Tensor, frames: int) -> Tensor:
    """(B, C, T): the mean over an odd number of frames around each, fewer at the borders."""
    return torch.nn.functional.avg_pool1d(values, frames, 1, frames // 2, count_include_pad=False)

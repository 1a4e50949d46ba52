"""The learned parts of beat tracking: a network for beats, one for bar lines, phase profiles, and their tracker.

The beat network takes onsets over time and gives activations; the profiles say where in the beat onsets fall; the
downbeat network takes what is played beat by beat. `BeatTracker.track` makes the tempo map of a performance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.music.bar_lines import NUM_EVIDENCE, BarModel, bar_evidence, find_bars, map_from_beats
from lib.music.beat_tracking import (
    ACTIVATION_HZ,
    Activations,
    BeatModel,
    BeatPath,
    OnsetGroups,
    at_times,
    decode,
    group_onsets,
    keeps_own_grid,
    onset_gains,
)
from lib.music.notes import Notes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES
from lib.music.tempo_map import TempoMap, fold, map_without_beat

NUM_INPUTS = NUM_PITCHES + 1
MAX_ONSETS = 8  # in one frame at which the count saturates
DILATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 1, 8)  # of frames at half the rate: 10 s to either side
DOWNBEAT_DILATIONS = (1, 2, 4, 8, 16, 1)
MIN_GROUPS, MIN_LENGTH_S = 16, 4.0  # less is too little to track
CONFIDENCE_BEATS = 8  # beats to either side over which confidence is averaged
MIN_RUN_BEATS = 8  # a stretch in time, or out of it, is at least so long


def beat_inputs(notes: Notes, num_frames: int) -> np.ndarray:
    """What the beat network reads, float32 (NUM_INPUTS, num_frames): velocity / 127 by key, then how many notes begin.

    Notes outside the frames are left out.
    """
    frame, key = np.rint(notes.onset_s * ACTIVATION_HZ).astype(np.int64), notes.pitch.astype(np.int64) - LOWEST_PITCH
    inside = (frame >= 0) & (frame < num_frames) & (key >= 0) & (key < NUM_PITCHES)
    frame, key = frame[inside], key[inside]
    inputs = np.zeros((NUM_INPUTS, num_frames), dtype=np.float32)
    np.maximum.at(inputs, (key, frame), notes.velocity[inside].astype(np.float32) / 127)
    inputs[-1] = np.minimum(np.bincount(frame, minlength=num_frames), MAX_ONSETS) / MAX_ONSETS
    return inputs


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each frame (B, C, T): independent of the excerpt's length."""

    def __init__(self, width: int):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width, 1)), nn.Parameter(torch.zeros(width, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x - x.mean(1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5) * self.scale + self.shift


class BeatNetwork(nn.Module):
    """A temporal convolutional network (Davies and Böck, EUSIPCO 2019) on onsets instead of a spectrogram.

    Inputs (B, NUM_INPUTS, T), T even
      -> convolution of stride 2, (B, width, T / 2)
      -> residual blocks of growing dilation
      -> log odds (B, 2, T) of beat and downbeat
    """

    def __init__(self, width: int = 64, dropout: float = 0.1):
        super().__init__()
        self.stem = nn.Conv1d(NUM_INPUTS, width, 6, stride=2, padding=2)
        self.blocks = nn.ModuleList(_block(width, dilation, dropout) for dilation in DILATIONS)
        self.head = nn.Sequential(ChannelNorm(width), nn.SiLU(), nn.Conv1d(width, 4, 1))

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(inputs)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x).unflatten(1, (2, 2)).transpose(2, 3).flatten(2)  # even and odd frames of each


def _block(width, dilation, dropout):
    convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
    layers = ChannelNorm(width), nn.SiLU(), convolution, nn.SiLU(), nn.Dropout1d(dropout), nn.Conv1d(width, width, 1)
    return nn.Sequential(*layers)


@torch.inference_mode()
def predict_activations(network: BeatNetwork, notes: Notes) -> Activations:
    """Activations of a performance from 0 s to a second after its last onset."""
    num_frames = 2 * (int(np.ceil((notes.onset_s[-1] + 1) * ACTIVATION_HZ)) // 2 + 1)
    return Activations(*network(torch.from_numpy(beat_inputs(notes, num_frames))[None])[0].numpy())


class DownbeatNetwork(nn.Module):
    """Log odds that a bar begins on each beat: convolutions over beats, of evidence that counts beats (not seconds).

    Evidence (B, E, beats) -> log odds (B, beats). `mean` and `scale` (E,) standardise the evidence.
    """

    def __init__(self, evidence: int = NUM_EVIDENCE, width: int = 48, dropout: float = 0.15):
        super().__init__()
        self.register_buffer("mean", torch.zeros(evidence))
        self.register_buffer("scale", torch.ones(evidence))
        self.stem = nn.Conv1d(evidence, width, 3, padding=1)
        self.blocks = nn.ModuleList(_block(width, dilation, dropout) for dilation in DOWNBEAT_DILATIONS)
        self.head = nn.Sequential(ChannelNorm(width), nn.SiLU(), nn.Conv1d(width, 1, 1))

    def forward(self, evidence: Tensor) -> Tensor:  # noqa: D102
        x = self.stem((evidence - self.mean[:, None]) / self.scale[:, None])
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)[:, 0]


@torch.inference_mode()
def downbeat_logits(network: DownbeatNetwork, notes: Notes, beats_s: np.ndarray) -> np.ndarray:
    """Log odds that a bar begins on each beat (B,)."""
    return network(torch.from_numpy(bar_evidence(notes, beats_s).T)[None])[0].numpy()


@dataclass(frozen=True)
class TrackerSettings:
    """Numbers chosen on pieces that no benchmark measures; they are stored with the weights.

    Attributes
    ----------
    steady, free : fields of BeatModel where the tempo is steady, and where it follows the player (beats as written)
    bars, written_bars : fields of BarModel for felt beats, and for beats as written
    written_downbeats : how much the beat network's downbeats count beside the downbeat network's, for beats as written
    steady_confidence, free_confidence : coefficients of `confidence_terms`
    min_confidence, min_bar_confidence : expected nats an onset below which there is no beat, no bar
    sure_bar : probability from which on a bar is written down
    """

    steady: dict = field(default_factory=lambda: {"beat_weight": 0.2, "beat_offset": -1.0})
    free: dict = field(
        default_factory=lambda: {
            "hz": 50,
            "period_s": (0.2, 2.0),
            "stiffness": 5.0,
            "changes": (1, 2, 4, 7, 11, 16),
            "beat_weight": 1.0,
            "beat_offset": -0.5,
            "prior_weight": 0.0,
        }
    )
    bars: dict = field(default_factory=dict)
    written_bars: dict = field(
        default_factory=lambda: {
            "lengths": (2, 3, 4),
            "length_scores": (-0.2, 0.0, 0.2),
            "downbeat_weight": 0.5,
            "slip": 4.0,
            "length_change": 4.0,
        }
    )
    written_downbeats: float = 1.5
    steady_confidence: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)
    free_confidence: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)
    min_confidence: float = 0.05
    min_bar_confidence: float = 0.1
    sure_bar: float = 0.95


@dataclass(frozen=True)
class BeatTracker:
    """Networks, log profiles (feels, kinds, bins) and settings together."""

    network: BeatNetwork
    downbeats: DownbeatNetwork
    log_profiles: np.ndarray
    settings: TrackerSettings = field(default_factory=TrackerSettings)

    def find_beats(self, groups: OnsetGroups, activations: Activations, steady: bool) -> BeatPath:
        """Felt beats: searched for by onsets and activations, or the written ones at the felt level, under one feel."""
        if steady:
            return decode(groups, BeatModel(self.log_profiles, **self.settings.steady), activations)
        beats_s = fold(self.find_written(groups, activations))
        paths = [BeatPath(beats_s, np.full(len(beats_s) - 1, feel)) for feel in range(len(self.log_profiles))]
        return max(paths, key=lambda path: onset_gains(groups, path, self.log_profiles)[1].sum())

    def find_written(self, groups: OnsetGroups, activations: Activations) -> np.ndarray:
        """Beats as a composer writes them, 30 to 300 a minute, by activations alone; seconds (B + 1,)."""
        return decode(groups, BeatModel(None, **self.settings.free), activations).beats_s

    def find_written_bars(self, notes: Notes) -> tuple[np.ndarray, np.ndarray]:
        """Beats and downbeats, in seconds, as a composer writes them."""
        activations = predict_activations(self.network, notes)
        beats_s = self.find_written(group_onsets(notes.onset_s, notes.pitch, notes.velocity), activations)[:-1]
        odds = downbeat_logits(self.downbeats, notes, beats_s)
        odds = odds + self.settings.written_downbeats * at_times(activations.downbeat, beats_s)
        bars = find_bars(odds - odds.mean(), BarModel(**self.settings.written_bars))
        return beats_s, beats_s[bars.beat_in_bar == 0]

    def confidence(self, groups: OnsetGroups, path: BeatPath, activations: Activations, steady: bool) -> np.ndarray:
        """Expected log density of an unseen onset over a flat profile, around each beat (B,), in nats."""
        coefficients = self.settings.steady_confidence if steady else self.settings.free_confidence
        return confidence_terms(groups, path, activations, self.log_profiles) @ np.array(coefficients)

    def track(self, notes: Notes, steady: bool = True, own_beats_s: np.ndarray | None = None) -> TempoMap:
        """The tempo map of a performance.

        Parameters
        ----------
        notes : Notes
        steady : True for music in time (jazz), False where the tempo follows the player (classical)
        own_beats_s : the beats that the file itself writes down, kept where the notes sit on them; or None

        Returns
        -------
        TempoMap over the notes; one stretch without a beat where too little is played to track
        """
        if not len(notes):
            return map_without_beat(1.0)
        groups = group_onsets(notes.onset_s, notes.pitch, notes.velocity)
        if len(groups) < MIN_GROUPS or groups.time_s[-1] - groups.time_s[0] < MIN_LENGTH_S:
            return map_without_beat(notes.end_s)
        activations = predict_activations(self.network, notes)
        path = self.find_beats(groups, activations, steady)
        own_beats_s = fold(own_beats_s) if own_beats_s is not None else None
        if own_beats_s is not None and keeps_own_grid(groups.time_s, own_beats_s, path.beats_s):
            path, confidence = BeatPath(own_beats_s, np.zeros(0)), np.ones(len(own_beats_s) - 1)
        else:
            confidence = self.confidence(groups, path, activations, steady)
        in_time = steady_runs(confidence > self.settings.min_confidence)
        logits = downbeat_logits(self.downbeats, notes, path.beats_s[:-1])
        bars = find_bars(logits - logits.mean(), BarModel(**self.settings.bars))
        known = in_time & (confidence > self.settings.min_bar_confidence)
        bars = replace(bars, probability=np.where(known, bars.probability, 0.0))
        return map_from_beats(path.beats_s, confidence, in_time, bars, self.settings.sure_bar)

    def save(self, path: Path | str) -> None:
        """Write weights (fp16), profiles and settings to a safetensors file."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"downbeats.{name}": tensor for name, tensor in self.downbeats.state_dict().items()}
        state = {name: tensor.half().contiguous() for name, tensor in state.items()}
        state["log_profiles"] = torch.from_numpy(self.log_profiles.astype(np.float32))
        save_file(state, path, {"settings": json.dumps(asdict(self.settings))})

    @classmethod
    def load(cls, path: Path | str) -> BeatTracker:
        """The tracker that `save` wrote."""
        with safe_open(path, "pt") as file:
            settings = json.loads(file.metadata()["settings"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        network = BeatNetwork(len(state["network.stem.weight"]))
        downbeats = DownbeatNetwork(NUM_EVIDENCE, len(state["downbeats.stem.weight"]))
        for module, prefix in ((network, "network."), (downbeats, "downbeats.")):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        return cls(network.eval(), downbeats.eval(), state["log_profiles"].numpy(), TrackerSettings(**settings))


def confidence_terms(groups: OnsetGroups, path: BeatPath, activations: Activations, log_profiles) -> np.ndarray:
    """What confidence is made of, (B, 4): mean onset gain, activation at beats and half-way between them, 1."""
    num_beats = len(path.feel)
    beat, gain = onset_gains(groups, path, log_profiles)
    inside = beat >= 0
    total = np.bincount(beat[inside], gain[inside], num_beats)
    count = np.bincount(beat[inside], minlength=num_beats)
    at_beats = at_times(activations.beat, path.beats_s[:-1])
    between = at_times(activations.beat, (path.beats_s[1:] + path.beats_s[:-1]) / 2)
    window = np.ones(min(2 * CONFIDENCE_BEATS + 1, 2 * ((num_beats - 1) // 2) + 1))
    sums = (np.convolve(x, window, "same") for x in (total, count, at_beats, between, np.ones(num_beats)))
    total, count, at_beats, between, size = sums
    return np.stack([total / np.maximum(count, 1), at_beats / size, between / size, np.ones(num_beats)], 1)


def steady_runs(in_time: np.ndarray) -> np.ndarray:
    """The mask without runs shorter than MIN_RUN_BEATS: short gaps are filled, then short stretches dropped."""
    in_time = np.array(in_time, dtype=bool)
    for value in (False, True):
        edges = np.flatnonzero(np.diff(np.r_[not value, in_time, not value].astype(np.int8)))
        for first, last in zip(edges[::2], edges[1::2]):
            whole, inside = last - first == len(in_time), first > 0 and last < len(in_time)
            if last - first < MIN_RUN_BEATS and not whole and (value or inside):
                in_time[first:last] = not value
    return in_time


def load_track(path: Path | str, steady: bool) -> Callable[[Notes, np.ndarray | None], TempoMap]:
    """A saved tracker's `track` of music in time (or not), on one thread, for one of several processes."""
    torch.set_num_threads(1)
    tracker = BeatTracker.load(path)
    return lambda notes, own_beats_s: tracker.track(notes, steady, own_beats_s)

"""The style classifier: a trained style encoder applied to performances of any length.

Conventions: log-probabilities are natural logarithms; style embeddings have length 1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from lib.checkpoints.load import load_style_encoder
from lib.config import ConfigError
from lib.models.style_encoder import StyleEncoder
from lib.music.grouped_notes import windows_of
from lib.music.note_windows import LONGEST_PASSAGE_S, WINDOW_NOTES
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S, PianoRoll, notes_to_piano_roll
from lib.music.tempo_map import STEADY, in_beats

SHORTEST_S, FEWEST_NOTES = 5.0, 10  # less says nothing about a player
MOST_WINDOWS = 24  # of a performance, evenly spread: more hardly change the mean
TEMPERATURES = np.geomspace(0.1, 10, 61)  # tried by `calibrated`
EVIDENCE_S, HOP_S, FEWEST_IN_WINDOW = 10.0, 2.5, 8


class TooShort(ConfigError):
    """A performance that is too short, or has too few notes, to say who plays; the message says how much is needed."""


@dataclass(frozen=True)
class Prediction:
    """What a StyleClassifier says of a performance.

    Attributes
    ----------
    log_probability : float (P,), of each pianist in its classes
    style : float (S,), the embedding, of length 1
    pooled : float (2 C,), the features that the embedding is projected from; they separate unseen players better
    """

    log_probability: np.ndarray
    style: np.ndarray
    pooled: np.ndarray


def from_first_onset(notes):
    """The performance without the silence before its first note; TooShort where it says nothing about a player."""
    performance = notes.between(notes.onset_s[0], np.inf) if len(notes) else notes
    if performance.end_s < SHORTEST_S or len(performance) < FEWEST_NOTES:
        raise TooShort(
            f"{len(performance)} notes in {performance.end_s:.1f} s are too little to recognise a player: "
            f"give at least {SHORTEST_S:g} s and {FEWEST_NOTES} notes, better half a minute."
        )
    return performance


@dataclass(frozen=True)
class StyleClassifier:
    """A style encoder, the names of its classes, and the temperature that calibrates its probabilities.

    Attributes
    ----------
    style_encoder : StyleEncoder
    names : the P pianists it can name
    reads : of the encoder's config: "chords", "notes" or "roll"
    temperature : of its log-probabilities
    """

    style_encoder: StyleEncoder
    names: tuple[str, ...]
    reads: str = "chords"
    temperature: float = 1.0

    @classmethod
    def of_run(cls, run, device="cpu"):
        """The classifier of a style_encoder run or of a finished improviser's folder; errors as of `require`."""
        style_encoder, config, names = load_style_encoder(run, device)
        return cls(style_encoder, tuple(names), config.reads)

    @classmethod
    def of_improviser(cls, improviser):
        """The classifier that made an improviser's styles."""
        return cls(improviser.style_encoder, improviser.classes, improviser.configs["style_encoder"].reads)

    def predict(self, notes):
        """The mean Prediction of windows of 256 notes or 10.24 s, evenly spread; a shorter performance is one window.

        Parameters
        ----------
        notes : Notes

        Raises
        ------
        TooShort : under 5 s of music or 10 notes
        """
        notes = from_first_onset(notes)
        by_note = self.reads != "roll"
        size, end = (WINDOW_NOTES, len(notes)) if by_note else (CHUNK_S, notes.end_s)
        starts = np.linspace(0, max(0, end - size), min(MOST_WINDOWS, math.ceil(end / size)))
        starts = notes.onset_s[starts.astype(int)] if by_note else starts
        style, evidence, pooled = self._classify([
            notes.between(start_s, start_s + LONGEST_PASSAGE_S) for start_s in starts
        ])
        log_probability = (evidence.mean(0) / self.temperature).log_softmax(-1)
        style = functional.normalize(style.mean(0), dim=-1)
        return Prediction(log_probability.numpy(), style.numpy(), pooled.mean(0).numpy())

    def evidence(self, notes):
        """The log-probabilities of each EVIDENCE_S of a performance alone.

        Returns
        -------
        (times_s (W,), float (W, P)) : the middle of each window, and its log-probabilities; windows of fewer than
            FEWEST_IN_WINDOW notes are left out
        """
        times_s = np.arange(EVIDENCE_S / 2, max(notes.onset_s[-1], EVIDENCE_S), HOP_S)
        windows = [notes.between(time_s - EVIDENCE_S / 2, time_s + EVIDENCE_S / 2) for time_s in times_s]
        kept = [i for i, window in enumerate(windows) if len(window) >= FEWEST_IN_WINDOW]
        if not kept:
            return np.zeros(0), np.zeros((0, len(self.names)))
        evidence = self._classify([windows[i] for i in kept])[1] / self.temperature
        return times_s[kept], evidence.log_softmax(-1).numpy()

    @torch.inference_mode()
    def _classify(self, passages):
        """Styles (W, S), log-probabilities (W, P) and pooled features (W, 2 C) of passages, on the CPU."""
        device, batches = next(self.style_encoder.parameters()).device, []
        for first in range(0, len(passages), MOST_WINDOWS):
            pooled = self.style_encoder.pool(self._inputs(passages[first : first + MOST_WINDOWS]).to(device))
            style, logits = self.style_encoder.classify(pooled)
            batches.append((style.float().cpu(), logits.float().log_softmax(-1).cpu(), pooled.float().cpu()))
        return tuple(torch.cat(part) for part in zip(*batches))

    def _inputs(self, passages):
        """The encoder's input for passages (Notes): their first WINDOW_NOTES notes, or CHUNK_S."""
        if self.reads != "roll":
            return windows_of(passages, self.reads)
        rolls = [notes_to_piano_roll(in_beats(notes.between(0, CHUNK_S), STEADY), CHUNK_FRAMES) for notes in passages]
        return PianoRoll(torch.cat([roll.roll for roll in rolls]), torch.cat([roll.pedal for roll in rolls]))

    def calibrated(self, log_probability, pianists):
        """The same classifier at the temperature that fits held-out recordings best (Guo et al. 2017).

        Parameters
        ----------
        log_probability : float (N, P) of recordings left out of training
        pianists : N names
        """
        right = torch.tensor([self.names.index(name) for name in pianists])
        logits = torch.from_numpy(log_probability * self.temperature)
        smoothing = 1 / (len(right) + 1)  # one more recording, of anybody: N right answers do not prove certainty
        nll = [float(functional.cross_entropy(logits / t, right, label_smoothing=smoothing)) for t in TEMPERATURES]
        return dataclasses.replace(self, temperature=float(TEMPERATURES[int(np.argmin(nll))]))

"""Excerpts to compare by ear: from the first sound on, at most so long, all equally loud.

Conventions: `Audio` of lib/music/audio.py; loudness is the root mean square of the stretches that sound, in no unit of hearing
(no frequency weighting): between recordings of one instrument that is near enough.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lib.music.audio import PEAK

SILENT = 1e-3  # of the loudest sample: what is below is no sound
LEAD_S = 0.05  # of silence that is left before the first sound
FADE_S = 0.5  # of an excerpt that is cut
BLOCK_S = 0.4
GATE = 0.1  # of the loudest block: softer ones do not count as sounding


def excerpt(audio, seconds):
    """The first so many seconds of what sounds, faded out where music is cut.

    Parameters
    ----------
    audio : Audio
    seconds : float, at most

    Returns
    -------
    Audio
    """
    loud = np.flatnonzero(np.abs(audio.samples).max(1) > SILENT * max(np.abs(audio.samples).max(initial=0), SILENT))
    first = max(0, loud[0] - round(LEAD_S * audio.sample_rate_hz)) if len(loud) else 0
    size = round(seconds * audio.sample_rate_hz)
    samples = audio.samples[first : first + size].copy()
    if len(audio.samples) - first > size:
        fade = min(len(samples), round(FADE_S * audio.sample_rate_hz))
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return dataclasses.replace(audio, samples=samples)


def loudness(audio):
    """Root mean square of the blocks of 0.4 s that sound; 0 where none does."""
    size = round(BLOCK_S * audio.sample_rate_hz)
    power = [float(np.square(audio.samples[at : at + size]).mean()) for at in range(0, len(audio.samples), size)]
    gate = GATE**2 * max(power, default=0.0)
    return float(np.sqrt(np.mean([value for value in power if value >= gate]))) if gate else 0.0


def equally_loud(sounds):
    """All with the same loudness: the greatest at which the peak of none passes -1 dB. Silent ones are left as they are.

    Parameters
    ----------
    sounds : list of Audio

    Returns
    -------
    list of Audio
    """
    levels = [(loudness(audio), float(np.abs(audio.samples).max(initial=0))) for audio in sounds]
    common = min((PEAK * rms / peak for rms, peak in levels if rms), default=0.0)
    gains = [common / rms if rms else 1.0 for rms, _ in levels]
    return [dataclasses.replace(audio, samples=audio.samples * np.float32(gain)) for audio, gain in zip(sounds, gains)]

"""Small pictures of piano rolls as PNG, made in a millisecond or two: the roll while it is sampled, and the takes.

Conventions: loudness is float (88, T) in [0, 1], lowest key first; 0: the key is silent.
"""

from __future__ import annotations

import base64
import html
import math
import struct
import time
import zlib

import numpy as np
from matplotlib.colors import to_rgb

from lib.display.palette import BLUE, PAPER
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES, sounding_roll

BLACK_KEYS = np.isin((np.arange(NUM_PITCHES) + LOWEST_PITCH) % 12, (1, 3, 6, 8, 10))
EVERY_S = 0.3  # between two pictures of a roll that is being sampled
WORK_SHARE = 0.1  # of the time may go into them
MEMORY = 0.5  # of the picture before in the next: what does not stay fades
MARGIN_KEYS = 3  # around the keys of a cropped picture
FAINTEST = 0.35  # how dark a roll is that is still masked everywhere


def png(pixels):
    """uint8 (H, W, 3) as the bytes of a PNG file."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1).tobytes()
    parts = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 4)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def roll_pixels(loudness):
    """(88, T) -> uint8 (88, T, 3): highest key on top, black keys' rows a little darker."""
    paper = np.where(BLACK_KEYS[:, None], 0.955, 1.0)[..., None] * np.array(to_rgb(PAPER))  # (88, 1, 3)
    dark = np.sqrt(np.clip(loudness, 0, 1))[..., None]
    return np.rint(255 * (paper * (1 - dark) + np.array(to_rgb(BLUE)) * dark)).astype(np.uint8)[::-1]


def loudness_of(notes, seconds, width):
    """(88, width) of notes from 0 to `seconds`."""
    loudness = np.zeros((NUM_PITCHES, width))
    begins = np.floor(notes.onset_s / seconds * width).astype(int)
    ends = np.maximum(begins + 1, np.ceil((notes.onset_s + notes.duration_s) / seconds * width).astype(int))
    for first, last, pitch, velocity in zip(begins, ends, notes.pitch.astype(int), notes.velocity):
        if 0 <= pitch - LOWEST_PITCH < NUM_PITCHES:
            loudness[pitch - LOWEST_PITCH, first:last] = velocity / 127
    return loudness


def roll_picture(loudness, alt, height_px=110, cropped=False):
    """The roll as an <img> as wide as its container; `cropped`: without the keys above and below those that sound."""
    pixels, keys = roll_pixels(loudness), np.flatnonzero(loudness.any(1))
    if cropped and len(keys):
        pixels = pixels[max(0, NUM_PITCHES - 1 - keys[-1] - MARGIN_KEYS) : NUM_PITCHES - keys[0] + MARGIN_KEYS]
    source = base64.b64encode(png(pixels)).decode()
    style = f"width:100%;height:{height_px}px;image-rendering:pixelated;border-radius:4px"
    return f'<img alt="{html.escape(alt, quote=True)}" style="{style}" src="data:image/png;base64,{source}">'


class Preview:
    """The roll as sampling sees it, a few times a second: what comes and goes stays faint, what stays grows dark.

    Parameters
    ----------
    show : callable(html)
    clock : callable, seconds
    """

    def __init__(self, show, clock=time.monotonic):
        self._show, self._clock = show, clock
        self._window, self._seen, self._next_s = None, None, -math.inf

    def __call__(self, state):
        """A state as lib.generation.generate reports it; one without `piano_roll` shows nothing."""
        now_s, progress = self._clock(), state["step"] / state["num_steps"]
        if "piano_roll" not in state or now_s < self._next_s and progress < 1:
            return
        loudness = sounding_roll(state["piano_roll"]())[0].cpu().numpy()
        if state["window"] != self._window or progress == 1:
            self._window, self._seen = state["window"], loudness
        self._seen = MEMORY * self._seen + (1 - MEMORY) * loudness
        self._show(roll_picture(self._seen * (FAINTEST + (1 - FAINTEST) * progress), _alt(state, loudness)))
        self._next_s = self._clock() + max(EVERY_S, (self._clock() - now_s) * (1 / WORK_SHARE - 1))


def _alt(state, loudness):
    part = f"window {state['window'] + 1} of {state['num_windows']}" if state["num_windows"] > 1 else "the solo"
    keys = (loudness > 0).any(1).sum()
    return f"Piano roll of {part}, {state['step']} of {state['num_steps']} steps: {keys} keys sound"

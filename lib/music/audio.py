"""Notes -> sound: a sampled grand piano through FluidSynth, or plain sine waves where that is missing. WAV and MP3.

Conventions: samples are float32 (N, 2) in [-1, 1], left and right, at sample_rate_hz.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib.config import ROOT
from lib.music.notes import PEDAL_CONTROLLER, Notes
from lib.music.piano_roll import LOWEST_PITCH, NUM_PITCHES
from lib.storage.atomic_write import atomic_write

log = logging.getLogger(__name__)
DEFAULT_SOUNDFONT = ROOT / "data" / "soundfont" / "FluidR3_YamahaGrand_only.sf2"  # a grand piano
SAMPLE_RATE_HZ = 44_100
TAIL_S = 2.0  # rings on after the last release
PEAK = 0.89  # -1 dB: the loudest sample of a rendering
DITHER = 1e-3  # what a synthesiser that plays nothing may give
GAIN = 0.3  # of the synthesiser: a fortissimo chord does not clip its 16 bits
PARTIALS = (1.0, 0.5, 0.25, 0.12)  # of a sine-wave note
RELEASE_S = 0.08
CLICK_S, CLICK_HZ, CLICK_PEAK = 0.04, 1500.0, 0.3
MP3_KBPS = 112  # stereo: 60 s are 0.84 MB, 1.12 MB in base64
MP3_RATES_HZ = (32_000, 44_100, 48_000)
MP3_KBPS_RANGE = (320, 32)  # at these rates


class SoundFontError(ValueError):
    """A SoundFont that can't be used; the message names the file."""


@dataclass(frozen=True)
class Audio:
    """A rendering.

    Attributes
    ----------
    samples : float32 (N, 2) in [-1, 1]
    sample_rate_hz : int
    synth : "fluidsynth" or "sine"
    note : why the sound is plainer than it could be, or ""
    """

    samples: np.ndarray
    sample_rate_hz: int
    synth: str
    note: str = ""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.sample_rate_hz


def find_soundfont(soundfont: Path | str | None = None) -> Path:
    """Path of a SoundFont that is one, the built-in grand by default; SoundFontError names a file that is not."""
    path = Path(soundfont) if soundfont else DEFAULT_SOUNDFONT
    if not path.is_file():
        raise SoundFontError(f"There is no SoundFont at {path}.")
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise SoundFontError(f"{path} is not a SoundFont (.sf2).")
    return path


def render_audio(notes: Notes, soundfont: Path | str | None = None, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Audio:
    """The sound of a performance, pedal included.

    Parameters
    ----------
    soundfont : path of an .sf2; None: the built-in grand

    Returns
    -------
    Audio; by sine waves, saying so, where libfluidsynth is not installed

    Raises
    ------
    SoundFontError : the file is not there, or no SoundFont
    """
    path = find_soundfont(soundfont)
    try:
        import fluidsynth
    except Exception as error:  # importing it looks for the library, and fails in as many ways as there are systems
        log.info("importing fluidsynth: %r", error)
        note = (
            "libfluidsynth can't be loaded: plain sine waves instead of a piano (see python -m lib doctor)."
        )
        return Audio(_levelled(_sines(notes, sample_rate_hz)), sample_rate_hz, "sine", note)
    return Audio(_levelled(_play(fluidsynth, notes, path, sample_rate_hz)), sample_rate_hz, "fluidsynth")


def _levelled(samples):
    peak = float(np.abs(samples).max(initial=0.0))
    return (samples * (PEAK / peak if peak > DITHER else 0.0)).astype(np.float32)


def _play(fluidsynth, notes, path, sample_rate_hz):
    """Every event at its sample, in one pass: (N, 2)."""
    synth = fluidsynth.Synth(gain=GAIN, samplerate=float(sample_rate_hz))
    try:
        font = synth.sfload(str(path))
        # the lowest program of bank 0 that the file has: a grand piano in most
        program = next((number for number in range(128) if synth.sfpreset_name(font, 0, number)), 0)
        if font < 0 or synth.program_select(0, font, 0, program) < 0:
            raise SoundFontError(f"{path} holds no instrument that can be played.")
        blocks, now = [], 0
        for sample, event in _events(notes, synth, sample_rate_hz):
            if sample > now:
                blocks.append(synth.get_samples(sample - now))
                now = sample
            event()
        blocks.append(synth.get_samples(round(TAIL_S * sample_rate_hz)))
    finally:
        synth.delete()
    return np.concatenate(blocks).reshape(-1, 2).astype(np.float32) / 32768


def _events(notes, synth, sample_rate_hz):
    """[(sample, callable)] in order; at one time keys go up, then the pedal moves, then keys go down."""
    events = []
    for pitch, velocity, onset_s, duration_s in zip(notes.pitch, notes.velocity, notes.onset_s, notes.duration_s):
        events.append((onset_s, 2, lambda p=int(pitch), v=int(velocity): synth.noteon(0, p, v)))
        events.append((onset_s + duration_s, 0, lambda p=int(pitch): synth.noteoff(0, p)))
    for down_s, up_s in notes.pedal_s:
        events.append((down_s, 1, lambda: synth.cc(0, PEDAL_CONTROLLER, 127)))
        events.append((up_s, 1, lambda: synth.cc(0, PEDAL_CONTROLLER, 0)))
    events.sort(key=lambda event: event[:2])
    return [(max(0, round(time_s * sample_rate_hz)), event) for time_s, _, event in events]


def _sines(notes, sample_rate_hz):
    """Decaying partials, low notes longer; bass to the left: (N, 2)."""
    ends_s = notes.sounding_end_s()
    samples = np.zeros((round((max(ends_s, default=0.0) + TAIL_S) * sample_rate_hz), 2), np.float32)
    for pitch, velocity, onset_s, end_s in zip(notes.pitch.astype(int), notes.velocity, notes.onset_s, ends_s):
        time_s = np.arange(round((end_s - onset_s + RELEASE_S) * sample_rate_hz)) / sample_rate_hz
        hz = 440.0 * 2 ** ((pitch - 69) / 12)
        partials = [(hz * (k + 1), amplitude) for k, amplitude in enumerate(PARTIALS) if hz * (k + 1) < 16_000]
        tone = sum(amplitude * np.sin(2 * np.pi * partial_hz * time_s) for partial_hz, amplitude in partials)
        decay = np.exp(-time_s * 2.0 ** ((pitch - 60) / 24)) * np.clip(time_s / 0.004, 0, 1)
        fade = np.clip((end_s - onset_s + RELEASE_S - time_s) / RELEASE_S, 0, 1)
        first = round(onset_s * sample_rate_hz)
        tone = tone * decay * fade * (velocity / 127) ** 1.5
        right = (pitch - LOWEST_PITCH) / NUM_PITCHES
        rows = slice(first, first + len(tone))
        samples[rows] += (tone[:, None] * [1 - 0.6 * right, 0.4 + 0.6 * right])[: len(samples[rows])]
    return samples


def add_clicks(audio: Audio, times_s: np.ndarray, accents_s: np.ndarray) -> Audio:
    """The sound with a click at each time, a higher one at accents; times beyond its end are left out."""
    samples, rate_hz = audio.samples.copy(), audio.sample_rate_hz
    elapsed_s = np.arange(round(CLICK_S * rate_hz)) / rate_hz
    for time_s in np.union1d(times_s, accents_s):
        hz = CLICK_HZ * (1.5 if np.isclose(time_s, accents_s).any() else 1.0)
        click = CLICK_PEAK * np.sin(2 * np.pi * hz * elapsed_s) * np.exp(-6 * elapsed_s / CLICK_S)
        if 0 <= (first := round(time_s * rate_hz)) < len(samples) - len(click):
            samples[first : first + len(click)] += click[:, None].astype(np.float32)
    return replace(audio, samples=samples.clip(-1, 1))


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> int16."""
    return np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")


def write_wav(audio: Audio, path: Path | str) -> Path:
    """Write 16-bit stereo; the folder is made, the file replaced whole."""
    import soundfile

    with atomic_write(path) as partial:
        soundfile.write(partial, to_pcm(audio.samples), audio.sample_rate_hz, format="WAV", subtype="PCM_16")
    return Path(path)


def encode_mp3(audio: Audio) -> bytes:
    """The sound as an MP3 of MP3_KBPS, without gaps: its header says how many samples of silence a decoder cuts off.

    Returns
    -------
    bytes : 14 kB a second, at the audio's sample rate where MP3_RATES_HZ has it, else at SAMPLE_RATE_HZ
    """
    import soundfile
    from scipy.signal import resample_poly

    samples, rate_hz = audio.samples, audio.sample_rate_hz
    if rate_hz not in MP3_RATES_HZ:
        samples, rate_hz = resample_poly(samples, SAMPLE_RATE_HZ, rate_hz), SAMPLE_RATE_HZ
    highest, lowest = MP3_KBPS_RANGE
    level = (highest - MP3_KBPS) / (highest - lowest)  # soundfile's scale: 0 is the largest file, 1 the smallest
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    return file.getvalue()

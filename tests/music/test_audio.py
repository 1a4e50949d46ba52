"""Sound: both synthesisers, heard with numbers."""

import io
import sys
import wave

import numpy as np
import pytest
import soundfile

from lib.music.audio import (
    DEFAULT_SOUNDFONT,
    MP3_KBPS,
    Audio,
    SoundFontError,
    add_clicks,
    encode_mp3,
    render_audio,
    to_pcm,
    write_wav,
)
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes, read_midi

RATE_HZ = 22_050


def has_fluidsynth():
    try:
        import fluidsynth  # noqa: F401
    except (ImportError, OSError, AttributeError):
        return False
    return True


needs_fluidsynth = pytest.mark.skipif(not has_fluidsynth(), reason="libfluidsynth is not installed")


def loudness(audio, start_s, end_s):
    samples = audio.samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
    return float(np.sqrt((samples**2).mean()))


def strongest_hz(audio, start_s, end_s):
    samples = audio.samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)].mean(1)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE_HZ)[spectrum.argmax()])


@pytest.fixture(params=[pytest.param("fluidsynth", marks=needs_fluidsynth), "sine"])
def synth(request, monkeypatch):
    if request.param == "sine":
        monkeypatch.setitem(sys.modules, "fluidsynth", None)  # what a missing library looks like to an import
    return request.param


def test_notes_sound_where_they_are(synth):
    notes = Notes.from_arrays([0.5, 2.0], [1.0, 0.5], [69, 81], [90, 90])
    audio = render_audio(notes, sample_rate_hz=RATE_HZ)
    assert audio.synth == synth and bool(audio.note) == (synth == "sine")
    assert audio.samples.dtype == np.float32 and audio.samples.shape[1] == 2 and 3.5 < audio.seconds < 5.5
    assert np.abs(audio.samples).max() == pytest.approx(0.89, abs=0.01)
    assert loudness(audio, 0, 0.49) < 1e-3 < loudness(audio, 0.5, 1.0)
    assert strongest_hz(audio, 0.6, 1.4) == pytest.approx(440, rel=0.02)
    assert strongest_hz(audio, 2.05, 2.45) == pytest.approx(880, rel=0.02)


def test_velocity_is_heard(synth):
    audio = render_audio(Notes.from_arrays([0.0, 3.0], [0.5, 0.5], [60, 60], [30, 110]), sample_rate_hz=RATE_HZ)
    assert loudness(audio, 3.0, 3.5) > 3 * loudness(audio, 0.0, 0.5)


def test_the_pedal_holds(synth):
    one, other = ([0.0, 4.0], [0.2, 0.2], [48, 48], [80, 80]), [(0.1, 2.0)]
    dry = render_audio(Notes.from_arrays(*one), sample_rate_hz=RATE_HZ)
    held = render_audio(Notes.from_arrays(*one, pedal_s=other), sample_rate_hz=RATE_HZ)
    assert loudness(held, 1.2, 1.8) > 10 * loudness(dry, 1.2, 1.8)
    assert loudness(held, 3.0, 3.9) < 0.2 * loudness(held, 1.2, 1.8)


def test_nothing_played_is_silence(synth):
    audio = render_audio(Notes.from_arrays([], [], [], []), sample_rate_hz=RATE_HZ)
    assert not audio.samples.any() and np.isfinite(audio.samples).all()


def test_a_wrong_soundfont_is_named(tmp_path):
    notes = Notes.from_arrays([0.0], [0.2], [48], [80])
    with pytest.raises(SoundFontError, match=r"missing\.sf2"):
        render_audio(notes, tmp_path / "missing.sf2")
    (tmp_path / "fake.sf2").write_bytes(b"not a soundfont")
    with pytest.raises(SoundFontError, match=r"fake\.sf2 is not a SoundFont"):
        render_audio(notes, tmp_path / "fake.sf2")


def test_the_built_in_grand_comes_with_its_licence():
    assert DEFAULT_SOUNDFONT.stat().st_size > 7_000_000
    assert "MIT" in DEFAULT_SOUNDFONT.with_name("LICENSE.txt").read_text(encoding="utf-8")


def test_write_wav(tmp_path, synth):
    audio = render_audio(Notes.from_arrays([0.0], [0.2], [60], [80]), sample_rate_hz=RATE_HZ)
    path = write_wav(audio, tmp_path / "new" / "solo.wav")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE_HZ, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(samples, to_pcm(audio.samples))


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_an_mp3_is_as_long_as_its_bit_rate_says_and_a_click_stays_where_it_is(rate_hz):
    samples = np.random.default_rng(0).normal(0, 0.01, (3 * rate_hz + 137, 2)).astype(np.float32)
    samples[rate_hz] = 0.8
    content = encode_mp3(Audio(samples, rate_hz, "noise"))
    assert len(content) == pytest.approx(3 * MP3_KBPS * 125, rel=0.05)
    decoded, decoded_hz = soundfile.read(io.BytesIO(content))
    assert len(decoded) / decoded_hz == pytest.approx(len(samples) / rate_hz, abs=1 / decoded_hz)
    assert np.abs(decoded[:, 0]).argmax() / decoded_hz == pytest.approx(1.0, abs=1 / decoded_hz)
    if rate_hz == 44_100:
        assert len(decoded) == len(samples)


def test_clicks_sound_at_their_times_and_accents_are_higher():
    silence = Audio(np.zeros((44_100 * 2, 2), dtype=np.float32), 44_100, "sine")
    clicked = add_clicks(silence, np.array([0.5, 1.0, 9.0]), np.array([1.0]))
    loud = np.abs(clicked.samples[:, 0]) > 0.01
    assert not loud[:22_050].any() and loud[22_050:22_600].any() and not loud[24_000:44_100].any() and loud[44_100:44_600].any()
    crossings = [np.diff(np.sign(clicked.samples[first : first + 1500, 0])).astype(bool).sum() for first in (22_050, 44_100)]
    assert crossings[1] > 1.3 * crossings[0] and not silence.samples.any()


@pytest.mark.parametrize("failure", ["FileNotFoundError(3, 'no path')", "RuntimeError('broken')", "KeyError('PATH')"])
def test_whatever_importing_fluidsynth_raises_costs_sound_alone(failure, tmp_path, monkeypatch):
    (tmp_path / "fluidsynth.py").write_text(f"raise {failure}\n")
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    notes = Notes.from_arrays([0.0], [0.5], [60], [64])
    assert render_audio(notes).synth == "sine" and "doctor" in render_audio(notes).note
    assert len(read_midi(write_midi(notes, tmp_path / "x.mid"))) == 1

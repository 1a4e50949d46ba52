"""Sound, MIDI ports, corpora and released weights."""

from __future__ import annotations

import platform
from pathlib import Path

from lib.apps.doctor.findings import Finding
from lib.config import RELEASED

INSTALL_SOUND = {"Linux": "sudo apt install libfluidsynth3", "Darwin": "brew install fluid-synth",
                 "Windows": "choco install fluidsynth, or its zip on the PATH: https://www.fluidsynth.org/download/"}  # fmt: skip


def look_at_music(data_dir):
    """Findings; `data_dir` is the folder of note stores."""
    return [look_at_sound(), look_at_ports(), look_at_corpora(data_dir), look_at_weights()]


def look_at_sound():
    """FluidSynth and the piano's SoundFont."""
    from lib.music.audio import SoundFontError, find_soundfont

    try:
        find_soundfont()
    except SoundFontError as error:
        return Finding("piano", "missing", str(error), "git checkout data/soundfont")
    try:
        import fluidsynth  # noqa: F401
    except (ImportError, OSError, AttributeError):
        fix = INSTALL_SOUND.get(platform.system(), "install libfluidsynth")
        return Finding("fluidsynth", "note", "libfluidsynth is not installed: plain sine waves instead of a grand", fix)
    return Finding("fluidsynth", "ok", "a grand piano sounds")


def look_at_ports():
    """MIDI ports, for live playing alone; their names are left out."""
    from lib.apps.live.ports import PortError, list_ports

    try:
        inputs, outputs = list_ports()
    except PortError as error:
        return Finding("MIDI ports", "note", f"none, needed for live playing alone: {error}", "docs/LIVE.md")
    if inputs and outputs:
        return Finding("MIDI ports", "ok", f"{len(inputs)} in, {len(outputs)} out")
    return Finding("MIDI ports", "note", f"{len(inputs)} in, {len(outputs)} out; live playing wants one of each", "docs/LIVE.md")


def look_at_corpora(data_dir):
    """Which note stores can be opened, and have tempo maps."""
    from lib.data.corpora import CORPORA, open_corpus
    from lib.data.note_store import CorpusError
    from lib.data.tempo_maps import open_tempo_maps

    said, broken, without_maps = [], [], []
    for name in CORPORA:
        if not (Path(data_dir) / name / "notes.store").exists():
            continue
        try:
            store = open_corpus(name, data_dir)
        except (CorpusError, OSError) as error:
            broken.append(f"{name}: {error}")
            continue
        said.append(f"{name} ({len(store.pieces):,} pieces)")
        try:
            open_tempo_maps(store)
        except (CorpusError, OSError):
            without_maps.append(name)
    if broken:
        return Finding("corpora", "missing", "; ".join(broken), "delete that folder, then: python -m lib data ingest NAME")
    if without_maps:
        says = f"{', '.join(said)}; without tempo maps: {', '.join(without_maps)}"
        return Finding("corpora", "note", says, f"python -m lib data beats {without_maps[0]}")
    if said:
        return Finding("corpora", "ok", ", ".join(said))
    return Finding("corpora", "note", "none yet", "python -m lib data demo, or: python -m lib data download pijama")


def look_at_weights(folder=RELEASED):
    """Whether the released weights are whole."""
    from lib.storage.manifest import DamageError, verify

    try:
        verify(folder)
    except (DamageError, OSError) as error:
        return Finding("released weights", "missing", str(error), "git checkout data/released")
    return Finding("released weights", "ok", "whole")

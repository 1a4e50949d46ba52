"""A player as one HTML page: piano roll, sound and chords, without network or kernel.

The page is put together from the HTML, CSS and scripts in player/; what it plays is JSON inside it.
Its sound is an MP3.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path

import numpy as np

from lib.display.page import make_page
from lib.music.audio import encode_mp3
from lib.music.midi_writer import to_midi
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, NO_BEAT, SHORTEST_PART

FOLDER = Path(__file__).parent / "player"
# NAME.js, in the order that they need each other
SCRIPTS = ("music", "view", "roll", "keyboard", "moving", "sound", "files", "keep", "pointer", "page")
HEIGHT_PX = 480
NO_SOUND = "No sound was rendered for this roll."
STEADY = 1.05  # the fastest bar over the slowest; beyond, both tempos are named


def player_html(notes, audio=None, title="", chords=(), tempo_map=None):
    """The page of one take; see takes_html."""
    return takes_html({title or "Solo": (notes, audio)}, title, chords, tempo_map)


def takes_html(takes, title="", chords=(), tempo_map=None):
    """The page. Several takes are compared by switching between them at the same position.

    Parameters
    ----------
    takes : dict name -> (Notes, Audio or None), at least one; None: a silent roll. A take with chords and a map of its
        own is (Notes, Audio or None, chords, tempo_map)
    title : str
    chords : list of (time_s, symbol)
    tempo_map : TempoMap: its bars are drawn and counted, and written into the .mid; None: neither

    Returns
    -------
    str
    """
    return page_of(music_json(takes, title, chords, tempo_map), title)


def music_json(takes, title="", chords=(), tempo_map=None):
    """What the page plays, as JSON that can stand in a <script>; see takes_html."""
    music = {
        "title": title or "Solo",
        "takes": [_take(name, *take, *(chords, tempo_map)[len(take) - 2 :]) for name, take in takes.items()],
    }
    return json.dumps(music, ensure_ascii=False).replace("<", "\\u003c")


def page_of(music, title=""):
    """The page around JSON of music_json."""
    return make_page(FOLDER, "player", title or "Solo", [f"{name}.js" for name in SCRIPTS], music=music)


def _take(name, notes, audio, chords, tempo_map):
    columns = (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)
    rows = [[round(float(on), 3), round(float(length), 3), int(p), int(v)] for on, length, p, v in zip(*columns)]
    bars, tempo = ([], []) if tempo_map is None else _bars_and_tempo(tempo_map)
    return {
        "name": name,
        "id": hashlib.sha256(json.dumps([name, rows]).encode()).hexdigest()[:16],  # favourites are stored by it
        "seconds": round(max(notes.end_s, audio.seconds if audio else 0.0), 3),
        "notes": rows,
        "pedal": [[round(float(down), 3), round(float(up), 3)] for down, up in notes.pedal_s],
        "chords": [[round(float(time_s), 3), symbol] for time_s, symbol in chords],
        "bars": bars,
        "tempo": tempo,
        "midi": base64.b64encode(to_midi(notes, tempo_map, chords)).decode(),
        **sound_values(audio),
    }


def _bars_and_tempo(tempo_map):
    """What the page shows of a TempoMap.

    Returns
    -------
    bars : list of [time_s, number]: known bars, counted from 1, and with number 0 the beats of unknown bars, and where
        a beat ends
    tempo : quarters a minute: [] without a beat, [usual], or [slowest, fastest] where it changes
    """
    rows, tempos, number = [], [], 0
    for bar, quarters in zip(tempo_map.bars, tempo_map.quarters_per_beat.tolist()):
        start, end, kind = float(bar["start"]), float(bar["start"] + bar["beats"]), int(bar["kind"])
        edges = np.append(np.arange(start, end - SHORTEST_PART) if kind == BEATS_ONLY else start, end)
        edges_s = tempo_map.to_seconds(edges)
        number += kind == IN_BARS
        if kind != NO_BEAT or rows:
            rows += [[round(time_s, 3), number * (kind == IN_BARS)] for time_s in edges_s[:-1].tolist()]
        if kind != NO_BEAT:
            tempos += (60 * quarters * np.diff(edges) / np.diff(edges_s)).tolist()
    if not rows:
        return [], []
    rows.append([round(float(edges_s[-1]), 3), 0])
    low, high = min(tempos), max(tempos)
    tempo = [low, high] if high > STEADY * low else [float(np.median(tempos))]
    return rows, [round(bpm, 3) for bpm in tempo]


def sound_values(audio):
    """What a page plays, as a data URL, and what it says about that."""
    if audio is None:
        return {"sound": "", "remark": NO_SOUND}
    sound = f"data:audio/mpeg;base64,{base64.b64encode(encode_mp3(audio)).decode()}"
    return {"sound": sound, "remark": audio.note, "samples": len(audio.samples), "rate": audio.sample_rate_hz}


def write_player(path, notes, audio=None, title="", chords=(), tempo_map=None):
    """Write the page to a file; the folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(player_html(notes, audio, title, chords, tempo_map), encoding="utf-8")
    return path


def show_player(notes, audio=None, title="", chords=(), tempo_map=None):
    """The page inside a notebook: IPython.display.HTML, an iframe that holds all of it."""
    return show_takes({title or "Solo": (notes, audio)}, title, chords, tempo_map)


def show_takes(takes, title="", chords=(), tempo_map=None):
    """Several takes in one player: see takes_html."""
    from IPython.display import HTML

    return HTML(framed(takes_html(takes, title, chords, tempo_map), title))


def framed(page, title=""):
    """The page as an iframe that needs no file, and nothing of the page around it."""
    name = html.escape(f"Player: {title}" if title else "Player", quote=True)
    attributes = f'width="100%" height="{HEIGHT_PX}" style="border:0" title="{name}" allow="autoplay"'
    return f'<div><iframe {attributes} srcdoc="{html.escape(page, quote=True)}"></iframe></div>'

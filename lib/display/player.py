"""A player as one HTML page: piano roll, sound and chords, without network or kernel."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

from lib.music.audio import write_wav_to

TEMPLATE = Path(__file__).with_name("player.html")
HEIGHT_PX = 350


def player_html(notes, audio=None, title="", chords=()):
    """The page of one take; see takes_html."""
    return takes_html({title or "Solo": (notes, audio)}, title, chords)


def takes_html(takes, title="", chords=()):
    """The page. Several takes are compared by switching between them at the same place.

    Parameters
    ----------
    takes : dict name -> (Notes, Audio or None), at least one; sound is embedded as mono 16-bit, None: a silent roll
    title : str
    chords : list of (time_s, symbol)

    Returns
    -------
    str
    """
    music = {
        "takes": [_take(name, notes, audio) for name, (notes, audio) in takes.items()],
        "chords": [[round(float(time_s), 3), symbol] for time_s, symbol in chords],
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    parts = {
        "{{title}}": html.escape(title or "Solo"),
        "{{music}}": json.dumps(music, ensure_ascii=False).replace("<", "\\u003c"),
    }
    for name, part in parts.items():
        page = page.replace(name, part)
    return page


def _take(name, notes, audio):
    columns = (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)
    return {
        "name": name,
        "seconds": round(max(notes.end_s, audio.seconds if audio else 0.0), 3),
        "notes": [[round(float(on), 3), round(float(length), 3), int(p), int(v)] for on, length, p, v in zip(*columns)],
        "pedal": [[round(float(down), 3), round(float(up), 3)] for down, up in notes.pedal_s],
        "sound": _sound(audio),
        "remark": _remark(audio),
    }


def _sound(audio):
    if audio is None:
        return ""
    file = io.BytesIO()
    write_wav_to(file, audio.samples.mean(1), audio.sample_rate_hz)
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()


def _remark(audio):
    return "No sound was rendered for this roll." if audio is None else audio.note


def write_player(path, notes, audio=None, title="", chords=()):
    """Write the page to a file; the folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(player_html(notes, audio, title, chords), encoding="utf-8")
    return path


def show_player(notes, audio=None, title="", chords=()):
    """The page inside a notebook: IPython.display.HTML, an iframe that holds all of it."""
    return show_takes({title or "Solo": (notes, audio)}, title, chords)


def show_takes(takes, title="", chords=()):
    """Several takes in one player: see takes_html."""
    from IPython.display import HTML

    return HTML(framed(takes_html(takes, title, chords)))


def framed(page):
    """The page as an iframe that needs no file."""
    attributes = f'width="100%" height="{HEIGHT_PX}" style="border:0" title="player"'
    return f'<div><iframe {attributes} srcdoc="{html.escape(page, quote=True)}"></iframe></div>'

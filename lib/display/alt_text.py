"""Alternative texts: what a picture shows, for screen readers and wherever it can't be drawn.

Every figure of this package has its text as `figure.alt`, and notebooks show it as an <img> with that alt text.
"""

from __future__ import annotations

import base64
import html
import io

from lib.music.chords import NAMES

MOST_SYMBOLS = 12  # chords that are named before "and so on"


def described(figure, text):
    """The figure with its alt text; IPython finds `_repr_html_` beside the picture."""
    figure.alt = text
    figure._repr_html_ = lambda: picture_html(figure)
    return figure


def picture_html(figure):
    """The figure as <img> with its alt text."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", facecolor=figure.get_facecolor())
    source = base64.b64encode(file.getvalue()).decode()
    alt = html.escape(getattr(figure, "alt", ""), quote=True)
    return f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{source}">'


def key_name(pitch):
    """The key's name, such as C4 for MIDI pitch 60."""
    return f"{NAMES[int(pitch) % 12]}{int(pitch) // 12 - 1}"


def describe_notes(notes):
    """How many notes, how long, from which key to which, how loud."""
    if not len(notes):
        return "no notes"
    keys = f"{key_name(notes.pitch.min())} to {key_name(notes.pitch.max())}"
    velocity = f"velocity {notes.velocity.min()} to {notes.velocity.max()}"
    return f"{len(notes)} notes in {notes.end_s:.1f} s, {keys}, {velocity}"


def format_chords(chords):
    """The symbols in order; "" for none."""
    symbols = [symbol for _, symbol in chords]
    more = " and so on" if len(symbols) > MOST_SYMBOLS else ""
    return f"; chords {', '.join(symbols[:MOST_SYMBOLS])}{more}" if symbols else ""


def titled(title, text):
    """The text, after the picture's title where it has one."""
    return f"{title}. {text}" if title else text

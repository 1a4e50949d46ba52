"""Pages of one file: an HTML file with places, {{name}}, to put style, script and values in."""

from __future__ import annotations

import re


def read_parts(folder, *names):
    """The text of files that lie beside each other, one behind the other."""
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def fill_page(text, **parts):
    """The page with its places filled, in one pass: what a value says is never taken for a place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], text)

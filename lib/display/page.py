"""Pages of one file: an HTML file with slots, {{name}}, for style, script and values."""

from __future__ import annotations

import re


def read_parts(folder, *names):
    """The text of files that lie beside each other, one behind the other."""
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def fill_page(text, **parts):
    """The page with its slots filled, in one pass: text inside a value is never taken for a slot."""
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], text)

"""Self-contained HTML pages: body, style and script files, combined in one common frame."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

HERE = Path(__file__).parent


@lru_cache
def _templates(folder):
    return Environment(loader=FileSystemLoader([folder, HERE]), autoescape=True)


def make_page(folder, name, title, scripts=(), **values):
    """NAME.html of a folder, a Jinja template, as a whole page with NAME.css and NAME.js (or these scripts)."""
    body = _templates(folder).get_template(f"{name}.html").render(title=title, **values)
    style = _read(HERE / "frame.css", folder / f"{name}.css")
    script = _read(HERE / "frame.js", *(folder / each for each in scripts or [f"{name}.js"]))
    return _templates(folder).get_template("frame.html").render(title=title, style=style, body=body, script=script)


def _read(*paths):
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)

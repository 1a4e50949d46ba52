"""The page at /: knobs, and the player with what they gave. One file without network but this server."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path

from lib.display.page import fill_page, read_parts
from lib.generation.request import GenerateRequest

FOLDER = Path(__file__).parent
# the player within is a page of its own (srcdoc) and plays from data: URLs
PAGE_POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src data: blob:; "
               "img-src data: blob:; connect-src 'self' data: blob:; frame-src 'self'; frame-ancestors 'self'; "
               "base-uri 'none'; form-action 'none'")  # fmt: skip


def page_html(request_type=GenerateRequest):
    """The page, its style and script put in, and an input for each rule that a request can ask for and that has a label."""
    style, script = read_parts(FOLDER, "page.css"), read_parts(FOLDER, "page.js")
    fields = [field for field in dataclasses.fields(request_type) if field.metadata.get("label")]
    return fill_page(read_parts(FOLDER, "page.html"), style=style, script=script, rules="\n".join(map(_rule_input, fields)))


def _rule_input(field):
    help_ = html.escape(field.metadata["option"])
    text = f'<input id="{field.name}" class="rule" inputmode="text" placeholder="free" title="{help_}">'
    return f"  <label>{html.escape(field.metadata['label'])} {text}</label>"

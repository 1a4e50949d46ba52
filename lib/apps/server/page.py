"""The page at /: knobs, and the player with what they gave. One file without network but this server."""

from __future__ import annotations

from pathlib import Path

from lib.display.page import fill_page, read_parts

FOLDER = Path(__file__).parent
# the player within is a page of its own (srcdoc) and plays from data: URLs
PAGE_POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src data: blob:; "
               "img-src data: blob:; connect-src 'self' data: blob:; frame-src 'self'; frame-ancestors 'self'; "
               "base-uri 'none'; form-action 'none'")  # fmt: skip


def page_html():
    """The page, its style and script put in."""
    return fill_page(read_parts(FOLDER, "page.html"), style=read_parts(FOLDER, "page.css"), script=read_parts(FOLDER, "page.js"))

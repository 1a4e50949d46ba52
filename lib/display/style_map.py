"""A map of styles as SVG: a dot a pianist, the name appears under the mouse. Needs no script and no network."""

from __future__ import annotations

import html

import numpy as np

from lib.display.palette import BLUE, PAPER, WARNING

WIDTH, HEIGHT, MARGIN = 820, 520, 24
PLAIN, MARKED = BLUE, WARNING


def style_map_html(points, names, marked=()):
    """The map as a piece of HTML.

    Parameters
    ----------
    points : float (N, 2)
    names : N names
    marked : names that are written out and shown in dark orange

    Returns
    -------
    str
    """
    points = np.asarray(points, float)
    low, extent = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-9)
    positions = (points - low) / extent * [WIDTH - 8 * MARGIN, HEIGHT - 2 * MARGIN] + MARGIN
    dots = [_dot(x, y, str(name), name in marked) for (x, y), name in zip(positions, names, strict=True)]
    style = f"max-width:{WIDTH}px;width:100%;background:{PAPER}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{style}"'
        f' role="img" aria-label="Map of {len(names)} pianists\' styles" font-family="sans-serif" font-size="12">'
        f'{"".join(dots)}</svg>'
    )


def _dot(x, y, name, marked):
    colour, name = MARKED if marked else PLAIN, html.escape(name)
    label = f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>' if marked else ""
    return f'<g><circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{name}</title></circle>{label}</g>'


def show_style_map(points, names, marked=()):
    """The map inside a notebook."""
    from IPython.display import HTML

    return HTML(style_map_html(points, names, marked))

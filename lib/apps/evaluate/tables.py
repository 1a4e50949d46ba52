"""Tables of figures in HTML: rows are sets, columns measures, the model's own rows are tinted."""

from __future__ import annotations

import html

from lib.apps.evaluate.captions import SET_TITLES, Caption

OWN_ROWS = ("generated", "solos")


def number(value):
    """Three digits that matter; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def whole_number(value):
    """With commas."""
    return f"{value:,}"


def cell(figure):
    """A Figure (dict) with its interval; a word or a value alone as it is."""
    if figure is None:
        return "–"
    if not isinstance(figure, dict):
        return html.escape(str(figure))
    return f"{number(figure['value'])} <small>{number(figure['low'])} to {number(figure['high'])}</small>"


def table(rows, columns, caption=""):
    """A table.

    Parameters
    ----------
    rows : dict set (or any name) -> dict measure -> Figure as a dict
    columns : dict measure -> Caption or title; those that no row has are left out
    caption : str
    """
    shown = {key: column for key, column in columns.items() if any(key in row for row in rows.values())}
    heads = "".join(f"<th scope='col'>{_column_title(column)}</th>" for column in shown.values())
    lines = []
    for name, row in rows.items():
        tint = " class='own'" if name in OWN_ROWS else ""
        cells = "".join(f"<td{tint}>{cell(row.get(key))}</td>" for key in shown)
        lines.append(f"<tr><th scope='row'>{html.escape(SET_TITLES.get(name, name))}</th>{cells}</tr>")
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    inside = f"{title}<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class='scroll'><table>{inside}</table></div>"


def _column_title(column):
    if not isinstance(column, Caption):
        return html.escape(column)
    small = "; ".join(filter(None, [column.unit, f"ideal: {column.ideal}"]))
    return f"{html.escape(column.title)}<br><small>{html.escape(small)}</small>"


def describe_caption(known):
    """A paragraph a measure: what it is, and what it can't tell."""
    return "".join(f"<p class='cant'><b>{html.escape(one.title)}.</b> {html.escape(one.means)} <i>What it can't tell:</i> "
                   f"{html.escape(one.silent_on)}</p>" for one in known.values())  # fmt: skip

"""An evaluation in a dozen lines of text, for the terminal and for notebooks."""

from __future__ import annotations

from lib.apps.evaluate.captions import LIKENESS, SET_TITLES

WIDTH = 26


def in_words(found):
    """The likeness of each set, then chords, transfer and copying, each with its interval.

    Parameters
    ----------
    found : dict of evaluation.evaluate

    Returns
    -------
    str
    """
    return "\n".join([*_likeness(found), *_rest(found), *_missing(found)])


def figure_in_words(figure):
    """Value and interval; a dash for none."""
    if figure is None or figure["value"] is None:
        return "-"
    low, high = (figure[key] for key in ("low", "high"))
    return f"{figure['value']:.3g}" + ("" if low is None else f" ({low:.2g} to {high:.2g})")


def _likeness(found):
    for key, caption in LIKENESS.items():
        rows = {name: row[key] for name, row in found.get("likeness", {}).items() if key in row}
        if rows:
            yield f"{caption.title} (ideal: {caption.ideal})"
            yield from (f"  {SET_TITLES[name]:<{WIDTH}}{figure_in_words(figure)}" for name, figure in rows.items())


def _rest(found):
    for name, figure in found.get("obedience", {}).get("chord_agreement", {}).items():
        yield f"{'chord agreement, ' + name:<{WIDTH + 2}}{figure_in_words(figure)}"
    for learnt in ("generated", "real") if "transfer" in found else ():
        for what, figure in found["transfer"][learnt].items():
            yield f"{'transfer from ' + learnt + ', ' + what:<{WIDTH + 12}}{figure_in_words(figure)}"
    for key in ("likeness_ratio", "run_ratio"):
        if key in found.get("copying", {}):
            yield f"{'copying, ' + key.replace('_', ' '):<{WIDTH + 2}}{figure_in_words(found['copying'][key])} (1: as real players)"


def _missing(found):
    for name, reason in found["missing"].items():
        yield f"not given, {SET_TITLES.get(name, name)}: {reason}"

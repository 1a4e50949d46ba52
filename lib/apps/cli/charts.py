"""Charts: say what is read of them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lib.apps.cli import option

charts_app = typer.Typer(no_args_is_help=True, help="Charts of chords: see what is read of them.")


@charts_app.callback()
def charts():
    """A group, though it has one command."""


@charts_app.command()
def check(
    sources: Annotated[list[str], typer.Argument(help="Files, or chords as typed.")],
    tune: Annotated[str | None, option("Only this tune of a playlist, by its title.")] = None,
    as_json: Annotated[bool, option("All of it as JSON.", "--json")] = False,
):
    """Say what is read of charts, bar by bar as played once through; exit code 2 where all is refused."""
    report = check_charts(sources, tune)
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(format_report(report))
    if not report["tunes"]:
        raise typer.Exit(2)


def check_charts(sources: list[str], tune: str | None = None) -> dict:
    """What is read of charts, as plain values for JSON: tunes, refused, inferred.

    Parameters
    ----------
    sources : paths of files, or typed chords
    tune : a title; None: all tunes of each file
    """
    from lib.music.chart_files import find_tune, find_tunes
    from lib.music.chords import ChordError

    tunes, refused, inferred = [], [], []
    for source in sources:
        title = ""
        try:
            for found in [find_tune(source, tune)] if tune else find_tunes(source):
                title = found.title or source
                try:
                    chart = found.read()
                except ChordError as error:
                    refused.append({"title": title, "bar": error.bar, "reason": error.reason})
                    continue
                tunes.append({"title": title, "tempo_bpm": chart.tempo_bpm, "bars": bars_of(chart)})
                if found.transposition:
                    tunes[-1]["transposed"] = found.transposition
                numbers = [number for number, bar in enumerate(chart.once_through, 1) if bar.inferred]
                inferred += [{"title": title, "bar": number} for number in numbers]
        except (ChordError, FileNotFoundError) as error:
            refused.append({"title": source, "bar": getattr(error, "bar", None), "reason": str(error)})
    return {"tunes": tunes, "refused": refused, "inferred": inferred}


def bars_of(chart) -> list[dict]:
    """The bars of a Chart once through, as plain values."""
    rows, section = [], ""
    for bar in chart.once_through:
        section = bar.section or section
        chords = [_chord(chord, float(length)) for (_, chord), length in zip(bar.chords, bar.lengths(), strict=True)]
        metre = "{}/{}".format(*bar.metre)
        rows.append({"metre": metre, "beats": float(bar.quarters), "section": section, "chords": chords})
    return rows


def _chord(chord, beats):
    if chord is None:
        return {"symbol": "N.C.", "beats": beats, "root": None, "bass": None, "pitch_classes": []}
    tones = sorted({(chord.root + interval) % 12 for interval in chord.intervals} | {chord.bass})
    return {"symbol": chord.symbol, "beats": beats, "root": chord.root, "bass": chord.bass, "pitch_classes": tones}


def format_report(report: dict, bars_a_line: int = 4) -> str:
    """A report for people: four bars a line, beats behind chords that do not share a bar equally."""
    lines = []
    for tune in report["tunes"]:
        tempo = f", {tune['tempo_bpm']:g} quarters a minute" if tune["tempo_bpm"] else ""
        moved = f", transposed by {tune['transposed']:+d} as saved" if tune.get("transposed") else ""
        lines.append(f"{tune['title']}: {len(tune['bars'])} bars, {tune['bars'][0]['metre']}{tempo}{moved}")
        cells, section, metre = [], "", ""
        for bar in tune["bars"]:
            equal = len({chord["beats"] for chord in bar["chords"]}) == 1
            text = ", ".join(c["symbol"] + ("" if equal else f" {c['beats']:g}") for c in bar["chords"])
            new = bar["section"] if bar["section"] != section else ""
            changed = bar["metre"] if bar["metre"] != metre and metre else ""
            cells.append(" ".join(filter(None, (f"[{new}]" if new else "", changed, text))))
            section, metre = bar["section"], bar["metre"]
        width = min(24, max(map(len, cells)))
        for first in range(0, len(cells), bars_a_line):
            row = " | ".join(cell.ljust(width) for cell in cells[first : first + bars_a_line])
            lines.append(f"{first + 1:4}  {row}".rstrip())
    for name, text in (("inferred", "where the chords begin is worked out"), ("refused", "")):
        for row in report[name]:
            bar = f", bar {row['bar']}" if row["bar"] else ""
            lines.append(f"{name}: {row['title']}{bar}: {row.get('reason', text)}")
    return "\n".join(lines)

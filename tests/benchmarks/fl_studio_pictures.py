"""The pictures of docs/FL_STUDIO_GUIDE.md, drawn: FL Studio's windows as they are described, not screenshots.

    python tests/benchmarks/fl_studio_pictures.py [--out docs/pictures]

The piano roll shows what the script really writes, for a solo of the released weights, in the piano roll of the tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "apps" / "fl_studio")]

from fake_fl_studio import REAL, WHOLE, YES_NO, FLStudio  # noqa: E402

from lib.apps.fl_studio.script import read_take, script_text  # noqa: E402
from lib.display.palette import BLUE, INK, PALE, PAPER, QUIET, STYLE, VERMILION  # noqa: E402
from lib.generation.generate import generate, load_improviser  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402

BAR, LINE = "#d8dee4", 0.8
BEATS = 16
NOTE = "drawn after the documentation, no screenshot"


def main():
    """Play, run the script, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    words = parser.parse_args()
    request = GenerateRequest(choruses=1, seed=3, chords="Dm7 | G7 | Cmaj7 | A7alt")
    solo = generate(load_improviser(released=True, device="cpu"), request)
    with TemporaryDirectory() as folder:
        takes = [read_take(solo.write(Path(folder) / f"solo-{n}.mid")) for n in (1, 2)]
    studio = FLStudio(ppq=96).open(script_text(takes, "Mehldau Solo"))
    studio.preview()
    with plt.rc_context(STYLE):
        for name, draw in {"menu": menu, "script": script, "ports": ports, "midi_settings": midi_settings}.items():
            path = words.out / f"fl_studio_{name}.png"
            figure = draw(studio)
            figure.text(0.995, 0.012, NOTE, ha="right", va="bottom", fontsize=6.5, color=QUIET)
            figure.savefig(path, dpi=110)
            plt.close(figure)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def canvas(width, height):
    """A figure whose units are tenths of an inch, (0, 0) at the top left."""
    figure = plt.figure(figsize=(width / 10, height / 10))
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def window(axes, x, y, width, height, title):
    """A window with its title bar."""
    axes.add_patch(Rectangle((x, y), width, height, facecolor="white", edgecolor=QUIET, linewidth=LINE))
    axes.add_patch(Rectangle((x, y), width, 3, facecolor=BAR, edgecolor=QUIET, linewidth=LINE))
    axes.text(x + 1, y + 1.5, title, va="center", fontsize=8.5, weight="bold")


def button(axes, x, y, width, text, chosen=False):
    """A button or a field."""
    colours = {"facecolor": BLUE if chosen else "white", "edgecolor": QUIET}
    axes.add_patch(Rectangle((x, y), width, 2.4, linewidth=LINE, **colours))
    axes.text(x + 0.8, y + 1.25, text, va="center", fontsize=7.5, color=PAPER if chosen else INK)


def label(axes, x, y, text, **more):
    """Words."""
    axes.text(x, y, text, va="center", **{"fontsize": 7.5, **more})


def number(axes, x, y, text):
    """A step of the guide."""
    axes.add_patch(Circle((x, y), 1.25, facecolor=VERMILION, edgecolor="none", zorder=5))
    axes.text(x, y + 0.05, text, ha="center", va="center", fontsize=7.5, color=PAPER, weight="bold", zorder=6)


def menu(studio):
    """Where the script stands."""
    figure, axes = canvas(72, 23)
    window(axes, 1, 1, 70, 20, "Piano roll: a channel with a piano")
    lists = [(2, "menu ▾", ["File", "Edit", "Tools", "View", "Snap"], 2),
             (15, "Tools", ["Riff machine…", "Quantize…", "Articulate…", "Scripting", "Randomize…"], 3),
             (33, "Scripting", ["Mehldau Solo", "…"], 0)]  # fmt: skip
    for place, (x, title, entries, chosen) in enumerate(lists):
        width = 12 if place == 0 else 16 if place == 1 else 20
        label(axes, x, 5.5, title, weight="bold")
        for row, entry in enumerate(entries):
            arrow = "  ▸" if row == chosen and place < 2 else ""
            button(axes, x, 7 + 2.4 * row, width, entry + arrow, chosen=row == chosen)
        number(axes, x + width, 8.2 + 2.4 * chosen, str(place + 1))
    label(axes, 33, 15.5, "other entries differ from version to version", color=QUIET, fontsize=7)
    return figure


def script(studio):
    """The script's window, from its own dialog, and what it wrote into the piano roll."""
    figure, axes = canvas(86, 46)
    window(axes, 1, 1, 31, 43, studio.script["NAME"])
    words = studio.script["DESCRIPTION"].split(". ")
    label(axes, 2, 5.5, words[0] + ".", fontsize=7)
    options = iter(([take["name"] for take in studio.script["TAKES"]], studio.script["HANDS"], studio.script["EXISTING"]))
    for row, (name, (kind, low, high)) in enumerate(studio.form._kinds.items()):
        y, value = 8.5 + 3.9 * row, studio.form.GetInputValue(name)
        label(axes, 2, y, name)
        if kind == YES_NO:
            axes.add_patch(Rectangle((20, y - 1), 2, 2, facecolor="white", edgecolor=QUIET, linewidth=LINE))
            label(axes, 20.35, y, "✓" if value else "", fontsize=9, color=BLUE)
        elif kind == WHOLE and low == 0:
            button(axes, 20, y - 1.2, 11, f"{next(options)[value]} ▾")
        else:
            knob(axes, 21.2, y, (value - low) / (high - low), f"{value:g}" if kind == REAL else f"{value:+d}" if value else "0")
    button(axes, 20, 40.3, 11, "Accept", chosen=True)
    window(axes, 34, 1, 51, 43, "Piano roll")
    piano_roll(axes, studio)
    return figure


def knob(axes, x, y, share, text):
    """A round knob; share 0 to 1 of its way."""
    import math

    angle = math.radians(225 - 270 * share)
    axes.add_patch(Circle((x, y), 1.2, facecolor=BAR, edgecolor=QUIET, linewidth=LINE))
    axes.plot([x, x + 1.1 * math.cos(angle)], [y, y - 1.1 * math.sin(angle)], color=INK, linewidth=1.5)
    label(axes, x + 2.2, y, text)


def piano_roll(axes, studio):
    """The notes of the first bars in two colours, and the chords."""
    left, top, wide, high = 37.5, 8, 46.5, 35
    pitches = [row[2] for row in studio.rows]
    low, top_pitch = min(pitches) - 1, max(pitches) + 1
    across, down = wide / (BEATS * studio.ppq), high / (top_pitch - low + 1)
    for beat in range(BEATS + 1):
        axes.plot([left + beat * studio.ppq * across] * 2, [top, top + high], color=PALE, linewidth=1.2 if beat % 4 == 0 else 0.4)
    for pitch in range(low, top_pitch + 1):
        y = top + (top_pitch - pitch) * down
        black = pitch % 12 in (1, 3, 6, 8, 10)
        axes.add_patch(Rectangle((34.3, y), 3, down, facecolor=INK if black else "white", edgecolor=PALE, linewidth=0.3))
    for time, length, pitch, loud, hand in studio.rows:
        place = (left + time * across, top + (top_pitch - pitch) * down)
        length = min(length, BEATS * studio.ppq - time) * across
        colour = (VERMILION, BLUE)[hand]
        axes.add_patch(Rectangle(place, length, down, facecolor=colour, alpha=0.35 + 0.6 * loud, edgecolor=PAPER, linewidth=0.3))
    for time, name in studio.chords:
        label(axes, left + time * across + 0.3, 6.3, name, fontsize=7.5)
        axes.plot([left + time * across] * 2, [5.4, top], color=QUIET, linewidth=1)


def ports(studio):
    """The windows that make ports between programs."""
    figure, axes = canvas(86, 40)
    window(axes, 1, 1, 40, 17, "Windows: loopMIDI")
    for row, name in enumerate(("to FL Studio", "from FL Studio")):
        button(axes, 3, 5 + 2.6 * row, 36, f"{name}        total data 0, 0 bytes/s")
    label(axes, 3, 13.3, "New port-name:")
    button(axes, 15, 12.1, 18, "from FL Studio")
    button(axes, 34, 12.1, 4, " +", chosen=True)
    number(axes, 39, 12, "1")
    window(axes, 45, 1, 40, 17, "macOS: Audio MIDI Setup > MIDI Studio > IAC Driver")
    label(axes, 47, 6, "✓  Device is online", color=BLUE)
    for row, name in enumerate(("to FL Studio", "from FL Studio")):
        button(axes, 47, 8.5 + 2.6 * row, 30, name)
    button(axes, 78, 8.5, 5, " +", chosen=True)
    number(axes, 83.3, 8.3, "1")
    boxes = [(2, "your keyboard"), (24, "python -m lib duet"), (49, "port “to FL Studio”"), (71, "FL Studio")]
    for (x, text), width in zip(boxes, (14, 17, 15, 13)):
        axes.add_patch(Rectangle((x, 24), width, 5, facecolor="white", edgecolor=INK, linewidth=LINE))
        label(axes, x + width / 2, 26.5, text, ha="center")
    for start, end, words in ((16, 24, "--input"), (41, 49, "--output"), (64, 71, "sound")):
        axes.add_patch(FancyArrowPatch((start, 26.5), (end, 26.5), arrowstyle="-|>", mutation_scale=9, color=VERMILION))
        label(axes, (start + end) / 2, 23.2, words, ha="center", fontsize=7, color=QUIET)
    axes.add_patch(FancyArrowPatch((77, 29), (32, 29), arrowstyle="-|>", mutation_scale=9, color=BLUE, linestyle="--",
                                   connectionstyle="arc3,rad=-0.16"))  # fmt: skip
    label(axes, 55, 35.3, "only if FL Studio’s clock is to lead: the clock and your keyboard, through the other port", ha="center",
          fontsize=7, color=QUIET)  # fmt: skip
    return figure


def midi_settings(studio):
    """Where FL Studio is told of the ports."""
    figure, axes = canvas(60, 40)
    window(axes, 1, 1, 58, 37, "Settings (F10) > MIDI")
    label(axes, 3, 6, "Output", weight="bold")
    button(axes, 3, 7.5, 44, "from FL Studio")
    label(axes, 3, 12, "Port")
    button(axes, 8, 10.8, 5, "1")
    label(axes, 16, 12, "Send master sync")
    axes.add_patch(Rectangle((30, 11), 2, 2, facecolor="white", edgecolor=QUIET, linewidth=LINE))
    number(axes, 34.5, 12, "3")
    label(axes, 3, 17, "Input", weight="bold")
    button(axes, 3, 18.5, 44, "your keyboard          off: the duet listens to it")
    button(axes, 3, 20.9, 44, "to FL Studio           on", chosen=True)
    number(axes, 48.5, 22.1, "1")
    label(axes, 3, 26.5, "Enable")
    axes.add_patch(Circle((10, 26.5), 1, facecolor=BLUE, edgecolor=QUIET, linewidth=LINE))
    number(axes, 12.8, 26.5, "2")
    label(axes, 18, 26.5, "Controller type")
    button(axes, 30, 25.3, 17, "(generic controller) ▾")
    label(axes, 18, 30, "Port")
    button(axes, 30, 28.8, 5, "0")
    label(axes, 3, 34.5, "Notes go to the channel that is chosen in the channel rack: choose the piano.", fontsize=7, color=QUIET)
    return figure


if __name__ == "__main__":
    main()

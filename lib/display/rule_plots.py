"""The targets of rules beside what was played: a panel a rule."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from lib.display.alt_text import described, titled
from lib.display.palette import AMOUNT, PLAYED, TARGET, on_paper
from lib.music.chords import NAMES
from lib.music.piano_roll import FRAMES_PER_BEAT, LATENTS_PER_BEAT
from lib.music.rules import OFF_GRID_FRAMES

MELODY_WORDS = ("missing", "below another", "on top")
UNITS = {
    **dict.fromkeys(("note_density", "left_density", "right_density", "density_contour"), "notes a beat"),
    **dict.fromkeys(("loudness", "velocity_contour"), "MIDI velocity"),
    "register": "MIDI pitch",
}


@on_paper
def plot_rules(rules, piano_roll, title=""):
    """Figure with a panel for each rule: target, result, loss.

    Parameters
    ----------
    rules : list of Rule, such as Solo.rules
    piano_roll : PianoRoll (B = 1), such as Solo.piano_roll
    title : str
    """
    count = max(1, len(rules))
    figure, axes = plt.subplots(count, 1, figsize=(9, 0.4 + 1.9 * count), squeeze=False, layout="constrained")
    for ax, rule in zip(axes[:, 0], rules):
        plot_rule(rule, piano_roll, ax)
    if not rules:
        axes[0, 0].set_axis_off()
        title = title or "no rules"
    figure.suptitle(title)
    losses = "; ".join(_describe_loss(rule, piano_roll) for rule in rules)
    return described(figure, titled(title, f"Targets of rules, and what was played. {losses}" if rules else ""))


@on_paper
def plot_rule(rule, piano_roll, ax=None):
    """One rule's target and result: a number, a curve over time, twelve pitch classes, chords over time, and so on.

    Parameters
    ----------
    rule : Rule; one of the user's own is drawn by the shape of its statistic
    piano_roll : PianoRoll (B = 1)
    ax : matplotlib Axes to draw into; None: a new figure

    Returns
    -------
    Figure
    """
    ax = plt.subplots(figsize=(9, 2.3), layout="constrained")[1] if ax is None else ax
    result, target = rule.statistic(piano_roll)[0].cpu().numpy().astype(float), rule.target.numpy().astype(float)
    by_shape = _number if result.ndim == 0 else _bars
    PANELS.get(rule.name, by_shape)(ax, target, result)
    set_label = ax.set_xlabel if result.ndim == 0 else ax.set_ylabel
    set_label(UNITS.get(rule.name, ""))
    ax.set_title(_describe_loss(rule, piano_roll), fontsize=10)
    return described(ax.figure, f"The target of a rule, and what was played. {_describe_loss(rule, piano_roll)}")


def _describe_loss(rule, piano_roll):
    return f"{rule.name.replace('_', ' ')}: loss {float(rule.loss(piano_roll)[0]):.3f}"


def _number(ax, target, result):
    ax.barh([0], [np.nan_to_num(result)], color=PLAYED, label=f"played {result:.1f}")
    ax.axvline(target, color=TARGET, linewidth=2, label=f"target {target:.1f}")
    ax.set_yticks([])
    ax.legend(fontsize=8)


def _curve(ax, target, result):
    for values, colour, label in ((result, PLAYED, "played"), (target, TARGET, "target")):
        ax.plot(np.arange(len(values)) / LATENTS_PER_BEAT, values, color=colour, label=label)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("beats")
    ax.legend(fontsize=8)


def _bars(ax, target, result):
    target, result = np.broadcast_to(target, result.shape).ravel(), result.ravel()
    x = np.arange(len(result))
    ax.bar(x - 0.2, target, 0.4, color=TARGET, label="target")
    ax.bar(x + 0.2, result, 0.4, color=PLAYED, label="played")
    ax.legend(fontsize=8)


def _histogram(ax, target, result):
    counts = result.sum(0)
    _bars(ax, target, counts / max(1.0, counts.sum()))
    ax.set_xticks(range(12), NAMES)


def _chords(ax, target, result):
    """Chroma (N, 12) as an image, target tones framed."""
    beats = len(result) / LATENTS_PER_BEAT
    extent = (0, beats, -0.5, 11.5)
    ax.imshow(result.T, aspect="auto", origin="lower", cmap=AMOUNT, extent=extent, interpolation="nearest")
    is_asked = target[: len(result)] >= 1
    edges = np.argwhere(np.diff(is_asked, axis=0, prepend=False, append=False))  # where a tone comes or goes
    for pitch_class in range(target.shape[1]):
        spans = edges[edges[:, 1] == pitch_class, 0] / LATENTS_PER_BEAT
        for start, end in zip(spans[::2], spans[1::2], strict=True):
            ax.plot([start, end], [pitch_class, pitch_class], color=TARGET, linewidth=2, solid_capstyle="butt")
    ax.set_yticks(range(12), NAMES, fontsize=6)
    ax.set_xlabel("beats (lines: target; shades: played)")


def _grid(ax, target, result):
    """How far off the grid notes begin, from the cost of each frame and its onsets."""
    frames = min(len(target), len(result))
    off = np.sqrt(target[:frames]) * OFF_GRID_FRAMES / FRAMES_PER_BEAT
    ax.hist(off, bins=12, range=(0, OFF_GRID_FRAMES / FRAMES_PER_BEAT), weights=result[:frames], color=PLAYED)
    ax.axvline(0, color=TARGET, linewidth=3)
    ax.set_xlabel("beats off the nearest eighth note (the last bar: or more; orange: target)")


def _melody(ax, target, result):
    melody = (result[:, 0] * (1 + result[:, 1])).round()
    ax.step(np.arange(len(melody)), melody, where="mid", color=PLAYED)
    ax.axhline(2, color=TARGET, linewidth=1)
    ax.set_yticks([0, 1, 2], MELODY_WORDS)
    ax.set_xlabel("note of the melody (orange: target)")


PANELS = {
    "chord_progression": _chords,
    "rhythm_grid": _grid,
    "melody": _melody,
    "pitch_class_histogram": _histogram,
    "density_contour": _curve,
    "velocity_contour": _curve,
}

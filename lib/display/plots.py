"""Pictures: piano rolls, losses, confusions, maps. Each takes arrays or notes and gives a matplotlib Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

INK = plt.get_cmap("viridis_r")  # pale for soft, dark for loud
PEDAL_COLOUR, CHORD_COLOUR = "#b9c6d3", "#555555"
KEPT, LOST, INVENTED = "#2f6f4f", "#c0392b", "#2471a3"
MATCH_S = 0.04  # an onset that is off by no more is the same note


def plot_piano_roll(notes, chords=(), title="", ax=None):
    """Notes as bars over time, darker for louder; the pedal below, chord symbols above.

    Parameters
    ----------
    notes : Notes
    chords : list of (time_s, symbol)
    title : str
    ax : matplotlib Axes to draw into; None: a new figure

    Returns
    -------
    Figure
    """
    ax = plt.subplots(figsize=(11, 3.6), layout="constrained")[1] if ax is None else ax
    _draw_notes(ax, notes, INK(Normalize(0, 127)(notes.velocity.astype(float))))
    low, high = _pitch_range([notes])
    for down_s, up_s in notes.pedal_s:
        ax.hlines(low - 2, down_s, up_s, colors=PEDAL_COLOUR, linewidth=4)
    for time_s, symbol in chords:
        ax.axvline(time_s, color=CHORD_COLOUR, linewidth=0.4, alpha=0.5)
        label = ax.text(time_s, high + 1.2, f" {symbol}", fontsize=7, color=CHORD_COLOUR, va="bottom", clip_on=True)
        label.set_in_layout(False)
    _frame(ax, [notes], title, low, high + (5 if len(chords) else 1))
    ax.set_xlim(right=max([ax.get_xlim()[1], *(time_s + 1 for time_s, _ in chords)]))
    return ax.figure


def plot_piano_rolls(performances, title=""):
    """Several performances, one under the other on one time axis.

    Parameters
    ----------
    performances : dict name -> Notes
    title : str
    """
    figure, axes = plt.subplots(
        len(performances), 1, figsize=(11, 0.8 + 2.2 * len(performances)), sharex=True, squeeze=False, layout="constrained"
    )
    low, high = _pitch_range(performances.values())
    for ax, (name, notes) in zip(axes[:, 0], performances.items(), strict=True):
        plot_piano_roll(notes, title=name, ax=ax)
        _frame(ax, performances.values(), name, low, high + 1)
        ax.set_xlabel("")
    axes[-1, 0].set_xlabel("seconds")
    figure.suptitle(title)
    return figure


def plot_reconstruction(original, reconstruction):
    """What a codec kept (both have it), lost (only the original) and invented (only the reconstruction)."""
    figure, ax = plt.subplots(figsize=(11, 3.6), layout="constrained")
    kept = _has_match(original, reconstruction)
    invented = ~_has_match(reconstruction, original)
    _draw_notes(ax, original, np.where(kept, KEPT, LOST))
    _draw_notes(ax, _rows(reconstruction, invented), np.full(int(invented.sum()), INVENTED))
    counts = {"kept": (KEPT, kept.sum()), "lost": (LOST, (~kept).sum()), "invented": (INVENTED, invented.sum())}
    for name, (colour, count) in counts.items():
        ax.plot([], [], color=colour, linewidth=3, label=f"{name}: {count}")
    ax.legend(loc="upper right", fontsize=8)
    _frame(ax, [original, reconstruction], "what came back", *_pitch_range([original, reconstruction]))
    return figure


def plot_losses(history):
    """Each logged figure over the steps, training and validation in one panel.

    Parameters
    ----------
    history : list of dict, of training.history.read_history
    """
    skipped = {"step", "epoch", "time", "split", "runtime", "lr", "gradient_norm"}
    names = list(dict.fromkeys(name for row in history for name in row if name not in skipped))
    columns = min(4, max(1, len(names)))
    rows = -(-len(names) // columns) or 1
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 2.3 * rows), squeeze=False, layout="constrained")
    for ax, name in zip(axes.flat, names, strict=False):
        for split, style in (("train", "-"), ("validation", "o-")):
            points = [(row["step"], row[name]) for row in history if row["split"] == split and name in row]
            if points:
                ax.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1, label=split)
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("step", fontsize=8)
        ax.legend(fontsize=7)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    return figure


def plot_confusion(matrix, names):
    """Rows: who played; columns: who was heard; each row sums to 1.

    Parameters
    ----------
    matrix : int (P, P)
    names : P names
    """
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    size = max(4.0, 0.3 * len(names) + 2) if len(names) <= 40 else 9.0
    figure, ax = plt.subplots(figsize=(size, size), layout="constrained")
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 40:
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xlabel("heard as")
    ax.set_ylabel("played by")
    ax.set_title(f"{np.trace(matrix) / max(1, matrix.sum()):.0%} named rightly")
    return figure


def plot_evidence(notes, times_s, evidence, name, stretch_s=10.0):
    """Where a performance sounds like somebody: its roll, and below it how much each ten seconds speak for the name.

    Parameters
    ----------
    notes : Notes
    times_s, evidence : (W,), the middle of each stretch, and what it says in nats: above 0 for the name
    name : str
    stretch_s : length of a stretch; the most typical one is shaded green, the least typical red
    """
    sizes = {"height_ratios": (3, 1.2)}
    figure, (roll, curve) = plt.subplots(2, 1, figsize=(11, 4.6), sharex=True, layout="constrained", gridspec_kw=sizes)
    plot_piano_roll(notes, title=f"what speaks for {name}", ax=roll)
    roll.set_xlabel("")
    curve.plot(times_s, evidence, color=CHORD_COLOUR)
    curve.axhline(0, color=CHORD_COLOUR, linewidth=0.4)
    for place, colour in ((np.argmax, KEPT), (np.argmin, LOST)) if len(times_s) else ():
        middle_s = times_s[place(evidence)]
        for ax in (roll, curve):
            ax.axvspan(middle_s - stretch_s / 2, middle_s + stretch_s / 2, color=colour, alpha=0.15, linewidth=0)
    curve.set_xlabel("seconds")
    curve.set_ylabel("nats")
    return figure


def plot_code_use(counts):
    """How often each code is used; a row a codebook, codes in order of use.

    Parameters
    ----------
    counts : int (codebooks, codes)
    """
    shares = np.sort(counts / np.maximum(1, counts.sum(1, keepdims=True)), axis=1)[:, ::-1]
    perplexity = np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum(1)).mean()
    figure, ax = plt.subplots(figsize=(9, 2.5), layout="constrained")
    image = ax.imshow(np.log10(shares + 1e-6), aspect="auto", cmap="magma")
    figure.colorbar(image, label="log10 share")
    ax.set_xlabel(f"codes, most used first: {(counts > 0).mean():.0%} are in use, perplexity {perplexity:.0f}")
    ax.set_ylabel("codebook")
    return figure


def _draw_notes(ax, notes, colours):
    ends_s = notes.onset_s + notes.duration_s
    pitch = notes.pitch.astype(float)
    segments = np.stack([np.stack([notes.onset_s, pitch], 1), np.stack([ends_s, pitch], 1)], 1)  # (N, 2 ends, 2)
    ax.add_collection(LineCollection(segments, colors=list(colours), linewidths=2.6, capstyle="butt"))


def _frame(ax, performances, title, low, high):
    ax.set_xlim(0, max([1e-3, *(notes.end_s for notes in performances)]))
    ax.set_ylim(low - 3, high + 1)
    octaves = [pitch for pitch in range(24, 109, 12) if low - 3 <= pitch <= high]
    ax.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    ax.grid(axis="y", linewidth=0.3)
    ax.set_xlabel("seconds")
    ax.set_title(title, fontsize=10)


def _pitch_range(performances):
    pitches = np.concatenate([[48, 72], *(notes.pitch for notes in performances)])
    return int(pitches.min()), int(pitches.max())


def _has_match(notes, others):
    """bool (N,): whether others have a note of that pitch within MATCH_S."""
    found = np.zeros(len(notes), bool)
    for pitch in np.unique(notes.pitch):
        rows = np.flatnonzero(notes.pitch == pitch)
        onsets_s = others.onset_s[others.pitch == pitch]
        if len(onsets_s):
            found[rows] = np.abs(notes.onset_s[rows][:, None] - onsets_s).min(1) <= MATCH_S
    return found


def _rows(notes, chosen):
    columns = (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)
    return type(notes).from_arrays(*(column[chosen] for column in columns))

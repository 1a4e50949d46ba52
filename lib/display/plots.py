"""Pictures: piano rolls, losses, confusions, maps. Each takes arrays or notes and gives a matplotlib Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lib.display.alt_text import describe_notes, described, format_chords, titled
from lib.display.palette import (
    AMOUNT,
    HUES,
    INVENTED,
    KEPT,
    LEFT,
    LESS,
    LOST,
    LOUDNESS,
    MORE,
    PALE,
    QUIET,
    RIGHT,
    on_paper,
)
from lib.music.tempo_map import BEATS_ONLY, FASTEST_FELT, IN_BARS, NO_BEAT, SLOWEST_FELT, TempoMap, in_beats

MATCH_S = 0.04  # an onset that is off by no more is the same note
PICKUP_BEATS = 0.5  # by which the first note may come before its bar and get no row of its own


@on_paper
def plot_piano_roll(notes, chords=(), title="", ax=None, hands=None):
    """Notes as bars over time, darker for louder; the pedal below, chord symbols above.

    Parameters
    ----------
    notes : Notes
    chords : list of (time_s, symbol)
    title : str
    ax : matplotlib Axes to draw into; None: a new figure
    hands : bool (N,), the left hand's notes (music.hands.left_hand): each hand then has its hue; None: one for both

    Returns
    -------
    Figure
    """
    ax = plt.subplots(figsize=(11, 3.6), layout="constrained")[1] if ax is None else ax
    _draw_notes(ax, notes, _colours(ax, notes, hands))
    low, high = _pitch_range([notes])
    for down_s, up_s in notes.pedal_s:
        ax.hlines(low - 2, down_s, up_s, colors=PALE, linewidth=4)
    for time_s, symbol in chords:
        ax.axvline(time_s, color=QUIET, linewidth=0.4, alpha=0.5)
        label = ax.text(time_s, high + 1.2, f" {symbol}", fontsize=7, color=QUIET, va="bottom", clip_on=True)
        label.set_in_layout(False)
    _frame(ax, [notes], title, low, high + (5 if len(chords) else 1))
    ax.set_xlim(right=max([ax.get_xlim()[1], *(time_s + 1 for time_s, _ in chords)]))
    played = "" if hands is None else f", {int(np.sum(hands))} of them by the left hand"
    return described(ax.figure, titled(title, f"Piano roll: {describe_notes(notes)}{played}{format_chords(chords)}"))


@on_paper
def plot_bars(notes, tempo_map: TempoMap, chords=(), title="", bars_per_row=4, hands=None) -> Figure:
    """Notes on their bar grid, so many bars a row: bars are equally wide whatever the tempo does, and are numbered.

    Parameters
    ----------
    notes, chords, title, hands : as of plot_piano_roll
    tempo_map : of the notes; rows begin with its first known bar, and are as long as so many of these
    bars_per_row : those of a chorus show what comes back in the next one
    """
    beats = in_beats(notes, tempo_map)
    known = tempo_map.bars[tempo_map.bars["kind"] == IN_BARS]
    length = bars_per_row * (float(known["beats"][0]) if len(known) else 4.0)
    anchor = float(known["start"][0]) if len(known) else 0.0
    span = (beats.onset[[0, -1]] if len(beats) else np.full(2, anchor)) - anchor
    begin = anchor + length * np.floor((span[0] + PICKUP_BEATS) / length)
    count = max(1, int(np.ceil((anchor + span[1] + 1e-3 - begin) / length)))
    low, high = _pitch_range([notes])
    size = {"figsize": (11, 0.5 + 1.25 * count), "layout": "constrained"}
    figure, axes = plt.subplots(count, 1, sharey=True, squeeze=False, **size)
    colours = _colours(axes[0, 0], notes, hands)
    edges = np.stack([beats.onset, beats.release], 1)[..., None]  # (N, 2 ends, 1)
    rows = np.concatenate([edges, np.broadcast_to(notes.pitch[:, None, None], edges.shape)], -1)
    symbols = [(float(tempo_map.to_beats(time_s)), symbol) for time_s, symbol in chords]
    taps = tempo_map.to_beats(tempo_map.taps_s())
    for ax, first in zip(axes[:, 0], begin + length * np.arange(count)):
        ax.add_collection(LineCollection(rows, colors=colours, linewidths=2.2, capstyle="butt"))
        ax.set(xlim=(first, first + length), ylim=(low - 2, high + 7))
        ax.set_yticks([36, 60, 84], ["C2", "C4", "C6"])
        ax.vlines(taps, *ax.get_ylim(), colors=PALE, linewidth=0.5, zorder=0)
        ax.vlines(known["start"], *ax.get_ylim(), colors=QUIET, linewidth=0.9, zorder=0)
        here = (known["start"] > first - 1e-3) & (known["start"] < first + length - 1e-3)
        ax.set_xticks(known["start"][here], 1 + np.flatnonzero(here))
        for position, symbol in symbols:
            if first - 1e-3 <= position < first + length - 1e-3:
                ax.text(position, high + 2, f" {symbol}", fontsize=7, color=QUIET)
    axes[-1, 0].set_xlabel("bar")
    figure.suptitle(title)
    text = f"{len(known)} bars, {bars_per_row} a row: {describe_notes(notes)}{format_chords(chords)}"
    return described(figure, titled(title, text))


def _colours(ax, notes, hands):
    """(N, 4): by loudness, in the hue of the hand; hands are named above the roll."""
    loud = Normalize(0, 127)(notes.velocity.astype(float))
    if hands is None:
        return LOUDNESS(loud)
    for name, colours in (("right hand", RIGHT), ("left hand", LEFT)):
        ax.plot([], [], color=colours(0.5), linewidth=3, label=name)
    ax.legend(loc="lower right", ncols=2, bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.2)
    return np.where(np.asarray(hands, bool)[:, None], LEFT(loud), RIGHT(loud))


@on_paper
def plot_piano_rolls(performances, title=""):
    """Several performances, one under the other on one time axis.

    Parameters
    ----------
    performances : dict name -> Notes
    title : str
    """
    count = len(performances)
    shape = {"figsize": (11, 0.8 + 2.2 * count), "layout": "constrained"}
    figure, axes = plt.subplots(count, 1, sharex=True, squeeze=False, **shape)
    low, high = _pitch_range(performances.values())
    for ax, (name, notes) in zip(axes[:, 0], performances.items(), strict=True):
        plot_piano_roll(notes, title=name, ax=ax)
        _frame(ax, performances.values(), name, low, high + 1)
        ax.set_xlabel("")
    axes[-1, 0].set_xlabel("seconds")
    figure.suptitle(title)
    summary = "; ".join(f"{name}: {describe_notes(notes)}" for name, notes in performances.items())
    return described(figure, titled(title, f"Piano rolls. {summary}"))


@on_paper
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
    summary = ", ".join(f"{count} notes {name}" for name, (_, count) in counts.items())
    return described(figure, f"What a codec gave back of {describe_notes(original)}: {summary}")


@on_paper
def plot_losses(history):
    """Each logged figure over the steps, training and validation in one panel; every second runtime is shaded.

    Parameters
    ----------
    history : list of dict, of training.history.read_history
    """
    speeds = {"ms_per_step", "tokens_per_s", "seconds_left"}
    skipped = {"step", "epoch", "time", "split", "runtime", "lr", "gradient_norm", *speeds}
    names = list(dict.fromkeys(name for row in history for name in row if name not in skipped))
    columns = min(4, max(1, len(names)))
    rows = -(-len(names) // columns) or 1
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 2.3 * rows), squeeze=False, layout="constrained")
    runtimes = _runtimes(history)
    for ax, name in zip(axes.flat, names, strict=False):
        _draw_loss(ax, name, history)
        for first, last in runtimes[1::2]:
            ax.axvspan(first, last, color=PALE, alpha=0.4, linewidth=0, zorder=0)
        ax.set_title(name.replace("_", " "), fontsize=9)
        ax.set_xlabel("step" if len(runtimes) < 2 else f"step (shades: {len(runtimes)} runtimes)", fontsize=8)
        ax.legend(fontsize=7)
    for ax in list(axes.flat)[len(names) :]:
        ax.set_visible(False)
    return described(figure, _describe_losses(history, names, runtimes))


def _draw_loss(ax, name, history):
    for number, (split, style) in enumerate((("train", "-"), ("validation", "o-"))):
        points = [(row["step"], row[name]) for row in history if row["split"] == split and name in row]
        if points:
            ax.plot(*zip(*points, strict=True), style, color=HUES[number], markersize=3, linewidth=1, label=split)


def _runtimes(history):
    """[(first step, last step)] of the stretches that one runtime logged, in order; each ends where the next begins."""
    rows = sorted((row["step"], row.get("runtime")) for row in history)
    changes = [index for index, row in enumerate(rows) if index == 0 or row[1] != rows[index - 1][1]]
    firsts = [rows[index][0] for index in changes]
    return list(zip(firsts, [*firsts[1:], rows[-1][0]])) if rows else []


def _describe_losses(history, names, runtimes):
    parts = []
    for name in names:
        last_values = {row["split"]: row[name] for row in history if name in row}
        values = ", ".join(f"{value:.3g} in {split}" for split, value in last_values.items())
        parts.append(f"{name.replace('_', ' ')} {values}")
    last = max((row["step"] for row in history), default=0)
    times = f"{len(runtimes)} runtime{'s' * (len(runtimes) != 1)}"
    return f"Training curves, {last} steps in {times}. In the end: {'; '.join(parts) or 'nothing logged'}"


@on_paper
def plot_confusion(matrix, names):
    """Rows: who played; columns: who was predicted; each row sums to 1.

    Parameters
    ----------
    matrix : int (P, P)
    names : P names
    """
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    size = max(4.0, 0.3 * len(names) + 2) if len(names) <= 40 else 9.0
    figure, ax = plt.subplots(figsize=(size, size), layout="constrained")
    ax.imshow(shares, cmap=AMOUNT, vmin=0, vmax=1)
    if len(names) <= 40:
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xlabel("predicted")
    ax.set_ylabel("played by")
    rightly = f"{np.trace(matrix) / max(1, matrix.sum()):.0%} named rightly"
    ax.set_title(rightly)
    wrong = shares * (1 - np.eye(len(shares)))
    played, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    text = f"Confusion of {len(names)} pianists: {rightly}"
    most = f"; most often confused: {names[played]}, taken for {names[predicted]} ({wrong.max():.0%})"
    return described(figure, text + most if wrong.any() else text)


@on_paper
def plot_evidence(notes, times_s, evidence, name, stretch_s=10.0):
    """Where a performance sounds like somebody: its roll, and below it how much each ten seconds speak for the name.

    Parameters
    ----------
    notes : Notes
    times_s, evidence : (W,), the middle of each stretch, and what it says in nats: above 0 for the name
    name : str
    stretch_s : length of a stretch; the most typical one is shaded green, the least typical orange
    """
    sizes = {"height_ratios": (3, 1.2)}
    figure, (roll, curve) = plt.subplots(2, 1, figsize=(11, 4.6), sharex=True, layout="constrained", gridspec_kw=sizes)
    plot_piano_roll(notes, title=f"what speaks for {name}", ax=roll)
    roll.set_xlabel("")
    curve.plot(times_s, evidence, color=QUIET)
    curve.axhline(0, color=QUIET, linewidth=0.4)
    for extreme, colour in ((np.argmax, MORE), (np.argmin, LESS)) if len(times_s) else ():
        middle_s = times_s[extreme(evidence)]
        for ax in (roll, curve):
            ax.axvspan(middle_s - stretch_s / 2, middle_s + stretch_s / 2, color=colour, alpha=0.15, linewidth=0)
    curve.set_xlabel("seconds")
    curve.set_ylabel("nats")
    best = f"; most typical around {times_s[np.argmax(evidence)]:.0f} s" if len(times_s) else ""
    total = f"{np.sum(evidence):.1f} nats in all"
    return described(figure, f"What speaks for {name} in {describe_notes(notes)}: {total}{best}")


@on_paper
def plot_code_use(counts):
    """How often each code is used; a row a codebook, codes in order of use.

    Parameters
    ----------
    counts : int (codebooks, codes)
    """
    shares = np.sort(counts / np.maximum(1, counts.sum(1, keepdims=True)), axis=1)[:, ::-1]
    perplexity = np.exp(-(shares * np.log(np.maximum(shares, 1e-12))).sum(1)).mean()
    figure, ax = plt.subplots(figsize=(9, 2.5), layout="constrained")
    image = ax.imshow(np.log10(shares + 1e-6), aspect="auto", cmap=AMOUNT)
    figure.colorbar(image, label="log10 share")
    ax.set_xlabel(f"codes, most used first: {(counts > 0).mean():.0%} are in use, perplexity {perplexity:.0f}")
    ax.set_ylabel("codebook")
    used = f"{(counts > 0).mean():.0%} of the codes are in use, perplexity {perplexity:.0f}"
    return described(figure, f"Use of {counts.shape[1]} codes in {len(counts)} codebooks: {used}")


@on_paper
def plot_tempo(tempo_map: TempoMap, title: str = "") -> Figure:
    """Felt beats a minute over time; bars are thick, and where there is no beat the curve is left out."""
    figure, ax = plt.subplots(figsize=(11, 2.6), layout="constrained")
    kind = tempo_map.bars["kind"][tempo_map.bar_index(np.arange(len(tempo_map.bpm)))]
    for number, (name, width) in enumerate((("beats", 0.8), ("bars", 2.2)), start=BEATS_ONLY):
        bpm = np.where(kind == number, tempo_map.bpm, np.nan)
        ax.plot(tempo_map.beats_s[:-1], bpm, color=HUES[0], linewidth=width, label=name)
    ax.set(ylim=(SLOWEST_FELT - 15, FASTEST_FELT + 15), xlabel="seconds", ylabel="beats a minute", title=title)
    ax.legend(loc="upper right", ncols=2)
    in_time = tempo_map.bpm[kind != NO_BEAT]
    tempo = f"median {np.median(in_time):.0f} beats a minute" if len(in_time) else "no beat"
    bars, beats = (kind == IN_BARS).mean(), (kind != NO_BEAT).mean()
    return described(figure, titled(title, f"Tempo: {tempo}; {beats:.0%} of it is in time, {bars:.0%} in known bars"))


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
    matched = np.zeros(len(notes), bool)
    for pitch in np.unique(notes.pitch):
        rows = np.flatnonzero(notes.pitch == pitch)
        onsets_s = others.onset_s[others.pitch == pitch]
        if len(onsets_s):
            matched[rows] = np.abs(notes.onset_s[rows][:, None] - onsets_s).min(1) <= MATCH_S
    return matched


def _rows(notes, chosen):
    columns = (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)
    return type(notes).from_arrays(*(column[chosen] for column in columns))

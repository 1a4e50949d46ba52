"""The history of a run: steps over wall time, one colour per runtime, checkpoints, mirror, survived failures."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from lib.display.alt_text import described, titled
from lib.display.palette import GREEN, HUES, INK, PALE, QUIET, VERMILION, WARNING, on_paper

MIRROR_COLOURS = {"up to date": GREEN, "failing": VERMILION, "not yet": PALE}
# failures that a run survives: event -> (marker, label)
SURVIVED = {
    "restored": ("^", "restored from the mirror"),
    "save_failed": ("s", "save failed"),
    "out_of_memory": ("v", "out of memory"),
    "skipped": ("x", "loss no number"),
    "went_back": ("<", "went back"),
}
GAP_S = 60.0  # between two runtimes: a shorter pause is not shaded
HOUR_S, MINUTE_S = 3600.0, 60.0


@on_paper
def plot_run_history(rows, events, title=""):
    """Steps over wall time, and below whether the mirror was up to date.

    Parameters
    ----------
    rows : list of dict of lib.checkpoints.history.read_rows: each has "time" (Unix seconds), "step", "runtime"
    events : list of dict, lib.checkpoints.history.read_events
    title : str

    Returns
    -------
    Figure
    """
    sizes = {"height_ratios": [12, 1]}
    figure, (ax, strip) = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained", gridspec_kw=sizes)
    points = _points(rows, events)
    if not points:
        ax.text(0.5, 0.5, "nothing logged yet", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off(), strip.set_axis_off()
        return described(figure, titled(title, "Nothing logged yet"))
    times_s = [time_s for runtime in points.values() for time_s, _ in runtime]
    first_s, last_s = min(times_s), max([*times_s, *(event["time"] for event in events)])
    unit_s, unit = (HOUR_S, "hours") if last_s - first_s > HOUR_S else (MINUTE_S, "minutes")

    def x_of(time_s):
        return (time_s - first_s) / unit_s

    _draw_runtimes(ax, points, x_of)
    _draw_gaps(ax, points, x_of)
    _draw_events(ax, events, x_of)
    _draw_mirror(strip, events, x_of, last_s)
    ax.set(ylabel="step", title=title)
    ax.grid(alpha=0.2)
    ax.legend(loc="upper left", fontsize=8, framealpha=0.9)
    strip.set_xlabel(f"{unit} since it began")
    return described(figure, titled(title, _describe(points, events, last_s - first_s)))


def _describe(points, events, seconds):
    last = max(step for runtime in points.values() for _, step in runtime)
    counts = {label: sum(event.get("event") == kind for event in events) for kind, (_, label) in SURVIVED.items()}
    survived = ", ".join(f"{count} × {label}" for label, count in counts.items() if count)
    runtimes = f"{len(points)} runtime{'s' * (len(points) > 1)}"
    text = f"Steps over time: {last} steps in {_length(seconds)}, {runtimes}"
    return f"{text}; survived: {survived}" if survived else text


def _points(rows, events):
    """runtime -> [(time, step)] in order of time."""
    points = {}
    marks = ("start", "saved", "stopped", "finished")
    for line in [*rows, *(event for event in events if event.get("event") in marks)]:
        if {"time", "step", "runtime"} <= line.keys():
            points.setdefault(line["runtime"], []).append((line["time"], line["step"]))
    return dict(sorted(((runtime, sorted(own)) for runtime, own in points.items()), key=lambda pair: pair[1][0]))


def _draw_runtimes(ax, points, x_of):
    for number, own in enumerate(points.values()):
        times, steps = zip(*own, strict=True)
        label = f"{len(points)} runtime{'s' * (len(points) > 1)}" if number == 0 else None
        style = {"color": HUES[number % len(HUES)], "linewidth": 2, "marker": "o" if len(times) == 1 else None}
        ax.plot([x_of(time_s) for time_s in times], steps, label=label, **style)


def _draw_gaps(ax, points, x_of):
    """Time without training, with its length."""
    runtimes, heights = list(points.values()), ax.get_xaxis_transform()
    style = {"ha": "center", "va": "bottom", "rotation": 90, "fontsize": 7, "color": QUIET}
    for before, after in zip(runtimes, runtimes[1:], strict=False):
        end_s, start_s = before[-1][0], after[0][0]
        if start_s - end_s >= GAP_S:
            ax.axvspan(x_of(end_s), x_of(start_s), color=QUIET, alpha=0.12, linewidth=0)
            middle = (x_of(end_s) + x_of(start_s)) / 2
            ax.text(middle, 0.03, _length(start_s - end_s), transform=heights, **style)


def _length(seconds):
    hours, minutes = divmod(round(seconds / MINUTE_S), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _draw_events(ax, events, x_of):
    """Checkpoints as strokes, failures that the run survived as marks."""
    for kind, (marker, label) in {"saved": ("|", "checkpoint"), **SURVIVED}.items():
        own = [(x_of(event["time"]), event["step"]) for event in events if event.get("event") == kind]
        if own:
            label = f"{len(own)} × {label}"
            style = {"markersize": 7, "color": WARNING, "zorder": 5}
            if kind == "saved":
                label = f"{len(own)} checkpoint{'s' * (len(own) > 1)}"
                style = {"markersize": 9, "color": INK, "zorder": 2}
            ax.plot(*zip(*own, strict=True), linestyle="none", marker=marker, label=label, **style)


def _draw_mirror(strip, events, x_of, last_s):
    """One strip over time, coloured by the state of the mirror."""
    changes = [event for event in events if event.get("event") in ("mirrored", "mirror_failed")]
    strip.set_yticks([])
    strip.set_ylabel("mirror", rotation=0, ha="right", va="center", fontsize=8)
    if not changes:
        strip.text(0.5, 0.5, "no mirror", ha="center", va="center", fontsize=8, transform=strip.transAxes)
        return
    states = [(min(event["time"] for event in events), "not yet")]
    states += [(event["time"], "up to date" if event["event"] == "mirrored" else "failing") for event in changes]
    for (start_s, state), (end_s, _) in zip(states, [*states[1:], (last_s, None)], strict=True):
        strip.axvspan(x_of(start_s), x_of(max(start_s, end_s)), color=MIRROR_COLOURS[state], linewidth=0)
    seen = [name for name in MIRROR_COLOURS if any(state == name for _, state in states)]
    patches = [Patch(color=MIRROR_COLOURS[name], label=name) for name in seen]
    below = {"loc": "upper right", "bbox_to_anchor": (1.0, -0.9)}
    strip.legend(handles=patches, fontsize=7, ncols=len(seen), frameon=False, **below)

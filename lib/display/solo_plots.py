"""Pictures of a whole solo: how it was sampled, and its curves over time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from lib.display.alt_text import described, titled
from lib.display.palette import HUES, TARGET, on_paper
from lib.display.preview import roll_pixels
from lib.music.metrics import density_and_velocity
from lib.music.piano_roll import FRAMES_PER_BEAT, LOWEST_PITCH, NUM_PITCHES, sounding_roll

STAGES = 8
LINES = ("-", "--", ":", "-.")  # besides the hue


class Stages:
    """A callback of lib.generation.generate that keeps the roll at STAGES steps of the first window, both ends too.

    Attributes
    ----------
    rolls : list of float (88, T), loudness in [0, 1]
    steps : list of (step, num_steps)
    """

    def __init__(self):
        self.rolls, self.steps = [], []

    def __call__(self, state):
        """A state as lib.generation.generate reports it."""
        step, num_steps = state["step"], state["num_steps"]
        if state["window"] == 0 and step in np.rint(np.linspace(1, num_steps, STAGES)):
            self.rolls.append(sounding_roll(state["piano_roll"]())[0].cpu().numpy())
            self.steps.append((step, num_steps))


@on_paper
def plot_sampling(rolls, steps, title=""):
    """A strip of rolls, from noise to music.

    Parameters
    ----------
    rolls : K of float (88, T), loudness in [0, 1], such as Stages.rolls
    steps : K of (step, num_steps)
    title : str

    Returns
    -------
    Figure
    """
    count = max(1, len(rolls))
    rows = -(-count // 4)
    shape = {"figsize": (11, 0.5 + 1.7 * rows), "layout": "constrained"}
    figure, axes = plt.subplots(rows, min(4, count), squeeze=False, sharex=True, sharey=True, **shape)
    for ax, roll, (step, num_steps) in zip(axes.flat, rolls, steps):
        extent = (0, roll.shape[1] / FRAMES_PER_BEAT, LOWEST_PITCH - 0.5, LOWEST_PITCH + NUM_PITCHES - 0.5)
        ax.imshow(roll_pixels(roll), aspect="auto", extent=extent, interpolation="antialiased")
        ax.set_title(f"step {step} of {num_steps}")
        ax.set_yticks([36, 60, 84], ["C2", "C4", "C6"])
    for ax in axes[-1]:
        ax.set_xlabel("beats")
    for ax in axes.flat[len(rolls) :]:
        ax.set_visible(False)
    figure.suptitle(title)
    keys = ", ".join(f"{(roll > 0).any(1).sum()} at step {step}" for roll, (step, _) in zip(rolls, steps))
    text = f"Piano rolls at {len(rolls)} stages of sampling; keys that sound: {keys or 'none'}"
    return described(figure, titled(title, text))


@on_paper
def plot_arcs(performances, target_density=None, title=""):
    """Density and loudness over time, means over CURVE_WINDOW_S.

    Parameters
    ----------
    performances : dict name -> Notes
    target_density : notes a second: a number, or several, spread evenly over the solo; None: no target
    title : str
    """
    figure, (density_ax, velocity_ax) = plt.subplots(2, 1, figsize=(9, 4), sharex=True, layout="constrained")
    ranges, hues = [], [hue for hue in HUES if hue != TARGET]
    for number, (name, notes) in enumerate(performances.items()):
        times_s, density, velocity = density_and_velocity(notes)
        line = {"color": hues[number % len(hues)], "linestyle": LINES[number % len(LINES)], "label": name}
        density_ax.plot(times_s, density, **line)
        velocity_ax.plot(times_s, velocity, **line)
        ranges.append(f"{name}: {_range(density, '.1f')} notes a second, velocity {_range(velocity, '.0f')}")
    if target_density is not None:
        points = np.atleast_1d(target_density)
        end_s = max([notes.end_s for notes in performances.values()], default=1.0)
        points = np.repeat(points, 2) if len(points) == 1 else points
        times_s = np.linspace(0, end_s, len(points))
        density_ax.plot(times_s, points, color=TARGET, linewidth=1, marker="d", label="target")
    density_ax.set_title(title, loc="left")
    density_ax.set_ylabel("notes a second")
    density_ax.set_ylim(bottom=0)
    velocity_ax.set(ylabel="velocity", xlabel="seconds", ylim=(0, 127))
    if density_ax.lines:
        density_ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(density_ax.lines), frameon=False)
    return described(figure, titled(title, f"Density and velocity over time. {'; '.join(ranges)}"))


def _range(values, form):
    values = values[~np.isnan(values)]
    return f"{values.min():{form}} to {values.max():{form}}" if len(values) else "none"

"""The picture of a run: a line a runtime, gaps, failures survived, the mirror's state."""

import matplotlib.pyplot as plt
import pytest

from lib.display.run_history import MIRROR_COLOURS, plot_run_history


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def runtime(name, start_s, first, last):
    return [{"time": start_s + 10 * (step - first), "step": step, "split": "train", "runtime": name} for step in range(first, last)]


def event(kind, time_s, step, name="a"):
    return {"event": kind, "time": time_s, "step": step, "runtime": name, "text": ""}


ROWS = [*runtime("a", 1000, 1, 50), *runtime("b", 5000, 40, 90), *runtime("c", 9000, 85, 86)]
EVENTS = [event("start", 990, 0), event("saved", 1200, 20), event("mirrored", 1210, 20), event("saved", 1400, 40),
          event("mirror_failed", 1410, 40), event("restored", 4990, 40, "b"), event("out_of_memory", 5100, 50, "b"),
          event("skipped", 5200, 60, "b"), event("skipped", 5210, 61, "b"), event("mirrored", 5300, 70, "b")]  # fmt: skip


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_each_runtime_has_a_line_and_its_colour():
    ax, _ = plot_run_history(ROWS, EVENTS, "vqvae").axes
    lines = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(lines) == 3 and len({line.get_color() for line in lines}) == 3
    assert ax.get_title() == "vqvae" and "3 runtimes" in legend(ax)
    assert [text.get_text() for text in ax.texts] == ["59 min", "58 min"]  # how long nobody trained


def test_what_was_survived_is_counted():
    ax, _ = plot_run_history(ROWS, EVENTS).axes
    assert legend(ax)[1:] == ["2 checkpoints", "1 × restored from the mirror", "1 × out of memory", "2 × loss no number"]


def test_the_strip_shows_the_mirror():
    _, strip = plot_run_history(ROWS, EVENTS).axes
    colours = [patch.get_facecolor() for patch in strip.patches]
    names = {plt.matplotlib.colors.to_rgba(colour): name for name, colour in MIRROR_COLOURS.items()}
    assert [names[colour] for colour in colours] == ["not yet", "up to date", "failing", "up to date"]
    assert legend(strip) == ["up to date", "failing", "not yet"]


def test_without_a_mirror_it_says_so():
    _, strip = plot_run_history(ROWS, EVENTS[:2]).axes
    assert [text.get_text() for text in strip.texts] == ["no mirror"]


@pytest.mark.parametrize("rows", [[], [{"half": "a line"}]])
def test_nothing_logged_is_a_picture_too(rows):
    ax, _ = plot_run_history(rows, []).axes
    assert ax.texts[0].get_text() == "nothing logged yet"

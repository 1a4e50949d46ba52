"""Pictures show what they are given."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402

from lib.display import plots  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.tempo_map import Metre, TempoMap, map_without_beat  # noqa: E402

NOTES = Notes.from_arrays([0.0, 1.0, 2.0], [0.5, 1.0, 0.5], [40, 60, 90], [20, 80, 120], [(0.0, 1.5)])


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(ax):
    return [segment for c in ax.collections if isinstance(c, LineCollection) for segment in c.get_segments()]


def test_piano_roll_draws_every_note_and_chord(tmp_path):
    figure = plots.plot_piano_roll(NOTES, [(0.0, "Cmaj7"), (1.0, "F#7")], "a title")
    ax = figure.axes[0]
    notes = [segment for segment in drawn(ax) if segment[0][1] in (40, 60, 90)]
    assert sorted((s[0][0], s[1][0], s[0][1]) for s in notes) == [(0.0, 0.5, 40), (1.0, 2.0, 60), (2.0, 2.5, 90)]
    assert {text.get_text().strip() for text in ax.texts} == {"Cmaj7", "F#7"} and ax.get_title() == "a title"
    figure.savefig(tmp_path / "roll.png")
    assert (tmp_path / "roll.png").stat().st_size > 5000


def test_each_hand_has_its_hue():
    hands = np.array([True, True, False])
    figure = plots.plot_piano_roll(NOTES, hands=hands)
    (collection,) = [c for c in figure.axes[0].collections if len(c.get_segments()) == 3]
    red, _, blue, _ = collection.get_colors().T
    assert np.array_equal(red < blue, hands) and red[1] < red[0], "and louder is darker"
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {"right hand", "left hand"}
    assert "2 of them by the left hand" in figure.alt


def test_several_rolls_share_their_axes():
    figure = plots.plot_piano_rolls({"one": NOTES, "two": NOTES.between(0, 1)})
    assert [ax.get_title() for ax in figure.axes] == ["one", "two"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == (0, 2.5)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_bars_stand_in_rows_and_are_numbered():
    """Four bars of 7/8, two a row, from 1 s on; the first note comes early, and gets no row of its own."""
    waits = TempoMap.constant(120, Metre.parse("7/8"), 4, start_s=1.0)
    notes = Notes.from_arrays([0.9, 1.0, 2.75, 4.5], [0.1, 0.5, 0.5, 0.5], [50, 60, 62, 64], [20, 80, 120, 100])
    first, second = plots.plot_bars(notes, waits, [(1.0, "Dm7"), (4.5, "G7")], bars_per_row=2).axes
    assert [tick.get_text() for ax in (first, second) for tick in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert first.get_xlim() == (0, 7) and second.get_xlim() == (7, 14) and second.get_xticks().tolist() == [7, 10.5]
    assert [[text.get_text().strip() for text in ax.texts] for ax in (first, second)] == [["Dm7"], ["G7"]]
    notes_drawn, taps, lines = (c.get_segments() for c in first.collections)
    assert np.array(notes_drawn)[..., 0] == pytest.approx(np.array([[-0.2, 0], [0, 1], [3.5, 4.5], [7, 8]]))
    assert [line[0][0] for line in taps][:8] == pytest.approx([0, 1, 2, 3, 3.5, 4.5, 5.5, 6.5])
    assert [line[0][0] for line in lines] == pytest.approx([0, 3.5, 7, 10.5])


def test_a_tempo_curve_leaves_out_what_has_no_beat():
    slow = TempoMap.constant(90, Metre.parse("3/4"), 8)
    figure = plots.plot_tempo(slow.covering(0, 32), "a waltz")  # as long again after its last bar
    beats, bars = (np.isfinite(line.get_ydata()) for line in figure.axes[0].lines)
    assert beats.sum() == bars.sum() == 24 and not (beats & bars).any()
    assert figure.alt == "a waltz. Tempo: median 90 beats a minute; 100% of it is in time, 50% in known bars"
    free = plots.plot_tempo(map_without_beat(10.0))
    assert not any(np.isfinite(line.get_ydata()).any() for line in free.axes[0].lines) and "Tempo: no beat" in free.alt


def test_no_notes_at_all():
    figure = plots.plot_piano_roll(Notes.from_arrays([], [], [], []), [(0.0, "Cmaj7"), (8.0, "Dm7")])
    figure.canvas.draw()  # a layout that collapses is a warning, and so an error
    assert figure.alt == "Piano roll: no notes; chords Cmaj7, Dm7"
    assert figure.axes[0].get_xlim() == (0, 9)


def test_reconstruction_counts():
    other = Notes.from_arrays([0.03, 2.5, 1.0], [0.5, 0.5, 1.0], [40, 70, 61], [20, 80, 120])
    labels = [text.get_text() for text in plots.plot_reconstruction(NOTES, other).axes[0].get_legend().get_texts()]
    assert labels == ["kept: 1", "lost: 2", "invented: 2"]


def test_losses_show_both_splits():
    plain = {"epoch": 1, "time": 0.0, "runtime": "a"}
    history = [{**plain, "step": s, "split": "train", "loss": 1 / (s + 1), "lr": 1e-3} for s in range(5)]
    history += [{**plain, "step": 4, "split": "validation", "loss": 0.5, "onset_f1": 0.7}]
    figure = plots.plot_losses(history)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["loss", "onset f1"]
    assert [line.get_label() for line in shown[0].lines] == ["train", "validation"]
    assert list(shown[0].lines[0].get_ydata()) == [1 / (s + 1) for s in range(5)]


def test_every_second_runtime_is_shaded():
    history = [{"step": s, "split": "train", "runtime": "abc"[s // 10], "loss": 1.0, "time": 0.0} for s in range(30)]
    ax = plots.plot_losses(history).axes[0]
    assert [(span.get_x(), span.get_width()) for span in ax.patches] == [(10, 10)] and "3 runtimes" in ax.get_xlabel()
    assert not plots.plot_losses(history[:10]).axes[0].patches


def test_losses_of_nothing():
    figure = plots.plot_losses([])
    figure.canvas.draw()
    assert "nothing logged" in figure.alt


def test_confusion():
    figure = plots.plot_confusion(np.array([[3, 1], [0, 4]]), ["Ann", "Ben"])
    assert "88%" in figure.axes[0].get_title()
    assert np.allclose(figure.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 1]])


def test_evidence_shades_the_most_and_least_typical():
    times_s = np.arange(5.0, 30, 2.5)
    figure = plots.plot_evidence(NOTES, times_s, np.sin(times_s), "Ann")
    spans = [patch.get_x() for patch in figure.axes[1].patches]
    assert spans == [times_s[np.sin(times_s).argmax()] - 5, times_s[np.sin(times_s).argmin()] - 5]
    assert len(plots.plot_evidence(NOTES, np.zeros(0), np.zeros(0), "Ann").axes[1].patches) == 0


def test_code_use():
    figure = plots.plot_code_use(np.array([[0, 5, 5, 0], [1, 1, 1, 1]]))
    assert "75% are in use, perplexity 3" in figure.axes[0].get_xlabel()

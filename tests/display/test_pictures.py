"""What pictures look like, against committed references; their paper, colours and words.

Compared is what is drawn within the axes, words left out, brought to one size and coarsened: versions of matplotlib and of its
fonts place axes differently, and draw the same in them. After a change that is meant:
WRITE_PICTURES=1 pytest tests/display/test_pictures.py, and look at what has changed.
"""

import io
import os
import re
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from PIL import Image  # noqa: E402

from lib.display import palette, plots, solo_plots  # noqa: E402
from lib.display.alt_text import picture_html  # noqa: E402
from lib.display.preview import loudness_of, png  # noqa: E402
from lib.display.rule_plots import plot_rules  # noqa: E402
from lib.display.run_history import plot_run_history  # noqa: E402
from lib.music.hands import left_hand  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.piano_roll import notes_to_piano_roll  # noqa: E402
from lib.music.rules import note_density, pitch_class_histogram  # noqa: E402
from lib.music.tempo_map import STEADY, Metre, TempoMap, in_beats  # noqa: E402

FOLDER = Path(__file__).with_name("pictures")
DPI, SIZE, COARSE = 160, (200, 80), 8  # SIZE: width and height of a reference's axes; 8 x 8 pixels are compared as one
MEAN, WORST = 1.4, 30.0  # of 255: how far a picture may be from its reference, in the mean and in one coarse block
MOST_BYTES = 60_000


def solo(seconds=16, shift=0):
    """A right hand in waves over chords of the left, louder and louder."""
    time_s = np.arange(0, seconds, 0.25)
    right = (74 + shift + 7 * np.sin(time_s) + 3 * np.cos(2.3 * time_s)).astype(int)
    chords_s = np.repeat(np.arange(0, seconds, 2.0), 3)
    left = np.tile([43, 48, 52], len(chords_s) // 3) + np.repeat(np.arange(len(chords_s) // 3) % 4, 3)
    loud = lambda at_s: (35 + 85 * at_s / seconds).astype(int)  # noqa: E731
    columns = ((time_s, chords_s), (np.full(len(time_s), 0.22), np.full(len(chords_s), 1.6)), (right, left),
               (loud(time_s), loud(chords_s) - 10))  # fmt: skip
    return Notes.from_arrays(*map(np.concatenate, columns), [(0.0, 1.8), (4.0, 7.5), (12.0, 15.5)])


NOTES, CHORDS = solo(), [(0.0, "Cmaj7"), (4.0, "Am7"), (8.0, "Dm7"), (12.0, "G7")]
ROLL = notes_to_piano_roll(in_beats(NOTES, STEADY))
EVIDENCE_S = np.arange(1.0, 16)
HISTORY = [{"step": step, "epoch": 0, "time": 60.0 * step + 7200 * (step > 40), "runtime": "ab"[step > 40], "split": split,
            "loss": (2 if split == "train" else 2.2) / (1 + step / 20), "onset_f1": 1 - 1 / (1 + step / 15)}
           for step in range(0, 81, 4) for split in (("train", "validation") if step % 20 == 0 else ("train",))]  # fmt: skip
EVENTS = [{"event": kind, "time": 60.0 * step + 7200 * (step > 40), "step": step, "runtime": "ab"[step > 40], "text": ""}
          for kind, step in (("start", 0), ("saved", 20), ("mirrored", 21), ("saved", 40), ("mirror_failed", 41), ("restored", 42),
                             ("saved", 60), ("mirrored", 61), ("out_of_memory", 70))]  # fmt: skip


def sampled():
    return [loudness_of(solo(16, 12 - 3 * stage // 2), 16.0, 400) * (stage + 1) / 8 for stage in range(8)]


PICTURES = {
    "piano_roll": lambda: plots.plot_piano_roll(NOTES, CHORDS, "a solo"),
    "hands": lambda: plots.plot_piano_roll(NOTES, CHORDS, "a solo", hands=left_hand(NOTES)),
    "bars": lambda: plots.plot_bars(NOTES, TempoMap.constant(120.0, Metre(7, 8), 10), CHORDS, "sevens", 5, left_hand(NOTES)),
    "piano_rolls": lambda: plots.plot_piano_rolls({"one": NOTES, "other": solo(12, 5)}),
    "reconstruction": lambda: plots.plot_reconstruction(NOTES, solo(14)),
    "losses": lambda: plots.plot_losses(HISTORY),
    "confusion": lambda: plots.plot_confusion(np.array([[7, 2, 1], [0, 9, 1], [4, 0, 6]]), ["Ann", "Ben", "Cem"]),
    "evidence": lambda: plots.plot_evidence(NOTES, EVIDENCE_S, np.sin(EVIDENCE_S / 2), "Ann", 3.0),
    "code_use": lambda: plots.plot_code_use((1000 / (1 + np.arange(64)) ** np.array([[1.0], [2.0]])).astype(int)),
    "rules": lambda: plot_rules([note_density(3.0), pitch_class_histogram([1, 0] * 6)], ROLL, "rules"),
    "run_history": lambda: plot_run_history(HISTORY, EVENTS, "vqvae"),
    "sampling": lambda: solo_plots.plot_sampling(sampled(), [(4 * n + 2, 30) for n in range(8)], "out of noise"),
    "arcs": lambda: solo_plots.plot_arcs({"one": NOTES, "other": solo(12, 5)}, (3.0, 6.0), title="arcs"),
}
WORDS = {
    "piano_roll": "a solo. Piano roll: 88 notes in 16.0 s, G2 to B5, velocity 25 to 118; chords Cmaj7, Am7, Dm7, G7",
    "hands": "24 of them by the left hand",
    "bars": "sevens. 10 bars, 5 a row: 88 notes",
    "piano_rolls": "one: 88 notes",
    "reconstruction": "notes kept",
    "losses": "80 steps in 2 runtimes. In the end: loss 0.4 in train, 0.44 in validation",
    "confusion": "73% named rightly; most often confused: Cem, taken for Ann (40%)",
    "evidence": "most typical around 3 s",
    "code_use": "64 codes in 2 codebooks",
    "rules": "note density: loss 0.",
    "run_history": "80 steps in 3 h 20 min, 2 runtimes; survived: 1 × restored from the mirror, 1 × out of memory",
    "sampling": "8 stages of sampling",
    "arcs": "one: ",
}  # fmt: skip
each = pytest.mark.parametrize("name", PICTURES)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(figure, dpi=50):
    """float (H, W, 3) in [0, 255], as saved by a user who asks for nothing special."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi)
    file.seek(0)
    return 255.0 * matplotlib.image.imread(file, format="png")[..., :3]


def insides(figure):
    """uint8 (axes * height, width, 3): what is drawn within the axes that are shown, each brought to SIZE, one below the other."""
    for ax in figure.axes:
        for words in (*ax.texts, *([ax.get_legend()] if ax.get_legend() else [])):
            words.set_visible(False)
    pixels = np.rint(drawn(figure, DPI)).astype(np.uint8)
    found = []
    for ax in figure.axes:
        if ax.get_visible():
            x0, y0, x1, y1 = ax.get_position().extents * np.tile(pixels.shape[1::-1], 2)
            box = (x0 + 2, pixels.shape[0] - y1 + 2, x1 - 2, pixels.shape[0] - y0 - 2)  # without the frame
            found.append(np.asarray(Image.fromarray(pixels).resize(SIZE, Image.Resampling.BOX, box)))
    return np.concatenate(found)


@cache
def picture(name):
    """(its words, saved by a user who asks for nothing special, its insides): drawn once for all tests that look at it."""
    figure = PICTURES[name]()
    return figure.alt, drawn(figure), insides(figure)


def difference(pixels, others):
    """(mean, worst) of coarse blocks."""
    off = np.abs(coarse(pixels) - coarse(others))
    return off.mean(), off.max()


def coarse(pixels):
    """(H, W, 3) -> means of COARSE x COARSE pixels."""
    height, width = (length // COARSE for length in pixels.shape[:2])
    return pixels.reshape(height, COARSE, width, COARSE, 3).mean((1, 3))


def reference(name):
    return np.rint(255.0 * matplotlib.image.imread(FOLDER / f"{name}.png")[..., :3])


@each
def test_it_looks_as_it_did(name):
    _, _, pixels = picture(name)
    if os.environ.get("WRITE_PICTURES"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.png").write_bytes(png(pixels))
    assert pixels.shape == reference(name).shape
    mean, worst = difference(pixels, reference(name))
    assert mean < MEAN and worst < WORST, f"{name} has changed: {mean:.1f} in the mean, {worst:.1f} at worst"
    assert (FOLDER / f"{name}.png").stat().st_size < MOST_BYTES


@pytest.mark.parametrize(
    "other",
    [lambda: plots.plot_piano_roll(NOTES, CHORDS, "a solo"),  # without hands
     lambda: plots.plot_piano_roll(solo(16, 5), CHORDS, "a solo", hands=left_hand(NOTES)),
     lambda: plots.plot_piano_roll(NOTES, CHORDS, "a solo", hands=~left_hand(NOTES))],
)  # fmt: skip
def test_another_picture_does_not_pass(other):
    mean, worst = difference(insides(other()), reference("hands"))
    assert mean > MEAN or worst > WORST


@each
def test_the_users_style_changes_nothing(name):
    _, plain, _ = picture(name)
    with plt.style.context("dark_background"):
        dark = drawn(PICTURES[name]())
    assert np.abs(plain - dark).max() < 2
    corners = plain[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.allclose(corners, 255 * np.array(to_rgb(palette.PAPER)), atol=1), "opaque paper, on dark pages too"


@each
def test_each_has_words(name):
    words, _, _ = picture(name)
    assert WORDS[name] in words and 30 < len(words) < 500
    assert "nan" not in words and "\n" not in words


def test_a_notebook_shows_the_words():
    from IPython.core.formatters import HTMLFormatter

    figure = plots.plot_piano_roll(NOTES, CHORDS, 'a "solo" <b>')
    page = HTMLFormatter()(figure)
    assert page == picture_html(figure) and page.startswith('<img alt="a &quot;solo&quot; &lt;b&gt;. Piano roll: 88 notes')
    assert "data:image/png;base64," in page


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_and_lines_stand_out_from_the_paper():
    for colour in (palette.INK, palette.QUIET, palette.WARNING):
        assert contrast(colour, palette.PAPER) >= 4.5, colour  # WCAG AA for text
    for colour in (palette.BLUE, palette.VERMILION, palette.GREEN):
        assert contrast(colour, palette.PAPER) >= 3.0, colour  # and for graphics
    for colours in (palette.LOUDNESS, palette.LEFT, palette.RIGHT):
        assert contrast(colours(0.0), palette.PAPER) >= 1.5 and contrast(colours(0.6), palette.PAPER) >= 3.0


# linear RGB as those see it who lack a cone (Machado et al. 2009, severity 1)
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_tell_them_apart(kind):
    seen = lambda hue: (np.array(BLINDNESS[kind]) @ np.array(to_rgb(hue)) ** 2.2).clip(0, 1) ** (1 / 2.2)  # noqa: E731
    pairs = [(palette.KEPT, palette.LOST), (palette.LOST, palette.INVENTED), (palette.KEPT, palette.INVENTED),
             (palette.TARGET, palette.PLAYED), (palette.REAL, palette.GENERATED), (palette.MORE, palette.LESS)]  # fmt: skip
    for one, other in pairs:
        assert np.linalg.norm(seen(one) - seen(other)) > 0.2, (one, other)


def test_colours_have_one_home():
    for path in Path(plots.__file__).parent.glob("*.py"):
        if path.name != "palette.py":
            assert not re.search(r"[\"']#[0-9a-fA-F]{6}[\"']", path.read_text(encoding="utf-8")), path.name

"""The roll as it is sampled, and the pictures it is made of."""

import base64
import io
import re

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb

from lib.display.palette import BLUE, PAPER
from lib.display.preview import EVERY_S, Preview, loudness_of, png, roll_picture, roll_pixels
from lib.music.notes import Notes
from lib.music.piano_roll import notes_to_piano_roll
from lib.music.tempo_map import STEADY, in_beats

NOTES = Notes.from_arrays([0.0, 1.0], [0.5, 1.0], [21, 60], [127, 64])


def pixels_of(picture):
    """uint8 (H, W, 3) of an <img>."""
    content = base64.b64decode(re.search(r"base64,([^\"]*)", picture)[1])
    return np.rint(255 * matplotlib.image.imread(io.BytesIO(content), format="png")[..., :3]).astype(np.uint8)


def test_a_png_that_others_read():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert np.array_equal(np.rint(255 * matplotlib.image.imread(io.BytesIO(png(pixels)), format="png")[..., :3]), pixels)


def test_notes_are_where_they_sound():
    loudness = loudness_of(NOTES, 2.0, 8)
    assert loudness.shape == (88, 8) and np.flatnonzero(loudness[0]).tolist() == [0, 1]
    assert np.flatnonzero(loudness[39]).tolist() == [4, 5, 6, 7] and loudness[39, 4] == 64 / 127
    pixels = roll_pixels(loudness)
    assert np.allclose(pixels[-1, 0] / 255, to_rgb(BLUE), atol=0.01), "the lowest key is at the bottom"
    assert np.allclose(pixels[0, 0] / 255, to_rgb(PAPER), atol=0.01)


def test_a_picture_has_words():
    assert 'alt="take &quot;1&quot; &lt;b&gt;"' in roll_picture(np.zeros((88, 4)), 'take "1" <b>')


def test_a_cropped_picture_has_the_keys_that_sound():
    loudness = np.zeros((88, 4))
    loudness[30, 0] = loudness[40, 2] = 1.0
    assert pixels_of(roll_picture(loudness, "", cropped=True)).shape == (11 + 6, 4, 3)
    inked = (pixels_of(roll_picture(loudness, "", cropped=True))[..., 0] < 20).nonzero()
    assert [place.tolist() for place in inked] == [[3, 13], [2, 0]], "the higher key on top"
    loudness[0] = loudness[87] = 1.0
    assert pixels_of(roll_picture(loudness, "", cropped=True)).shape == (88, 4, 3)
    assert pixels_of(roll_picture(np.zeros((88, 4)), "", cropped=True)).shape == (88, 4, 3)


def state(step, notes=NOTES, window=0, **more):
    place = {"step": step, "num_steps": 10, "window": window, "num_windows": 2}
    return {**place, "piano_roll": lambda: notes_to_piano_roll(in_beats(notes, STEADY), 100), **more}


def test_it_is_drawn_a_few_times_a_second_and_at_the_end():
    shown, decoded, time_s = [], [], [0.0]

    def counted(step):
        def piano_roll():
            decoded.append(step)
            return notes_to_piano_roll(in_beats(NOTES, STEADY), 100)

        return state(step, piano_roll=piano_roll)

    preview = Preview(shown.append, lambda: time_s[0])
    for step in range(1, 11):
        time_s[0] = step * EVERY_S / 3.5
        preview(counted(step))
    assert decoded == [1, 5, 9, 10] and len(shown) == 4
    assert "window 1 of 2, 10 of 10 steps: 2 keys sound" in shown[-1]


def test_slow_pictures_are_drawn_rarely():
    time_s, decoded = [0.0], []

    def slow():
        decoded.append(time_s[0])
        time_s[0] += 1.0
        return notes_to_piano_roll(in_beats(NOTES, STEADY), 100)

    preview = Preview(lambda _: None, lambda: time_s[0])
    while time_s[0] < 30:
        preview(state(1, piano_roll=slow))
        time_s[0] += 0.1
    assert len(decoded) <= 4, "a tenth of the time at most"


def test_what_stays_is_darker_than_what_was_noise():
    shown, time_s, noise = [], [0.0], Notes.from_arrays([0.0], [2.0], [89], [127])
    steady = Notes.from_arrays([0.0], [2.0], [50], [127])
    preview = Preview(shown.append, lambda: time_s[0])
    for step, notes in ((1, noise.followed_by(steady, 0.0)), (5, steady), (10, steady)):
        time_s[0] += 1
        preview(state(step, notes))
    darkness = [255 - pixels_of(picture)[:, 50, 0].astype(int) for picture in shown]  # red: paper has much, ink none
    stays, goes = [d[87 - 29] for d in darkness], [d[87 - 68] for d in darkness]
    assert stays[0] == goes[0] and stays[0] < stays[1] < stays[2], "it grows dark"
    assert goes[2] < goes[1] < stays[1] and goes[2] < 20, "and what went is paper in the end"


def test_without_a_roll_nothing_is_shown():
    Preview(lambda _: 1 / 0)({"step": 1, "num_steps": 2, "window": 0, "num_windows": 1})

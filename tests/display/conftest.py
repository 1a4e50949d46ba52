"""Fixtures of the player's tests: music whose sound and notes are in step, pages of it, a browser that opens them."""

import numpy as np
import pytest
from browser import watch

from lib.display.player import player_html, takes_html
from lib.music.audio import Audio
from lib.music.notes import Notes
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, NO_BEAT, Metre, TempoMap, bar_table

RATE_HZ = 22_050
SECONDS = 20
METRE = Metre(4, 4)
STEADY = TempoMap.constant(120.0, METRE, 10)
CHORDS = [(0.0, "Dm7"), (4.0, "G7"), (8.0, "Cmaj7"), (12.0, "A7b9")]


def clicks(every_s=1.0, note=""):
    """A short burst at each beat: (Notes, Audio), the two in step."""
    onsets_s = np.arange(0.5, SECONDS - 1, every_s)
    burst = 0.8 * np.exp(-np.arange(2000) / 400) * np.sin(np.arange(2000) * 0.3)
    samples = np.zeros((SECONDS * RATE_HZ, 2), np.float32)
    for onset_s in onsets_s:
        first = round(onset_s * RATE_HZ)
        samples[first : first + 2000] = burst[:, None]
    pitches = 48 + np.arange(len(onsets_s)) * 5 % 24
    velocities = 40 + 2 * np.arange(len(onsets_s))
    notes = Notes.from_arrays(onsets_s, np.full(len(onsets_s), 0.6), pitches, velocities, [(1.0, 3.0), (5.0, 9.0)])
    return notes, Audio(samples, RATE_HZ, "sine", note)


def uneven_map():
    """Two bars at 120, one in which the tempo falls, three beats of an unknown bar, 2 s without a beat, two bars at 60."""
    gaps_s = [0.5] * 8 + [0.6, 0.7, 0.8, 0.9] + [1.0] * 3 + [0.5] * 4 + [1.0] * 8
    bars = [bar_table([0, 4, 8], [4] * 3, IN_BARS, 1.0, METRE), bar_table([12], [3], BEATS_ONLY, 0.5),
            bar_table([15], [4], NO_BEAT, 0.0), bar_table([19, 23], [4] * 2, IN_BARS, 1.0, METRE)]  # fmt: skip
    return TempoMap(np.cumsum([0.0, *gaps_s]), np.concatenate(bars))


@pytest.fixture(scope="session")
def clicking():
    """(Notes, Audio) of `clicks`."""
    return clicks()


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Files of one take, of three takes, of a roll without sound, and of takes of two maps."""
    folder, (notes, audio) = tmp_path_factory.mktemp("pages"), clicks()
    takes = {"original": (notes, audio), "\uc7ac\uad6c\uc131 2": clicks(0.5, "plain <sines>"), "silent": (notes, None)}
    texts = {
        "one": player_html(notes, audio, "\ube0c\ub798\ub4dc: a/b", CHORDS, STEADY),
        "takes": takes_html(takes, "A & B", CHORDS),
        "silent": player_html(notes, None),
        "maps": takes_html({"uneven": (notes, None, CHORDS, uneven_map()), "steady": (notes, None, [(1.0, "E6")], STEADY)}),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def open_page(browser, pages):
    """A function that opens one of the pages; whatever goes wrong on it fails the test at the end."""
    opened = []

    def opener(name, width=1000, height=480, **words):
        context = browser.new_context(viewport={"width": width, "height": height}, **words)
        page = context.new_page()
        opened.append((context, watch(page)))
        page.goto((pages / f"{name}.html").as_uri())
        page.wait_for_function("music.takes.every(take => take.ready || !take.sound)")
        return page

    yield opener
    wrongs = [wrong for _, found in opened for wrong in found]
    for context, _ in opened:
        context.close()
    assert not wrongs

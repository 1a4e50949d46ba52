"""The page of takes that are heard without installing anything: its charts, and the page itself in a browser."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import find_axe, find_barriers, watch

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import listen_page  # noqa: E402

from lib import config  # noqa: E402
from lib.generation.generate import Solo, load_improviser  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.tempo_map import Metre, TempoMap  # noqa: E402

LICENCES = ("MAESTRO v3.0.0", "PiJAMA", "non-commercial use only", "Brad Mehldau has no part in this project")


def solo(asked, pitch):
    """Eight notes of a second."""
    onset_s = np.arange(8.0)
    notes = Notes.from_arrays(onset_s, onset_s * 0 + 0.9, onset_s + pitch, onset_s * 0 + 80)
    return Solo(notes, 0.0, 8.0, TempoMap.constant(120.0, Metre(4, 4), 4), asked, [(0.0, "F7")], [], None)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of two takes."""
    path = tmp_path_factory.mktemp("listen") / "index.html"
    solos = [solo(asked, 60 + row) for row, asked in enumerate(listen_page.requests()[:2])]
    path.write_text(listen_page.format_page(solos), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, path):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    wrongs = watch(opened)
    opened.goto(path.as_uri())
    yield opened
    opened.close()
    assert not wrongs


def player_of(page, row):
    """The player of a take, once its sound is there."""
    frame = page.locator("iframe").nth(row).element_handle().content_frame()
    frame.wait_for_function("typeof state !== 'undefined' && state.take.ready")
    return frame


def test_twelve_charts_of_many_kinds_for_as_long_as_is_said():
    asked = listen_page.requests()
    assert len(asked) == 12 and all(40 <= request.length_s <= 60 for request in asked)
    assert {"4/4", "3/4", "7/8", "12/8"} == {request.metre for request in asked}
    assert {request.seed for request in asked} == {1}, "the first take of each"
    styles = {request.style for request in asked}
    assert {None, "Bill Evans"} < styles and [style for style in styles if style and "," in style]


def test_it_says_what_it_is_and_whose_it_is(path):
    text = path.read_text(encoding="utf-8")
    words = " ".join(text.split())
    assert not [line for line in LICENCES if line not in words]
    assert config.REPOSITORY in text and listen_page.COLAB in text


def test_a_take_plays_and_stops_when_it_is_closed(page):
    first = player_of(page, 0)
    assert first.locator("h1").inner_text() == "Blues in F"
    first.locator("#play").click()
    first.wait_for_function("state.time > 0.3 && soundOf(state.take).currentTime > 0.3")
    page.locator("summary").nth(1).click()
    assert player_of(page, 1).evaluate("state.take.notes[0][2]") == 61
    page.wait_for_function("!document.querySelector('iframe').hasAttribute('srcdoc')")
    page.locator("iframe").first.content_frame.locator("audio").first.wait_for(state="detached")


@pytest.mark.slow  # axe-core comes from npm
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_hinders_nobody(page, scheme, tmp_path_factory):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 640})
    player_of(page, 0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if (axe := find_axe(tmp_path_factory.getbasetemp() / "axe")) is None:
        pytest.skip("axe-core can't be had from npm")
    assert not find_barriers(page, axe)


@pytest.mark.slow
def test_the_released_weights_know_the_styles_and_play_the_first_take(tmp_path, monkeypatch, capsys):
    names = load_improviser(released=True, device="cpu").styles.names
    asked = {part.rpartition(":")[0] or part for request in listen_page.requests() for part in (request.style or "").split(",")}
    assert asked - {""} <= set(names)
    monkeypatch.setattr(sys, "argv", ["listen_page.py", "--only", "1", "--out", str(tmp_path / "listen" / "index.html")])
    listen_page.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["lengths_s"] == [43.6] and 0.7 < figures["listen_mb"] < 1.2
    assert (tmp_path / "listen" / "index.html").read_text(encoding="utf-8").count("<iframe title=") == 1


def test_the_page_that_is_published_is_small_and_says_the_same():
    if not listen_page.PAGE.exists():
        pytest.skip("it is not made yet: python tests/benchmarks/listen_page.py")
    text = listen_page.PAGE.read_text(encoding="utf-8")
    assert len(text.encode()) <= 12e6 and text.count("<iframe title=") == 12
    assert not [line for line in LICENCES if line not in " ".join(text.split())]

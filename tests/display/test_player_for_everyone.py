"""The player in every frame, width and colour scheme, and for everyone: what a real Chromium and axe-core find."""

import html
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from browser import find_axe, find_barriers, watch
from PIL import Image

from lib.display.player import framed, show_player

PICTURES = Path(__file__).with_name("pictures")


@pytest.mark.parametrize("sandbox", ['sandbox="allow-scripts"', 'sandbox="allow-scripts allow-same-origin"', ""])
def test_it_needs_nothing_of_the_page_around_it(browser, pages, sandbox):
    """As in Colab: the output is a frame of another origin, without storage or a parent to ask."""
    output = f"<!DOCTYPE html><body>{framed((pages / 'one.html').read_text(encoding='utf-8'), 'x')}"
    page = browser.new_page()
    wrongs = watch(page)
    page.set_content(f'<iframe {sandbox} width="900" height="520" srcdoc="{html.escape(output, quote=True)}"></iframe>')
    player = page.frame_locator("iframe").frame_locator("iframe")
    player.get_by_role("button", name="Play").click()
    player.get_by_role("button", name="Favourite").click()
    inner = next(frame for frame in page.frames if frame.parent_frame and frame.parent_frame.parent_frame)
    inner.wait_for_function("state.time > 0.5")
    assert player.locator("#keep").get_attribute("aria-pressed") == "true"
    page.close()
    assert not wrongs


@pytest.mark.parametrize("sandbox", ['sandbox="allow-scripts"', 'sandbox="allow-scripts allow-same-origin"', ""])
def test_a_desk_hears_of_a_selection_where_the_frame_may_see_it(browser, pages, sandbox):
    framed_player = framed((pages / "one.html").read_text(encoding="utf-8"), "x")
    desk = f'<div class="player-desk">{framed_player}<p class="player-selection"><input></p></div>'
    page = browser.new_page()
    wrongs = watch(page)
    page.set_content(f'<iframe {sandbox} width="900" height="600" srcdoc="{html.escape(desk, quote=True)}"></iframe>')
    page.frame_locator("iframe").frame_locator("iframe").get_by_role("button", name="Play").wait_for()
    output = page.frames[1]
    output.evaluate("() => { document.querySelector('input').oninput = event => { event.target.title = 'told'; }; }")
    output.child_frames[0].evaluate("select(3, 1), finishSelection()")
    told = output.evaluate("[document.querySelector('input').title, document.querySelector('input').value]")
    if sandbox == 'sandbox="allow-scripts"':
        assert told == ["", ""]
    else:
        assert told[0] == "told" and re.fullmatch(r"1 3 \d+(\.\d+)?", told[1])
    page.close()
    assert not wrongs


def test_one_of_several_players_plays_at_a_time(browser, pages):
    text = (pages / "one.html").read_text(encoding="utf-8")
    page = browser.new_page()
    page.set_content(framed(text, "first") + framed(text, "second"))
    for frame in page.frames[1:]:
        frame.wait_for_function("state.take.ready")
        frame.evaluate("startSound()")
        frame.wait_for_function("state.time > 0.1")
    page.frames[1].wait_for_function("!state.playing && soundOf(state.take).paused")
    assert page.frames[2].evaluate("state.playing")
    page.close()


def test_a_copy_that_the_browser_saved_plays(open_page, browser, tmp_path):
    page = open_page("takes")
    page.keyboard.press("2")
    (tmp_path / "copy.html").write_text(page.content(), encoding="utf-8")
    copy = browser.new_page()
    copy.goto((tmp_path / "copy.html").as_uri())
    copy.get_by_role("button", name="Play").click()
    copy.wait_for_function("state.time > 0.3")
    assert copy.locator("#takes button").count() == 3 and copy.locator("#speed option").count() == 12
    copy.close()


def test_an_exported_notebook_still_plays(browser, clicking, tmp_path):
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    output = nbformat.v4.new_output("display_data", {"text/html": show_player(*clicking, "\ube0c\ub798\ub4dc").data})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show_player(...)", outputs=[output])])
    (tmp_path / "notebook.html").write_text(nbconvert.HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
    page = browser.new_page()
    page.route("http*://**", lambda route: route.abort())  # the export itself asks for MathJax
    page.goto((tmp_path / "notebook.html").as_uri(), wait_until="domcontentloaded")
    page.frame_locator("iframe").get_by_role("button", name="Play").click()
    page.frames[-1].wait_for_function("state.time > 0.5 && soundOf(state.take).currentTime > 0.5")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_roll_looks_as_it_did(open_page, scheme):
    """Below the words, as a coarse picture, so that another font changes little; UPDATE_PICTURES=1 draws the reference anew."""
    page = open_page("takes", 640, 480, color_scheme=scheme)
    page.add_style_tag(content="#stage { flex: none; height: 300px }")
    page.evaluate("onResize(); select(8, 12); moveTo(5.7)")
    page.wait_for_timeout(200)
    box, top = page.locator("#stage").bounding_box(), page.evaluate("topOf() + 2")
    clip = {"x": box["x"], "y": box["y"] + top, "width": box["width"], "height": box["height"] - top}
    seen, reference = coarse(page.screenshot(clip=clip)), PICTURES / f"player_{scheme}.png"
    if os.environ.get("UPDATE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        Image.fromarray(seen).save(reference)
    off = np.abs(seen.astype(float) - np.asarray(Image.open(reference)).astype(float)).max(2) / 255
    assert (off > 0.15).mean() < 0.004


def coarse(screenshot):
    """(65, 156, 3) uint8, about a quarter of its size."""
    return np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB").resize((156, 65), Image.Resampling.BOX))


@pytest.mark.parametrize("width", [360, 768, 1280, 2560, 3840])
def test_it_fits_every_width(open_page, width):
    page = open_page("takes", width, 640)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#roll").bounding_box()["height"] >= 150
    for knob in page.locator("button:visible").all():
        box = knob.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width


def test_it_can_be_folded_away_and_comes_back(open_page):
    """As a notebook's output whose panel is squeezed; a wrong on the page fails the test."""
    page = open_page("takes", 640, 480)
    page.add_style_tag(content=".folded { display: none !important }")
    for folded in (True, False):
        page.evaluate("folded => { document.body.classList.toggle('folded', folded); forgetOverview(); redraw() }", folded)
        page.wait_for_timeout(100)
    ink = "[...overview.getContext('2d').getImageData(0, 0, overview.width, overview.height).data].some(value => value)"
    assert page.evaluate(ink)


def test_it_is_dark_where_the_reader_likes_it_dark(open_page):
    def paper(scheme):
        page = open_page("one", color_scheme=scheme)
        return page.evaluate("[...still.getContext('2d').getImageData(still.width - 3, still.height / 2, 1, 1).data]")

    assert sum(paper("light")[:3]) > 600 and sum(paper("dark")[:3]) < 150


def test_a_sound_that_cannot_be_played_is_said(browser, pages, tmp_path):
    text = (pages / "one.html").read_text(encoding="utf-8")
    (tmp_path / "broken.html").write_text(re.sub(r'(data:audio/\w+;base64,)[^"]+', r"\1bm9uZQ==", text), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "broken.html").as_uri())
    page.wait_for_function("!byId('remark').hidden")
    assert "can't play" in page.locator("#remark").inner_text() and page.locator("#play").is_disabled()
    page.close()


@pytest.mark.slow  # axe-core comes from npm
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, tmp_path_factory, scheme):
    axe = find_axe(tmp_path_factory.getbasetemp() / "axe")
    if axe is None:
        pytest.skip("axe-core can't be had from npm")
    page = open_page("takes", color_scheme=scheme)
    page.evaluate("byId('help').open = true; select(2, 4); choose(music.takes[1])")
    assert not find_barriers(page, axe)

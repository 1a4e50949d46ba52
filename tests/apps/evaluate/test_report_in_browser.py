"""The page of an evaluation in a real browser: whole without a network, players side by side, and fit for a phone."""

import pytest
from browser import watch

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser, evaluated):
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.wrongs = watch(opened)
    opened.goto((evaluated[1] / "evaluation.html").as_uri())
    yield opened
    opened.close()


def test_a_clip_and_its_passage_are_shown_side_by_side(page):
    assert not page.locator("iframe[srcdoc]").count(), "players wait until they are asked for"
    first = page.locator("details.clip").first
    first.locator("summary").click()
    frames = [frame.element_handle().content_frame() for frame in first.locator("iframe").all()]
    assert len(frames) == 2
    titles = []
    for frame in frames:
        frame.wait_for_selector("#still")
        frame.wait_for_function("typeof state !== 'undefined' && state.take.notes.length > 0")
        titles.append(frame.locator("h1").inner_text())
    assert titles[0].startswith("clip ") and titles[1].endswith(" s")
    boxes = [frame.bounding_box() for frame in first.locator("iframe").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    assert page.wrongs == []


def test_it_fits_a_phone_and_pictures_have_words(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("document.querySelectorAll('details.section').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    words = page.eval_on_selector_all("img", "images => images.map(image => image.alt)")
    assert len(words) >= 2 and all(len(text) > 40 for text in words)

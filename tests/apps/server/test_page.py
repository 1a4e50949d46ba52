"""The page at / in a real Chromium, from a real server: knobs, a solo that sounds, cancel, faults under their fields."""

import base64
import threading
import time

import numpy as np
import pytest
from browser import find_axe, find_barriers
from serving import free_port

from lib.apps.server.app import make_app
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (pip install playwright)")
expect, TOKEN = sync_api.expect, "a token of the tests"


@pytest.fixture(scope="module")
def open_server(make_service, tmp_path_factory):
    """A function that serves from a thread: (address, service)."""
    import uvicorn

    running = []

    def opener(token=None):
        service, port = make_service(tmp_path_factory.mktemp("page"), seconds=60.0), free_port()
        config = uvicorn.Config(make_app(service, token), port=port, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{port}", service

    yield opener
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def served(open_server):
    return open_server()


@pytest.fixture
def open_page(browser):
    """A function that opens a page; an error on it, or a request to elsewhere, fails the test at the end."""
    wrongs, opened = [], []

    def opener(address, refusals=0):
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        opened.append((page, refusals))
        page.on("console", lambda message: wrongs.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrongs.append(str(error)))
        known = (address, "data:", "blob:", "about:")
        page.on("request", lambda asked: None if asked.url.startswith(known) else wrongs.append(asked.url))
        page.goto(address)
        page.wait_for_load_state("networkidle")
        return page

    yield opener
    expected = sum(refusals for _, refusals in opened)
    for page, _ in opened:
        page.close()
    refused = [wrong for wrong in wrongs if "the server responded with a status of 4" in wrong]  # as Chromium logs each
    assert len(refused) == expected and len(wrongs) == expected, wrongs


def wait_until(frame, condition, seconds=15):
    """Playwright's own wait_for_function evaluates strings, which the page's policy forbids."""
    until = time.monotonic() + seconds
    while not frame.evaluate(condition):
        assert time.monotonic() < until, condition
        time.sleep(0.05)


def generate(page, seconds=None, **knobs):
    if seconds is not None:
        page.locator("#unit").select_option("seconds")
        page.locator("#length").fill(str(seconds))
    for name, value in knobs.items():
        page.locator(f"#{name}").fill(str(value))
    page.get_by_role("button", name="Generate").click()


def test_knobs_are_set_and_the_solo_sounds(open_page, served):
    page = open_page(served[0])
    page.locator("#style").select_option("Bill Evans")
    generate(page, chords="Dm7 G7\nCmaj7", seconds=5, seed=7)  # a line break is a bar line
    expect(page.locator("#said")).to_have_text("done", timeout=30_000)
    player = page.frame_locator("#player")
    player.get_by_role("button", name="Play").click()
    frame = page.frames[1]
    wait_until(frame, "() => soundOf(state.take).currentTime > 0.5")
    assert frame.evaluate("() => music.takes[0].notes.length") > 5 and frame.evaluate("() => music.takes[0].chords[0][1]") == "Dm7"
    request = page.evaluate("() => ask(job.links.json).then(answer => answer.json()).then(found => found.request)")
    assert (request["style"], request["chords"], request["seed"]) == ("Bill Evans", "Dm7 G7\nCmaj7", 7)
    with page.expect_download() as download:
        page.get_by_role("button", name=".mid").first.click()
    assert download.value.suggested_filename.endswith(".mid")


def test_metre_feel_and_length_are_asked_for(open_page, served):
    page = open_page(served[0])
    page.locator("#feel").select_option("swing")
    generate(page, chords="Am7 | D7", metre="7/8", tempo_bpm=140, length=3)
    expect(page.locator("#said")).to_have_text("done", timeout=30_000)
    played = page.evaluate("() => ask(job.links.json).then(answer => answer.json())")
    request = played["request"]
    assert [request[name] for name in ("metre", "feel", "choruses", "tempo_bpm")] == ["7/8", "swing", 3, 140]
    assert played["bars_s"] == pytest.approx(1.5 * np.arange(6)), "three choruses of two bars"
    bars = page.frames[1].evaluate("() => music.takes[0].bars.slice(0, 3)")
    assert bars == [[0.0, 1], [1.5, 2], [3.0, 3]], "the player has them, too"


def test_cancel(open_page, served):
    page = open_page(served[0])
    page.locator("#mix").select_option("Bill Evans")
    page.locator("#style").select_option("Brad Mehldau")
    generate(page, seconds=60, density="1,2,3,4,5,6,7,8")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#said")).to_have_text("cancelled", timeout=3_000)
    assert page.get_by_role("button", name="Generate").is_enabled() and page.locator("#player").is_hidden()
    asked = page.evaluate("() => order()")
    assert (asked["style"], asked["density"]) == ("Brad Mehldau:0.50,Bill Evans:0.50", "1,2,3,4,5,6,7,8")


def test_faults_stand_under_their_fields(open_page, served):
    page = open_page(served[0], refusals=3)
    generate(page, chords="Cmaj7 | Qm7")
    page.wait_for_selector(".fault")
    assert "Qm7" in page.locator("label:has(#chords) .fault").inner_text()
    assert page.locator("#chords").get_attribute("aria-invalid") == "true"
    generate(page, chords="Cmaj7", metre="4/5", seconds=61)
    page.wait_for_selector("label:has(#metre) .fault")
    generate(page, metre="4/4")
    page.wait_for_selector("label:has(#length) .fault")
    assert page.locator(".fault").count() == 1


def test_a_file_is_gone_on_from(open_page, served, tmp_path):
    page = open_page(served[0])
    notes = Notes.from_arrays(np.arange(0, 8, 0.5), [0.4] * 16, [60, 64, 67, 72] * 4, [80] * 16)
    page.locator("#midi").set_input_files(write_midi(notes, tmp_path / "mine.mid"))
    generate(page, seconds=4)
    expect(page.locator("#said")).to_have_text("done", timeout=30_000)
    page.locator("#theme").set_input_files(tmp_path / "mine.mid")
    asked = page.evaluate("() => order()")
    assert asked["theme"] == asked["midi"] == base64.b64encode((tmp_path / "mine.mid").read_bytes()).decode()
    found = page.evaluate("() => ask(job.links.json).then(answer => answer.json())")
    assert found["begins_s"] == pytest.approx(8.0, abs=0.2) and [row[2] for row in found["notes"][:4]] == [60, 64, 67, 72]


def test_the_token_is_asked_for(open_page, open_server):
    page = open_page(open_server(TOKEN)[0], refusals=1)
    assert page.locator("#token").is_visible()
    page.locator("#token").fill(TOKEN)
    page.locator("#token").blur()
    wait_until(page, "() => document.getElementById('style').options.length > 3")
    generate(page, seconds=3)
    expect(page.locator("#said")).to_have_text("done", timeout=30_000)
    assert page.locator("#player").is_visible() and page.evaluate("() => sessionStorage.getItem('token')") == TOKEN


@pytest.mark.slow  # npm fetches axe-core
def test_nothing_serious_hinders_people(open_page, served, tmp_path_factory):
    if (axe := find_axe(tmp_path_factory.mktemp("axe"))) is None:
        pytest.skip("axe-core is not to be had: no npm here, or no registry that it reaches (set AXE)")
    page = open_page(served[0])
    assert find_barriers(page, axe) == []

"""The player in a real Chromium: it plays, follows, loops, compares and saves."""

import io
import re
import wave

import numpy as np
import pytest

from lib.music.notes import read_midi

RATE_HZ, SECONDS = 22_050, 20  # of the pages that conftest.py makes


def time_of(page):
    return page.evaluate("state.time")


def spot(page, time_s, pitch=None):
    """Where on the page a time (and pitch) is drawn."""
    y_of = "pitch === null ? 0.6 * place.height : yOf(pitch) + place.row / 2"
    x, y = page.evaluate(f"([time, pitch]) => [xOf(time), {y_of}]", [time_s, pitch])
    box = page.locator("#roll").bounding_box()
    return box["x"] + x, box["y"] + y


def test_notes_are_drawn_in_the_colour_of_their_velocity(open_page):
    page = open_page("one")
    seen = page.evaluate("""music.takes[0].notes.slice(0, 5).map(([on, length, pitch, velocity]) => {
        const at = [xOf(on + length / 2), yOf(pitch) + place.row / 2].map(value => Math.round(value * place.scale));
        const rgb = [...still.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
        return ["#" + rgb.map(part => part.toString(16).padStart(2, "0")).join(""), loudness[velocity]];
    })""")
    assert all(drawn == meant for drawn, meant in seen) and len({drawn for drawn, _ in seen}) == 5


def test_it_plays_and_pauses_and_the_playhead_moves(open_page):
    page = open_page("one")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("state.time > 0.6")
    read = "new Promise(done => requestAnimationFrame(() => done([soundOf(state.take).currentTime, state.time])))"
    sound_s, drawn_s = page.evaluate(read)
    assert abs(sound_s - drawn_s) < 0.02 and page.locator("#clock").inner_text().endswith("/ 0:20")
    page.get_by_role("button", name="Pause").click()
    before_s = time_of(page)
    page.wait_for_timeout(150)
    assert time_of(page) == before_s and page.evaluate("soundOf(state.take).paused")
    assert page.locator("#roll").get_attribute("aria-valuenow") == f"{before_s:.1f}"


def test_it_ends_and_begins_again(open_page):
    page = open_page("one")
    page.evaluate("moveTo(19.6)")
    page.keyboard.press("Space")
    page.wait_for_function("!state.playing", timeout=5000)
    assert time_of(page) == SECONDS
    page.keyboard.press("Space")
    page.wait_for_function("state.playing && state.time > 0.1 && state.time < 5")


def test_a_click_seeks(open_page):
    page = open_page("one")
    page.mouse.click(*spot(page, 5.0))
    assert time_of(page) == pytest.approx(5.0, abs=0.05)
    page.wait_for_function("Math.abs(soundOf(state.take).currentTime - state.time) < 0.001")
    page.wait_for_function("chord.textContent === 'G7'")


def test_keys_do_what_the_help_says(open_page):
    page = open_page("takes")
    page.locator("#roll").focus()
    steps = {"ArrowRight": 2.0, "Shift+ArrowRight": 2.1, "ArrowLeft": 0.1, "End": SECONDS - 1, "Home": 0.0}
    for key, place_s in steps.items():
        page.keyboard.press(key)
        assert time_of(page) == pytest.approx(place_s, abs=1e-6), key
    whole_s = page.evaluate("view.span")
    page.keyboard.press("+")
    assert page.evaluate("view.span") == pytest.approx(0.7 * whole_s)
    page.keyboard.press("PageDown")
    assert page.evaluate("view.start") == pytest.approx(min(0.9 * 0.7, 0.3) * whole_s), "a page on, or the end"
    page.keyboard.press("0")
    assert page.evaluate("[view.start, view.span]") == [0, SECONDS]
    for key in ("ArrowRight", "[", "ArrowRight", "]"):
        page.keyboard.press(key)
    assert page.evaluate("[state.selection, state.loop]") == [[2, 4], True]
    page.keyboard.press("Escape")
    assert page.evaluate("[state.selection, state.loop]") == [None, False]
    page.keyboard.press("2")
    assert page.get_by_role("radio", checked=True).inner_text() == "\uc7ac\uad6c\uc131 2"
    page.keyboard.press("<")
    assert page.evaluate("[state.rate, speed.value]") == [0.9, "0.9"]


def test_every_knob_can_be_reached_by_tab_and_pressed(open_page):
    page = open_page("one")
    reached = set()
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert reached >= {"roll", "play", "speed", "loop", "follow", "keep", "zoomIn", "zoomOut", "zoomAll", "saveMidi", "saveWav"}
    page.locator("#loop").focus()
    page.keyboard.press("Space")
    assert page.evaluate("[state.loop, state.playing]") == [True, False]


def test_the_wheel_scrolls_and_zooms_around_the_pointer(open_page):
    page = open_page("one")
    page.evaluate("setView(4, 8)")
    page.mouse.move(*spot(page, 6.0))
    page.mouse.wheel(0, 100)
    page.wait_for_function("view.start > 4.5")
    page.evaluate("setView(4, 8)")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -50)
    page.wait_for_function("view.span < 7")
    page.keyboard.up("Control")
    assert page.evaluate("x => timeAt(x)", page.evaluate("xOf(6.0)")) == pytest.approx(6.0)
    start_s, span_s = page.evaluate("[view.start, view.span]")
    assert (6.0 - start_s) / span_s == pytest.approx(0.25, abs=0.01), "6 s stays under the pointer"


def test_two_fingers_zoom_and_one_scrolls(open_page):
    page = open_page("one", has_touch=True)
    page.evaluate("setView(4, 8)")
    x, y = spot(page, 8.0)
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *places):
        points = [{"x": px, "y": y, "id": row} for row, px in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", x - 50, x + 50)
    for apart in (60, 80, 100):
        fingers("touchMove", x - apart, x + apart)
    fingers("touchEnd")
    page.wait_for_function("Math.abs(view.span - 4) < 0.2")
    assert page.evaluate("view.start") == pytest.approx(6.0, abs=0.2)
    fingers("touchStart", x)
    for by in (20, 60, 100):
        fingers("touchMove", x - by)
    fingers("touchEnd")
    page.wait_for_function("view.start > 6.2")
    assert page.evaluate("[state.time, state.selection]") == [0, None]


def test_a_dragged_selection_loops(open_page):
    page = open_page("one")
    page.mouse.move(*spot(page, 2.0))
    page.mouse.down()
    page.mouse.move(*spot(page, 2.3))
    page.mouse.move(*spot(page, 2.6))
    page.mouse.up()
    (from_s, to_s), loop, time_s = page.evaluate("[state.selection, state.loop, state.time]")
    assert (from_s, to_s) == pytest.approx((2.0, 2.6), abs=0.05) and loop and time_s == from_s
    page.evaluate("""() => {
        window.seen = [];
        const look = () => { seen.push(state.time); requestAnimationFrame(look); };
        look();
    }""")
    page.keyboard.press("Space")
    page.wait_for_function("seen.filter((time, row) => time < seen[row - 1]).length >= 2")
    assert page.evaluate("Math.max(...seen)") < to_s + 0.1 and page.evaluate("Math.min(...seen.slice(3))") >= from_s - 0.01


def test_hovering_names_a_note(open_page):
    page = open_page("one")
    page.mouse.move(*spot(page, 1.7, 53))
    assert re.fullmatch(r"F3\s+velocity 42\s+at 0:01.50, 0.60 s long", page.locator("#tip").inner_text())
    page.mouse.move(*spot(page, 3.3, 80))
    assert page.locator("#tip").is_hidden()


def test_takes_switch_without_losing_the_place(open_page):
    page = open_page("takes")
    page.evaluate("moveTo(7)")
    page.keyboard.press("Space")
    page.wait_for_function("state.time > 7.3")
    before_s, after_s = page.evaluate("""() => {
        const before = soundTime();
        takes.children[1].click();
        return [before, state.time];
    }""")
    assert after_s == pytest.approx(before_s, abs=0.02)
    page.wait_for_function("!soundOf(state.take).paused && state.time > 8")
    assert page.get_by_role("radio", checked=True).inner_text() == "\uc7ac\uad6c\uc131 2"
    assert page.evaluate("[...sounds.values()].filter(sound => !sound.paused).length") == 1
    assert page.locator("#remark").inner_text() == "plain <sines>"
    page.keyboard.press("3")
    assert page.locator("#play").is_disabled() and "No sound" in page.locator("#remark").inner_text() and time_of(page) > 7.5


def test_speed_keeps_the_pitch(open_page):
    page = open_page("one")
    page.get_by_label("Speed").select_option("0.5")
    assert "60 bpm" in page.locator("#speed option:checked").inner_text()
    page.keyboard.press("Tab")
    page.evaluate("startSound()")
    page.wait_for_function("state.time > 0.05")
    of_music_s, of_clock_s = page.evaluate("""async () => {
        const now = () => [soundTime(), performance.now() / 1000], [from, at] = now();
        await new Promise(done => setTimeout(done, 1000));
        return [now()[0] - from, now()[1] - at];
    }""")
    assert of_music_s == pytest.approx(0.5 * of_clock_s, abs=0.1)
    assert page.evaluate("soundOf(state.take).preservesPitch")


def drawn_lines(page):
    """{time_s: how dark it is} of the grid's lines in view, just below the chords, where no note is."""
    return dict(page.evaluate("""() => gridTimes().map(time => {
        const pen = still.getContext("2d"), x = Math.round(xOf(time)), y = topOf() + 2;
        const red = x => pen.getImageData(x * place.scale, y * place.scale, 1, 1).data[0];
        return [Math.round(time * 1000) / 1000, red(x + 4) - red(x)];
    })"""))


def test_bars_follow_a_tempo_that_changes(open_page):
    page = open_page("maps")
    page.evaluate("showAll(); frame()")
    lines = drawn_lines(page)
    bars = [0.0, 2.0, 4.0, 12.0, 16.0]
    beats = [7.0, 8.0, 9.0, 10.0]  # of an unknown bar; the last is where the beat ends
    assert sorted(lines) == sorted([*bars, *beats])
    assert min(lines[time_s] for time_s in bars[1:]) > max(lines[time_s] for time_s in beats) > 0, "bars stand out"
    numbers = page.evaluate("[0, 1.9, 2, 6.9, 7, 9.5, 11.9, 12, 16, 19.9].map(barAt)")
    assert numbers == [1, 1, 2, 3, 0, 0, 0, 4, 5, 5]
    told = []
    for time_s in (2.5, 8.5, 12.5):
        page.evaluate(f"moveTo({time_s}); tellPlace()")
        told.append(page.locator("#roll").get_attribute("aria-valuetext"))
    assert "bar 2" in told[0] and "bar" not in told[1] and "bar 4" in told[2]


def test_beats_of_unknown_bars_give_way_where_there_is_no_room(open_page):
    page = open_page("maps", 120)
    page.evaluate("showAll(); frame()")
    assert all(page.evaluate("gridTimes().map(barAt)")), "bars alone"


def test_the_ruler_numbers_known_bars(open_page):
    page = open_page("maps")
    page.evaluate("""() => {
        window.words = [];
        const write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
            if (y < place.ruler) words.push(text);
            write.call(this, text, x, y);
        };
        showAll();
        drawStill();
    }""")
    assert page.evaluate("words") == ["1", "2", "3", "4", "5"]


def test_each_take_has_its_tempo_bars_and_chords(open_page):
    page = open_page("maps")
    assert page.locator("#speed option:checked").inner_text() == "1\u00d7 (60\u2013120 bpm)"
    page.get_by_label("Speed").select_option("0.5")
    page.evaluate("moveTo(13)")
    assert page.evaluate("[barAt(13), chordAt(13)]") == [4, "A7b9"]
    page.keyboard.press("Escape")
    page.locator("#takes button").nth(1).click()
    assert page.locator("#speed option:checked").inner_text() == "0.5\u00d7 (60 bpm)", "the chosen speed stays"
    assert page.evaluate("[barAt(13), chordAt(13)]") == [7, "E6"]


def saved(page, button):
    with page.expect_download() as download:
        page.locator(button).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_files_are_saved_from_the_page(open_page, clicking):
    page, (notes, audio) = open_page("one"), clicking
    name, content = saved(page, "#saveMidi")
    assert name == "\ube0c\ub798\ub4dc_ a_b.mid"
    again = read_midi(content)
    assert np.array_equal(again.pitch, notes.pitch) and np.abs(again.onset_s - notes.onset_s).max() < 2e-3
    assert np.allclose(again.pedal_s, notes.pedal_s, atol=2e-3)
    name, content = saved(page, "#saveWav")
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getnframes(), file.getframerate()) == (2, len(audio.samples), RATE_HZ)
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)[:, 0] / 32768
    assert name.endswith(".wav") and np.corrcoef(heard, audio.samples[:, 0])[0, 1] > 0.98
    name, content = saved(page, "#saveMp3")
    assert name.endswith(".mp3") and content[:2] == b"\xff\xfb" or content[:2] == b"\xff\xf3"


def test_favourites_are_remembered(open_page):
    page = open_page("takes")
    page.keyboard.press("2")
    page.keyboard.press("m")
    assert page.locator("#keep").get_attribute("aria-pressed") == "true" and "favourite" in page.locator("#said").inner_text()
    page.reload()
    assert page.locator("#takes button.kept").inner_text() == "\uc7ac\uad6c\uc131 2"

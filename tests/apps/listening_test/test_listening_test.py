"""The listening test in a real Chromium: gone through by clicking, its answers downloaded and collected."""

import json
import re
import wave

import numpy as np
import pytest
from browser import find_axe, find_barriers, watch
from typer.testing import CliRunner

from lib.apps.cli.main import app
from lib.apps.listening_test.listening_test import (
    choose_takes,
    equally_loud,
    excerpt,
    loudness,
    make_test,
    parse_takes,
    read_wav,
)
from lib.config import ConfigError
from lib.music.audio import Audio, write_wav
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes

RATE_HZ = 22_050
WHITE_KEYS = np.array([60, 62, 64, 65, 67, 69])


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    """Files of two systems whose names do not say so, two takes each, of a second, and the low anchor as WAV."""
    folder = tmp_path_factory.mktemp("takes")
    for system, pitch in (("secretive", WHITE_KEYS), ("undercover", WHITE_KEYS[::-1])):
        for number in (1, 2):
            notes = Notes.from_arrays(
                np.arange(6) * 0.15 + 0.5, np.full(6, 0.15), pitch + number, np.full(6, 30 * number)
            )
            write_midi(notes, folder / system / f"{number}.mid")
    random = np.random.default_rng(0)
    for number in (1, 2):
        samples = random.normal(0, 0.02, (RATE_HZ, 2)).astype(np.float32)
        write_wav(Audio(samples, RATE_HZ, "noise"), folder / "clandestine" / f"{number}.wav")
    return folder


@pytest.fixture(scope="module")
def made(takes, tmp_path_factory):
    """(page, key) that the command wrote."""
    page = tmp_path_factory.mktemp("test") / "test.html"
    words = ["listening-test", "--out", page, "--reference", "undercover", "--anchor", "clandestine", "--seconds", "1"]
    words += ["--must-hear", "0.1"]
    words += ["--items", "1"]
    for system in ("secretive", "undercover", "clandestine"):
        words += ["--takes", f"{system}={takes / system}/*"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0 and "4 items" in done.output  # three pairs and one scale
    return page, json.loads(page.with_suffix(".key.json").read_text(encoding="utf-8"))


@pytest.fixture
def open_test(browser, made):
    """A function that opens the page; what goes wrong on it fails the test at the end."""
    contexts, wrongs = [], []

    def opener(width=360, height=700, context=None, **words):
        context = context or browser.new_context(viewport={"width": width, "height": height}, **words)
        page = context.new_page()
        contexts.append(context)
        wrongs.append(watch(page))
        page.goto(made[0].as_uri())
        return page

    yield opener
    for context in contexts:
        context.close()
    assert not sum(wrongs, [])


def hear_all(page):
    for name in page.locator(".take h2").all_inner_texts():
        page.get_by_role("button", name=f"Play {name}", exact=True).click()
        page.wait_for_function("name => isHeard(players.find(player => player.name === name))", arg=name)


def take_of(page, name):
    return page.evaluate("name => players.find(player => player.name === name).take", name)


def answer_item(page, prefer):
    """One item as a listener would: hear all, then choose or rate; `prefer` gives what each take is worth, by its id."""
    hear_all(page)
    names = [name for name in page.locator(".take h2").all_inner_texts() if name != "Reference"]
    worth = {name: prefer(take_of(page, name)) for name in names}
    if page.locator("#choice").is_visible():
        page.get_by_role("radio", name=max(worth, key=worth.get), exact=True).check()
    else:
        for name in names:
            page.get_by_label(f"How good is {name}?").fill(str(worth[name]))
    page.locator("#next").click()


def go_through(page, key):
    worth = {"secretive": 60, "undercover": 95, "clandestine": 5}
    page.get_by_label("A name of your choice").fill("Ona")
    page.get_by_role("button", name="Begin").click()
    while page.locator("#item").is_visible():
        answer_item(page, lambda take: worth[key["takes"][take]["system"]] if take in key["takes"] else 50)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my answers").click()
    return download.value


@pytest.mark.slow
def test_a_whole_test_by_clicking_is_downloaded_and_collected(open_test, made, tmp_path):
    page = open_test()
    saved = go_through(page, made[1])
    path = tmp_path / saved.suggested_filename
    saved.save_as(path)
    answers = json.loads(path.read_text(encoding="utf-8"))
    assert answers["rater"] == "Ona" and len(answers["answers"]) == 4
    assert json.loads(page.locator("#text").input_value())["answers"] == answers["answers"]
    assert all(heard >= 0.1 for one in answers["answers"] for heard in one["heard_s"].values())
    words = ["listening-test", "--collect", str(path), "--key", str(made[0].with_suffix(".key.json"))]
    figures = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).output)
    wins = {(pair["a"], pair["b"]): (pair["wins"], pair["losses"]) for pair in figures["pairs"]}
    assert list(wins) == [("clandestine", "secretive"), ("clandestine", "undercover"), ("secretive", "undercover")]
    assert set(wins.values()) == {(0, 1)}
    means = {name: found["mean"] for name, found in figures["scores"].items()}
    assert means == {"secretive": 60, "undercover": 95, "clandestine": 5}
    assert figures["careless"] == [] and figures["systems"]["undercover"]["win_rate"] == 1
    assert "undercover: win rate 1.00" in CliRunner().invoke(app, words, catch_exceptions=False).output
    check_nothing_is_given_away(made, path.read_text(encoding="utf-8"))


def check_nothing_is_given_away(made, answers):
    """Neither the page nor the answers say whose a take is."""
    text, ids = made[0].read_text(encoding="utf-8"), list(made[1]["takes"])
    for name in ("secretive", "undercover", "clandestine", ".mid", ".wav"):
        assert name not in answers and name not in text
    assert not set(json.loads(answers)) & {"reference", "anchor", "takes"}
    assert len(set(ids)) == 3 and all(re.fullmatch("t[0-9a-f]{10}", take) for take in ids)


def test_it_wants_each_take_heard_and_an_answer(open_test):
    page = open_test()
    page.get_by_role("button", name="Begin").click()
    assert page.locator("#practice").is_visible()
    page.locator("#next").press("Enter")
    assert (
        "Still to hear: A, B" in page.locator("#missing").inner_text()
        and page.locator("#place").inner_text() == "1 of 6"
    )
    hear_all(page)
    page.locator("#next").press("Enter")
    assert page.locator("#missing").inner_text() == "Which one?"
    page.get_by_role("radio", name="No difference").check()
    page.locator("#next").click()
    assert page.locator("#place").inner_text() == "2 of 6" and page.locator("#practice").is_hidden()
    assert page.evaluate("state.answers.length") == 0  # practice does not count


def test_one_take_sounds_at_a_time(open_test):
    page = open_test()
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("button", name="Play A").click()
    page.wait_for_function("players[0].heardS > 0.1")
    page.get_by_role("button", name="Play B").click()
    page.wait_for_function("players[0].sound.paused && !players[1].sound.paused")


def test_a_take_that_can_not_be_played_holds_nobody_up(open_test):
    page = open_test()
    page.evaluate("test.sounds.p2 = 'data:audio/mpeg;base64,bm9uZQ=='")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_function("players.some(player => player.broken)")
    name = page.evaluate("players.find(player => !player.broken).name")
    page.get_by_role("button", name=f"Play {name}").click()
    page.wait_for_function("isHeard(players.find(player => !player.broken))")
    page.get_by_role("radio", name="No difference").check()
    assert page.evaluate("answerOf(order[0]).broken") == ["p2"]
    page.locator("#next").click()
    assert page.locator("#place").inner_text() == "2 of 6"


def test_it_goes_on_where_it_was_left(open_test):
    page = open_test()
    page.get_by_role("button", name="Begin").click()
    page.evaluate("state.at = 1; show()")  # past practice
    answer_item(page, lambda take: 50)
    seen = page.evaluate("[state.listener, state.at, order.map(item => item.id)]")
    again = open_test(context=page.context)
    assert again.evaluate("[state.listener, state.at, order.map(item => item.id)]") == seen
    assert again.locator("#place").inner_text() == "3 of 6" and again.evaluate("state.answers.length") == 1


def test_each_listener_has_an_order_of_their_own(open_test):
    page, other = open_test(), open_test()
    assert page.evaluate("state.listener") != other.evaluate("state.listener")
    orders = page.evaluate("Array.from({ length: 8 }, () => makeOrder().map(item => [item.id, ...item.takes].join()))")
    assert len({tuple(order) for order in orders}) > 1
    assert len({tuple(sorted(item.split(",")[0] for item in order)) for order in orders}) == 1
    first = page.evaluate("Array.from({ length: 400 }, () => makeOrder()[1].takes).map(([a, b]) => a < b)")
    assert 150 < sum(first) < 250  # sides are drawn


@pytest.mark.parametrize("where", ["welcome", "pair", "scale", "end"])
def test_it_fits_a_phone_and_fingers(open_test, where):
    page = open_test(has_touch=True)
    bring_to(page, where)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    kinds = ("button", "select", "input[type=text]", "input[type=range]", "fieldset label", "summary")
    wanted = ", ".join(f"{kind}:visible" for kind in kinds)
    boxes = [knob.bounding_box() for knob in page.locator(wanted).all()]
    assert boxes and all(box["height"] >= 44 and box["width"] >= 44 for box in boxes)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)


def bring_to(page, where):
    """A page of the test, as if all before it had been answered."""
    at = {
        "welcome": "-1",
        "pair": "1",
        "scale": "order.findIndex(item => item.kind === 'rate')",
        "end": "order.length",
    }[where]
    page.evaluate(f"state.at = {at}; show()")


@pytest.mark.slow  # axe-core comes from npm
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_test, tmp_path_factory, scheme):
    axe = find_axe(tmp_path_factory.getbasetemp() / "axe")
    if axe is None:
        pytest.skip("axe-core can't be had from npm")
    page = open_test(color_scheme=scheme)
    for where in ("welcome", "pair", "scale", "end"):
        bring_to(page, where)
        assert not find_barriers(page, axe), where


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["ours={takes}/secretive"], "two systems"),
        (["ours={takes}/secretive", "ours={takes}/undercover"], "each name once"),
        (["{takes}/secretive", "real={takes}/undercover"], "NAME=FILES"),
        (["ours={takes}/none/*.mid", "real={takes}/undercover"], "none"),
        (["ours=README.md", "real={takes}/undercover"], "README.md"),
    ],
)
def test_wrong_takes_are_named(takes, texts, named):
    with pytest.raises(ConfigError, match=named):
        parse_takes([text.format(takes=takes) for text in texts])


def test_takes_of_one_name_belong_together(tmp_path):
    a, b = ([tmp_path / system / name for name in ("1.mid", "2.mid", "3.mid")] for system in "ab")
    chosen = choose_takes({"a": a, "b": [b[2], b[0], b[1]]}, items=2)
    assert [path.stem for path in chosen["a"]] == [path.stem for path in chosen["b"]] == ["1", "3"]
    with pytest.raises(ConfigError, match="b has 1 takes"):
        choose_takes({"a": a, "b": b[:1]}, items=2)
    with pytest.raises(ConfigError, match="Unknown reference"):
        make_test({"a": a, "b": b}, reference="c")
    with pytest.raises(ConfigError, match="the reference and the anchor"):
        make_test({"a": a, "b": b}, reference="a", anchor="a")


def test_kinds_and_the_open_reference(takes):
    chosen = parse_takes([f"{name}={takes / name}" for name in ("secretive", "undercover")])
    _, key = make_test(chosen, kinds="rate", reference="undercover")
    assert [item["kind"] for item in key["items"]] == ["rate", "rate"]
    for item in key["items"]:
        assert key["takes"][item["reference"]]["system"] == "undercover" and item["reference"] in item["takes"]


def test_excerpts_begin_with_sound_fade_and_are_equally_loud():
    time_s = np.arange(4 * RATE_HZ) / RATE_HZ
    tone = np.where(time_s > 1, np.sin(2 * np.pi * 220 * time_s), 0)[:, None].repeat(2, 1).astype(np.float32)
    loud, soft = (excerpt(Audio(gain * tone, RATE_HZ, "sine"), 2.0) for gain in (0.8, 0.1))
    assert loud.seconds == 2.0 and np.flatnonzero(loud.samples[:, 0])[0] == pytest.approx(0.05 * RATE_HZ, abs=10)
    assert np.abs(loud.samples[-100:]).max() < 0.02 < np.abs(loud.samples[RATE_HZ // 2 :]).max()
    one, other = equally_loud([loud, soft])
    assert loudness(one) == pytest.approx(loudness(other), rel=1e-3)
    assert max(np.abs(audio.samples).max() for audio in (one, other)) == pytest.approx(0.89, abs=0.01)
    silence = Audio(np.zeros((100, 2), np.float32), RATE_HZ, "none")
    assert not equally_loud([silence, loud])[0].samples.any()


def test_wav_files_of_all_widths_and_of_none(tmp_path):
    extremes = [
        "ff 00",
        "ff7f 0180",
        "ffff7f 010080",
        "ffffff7f 01000080",
    ]  # the greatest number and the least, by width
    for width, bits in enumerate(map(bytes.fromhex, extremes), 1):
        with wave.open(str(tmp_path / "a.wav"), "wb") as file:
            file.setparams((1, width, 8000, 0, "NONE", ""))
            file.writeframes(bits)
        audio = read_wav(tmp_path / "a.wav")
        assert audio.samples.shape == (2, 2) and np.allclose(audio.samples[:, 0], [1, -1], atol=0.01), width
        assert np.array_equal(audio.samples[:, 0], audio.samples[:, 1]) and audio.sample_rate_hz == 8000
    (tmp_path / "b.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(ConfigError, match="b.wav"):
        read_wav(tmp_path / "b.wav")

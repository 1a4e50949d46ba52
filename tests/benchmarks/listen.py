"""How good listening is, in figures: the player, the page of takes, and notebook 06 in a real JupyterLab, in a real Chromium.

    python tests/benchmarks/listen.py [--out FOLDER] [--page docs/listen/index.html]

player_mb_60s   a minute's page: 600 notes, chords, grand piano if libfluidsynth is there (target <= 1.5)
first_paint_ms  from opening a page with 5,000 notes to the frame that shows them, median of 5 (<= 300)
sync_ms         how far the playhead is from what sounds, 95th percentile of clicks heard after five seeks (<= 20)
sync_speeds_ms  the same at half, three quarters and one and a half times the tempo, in seconds of the music
script_ms_p95   script time of a frame while a page with 2,000 notes in view is scrolled and zoomed (<= 8)
listen_mb       the page of twelve takes, see listen_page.py: it is made first, or is --page (<= 12)
console_errors  on all of these pages (0)
a11y_serious    serious or critical findings of axe-core in light and dark (0); null where axe-core can't be had
cancel_s        from pressing Cancel while a solo of two minutes is played to the desk's saying so (<= 1)
first_solo_s    from Run All Cells in a new kernel to sound by the released weights (<= 20)

--out keeps the pages and screenshots of player, takes and notebook at three widths. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]

from browser import find_axe, find_barriers, open_browser, watch, why_no_browser  # noqa: E402
from lab import Lab, copy_project, serve  # noqa: E402
from listen_page import format_page, play, requests  # noqa: E402

from lib.display.player import player_html, takes_html  # noqa: E402
from lib.generation.generate import load_improviser  # noqa: E402
from lib.music.audio import Audio, render_audio  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.tempo_map import Metre, TempoMap  # noqa: E402

SECONDS = 60
SYMBOLS = ("Dm7", "G7", "Cmaj7", "A7b9", "Dm7b5", "G7alt", "Cm6", "Bbmaj7/D")
CHORDS = [(2.0 * bar, SYMBOLS[bar % 8]) for bar in range(SECONDS // 2)]
GRID = TempoMap.constant(120, Metre(4, 4), SECONDS // 2)
NOTEBOOK_HEIGHT = 1000
WIDTHS = ((360, 640), (1280, 480), (2560, 800))
SEEKS_S = (0.0, 3.2, 7.77, 12.3456, 17.01)
SPEEDS = (0.5, 0.75, 1.5)
LISTEN_S = 2.6
MEASURED_IN_A_BROWSER = ("first_paint_ms", "sync_ms", "sync_speeds_ms", "script_ms_p95", "a11y_serious", "cancel_s",
                         "first_solo_s", "console_errors")  # fmt: skip
SERVED = "http://localhost/player/"  # answered by the test itself

# runs before the page: when its notes were first shown, and how long the script of each frame took
WATCH_FRAMES = """
  window.frames = new Map(); window.shown = 0;
  window.ask = window.requestAnimationFrame.bind(window);
  window.spend = (stamp, act) => {
    const from = performance.now();
    act();
    frames.set(stamp, (frames.get(stamp) ?? 0) + performance.now() - from);
  };
  window.requestAnimationFrame = act => ask(stamp => spend(stamp, () => act(stamp)));
  const look = () => typeof stale !== "undefined" && !stale ? ask(() => { shown = performance.now(); }) : ask(look);
  ask(look);
"""
# what reaches the loudspeaker, and where the playhead was drawn, on one clock
HEAR = """async ([from, rate, seconds]) => {
  const context = window.ear?.context ?? new AudioContext();
  if (!window.ear) {
    const code = `registerProcessor("ear", class extends AudioWorkletProcessor {
      quiet = 0;
      process([[samples]]) {
        for (let at = 0; samples && at < samples.length; at++) {
          if (Math.abs(samples[at]) < 0.3) { this.quiet++; continue; }
          if (this.quiet > sampleRate / 5) this.port.postMessage(currentTime + at / sampleRate);
          this.quiet = 0;
        }
        return true;
      } })`;
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    window.ear = new AudioWorkletNode(context, "ear");
    context.createMediaElementSource(soundOf(state.take)).connect(ear).connect(context.destination);
    await context.resume();
  }
  const heard = [], drawn = [];
  ear.port.onmessage = event => heard.push(event.data);
  setSpeed(rate);
  moveTo(from);
  startSound();
  const end = performance.now() + seconds * 1000;
  await new Promise(done => {
    const look = () => {
      drawn.push([context.currentTime, state.time]);
      if (performance.now() < end) requestAnimationFrame(look); else done();
    };
    requestAnimationFrame(look);
  });
  stopSound();
  return { heard, drawn };
}"""
SCROLL = """async () => {
  const box = roll.getBoundingClientRect(), middle = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
  frames.clear();
  for (let k = 0; k < 150; k++) {
    if (k % 50 === 0) setView(0, total * 0.9);
    const turn = k % 10 === 0 ? { deltaY: k % 20 ? 5 : -5, ctrlKey: true } : { deltaX: 2 };
    // the wheel's own script counts with the frame that it leads to
    await new Promise(done => ask(stamp => {
      const event = new WheelEvent("wheel", { ...turn, ...middle, bubbles: true, cancelable: true });
      spend(stamp, () => roll.dispatchEvent(event));
      ask(next => { frames.set(next, (frames.get(next) ?? 0) + frames.get(stamp)); frames.delete(stamp); done(); });
    }));
  }
  return [...frames.values()];
}"""


def main():
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the pages and screenshots here")
    parser.add_argument("--page", type=Path, help="the page of takes; made from the released weights where there is none")
    words = parser.parse_args()
    figures = {"benchmark": "listen"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (words.out or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        figures.update(measure(folder, Path(scratch), words.page))
    print(json.dumps(figures))


def measure(folder, scratch, page_of_takes):
    """The figures; None for what needs a browser that is not there."""
    sizes = {**write_pages(folder), "listen_mb": write_page_of_takes(folder, page_of_takes)}
    missing = why_no_browser()
    if missing:
        print(f"the rest is not measured: {missing}", file=sys.stderr)
        return {**sizes, **dict.fromkeys(MEASURED_IN_A_BROWSER)}
    wrongs = []
    with open_browser() as browser:
        figures = {
            "first_paint_ms": measure_first_paint(browser, folder, wrongs),
            **measure_sync(browser, folder, wrongs),
            "script_ms_p95": measure_scripts(browser, folder, wrongs),
        }
        axe = find_axe(scratch / "axe")
        figures["a11y_serious"] = None if axe is None else count_barriers(browser, folder, axe)
        take_pictures(browser, folder, wrongs)
        figures.update(measure_notebook(browser, folder, scratch, wrongs))
    wrongs = [wrong for found in wrongs for wrong in found if not wrong.startswith(SERVED)]
    print(*(f"console: {wrong}" for wrong in wrongs), sep="\n", file=sys.stderr)
    return {**sizes, **figures, "console_errors": len(wrongs)}


def write_pages(folder):
    """The pages that are measured, and the size of a minute's."""
    solo, other = improvisation(600, 1), improvisation(600, 2)
    pages = {"minute": player_html(solo, render_audio(solo.between(0, SECONDS - 2)), "Solo", CHORDS, GRID)}
    sound = render_audio(other)
    takes = {"original": (solo, sound), "\uc7ac\uad6c\uc131": (other, sound), "silent": (other, None)}
    pages["takes"] = takes_html(takes, "Dm7 G7 | \ube0c\ub798\ub4dc", CHORDS, GRID)
    for count in (2250, 5000):  # of 2,250 notes 2,000 are in view while the page is scrolled
        pages[f"notes_{count}"] = player_html(improvisation(count, 3), sound, f"{count} notes", CHORDS)
    pages["clicks"] = player_html(*clicks(), "clicks")
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {"player_mb_60s": round(len(pages["minute"].encode()) / 1e6, 3)}


def write_page_of_takes(folder, page):
    """listen.html, a copy of a page or made by the released weights; its megabytes."""
    if page is None:
        text = format_page(play(requests(), load_improviser(released=True, device="cpu")))
    else:
        text = page.read_text(encoding="utf-8")
    (folder / "listen.html").write_text(text, encoding="utf-8")
    return round(len(text.encode()) / 1e6, 2)


def improvisation(count, seed):
    """Notes enough like a solo: two hands, phrases, pedal."""
    random = np.random.default_rng(seed)
    onset_s = np.sort(random.uniform(0, SECONDS - 2, count))
    left_hand = random.random(count) < 0.35
    pitch = np.where(left_hand, 46 + random.normal(0, 5, count), 68 + 12 * np.sin(onset_s / 7) + random.normal(0, 6, count))
    duration_s = np.where(left_hand, random.uniform(0.4, 1.6, count), random.exponential(0.22, count).clip(0.06, 1.2))
    velocity = (64 + 22 * np.sin(onset_s / 5 + left_hand) + random.normal(0, 10, count)).clip(20, 120)
    pedal_s = np.stack([np.arange(0, SECONDS - 3, 2) + 0.15, np.arange(0, SECONDS - 3, 2) + 1.9], 1)
    return Notes.from_arrays(onset_s, duration_s, pitch.round().clip(24, 105), velocity, pedal_s)


def clicks(seconds=21, rate_hz=44_100):
    """A click with each note, two a second: (Notes, Audio)."""
    onset_s = np.arange(0.5, seconds - 1, 0.5)
    samples, time = np.zeros((seconds * rate_hz, 2), np.float32), np.arange(2000)
    for place in np.round(onset_s * rate_hz).astype(int):
        samples[place : place + 2000] = (0.8 * np.exp(-time / 400) * np.sin(time * 0.3 + 1.2))[:, None]
    notes = Notes.from_arrays(onset_s, onset_s * 0 + 0.2, 60 + np.arange(len(onset_s)) % 12, onset_s * 0 + 80)
    return notes, Audio(samples, rate_hz, "sine")


def opened(browser, folder, name, wrongs, script="", **words):
    """One of the pages, its sound ready; what goes wrong on it is gathered in wrongs."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 480}, **words}).new_page()
    page.set_default_timeout(120_000)
    wrongs.append(watch(page))
    if script:
        page.add_init_script(script)
    page.goto((folder / f"{name}.html").as_uri())
    page.wait_for_function("music.takes.every(take => take.ready || !take.sound)")
    return page


def opened_takes(browser, folder, wrongs, **words):
    """The page of takes, the sound of its first one ready."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 480}, **words}).new_page()
    wrongs.append(watch(page))
    page.goto((folder / "listen.html").as_uri())
    player = page.locator("iframe").first.element_handle().content_frame()
    player.wait_for_function("typeof state !== 'undefined' && state.take.ready")
    return page


def measure_first_paint(browser, folder, wrongs):
    """Milliseconds, median; the first opening is not counted."""
    times_ms = []
    for _ in range(6):
        page = opened(browser, folder, "notes_5000", wrongs, WATCH_FRAMES)
        times_ms.append(page.evaluate("Math.max(shown, ...performance.getEntriesByType('paint').map(entry => entry.startTime))"))
        page.context.close()
    print("first paint, ms:", " ".join(f"{time:.0f}" for time in times_ms))
    return round(float(np.median(times_ms[1:])), 1)


def measure_sync(browser, folder, wrongs):
    """Milliseconds between a click that is heard and the playhead on its note: as written, and at other speeds."""
    page = browser.new_page()
    wrongs.append(watch(page))
    text = (folder / "clicks.html").read_text(encoding="utf-8")
    page.route(f"{SERVED}**", lambda route: route.fulfill(body=text, content_type="text/html"))
    page.goto(SERVED)  # Web Audio's worklets want more than a file
    page.wait_for_function("state.take.ready")
    at_tempo = [off for seek_s in SEEKS_S for off in hear_clicks(page, seek_s, 1.0)]
    at_speeds = [off for rate in SPEEDS for seek_s in SEEKS_S[1:3] for off in hear_clicks(page, seek_s, rate)]
    page.close()
    return {
        name: round(float(np.percentile(np.abs(off), 95)), 1)
        for name, off in (("sync_ms", at_tempo), ("sync_speeds_ms", at_speeds))
    }


def hear_clicks(page, seek_s, rate):
    """Of each click from a place on: by how many milliseconds of music the playhead was past it when it was heard."""
    result = page.evaluate(HEAR, [seek_s, rate, LISTEN_S])
    places_s = np.interp(result["heard"], *np.array(result["drawn"]).T)
    off_ms = (places_s - np.round(places_s * 2) / 2) * 1000
    print(f"from {seek_s} s at {rate}, the playhead past the sound, ms:", *off_ms.round(1))
    return off_ms.tolist()


def measure_scripts(browser, folder, wrongs):
    """Milliseconds of script a frame, 95th percentile; the best of three passes, for other programs take time as well."""
    page = opened(browser, folder, "notes_2250", wrongs, WATCH_FRAMES)
    passes_ms = [np.array(page.evaluate(SCROLL)) for _ in range(3)]
    page.context.close()
    p95_ms = [float(np.percentile(spent_ms, 95)) for spent_ms in passes_ms]
    print("script a frame, ms: median", np.median(passes_ms).round(2), "p95 of each pass", np.round(p95_ms, 2))
    return round(min(p95_ms), 2)


def count_barriers(browser, folder, axe):
    """Serious findings in both colour schemes."""
    count = 0
    for scheme in ("light", "dark"):
        page = opened(browser, folder, "takes", [], color_scheme=scheme)
        page.evaluate("byId('help').open = true; select(2, 4); choose(music.takes[1])")
        found = find_barriers(page, axe)
        print(*found, sep="\n")
        count += len(found)
        page.context.close()
        page = opened_takes(browser, folder, [], color_scheme=scheme)
        found = find_barriers(page, axe)
        print(*found, sep="\n")
        count += len(found)
        page.context.close()
    return count


def take_pictures(browser, folder, wrongs):
    """player_SCHEME_WIDTH.png, listen_SCHEME_WIDTH.png."""
    for scheme in ("light", "dark"):
        for width, height in WIDTHS:
            page = opened(browser, folder, "takes", wrongs, color_scheme=scheme, viewport={"width": width, "height": height})
            page.evaluate("seek(6.3); select(8, 12)")
            page.wait_for_timeout(200)
            page.screenshot(path=folder / f"player_{scheme}_{width}.png")
            page.context.close()
            page = opened_takes(browser, folder, wrongs, color_scheme=scheme, viewport={"width": width, "height": height})
            page.screenshot(path=folder / f"listen_{scheme}_{width}.png", full_page=True)
            page.context.close()


def measure_notebook(browser, folder, scratch, wrongs):
    """Seconds to the first solo and to a cancelled one, in notebook 06; and its pictures, notebook_WIDTH.png."""
    with serve(copy_project(scratch / "project")) as address:
        page = browser.new_page(viewport={"width": WIDTHS[1][0], "height": NOTEBOOK_HEIGHT})
        lab = Lab(page, address)
        wrongs.append(lab.wrongs)
        figures = {"first_solo_s": round(measure_first_solo(lab), 1), "cancel_s": round(measure_cancel(lab), 3)}
        lab.slider("seconds").press("Home")
        lab.button("Generate").click()
        lab.take(1)
        page.keyboard.press("Control+b")  # without the list of files
        for width, _ in WIDTHS:
            page.set_viewport_size({"width": width, "height": NOTEBOOK_HEIGHT})
            page.wait_for_timeout(500)
            for name, place in (("player", 'iframe[title*="released: "]'), ("desk", 'button:has-text("Generate")')):
                page.locator(place).last.evaluate("element => element.scrollIntoView({ block: 'center' })")
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"notebook_{name}_{width}.png")
        page.close()
    return figures


def measure_first_solo(lab):
    """Seconds from Run All Cells to sound."""
    began_s = time.monotonic()
    lab.run_all()
    player = lab.player("released: ")
    player.locator("#play").click()
    player.wait_for_function("soundOf(state.take).currentTime > 0")
    seconds = time.monotonic() - began_s
    player.locator("#play").click()
    lab.idle()
    return seconds


def measure_cancel(lab):
    """Seconds, the most of three."""
    lab.slider("seconds").press("End")
    taken_s = []
    for _ in range(3):
        lab.button("Generate").click()
        lab.page.locator('img[alt*="steps:"]').wait_for()
        taken_s.append(lab.cancel())
    return max(taken_s)


if __name__ == "__main__":
    main()

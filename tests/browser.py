"""A real browser for tests and benchmarks: Playwright for Python driving the Chromium that the machine has."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# a sound that nobody clicked for may play; as root Chromium has no sandbox of its own
WORDS = ("--autoplay-policy=no-user-gesture-required", "--no-sandbox", "--mute-audio")


def find_chromium():
    """Path of a Chromium, CHROMIUM first; None: there is none."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


def why_no_browser():
    """What is missing for a browser, in words; "" where nothing is."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "Playwright is not installed (pip install playwright)"
    return "" if find_chromium() else "there is no Chromium on this machine (apt install chromium, or set CHROMIUM)"


@contextmanager
def open_browser():
    """A headless Chromium, closed again."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(WORDS))
        try:
            yield browser
        finally:
            browser.close()


def watch(page):
    """What goes wrong on the page from now on: a list that grows by console errors, uncaught errors, requests to a network."""
    wrongs = []
    page.on("console", lambda message: wrongs.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("request", lambda asked: wrongs.append(asked.url) if asked.url.startswith(("http:", "https:", "ws")) else None)
    return wrongs


def find_axe(folder):
    """Path of axe-core's script, which tells what hinders people: AXE, else from npm into the folder; None: not to be had."""
    if os.environ.get("AXE"):
        return Path(os.environ["AXE"])
    script = Path(folder) / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists() and shutil.which("npm"):
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
        subprocess.run(words, capture_output=True, timeout=180)
    return script if script.exists() else None


def find_barriers(page, axe):
    """What axe-core calls serious or critical on the page, as "rule: elements"."""
    page.add_script_tag(path=str(axe))
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [f"{v['id']}: {[node['html'][:120] for node in v['nodes']]}" for v in found if v["impact"] in ("serious", "critical")]

"""A real JupyterLab with notebook 06 in a real browser: what its tests and benchmarks press and read."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("lib", "notebooks", "data/released", "data/soundfont")
QUIET = '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
START_S, RUN_S = 60, 200

CANCEL = """() => new Promise(done => {
  const said = () => [...document.querySelectorAll('.widget-label')].some(label => label.textContent === 'cancelled');
  const from = performance.now(), look = () => said() ? done((performance.now() - from) / 1000) : setTimeout(look, 5);
  [...document.querySelectorAll('button')].filter(button => button.textContent.includes('Cancel')).pop().click();
  look();
})"""


def copy_project(folder):
    """The project without its data and runs, so that what a notebook leaves stays apart; the folder."""
    for name in NEEDED:
        shutil.copytree(ROOT / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(folder)


@contextmanager
def serve(project, python=sys.executable):
    """A JupyterLab of this Python whose files are the project; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = project / ".jupyter"
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    options = {"ServerApp.root_dir": project, "ServerApp.port": port, "ServerApp.token": "", "IdentityProvider.token": "",
               "ServerApp.open_browser": False, "ServerApp.allow_root": True,
               "ServerApp.terminals_enabled": False}  # fmt: skip
    words = [python, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "page_config.json").write_text(QUIET)  # no question about news
    with open(home / "server.log", "w") as log:
        process = subprocess.Popen(words, cwd=project, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(address, process, home / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_up(address, process, log):
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            return urllib.request.urlopen(f"{address}/api", timeout=5).read()
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


class Lab:
    """A notebook, open in JupyterLab; its widgets are found by what is written beside or on them.

    Attributes
    ----------
    page : Playwright's
    wrongs : what went wrong on the page, in words
    """

    def __init__(self, page, address, notebook="notebooks/06_listen.ipynb"):
        self.page, self.wrongs = page, []
        page.set_default_timeout(30_000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.wrongs.append(str(error)))
        page.goto(f"{address}/lab/tree/{notebook}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.idle()  # the kernel is there

    def _note(self, said):
        elsewhere = said.location["url"].startswith("https:")  # the badge that opens Colab: tests have no network
        if said.type == "error" and not elsewhere:
            self.wrongs.append(f"{said.text} {said.location}")

    def press_menu(self, menu, item):
        """As a mouse would."""
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}$")).click()

    def run_all(self):
        """Press Run All Cells; returns at once."""
        self.press_menu("Run", "Run All Cells")

    def idle(self):
        """Until nothing runs any more."""
        self.page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=1000 * RUN_S)

    def player(self, title, of_desk=False):
        """The frame of the player whose title has this in it, or of the desk's, once its sound is there."""
        iframe = self.page.locator(f'{".widget-html " if of_desk else ""}iframe[title*="{title}"]').last
        iframe.wait_for(state="attached", timeout=1000 * RUN_S)
        iframe.scroll_into_view_if_needed()
        frame = iframe.element_handle().content_frame()
        frame.wait_for_function("typeof state !== 'undefined' && state.take.ready")
        return frame

    def field(self, label):
        """The input of a knob."""
        return self.page.locator(f'.jupyter-widgets:has(> label:text-is("{label}")) :is(input, textarea)').first

    def slider(self, label):
        """The handle of a knob that is slid."""
        slider = f'.widget-slider:has(> label:text-is("{label}"))'
        return self.page.locator(f'{slider} [role="slider"], {slider} .ui-slider-handle').first

    def button(self, label):
        """A widget that can be pressed."""
        return self.page.locator(f'button.jupyter-button:has-text("{label}")').last

    def take(self, seed):
        """Until a take of this seed is on the strip; its card's button."""
        card = self.page.locator(f'button:has-text("seed {seed}")').last
        card.wait_for(timeout=1000 * RUN_S)
        return card

    def cancel(self):
        """Press Cancel; the seconds until the desk says that it did."""
        return self.page.evaluate(CANCEL)

"""The desk in a real kernel, pressed as a browser presses it: by messages, while it plays."""

import time

import pytest
from jupyter_client.manager import start_new_kernel

DESK = """
import time
import numpy as np
from lib.music.notes import Notes
from lib.display import controls
from lib.generation.request import GenerateRequest
from lib.music.piano_roll import notes_to_piano_roll
from lib.music.tempo_map import Metre, TempoMap, in_beats

beats = TempoMap.constant(120.0, Metre(4, 4), 2)
notes, steps = Notes.from_arrays([0.0, 1.0], [0.5, 0.5], [60, 64], [80, 80]), []

class Played:
    notes, chords, tempo_map, begins_s = notes, [], beats, 0.0

def improvise(request, callback):
    for step in range(1, num_steps + 1):
        end_s = time.monotonic() + 0.05
        while time.monotonic() < end_s:  # busy, as a sampler on a CPU is
            np.ones((200, 200)) @ np.ones((200, 200))
        steps.append(step)
        place = {"step": step, "num_steps": num_steps, "window": 0, "num_windows": 1}
        callback({**place, "piano_roll": lambda: notes_to_piano_roll(in_beats(notes, beats), 512)})
    return Played

num_steps = 400
panel = controls.solo_controls(improvise, GenerateRequest)
{name: getattr(panel, name).model_id for name in ("play", "cancel", "message", "preview", "player")}
"""


class Desk:
    """A kernel with a panel in it."""

    def __init__(self, client):
        self.client, self.ids = client, {}
        self.ids = self.run(DESK)

    def run(self, code):
        """The value of the last line."""
        found = []
        reply = self.client.execute_interactive(code, timeout=60, output_hook=found.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        values = [one["content"]["data"]["text/plain"] for one in found if one["msg_type"] == "execute_result"]
        return eval(values[0]) if values else None

    def click(self, name):
        """What a front end sends."""
        data = {"method": "custom", "content": {"event": "click"}, "buffers": []}
        message = self.client.session.msg("comm_msg", {"comm_id": self.ids[name], "data": data})
        self.client.shell_channel.send(message)

    def until(self, name, condition, timeout_s=20.0):
        """Wait until the front end is told a value of a widget that fits; the value."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            content = self.client.get_iopub_msg(timeout=timeout_s)["content"]
            value = content.get("data", {}).get("state", {}).get("value") if content.get("comm_id") == self.ids[name] else None
            if value is not None and condition(value):
                return value
        raise AssertionError(f"{name} never said it")


@pytest.fixture(scope="module")
def desk():
    manager, client = start_new_kernel()
    yield Desk(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_press_plays_shows_and_cancels_within_a_second(desk):
    desk.click("play")
    assert desk.until("preview", bool).startswith("<img alt=")
    desk.until("message", lambda text: text.endswith("left"))
    began_s = time.monotonic()
    desk.click("cancel")
    desk.until("message", lambda text: text == "cancelled")
    assert time.monotonic() - began_s < 1.0
    ended, before, after = desk.run("ended = panel.wait(1.0); before = len(steps); time.sleep(0.3); (ended, before, len(steps))")
    assert ended and before == after < 400, "nothing is played any more"


def test_it_shows_itself(desk):
    shown = []
    desk.client.execute_interactive("panel", timeout=60, output_hook=shown.append)
    (result,) = [one["content"]["data"] for one in shown if one["msg_type"] in ("execute_result", "display_data")]
    assert "application/vnd.jupyter.widget-view+json" in result


def test_the_solo_arrives(desk):
    desk.run("num_steps = 3")
    desk.click("play")
    assert "srcdoc" in desk.until("player", bool)
    assert desk.until("message", lambda text: "notes" in text) == "2 notes"

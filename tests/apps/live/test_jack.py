"""Ports of the system through python-rtmidi: JACK with its dummy driver, which wants no sound card."""

import os
import shutil
import subprocess
import time

import pytest
from instruments import wait_for
from mido import Message

from lib.apps.live.midi_output_process import MidiOutputProcess
from lib.apps.live.ports import find_port, is_available, list_ports, open_input, open_output
from lib.apps.live.scheduler import key, pedal

rtmidi = pytest.importorskip("rtmidi", reason="python-rtmidi is not installed (requirements-live.txt)")


@pytest.fixture(scope="module")
def jack():
    """A JACK server of one's own, and MIDO_BACKEND set to it."""
    if not shutil.which("jackd") or rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
        pytest.skip("there is no jackd (apt-get install jackd2), or an rtmidi without JACK")
    name = f"duet{os.getpid()}"
    names = {"JACK_DEFAULT_SERVER": name, "JACK_NO_START_SERVER": "1", "MIDO_BACKEND": "mido.backends.rtmidi/UNIX_JACK"}
    line = ["jackd", "-r", "-n", name, "-d", "dummy", "-p", "64"]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(3)  # until it answers, on a busy machine too
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        if server.poll() is not None:
            pytest.skip("jackd does not start here")
        yield name
    server.terminate()
    server.wait(10)


@pytest.fixture
def synthesizer(jack):
    """A virtual input named `Grand`: (messages, its port)."""
    heard = []
    port = open_input("virtual:Grand", lambda message, now_s: heard.append((now_s, message)))
    yield heard, port
    port.close()


def keys_down(heard):
    down = set()
    for _, message in list(heard):
        if message.type == "note_on" and message.velocity:
            down.add(message.note)
        elif message.type in ("note_on", "note_off"):
            down.discard(message.note)
    return down


@pytest.mark.usefixtures("synthesizer")
def test_ports_are_listed_and_found():
    _, outputs = list_ports()
    assert "Grand" in find_port("grand", outputs, "output")
    assert is_available("Grand", "output") and not is_available("Organ", "output")


def test_virtual_output_reaches_an_input(jack):
    out, heard = open_output("virtual:Partner"), []
    port = open_input("Partner", lambda message, now_s: heard.append(message))
    for pitch in range(40, 60):
        out.send(Message("note_on", note=pitch))
    assert wait_for(lambda: len(heard) == 20) and [message.note for message in heard] == list(range(40, 60))
    port.close()
    out.close()


@pytest.mark.slow  # processes that connect to JACK
def test_a_killed_scheduler_is_silenced_over_jack(synthesizer):
    heard, _ = synthesizer
    output = MidiOutputProcess("Grand")
    now_s = time.perf_counter() + 0.1
    output.order("play", [*(key(now_s, now_s + 60, pitch, 80) for pitch in (50, 60)), pedal(now_s, now_s + 60)])
    assert wait_for(lambda: keys_down(heard) == {50, 60})
    output.scheduler.kill()
    assert wait_for(lambda: not keys_down(heard), 15)
    assert wait_for(lambda: [m.control for _, m in heard if m.type == "control_change"][-3:] == [64, 120, 123])
    assert wait_for(lambda: not output.watchdog.is_alive())
    output.close()


@pytest.mark.slow
def test_an_instrument_that_is_away_at_the_end_is_silenced_when_it_is_back_over_jack(jack):
    heard = []
    port = open_input("virtual:Organ", lambda message, now_s: heard.append((now_s, message)))
    output = MidiOutputProcess("Organ")
    now_s = time.perf_counter() + 0.1
    output.order("play", [key(now_s, now_s + 60, pitch, 80) for pitch in (50, 60)])
    assert wait_for(lambda: keys_down(heard) == {50, 60})
    port.close()
    assert output.close() is None, "JACK does not say that what is sent goes nowhere"
    port = open_input("virtual:Organ", lambda message, now_s: heard.append((now_s, message)))
    assert wait_for(lambda: not keys_down(heard), 15) and output.wait()
    assert [m.control for _, m in heard if m.type == "control_change"][-3:] == [64, 120, 123]
    port.close()


@pytest.mark.slow
def test_notes_come_on_time_over_jack(synthesizer):
    messages, _ = synthesizer
    output = MidiOutputProcess("Grand")
    now_s, before = time.perf_counter() + 0.1, len(messages)
    output.order("play", [key(now_s + n / 20, now_s + n / 20 + 0.02, 60 + n, 80) for n in range(20)])
    assert wait_for(lambda: sum(m.type == "note_on" for _, m in messages[before:]) > 15)  # on a busy machine JACK loses some
    late_ms = [1000 * (at_s - now_s - (m.note - 60) / 20) for at_s, m in messages[before:] if m.type == "note_on"]
    assert sorted(late_ms)[8] < 20
    output.close()

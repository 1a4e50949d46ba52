"""Ports: names, sockets against mido's own, and what is said where there is no MIDI."""

import sys
import time

import pytest
from instruments import Keyboard, Synthesizer, wait_for
from mido import Message

from lib.apps.live import ports
from lib.apps.live.ports import PortError, find_port, is_lost, open_input, open_output

NAMES = ["loopMIDI Port 1", "Midi Through:Midi Through Port-0 14:0", "Grand 20:0", "Grand Two 24:0"]


@pytest.mark.parametrize(("system", "name", "found"), [
    ("win32", "loopMIDI Port 1", NAMES[0]), ("win32", "loopmidi", NAMES[0]), ("win32", "loopMIDI Port 3", NAMES[0]),
    ("linux", "Grand 28:0", NAMES[2]), ("linux", "through", NAMES[1]), ("darwin", "loopMIDI Port 1", NAMES[0]),
])  # fmt: skip
def test_a_port_is_found_by_its_name_or_a_part(monkeypatch, system, name, found):
    monkeypatch.setattr(sys, "platform", system)
    assert find_port(name, NAMES, "output") == found


def test_another_bus_is_not_the_one_that_is_meant(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PortError, match="Bus 2"):
        find_port("IAC Driver Bus 2", ["IAC Driver Bus 1"], "output")


def test_a_port_that_goes_while_it_is_opened_is_not_there(monkeypatch):
    class Gone:
        get_input_names = get_output_names = staticmethod(lambda: ["Grand"])

        def open_output(self, name, virtual):
            raise ValueError("Invalid port number.")  # as rtmidi's InvalidPortError is one

    monkeypatch.setattr(ports, "backend", Gone)
    with pytest.raises(PortError, match="'Grand' can't be opened: Invalid port number"):
        open_output("Grand")


def test_what_is_not_there_or_not_clear_is_said():
    with pytest.raises(PortError, match="'Gramd'.*Did you mean 'Grand 20:0'.*--list"):
        find_port("Gramd", NAMES, "input")
    with pytest.raises(PortError, match="could be 'Grand 20:0', 'Grand Two 24:0'"):
        find_port("gran", NAMES, "input")
    with pytest.raises(PortError, match="There are none"):
        find_port("Grand", [], "input")


def test_without_rtmidi_the_way_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    monkeypatch.delitem(sys.modules, "mido.backends.rtmidi", raising=False)
    with pytest.raises(PortError, match="pip install -r requirements-live.txt"):
        ports.list_ports()
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(PortError, match=r"no wheels of it for Python 3\.13"):
        ports.list_ports()


def test_sockets_speak_with_mido():
    keyboard, heard = Keyboard(), []
    port = open_input(keyboard.name, lambda message, now_s: heard.append((message, now_s)))
    keyboard.accept()
    sent_s = time.perf_counter()
    for pitch in range(60, 70):
        keyboard.send("note_on", note=pitch, velocity=80)
    keyboard.send("songpos", pos=16)
    assert wait_for(lambda: len(heard) == 11)
    assert [message.note for message, _ in heard[:-1]] == list(range(60, 70)) and heard[-1][0].pos == 16
    assert 0 <= heard[0][1] - sent_s < 1
    port.close()
    keyboard.close()


def test_a_socket_knows_that_the_other_end_is_gone():
    keyboard = Keyboard()
    port = open_input(keyboard.name, print)
    keyboard.accept()
    keyboard.unplug()
    assert wait_for(lambda: is_lost(port))
    port.close()
    keyboard.close()
    synthesizer = Synthesizer()
    out = open_output(synthesizer.name)
    out.send(Message("note_on", note=60))
    assert wait_for(lambda: synthesizer.down == {(0, 60)})
    synthesizer.unplug()
    assert wait_for(lambda: is_lost(out))
    with pytest.raises(OSError, match="hung up"):
        out.send(Message("note_on", note=60))
    out.close()
    synthesizer.close()


@pytest.mark.parametrize(("name", "why"), [("socket:127.0.0.1:1", "does not answer"), ("socket:nowhere", "write socket:HOST:PORT")])
def test_a_socket_that_is_not_there(name, why):
    with pytest.raises(PortError, match=why):
        open_output(name)

"""The command: what it refuses, an input that survives unplugging, and the whole of it with the released model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from instruments import Keyboard, Synthesizer, read_journal, wait_for
from typer.testing import CliRunner

from lib.apps.cli.main import app
from lib.apps.live import duet as duets
from lib.apps.live.duet import Journal, LiveDuet, PortMonitor
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.model_process import ProcessError
from lib.apps.live.ports import is_lost
from lib.config import ConfigError
from lib.music.beat_tracking import phase_lock

ROOT = Path(__file__).resolve().parents[3]
PORTS = ["--input", "socket:127.0.0.1:1", "--output", "socket:127.0.0.1:1"]


@pytest.mark.parametrize(("words", "why"), [
    (["--mode", "fourz", *PORTS, "--released"], "mode"), (["--tempo", "900", *PORTS, "--released"], "tempo_bpm"),
    (["--metre", "4", *PORTS, "--released"], "127.0.0.1:1"), (["--metre", "7/9", *PORTS, "--released"], "metre.*7/8"),
    (["--ends-by", "bell", *PORTS, "--released"], "ends_by.*key:PITCH"), (["--chords", "H7", *PORTS, "--released"], "H7"),
    (["--released"], "--input NAME --output NAME.*--list"), (PORTS, "or --run RUN"),
    ([*PORTS, "--released"], "127.0.0.1:1 does not answer"),
])  # fmt: skip
def test_what_cannot_be_is_refused(words, why):
    refused = CliRunner().invoke(app, ["duet", *words])
    assert isinstance(refused.exception, ConfigError)
    with pytest.raises(ConfigError, match=why):
        raise refused.exception


def test_an_input_survives_unplugging():
    keyboard = Keyboard()
    ports = PortMonitor(keyboard.name, "Grand")
    keyboard.accept()
    keyboard.send("note_on", note=60)
    assert ports.events.get(timeout=5)[1].note == 60
    keyboard.unplug()
    assert wait_for(lambda: is_lost(ports.port))
    ports.check(True, True)
    keyboard.accept()
    keyboard.send("note_on", note=61)
    events = [ports.events.get(timeout=5) for _ in range(3)]
    assert [event[0] for event in events] == ["input_lost", "input_back", "message"] and events[2][1].note == 61
    for _ in range(2):
        ports.check(False, False)  # the system says that both are gone
    assert ports.port is None and [ports.events.get(timeout=5)[0] for _ in range(2)] == ["input_lost", "output_gone"]
    assert ports.events.empty()
    ports.close()
    keyboard.close()


def test_a_lost_input_lets_go_of_its_keys_and_a_lost_output_is_closed(duet):
    calls = []
    duet.partner = SimpleNamespace(release_all=calls.append)
    duet.output.order = calls.append
    duet.receive("input_lost", None, 3.0)
    duet.receive("output_gone", None, 4.0)
    assert calls == [3.0, "lose"] and events(duet) == ["input_lost"]


def test_a_journal_tells_people_and_files(tmp_path, capsys):
    journal = Journal(tmp_path / "duet.jsonl")
    journal("placed", "", entry_s=1.5)
    journal("late", "late: it enters in a later bar")
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "duet.jsonl").read_text(encoding="utf-8").splitlines()]
    assert capsys.readouterr().out == "late: it enters in a later bar\n" and [line["kind"] for line in lines] == ["placed", "late"]


class Output:
    """MidiOutputProcess as LiveDuet sees it."""

    def __init__(self, name="Grand", channels=(0, 9)):
        self.is_alive, self.silent, self.priority = True, True, "usual"

    def close(self):
        self.is_alive = False
        return self.silent

    def order(self, name, *arguments):
        pass

    def report(self):
        return {"sent": [], "lost": 0}


@pytest.fixture
def duet(monkeypatch):
    """A LiveDuet without processes; `told` holds (event, text)."""
    part = SimpleNamespace(close=lambda: None, is_alive=True, wait=lambda seconds: None)
    monkeypatch.setattr(duets, "MidiOutputProcess", Output)
    monkeypatch.setattr(duets, "PortMonitor", lambda *names: part)
    monkeypatch.setattr(duets, "ModelProcess", lambda request, loading: part)
    told = []
    duet = LiveDuet(DuetRequest(), "Keys", "Grand", None, lambda event, text, **fields: told.append((event, text)))
    duet.told = told
    return duet


def events(duet):
    return [event for event, _ in duet.told if event not in ("loading", "sent")]


def test_without_its_scheduler_a_duet_ends(duet):
    duet.check(1.0)
    assert events(duet) == []
    duet.output.is_alive = False
    with pytest.raises(ProcessError, match="Start the duet again"):
        duet.check(2.0)


def test_who_stops_after_the_watchdog_gave_up_is_told(duet):
    duet.output.silent = False
    assert not duet.close()
    assert duet.told[-1][0] == "not_silenced" and "Grand" in duet.told[-1][1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("is_back", "ends"), [(True, ["waits", "silenced", "end"]), (False, ["waits", "not_silenced", "end"])])
@pytest.mark.usefixtures("ctrl_c")
def test_silence_is_said_when_it_is_there_and_a_second_signal_breaks_nothing(duet, monkeypatch, number, is_back, ends):
    output = duet.output

    def close():
        os.kill(os.getpid(), number)  # again, in the seconds that it takes

    def wait():
        if not is_back:
            os.kill(os.getpid(), number)
            time.sleep(5)
        return True

    output.close, output.wait = close, wait
    monkeypatch.setattr(duet, "run", lambda: os.kill(os.getpid(), number) or time.sleep(5))
    monkeypatch.setattr(duets, "LiveDuet", lambda *words: duet)
    told = duet.told
    monkeypatch.setattr(duets, "Journal", lambda path: Told(told))
    before = signal.getsignal(signal.SIGTERM)
    duets.play_duet(duet.request, "Keys", "Grand", None)
    assert signal.signal(signal.SIGTERM, before) is signal.default_int_handler
    assert events(duet) == ends and told[-1][1] == ("silence; good-bye" if is_back else "good-bye")


class Told:
    """A Journal's stand-in."""

    def __init__(self, told):
        self.told = told

    def __call__(self, event, text, **fields):
        self.told.append((event, text))

    def close(self):
        pass


class Duet:
    """The command with the released model, between a keyboard and a synthesizer."""

    def __init__(self, folder, *words):
        self.keyboard, self.synthesizer, self.journal = Keyboard(), Synthesizer(), folder / "duet.jsonl"
        line = [sys.executable, "-m", "lib", "duet", "--released", "--input", self.keyboard.name, "--output", self.synthesizer.name,
                "--journal", self.journal, *words]  # fmt: skip
        self.process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.keyboard.accept()

    def told(self, kind):
        return self.journal.exists() and f'"kind": "{kind}"' in self.journal.read_text(encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.keyboard.close()
        self.synthesizer.close()


@pytest.fixture
def ctrl_c():
    """What a shell runs in the background does not hear Ctrl-C, nor do its children: here they shall."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_fours_until_a_signal_and_then_silence(tmp_path, number):
    with Duet(tmp_path, "--mode", "fours", "--first", "me", "--tempo", "140", "--chords", "blues in F") as duet:
        assert wait_for(lambda: duet.told("ready"), 120)
        assert wait_for(lambda: any(channel == 0 for channel, _ in list(duet.synthesizer.down)), 30)
        os.kill(duet.process.pid, number)
        assert wait_for(duet.synthesizer.is_silent)
        if number != signal.SIGKILL:
            assert duet.process.wait(20) == 0 and b"Traceback" not in duet.process.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize(("metre", "bar"), [("4/4", 4), ("7/8", 3.5)])
def test_what_is_heard_lies_on_the_beats_of_the_clock_that_is_sent(tmp_path, metre, bar):
    """Each note on one of the 24 frames of a beat, in time as a whole, and turns on bar lines."""
    words = ["--mode", "fours", "--first", "me", "--tempo", "140", "--clock", "out", "--chords", "blues in F", "--feel", "straight"]
    with Duet(tmp_path, *words, "--metre", metre) as duet:
        assert wait_for(lambda: duet.told("ready"), 120)
        assert wait_for(lambda: len(read_journal(duet.journal, "placed")) > 1, 60)
        assert wait_for(lambda: len(duet.synthesizer.notes_on()) > 60, 60)
        heard, beat_s = list(duet.synthesizer.heard), 60 / 140
        placed = read_journal(duet.journal, "placed")
    ticks = np.array([at_s for at_s, message in heard if message.type == "clock"])
    origin_s = np.median(ticks - np.arange(len(ticks)) * beat_s / 24)
    beats = np.array([(at_s - origin_s) / beat_s for at_s, m in heard if m.type == "note_on" and m.velocity and m.channel == 0])
    assert np.percentile(np.abs(beats * 24 - np.rint(beats * 24)), 80) < 0.25
    assert phase_lock(beats, np.arange(200.0), (4,))[0] >= 0.4
    turns = [(line["entry_s"] - origin_s) / beat_s for line in placed]
    assert turns == pytest.approx([bar * round(turn / bar) for turn in turns], abs=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_who_stops_while_the_output_is_away_waits_for_it_and_silences_it(tmp_path):
    with Duet(tmp_path, "--mode", "fours", "--first", "me", "--tempo", "140", "--chords", "blues in F") as duet:
        assert wait_for(lambda: duet.told("ready"), 120)
        assert wait_for(lambda: any(channel == 0 for channel, _ in list(duet.synthesizer.down)), 30)
        duet.synthesizer.close()
        duet.process.send_signal(signal.SIGINT)
        assert wait_for(lambda: duet.told("waits"), 30) and not duet.told("end")
        duet.synthesizer = duet.synthesizer.come_back()
        assert wait_for(duet.synthesizer.is_silent, 20)
        assert duet.process.wait(20) == 0 and b"Traceback" not in duet.process.stderr.read()
        assert duet.told("silenced") and duet.told("end")


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
def test_a_killed_model_is_started_anew(tmp_path):
    with Duet(tmp_path, "--mode", "comp", "--tempo", "140") as duet:
        assert wait_for(lambda: duet.told("ready"), 120)
        children = Path(f"/proc/{duet.process.pid}/task/{duet.process.pid}/children")
        if not children.exists():
            pytest.skip("this system does not list a process's children")
        model = max(map(int, children.read_text().split()))  # the last that was started
        os.kill(model, signal.SIGKILL)
        assert wait_for(lambda: duet.told("model_died"), 20)
        notes = len(duet.synthesizer.notes_on())
        assert wait_for(lambda: len(duet.synthesizer.notes_on()) > notes + 10, 90)
        duet.process.send_signal(signal.SIGINT)
        assert duet.process.wait(20) == 0 and wait_for(duet.synthesizer.is_silent)

"""The command: what it refuses, an ear that survives unplugging, and the whole of it with the released model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lib.apps.cli.main import app
from lib.apps.live import live_midi
from lib.apps.live.duet_request import DuetRequest
from lib.apps.live.instruments import Keyboard, Synthesizer, wait_for
from lib.apps.live.live_midi import Ear, Journal, LiveDuet
from lib.apps.live.ports import PortError
from lib.config import ConfigError

ROOT = Path(__file__).resolve().parents[3]
PORTS = ["--input", "socket:127.0.0.1:1", "--output", "socket:127.0.0.1:1"]


@pytest.mark.parametrize(("words", "why"), [
    (["--mode", "fourz", *PORTS, "--released"], "mode"), (["--tempo", "900", *PORTS, "--released"], "tempo_bpm"),
    (["--ends-by", "bell", *PORTS, "--released"], "ends_by.*key:PITCH"), (["--chords", "H7", *PORTS, "--released"], "H7"),
    (["--released"], "--input NAME --output NAME.*--list"), (PORTS, "--run RUN or --released"),
    ([*PORTS, "--released"], "127.0.0.1:1 does not answer"),
])  # fmt: skip
def test_what_cannot_be_is_refused(words, why):
    refused = CliRunner().invoke(app, ["duet", *words])
    assert isinstance(refused.exception, ConfigError)
    with pytest.raises(ConfigError, match=why):
        raise refused.exception


def test_an_ear_survives_unplugging():
    keyboard, told = Keyboard(), []
    ear = Ear(keyboard.name, lambda kind, words, **values: told.append(kind))
    keyboard.accept()
    keyboard.send("note_on", note=60)
    assert ear.heard.get(timeout=5)[0].note == 60
    keyboard.unplug()
    assert wait_for(lambda: ear.gone)
    assert ear.look(True) and not ear.look(True)
    keyboard.accept()
    keyboard.send("note_on", note=61)
    assert ear.heard.get(timeout=5)[0].note == 61 and told == ["input_lost", "input_back"]
    ear.look(False)  # the system says that it is gone
    ear.look(False)
    assert ear.port is None and told[2:] == ["input_lost"]
    ear.close()
    keyboard.close()


def test_a_journal_tells_people_and_files(tmp_path):
    said = []
    journal = Journal(said.append, tmp_path / "duet.jsonl")
    journal("placed", "", entry_s=1.5)
    journal("late", "late: it enters on a later bar line")
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "duet.jsonl").read_text(encoding="utf-8").splitlines()]
    assert said == ["late: it enters on a later bar line"] and [line["kind"] for line in lines] == ["placed", "late"]


class Voice:
    """Sender and look-out as LiveDuet sees them: dead, and the port away for so many tries."""

    def __init__(self, name="Grand", tries=0):
        self.tries, self.tried, self.priority = tries, 0, "usual"
        self.alive = self.is_waiting = self.gave_up = self.is_silent = False

    def mend(self):
        self.tried += 1
        if self.tried <= self.tries:
            raise PortError("away")
        self.alive, self.gave_up = True, False

    def close(self):
        self.alive = False

    def order(self, name, *words):
        pass

    def report(self):
        return {"sent": [], "lost": 0, "dropped": 0}


@pytest.fixture
def duet(monkeypatch):
    """A LiveDuet without processes; `told` holds (kind, words)."""
    part = SimpleNamespace(close=lambda: None, alive=True, wait=lambda seconds: None, look=lambda there: False)
    monkeypatch.setattr(live_midi, "Voice", Voice)
    monkeypatch.setattr(live_midi, "Ear", lambda name, tell: part)
    monkeypatch.setattr(live_midi, "Composer", lambda wished, loading: part)
    told = []
    duet = LiveDuet(DuetRequest(), "Keys", "Grand", None, lambda kind, words, **values: told.append((kind, words)))
    duet.partner, duet.told = SimpleNamespace(withdraw=lambda: None, begin_anew=lambda: None), told
    duet.looked_s = 1000.0
    return duet


def look(duet, times):
    for _ in range(times):
        duet._look()
        duet.looked_s += live_midi.LOOK_S


def kinds(duet):
    return [kind for kind, _ in duet.told if kind not in ("loading", "sent")]


def test_while_the_lookout_waits_nobody_is_started_and_then_only_now_and_then(duet):
    duet.voice.tries, duet.voice.is_waiting = 2, True
    look(duet, 60)
    assert not duet.voice.tried and kinds(duet) == ["sender_died"]
    duet.voice.is_waiting, duet.voice.gave_up = False, True
    look(duet, 10)
    assert duet.voice.tried == 2 and kinds(duet) == ["sender_died", "not_silenced"], "told once"
    look(duet, 1)
    assert duet.voice.tried == 3 and duet.voice.alive and not duet.mending


def test_who_stops_after_the_lookout_gave_up_is_told(duet):
    duet.voice.gave_up = True
    duet.close()
    assert duet.told[-1][0] == "not_silenced" and "Grand" in duet.told[-1][1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("is_back", "ends"), [(True, ["waits", "silenced", "end"]), (False, ["waits", "not_silenced", "end"])])
@pytest.mark.usefixtures("ctrl_c")
def test_silence_is_said_when_it_is_there_and_a_second_signal_breaks_nothing(duet, monkeypatch, number, is_back, ends):
    voice = duet.voice

    def close():
        os.kill(os.getpid(), number)  # again, in the seconds that it takes
        voice.is_waiting = True

    def wait():
        if not is_back:
            os.kill(os.getpid(), number)
            time.sleep(5)
        voice.is_silent = True
        return True

    voice.close, voice.wait = close, wait
    monkeypatch.setattr(duet, "begin", lambda: None)
    monkeypatch.setattr(duet, "run", lambda until: os.kill(os.getpid(), number) or time.sleep(5))
    monkeypatch.setattr(live_midi, "LiveDuet", lambda *words: duet)
    told = duet.told
    monkeypatch.setattr(live_midi, "Journal", lambda say, path: Told(told))
    before = signal.getsignal(signal.SIGTERM)
    live_midi.play_duet(duet.wished, "Keys", "Grand", None)
    assert signal.signal(signal.SIGTERM, before) is live_midi._interrupt
    assert kinds(duet) == ends and told[-1][1] == ("silence; good-bye" if is_back else "good-bye")


class Told:
    """A Journal's stand-in."""

    def __init__(self, told):
        self.told = told

    def __call__(self, kind, words, **values):
        self.told.append((kind, words))

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
            assert duet.process.wait(20) == 0 and not duet.process.stderr.read()


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
        assert duet.process.wait(20) == 0 and duet.told("silenced") and duet.told("end") and not duet.process.stderr.read()


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

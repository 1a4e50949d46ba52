"""No hanging note: the sender and its look-out as real processes over real sockets, stopped, terminated, killed, unplugged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.apps.live import process
from lib.apps.live import voice as voices
from lib.apps.live.instruments import Synthesizer, wait_for
from lib.apps.live.messages import key, pedal
from lib.apps.live.ports import PortError
from lib.apps.live.voice import Voice

ROOT = Path(__file__).resolve().parents[3]
COMMAND = """
import sys, time
from lib.apps.live.messages import key, pedal
from lib.apps.live.voice import Voice

if __name__ == "__main__":
    voice = Voice(sys.argv[1])
    now_s = time.perf_counter()
    voice.order("play", [key(now_s, now_s + 60, pitch, 80) for pitch in (48, 60, 64)] + [pedal(now_s, now_s + 60)])
    print("playing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def synthesizer():
    synthesizer = Synthesizer()
    yield synthesizer
    synthesizer.close()


@pytest.fixture
def voice(synthesizer):
    voice = Voice(synthesizer.name)
    yield voice
    voice.close()


def test_on_windows_a_closed_window_ends_nobody_but_the_command(monkeypatch):
    freed = []
    kernel = SimpleNamespace(FreeConsole=lambda: freed.append(True))
    monkeypatch.setattr(process.sys, "platform", "win32")
    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=kernel), raising=False)
    before = signal.getsignal(signal.SIGINT)
    process.leave_the_terminal()
    assert freed and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def hold(voice, synthesizer, seconds=60.0):
    """Let three keys and the pedal be down for so long."""
    now_s = time.perf_counter()
    voice.order("play", [*(key(now_s, now_s + seconds, pitch, 80) for pitch in (48, 60, 64)), pedal(now_s, now_s + seconds)])
    assert wait_for(lambda: len(synthesizer.down) == 3 and synthesizer.controls(64))


def test_stop_and_panic_silence_and_everybody_leaves(voice, synthesizer):
    hold(voice, synthesizer)
    voice.order("panic")
    assert wait_for(synthesizer.is_silent)
    hold(voice, synthesizer)
    voice.close()
    assert wait_for(synthesizer.is_silent)
    assert wait_for(lambda: not voice.sender.is_alive() and not voice.silencer.is_alive())
    assert len(synthesizer.controls(120)) == 2, "the look-out had nothing to do"


def test_a_terminated_sender_silences_itself(voice, synthesizer):
    hold(voice, synthesizer)
    os.kill(voice.sender.pid, signal.SIGTERM)
    assert wait_for(synthesizer.is_silent) and wait_for(lambda: not voice.silencer.is_alive())
    assert len(synthesizer.controls(120)) == 1 and len(synthesizer.connections) == 1


def test_a_killed_sender_is_silenced_by_the_lookout_and_started_anew(voice, synthesizer):
    hold(voice, synthesizer)
    os.kill(voice.sender.pid, signal.SIGKILL)
    assert wait_for(synthesizer.is_silent)
    assert len(synthesizer.connections) == 2, "by another process, over a port of its own"
    assert wait_for(lambda: not voice.sender.is_alive() and not voice.silencer.is_alive())
    voice.mend()
    hold(voice, synthesizer, 0.1)
    assert wait_for(lambda: not synthesizer.down) and voice.alive


def test_a_lost_port_is_silenced_when_it_is_back(voice, synthesizer):
    hold(voice, synthesizer)
    synthesizer.unplug()
    assert synthesizer.down
    assert wait_for(lambda: not synthesizer.down)
    assert len(synthesizer.controls(123)) == 16 and voice.report()["lost"] == 1
    hold(voice, synthesizer, 0.1)
    assert wait_for(lambda: not synthesizer.down)


@pytest.mark.parametrize("ends", ["stop", pytest.param("kill", marks=pytest.mark.slow)])
def test_a_port_that_is_away_while_everything_ends_is_silenced_when_it_is_back(voice, synthesizer, ends):
    hold(voice, synthesizer)
    synthesizer.close()
    if ends == "kill":
        assert wait_for(lambda: voice.report()["lost"])
        voice.sender.kill()
    now_s = time.perf_counter()
    voice.close()
    assert voice.is_waiting and not voice.sender.is_alive() and not voice.is_silent
    assert time.perf_counter() - now_s < voices.END_S, "who stops is told soon"
    now_s = time.perf_counter()
    with pytest.raises(PortError, match="away"):
        voice.mend()
    assert time.perf_counter() - now_s < 0.5, "who plays on does not wait for the look-out"
    again = synthesizer.come_back()
    try:
        assert wait_for(again.is_silent) and voice.wait()
        offs = {message.note for _, message in again.heard if message.type == "note_off"}
        assert offs == {48, 60, 64} and {value for _, value in again.controls(64)} == {0}
        assert again.controls(120) and again.controls(123) and not voice.is_waiting and voice.is_silent
        voice.mend()
        hold(voice, again, 0.1)
        assert wait_for(lambda: not again.down)
    finally:
        again.close()


def test_who_waits_for_a_port_can_give_it_up(voice, synthesizer, monkeypatch):
    hold(voice, synthesizer)
    synthesizer.close()
    voice.close()
    assert voice.is_waiting
    monkeypatch.setattr(voices, "PATIENCE_S", 0.1)
    assert not voice.wait() and not voice.is_waiting and not voice.is_silent


def test_that_the_lookout_gave_up_is_remembered_until_the_port_is_back(voice, synthesizer):
    synthesizer.close()
    voice.sender.kill()
    voice.silencer.kill()
    voice.sender.join()
    voice.silencer.join()
    voice.silencer = SimpleNamespace(exitcode=1, is_alive=lambda: False, join=lambda seconds: None)  # as after PATIENCE_S
    with pytest.raises(PortError, match="does not answer"):
        voice.mend()
    assert voice.gave_up and voice.silencer.exitcode == 0, "whom the try has started had nothing to do"
    again = synthesizer.come_back()
    try:
        voice.mend()
        assert voice.alive and not voice.gave_up and wait_for(lambda: len(again.controls(120)) == 16)
    finally:
        again.close()


def test_a_killed_command_leaves_silence_and_no_process(synthesizer, tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND, encoding="utf-8")
    words = [sys.executable, script, synthesizer.name]
    with subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as command:
        assert command.stdout.readline() == b"playing\n"
        assert wait_for(lambda: len(synthesizer.down) == 3)
        children = children_of(command.pid)
        assert len(children) >= 2
        command.kill()
        assert wait_for(synthesizer.is_silent)
    assert wait_for(lambda: not [pid for pid in children if is_running(pid)])


def children_of(pid):
    """Process numbers whose parent is pid (Linux)."""
    if not Path("/proc").is_dir():
        pytest.skip("this system has no /proc to count processes in")
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if stat_of(path)[1:2] == [str(pid)]]


def is_running(pid):
    """Whether a process lives (a zombie does not)."""
    return stat_of(Path(f"/proc/{pid}/stat"))[:1] not in ([], ["Z"])


def stat_of(path):
    """[state, parent, ...] of /proc/PID/stat, [] where it is gone."""
    try:
        return path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return []


def test_a_port_that_is_not_there_is_an_error_at_the_start():
    with pytest.raises(PortError, match="does not answer"):
        Voice("socket:127.0.0.1:1")


def test_notes_come_on_time(voice, synthesizer):
    begins_s = time.perf_counter() + 0.3
    spans = [key(begins_s + n / 50, begins_s + n / 50 + 0.01, 40 + n, 80) for n in range(50)]
    voice.order("play", spans)
    assert wait_for(lambda: len(synthesizer.notes_on()) == 50 and not synthesizer.down)
    late_ms = sorted(1000 * (at_s - span.on_s) for (at_s, _), span in zip(synthesizer.notes_on(), spans, strict=True))
    assert late_ms[0] > -0.5 and late_ms[25] < 20, "the benchmark measures it; here other tests may take the processor"
    sent = voice.report()["sent"]
    assert len(sent) == 100 and all(sent_s >= due_s for due_s, sent_s, _ in sent)

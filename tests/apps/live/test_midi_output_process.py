"""No hanging note: the scheduler and its watchdog as real processes over real sockets, stopped, terminated, killed, unplugged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from instruments import Synthesizer, wait_for

from lib.apps.live import midi_output_process
from lib.apps.live.midi_output_process import MidiOutputProcess
from lib.apps.live.ports import PortError
from lib.apps.live.scheduler import key, pedal

ROOT = Path(__file__).resolve().parents[3]
COMMAND = """
import sys, time
from lib.apps.live.scheduler import key, pedal
from lib.apps.live.midi_output_process import MidiOutputProcess

if __name__ == "__main__":
    output = MidiOutputProcess(sys.argv[1])
    now_s = time.perf_counter()
    output.order("play", [key(now_s, now_s + 60, pitch, 80) for pitch in (48, 60, 64)] + [pedal(now_s, now_s + 60)])
    print("playing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def synthesizer():
    synthesizer = Synthesizer()
    yield synthesizer
    synthesizer.close()


@pytest.fixture
def output(synthesizer):
    output = MidiOutputProcess(synthesizer.name)
    yield output
    output.close()


def test_on_windows_a_closed_window_ends_nobody_but_the_command(monkeypatch):
    freed = []
    kernel = SimpleNamespace(FreeConsole=lambda: freed.append(True))
    monkeypatch.setattr(midi_output_process.sys, "platform", "win32")
    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=kernel), raising=False)
    before = signal.getsignal(signal.SIGINT)
    midi_output_process.detach_from_terminal()
    assert freed and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def hold(output, synthesizer, seconds=60.0):
    """Let three keys and the pedal be down for so long."""
    now_s = time.perf_counter()
    output.order("play", [*(key(now_s, now_s + seconds, pitch, 80) for pitch in (48, 60, 64)), pedal(now_s, now_s + seconds)])
    assert wait_for(lambda: len(synthesizer.down) == 3 and synthesizer.controls(64))


def test_stop_and_panic_silence_and_everybody_leaves(output, synthesizer):
    hold(output, synthesizer)
    output.order("panic")
    assert wait_for(synthesizer.is_silent)
    hold(output, synthesizer)
    output.close()
    assert wait_for(synthesizer.is_silent)
    assert wait_for(lambda: not output.scheduler.is_alive() and not output.watchdog.is_alive())
    assert len(synthesizer.controls(120)) == 2, "the watchdog had nothing to do"


def test_a_terminated_scheduler_silences_itself(output, synthesizer):
    hold(output, synthesizer)
    os.kill(output.scheduler.pid, signal.SIGTERM)
    assert wait_for(synthesizer.is_silent) and wait_for(lambda: not output.watchdog.is_alive())
    assert len(synthesizer.controls(120)) == 1 and len(synthesizer.connections) == 1


def test_a_killed_scheduler_is_silenced_by_the_watchdog(output, synthesizer):
    hold(output, synthesizer)
    os.kill(output.scheduler.pid, signal.SIGKILL)
    assert wait_for(synthesizer.is_silent)
    assert len(synthesizer.connections) == 2, "by another process, over a port of its own"
    assert wait_for(lambda: not output.scheduler.is_alive() and not output.watchdog.is_alive())
    assert not output.is_alive and output.report() is None and output.close()


def test_a_lost_port_is_silenced_when_it_is_back(output, synthesizer):
    hold(output, synthesizer)
    synthesizer.unplug()
    assert synthesizer.down
    assert wait_for(lambda: not synthesizer.down)
    assert len(synthesizer.controls(123)) == 1 and output.report()["lost"] == 1
    hold(output, synthesizer, 0.1)
    assert wait_for(lambda: not synthesizer.down)


@pytest.mark.parametrize("ends", ["stop", pytest.param("kill", marks=pytest.mark.slow)])
def test_a_port_that_is_away_while_everything_ends_is_silenced_when_it_is_back(output, synthesizer, ends):
    hold(output, synthesizer)
    synthesizer.close()
    if ends == "kill":
        assert wait_for(lambda: output.report()["lost"])
        output.scheduler.kill()
    now_s = time.perf_counter()
    assert output.close() is None and not output.scheduler.is_alive()
    assert time.perf_counter() - now_s < midi_output_process.END_S, "who stops is told soon"
    again = synthesizer.come_back()
    try:
        assert wait_for(again.is_silent) and output.wait()
        offs = {message.note for _, message in again.heard if message.type == "note_off"}
        assert offs >= {48, 60, 64} and {value for _, value in again.controls(64)} == {0}
        assert again.controls(120) and again.controls(123) and not output.watchdog.is_alive()
    finally:
        again.close()


def test_who_waits_for_a_port_can_give_it_up(output, synthesizer, monkeypatch):
    hold(output, synthesizer)
    synthesizer.close()
    assert output.close() is None
    monkeypatch.setattr(midi_output_process, "PATIENCE_S", 0.1)
    assert not output.wait() and not output.watchdog.is_alive()


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
        MidiOutputProcess("socket:127.0.0.1:1")


def test_notes_come_on_time(output, synthesizer):
    begins_s = time.perf_counter() + 0.3
    spans = [key(begins_s + n / 50, begins_s + n / 50 + 0.01, 40 + n, 80) for n in range(50)]
    output.order("play", spans)
    assert wait_for(lambda: len(synthesizer.notes_on()) == 50 and not synthesizer.down)
    late_ms = sorted(1000 * (at_s - span.on_s) for (at_s, _), span in zip(synthesizer.notes_on(), spans, strict=True))
    assert late_ms[0] > -0.5 and late_ms[25] < 20, "the benchmark measures it; here other tests may take the processor"
    sent = output.report()["sent"]
    assert len(sent) == 100 and all(sent_s >= due_s for due_s, sent_s, _ in sent)

"""The duet partner: does it answer on the beat and in time, are notes sent on time, does anything hang?

    python tests/benchmarks/duet.py --data DIR [--quick] [--only PART,...]

Recorded phrases of MAESTRO and PiJAMA (DIR holds their note stores) are played into `python -m lib duet` in real time, over real
sockets; a synthesizer at the other end writes down what comes. Parts: `answers` (half of the phrases with a MIDI clock that is
followed, half with one that is sent), `timing` (notes and clock while the model is kept at work and other programs want every
core) and `hanging` (start, then stop, panic, SIGTERM, kill -9 or unplug: 200 rounds, quick 20). Prints one JSON line last.

Times are taken at real-time priority where the system allows it: the instrument must not be what is late.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "apps" / "live")]

from instruments import Keyboard, Synthesizer, read_journal, wait_for  # noqa: E402
from midi_ends import Recorder  # noqa: E402

from lib.apps.live.midi_output_process import raise_priority  # noqa: E402
from lib.apps.live.scheduler import CLOCKS_A_QUARTER, key, without_overlap  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.music.beat_tracking import phase_lock  # noqa: E402

PARTS = ("answers", "timing", "hanging")
TEMPO_BPM, PHRASE_S, ANSWER_BARS = 132.0, 3.0, 2
BEAT_S = 60 / TEMPO_BPM
ON_BEAT_S = 0.02  # a listener hears 20 ms beside the beat as on it
NEAR_S = 0.25  # a note that comes is the one that was due within
ENDINGS = ("stop", "panic", "terminate", "kill_command", "kill_sender", "unplug")
MUSIC_S, PLAY_S = 4.0, 20.0


def phrases(data_dir, count, seconds, seed=0):
    """Notes from both corpora in turn, each from the beginning of a note on, at least 8 in number."""
    stores, rng, found = [open_corpus(name, data_dir) for name in ("maestro", "pijama")], random.Random(seed), []
    while len(found) < count:
        store = stores[len(found) % 2]
        notes = store.piece_notes(rng.randrange(len(store)))
        start_s = float(notes.onset_s[rng.randrange(len(notes))])
        notes = notes.between(start_s, start_s + seconds + 1).until(seconds)
        if len(notes) >= 8:
            found.append(notes)
    return found


class Clock(threading.Thread):
    """Sends a MIDI clock into a keyboard's port; beat n is at origin_s + n * BEAT_S."""

    def __init__(self, keyboard):
        super().__init__(daemon=True)
        self.keyboard, self.over, self.origin_s = keyboard, threading.Event(), time.perf_counter() + 0.5

    def run(self):
        """Until `over`."""
        raise_priority()
        tick = 0
        while not self.over.is_set():
            due_s = self.origin_s + tick * BEAT_S / CLOCKS_A_QUARTER
            time.sleep(max(0.0, due_s - time.perf_counter()))
            with contextlib.suppress(OSError, ValueError):  # the port is closed
                if tick == 0:
                    self.keyboard.send("start")
                self.keyboard.send("clock")
            tick += 1


class Command:
    """`python -m lib duet` between a keyboard and a synthesizer."""

    def __init__(self, folder, name, *words):
        self.keyboard, self.synthesizer, self.journal = Keyboard(), Recorder(), Path(folder) / f"{name}.jsonl"
        ports = ["--input", self.keyboard.name, "--output", self.synthesizer.name]
        line = [sys.executable, "-m", "lib", "duet", "--released", *ports, "--journal", self.journal, *words]
        self.process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
        self.keyboard.accept()
        if not wait_for(lambda: self.told("ready"), 120, 0.2):
            raise SystemExit("the duet did not become ready in 120 s")

    def told(self, *kinds):
        """Lines of the journal of these kinds."""
        return read_journal(self.journal, *kinds)

    def kill(self, what):
        """kill -9 of the command or of the sender; keys that still sound 5 s later."""
        pid = self.process.pid if what == "command" else sender_of(self.synthesizer, self.process.pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.synthesizer.down, 5)
        hanging = len(self.synthesizer.down)
        self.process.terminate()  # a shell's background jobs do not hear Ctrl-C
        self.process.wait(20)
        self.keyboard.close()
        self.synthesizer.close()
        return hanging


def sender_of(synthesizer, parent):
    """The process of a parent that holds the first connection to the synthesizer."""
    port = synthesizer.peer
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                sockets = {os.readlink(link) for link in (path / "fd").iterdir()}
                rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
                if any(int(row[1].split(":")[1], 16) == port and f"socket:[{row[9]}]" in sockets for row in rows):
                    return int(path.name)
    raise SystemExit("the sender's process was not found")


def late_s(heard, due):
    """Seconds by which each due message (time, bytes) came after its time; those that did not come are left out."""
    times = {}
    for at_s, message in heard:
        times.setdefault(bytes(message.bytes()), []).append(at_s)
    times = {message: np.array(rows) for message, rows in times.items()}
    off = []
    for due_s, message in due:
        rows = times.get(message, np.array([]))
        near = rows[np.abs(rows - due_s) < NEAR_S]
        if len(near):
            off.append(float(near[np.abs(near - due_s).argmin()] - due_s))
    return np.array(off)


def measure_answers(words, folder):
    """Answers, on_beat_share, latencies, and keys left by a kill in the middle of an answer."""
    count = words.answers or (12 if words.quick else 40)
    music = phrases(words.data, count, PHRASE_S)
    rows, off_s, took_s, beats, hanging, late = [], [], [], [], 0, 0
    options = ["--tempo", str(TEMPO_BPM), "--bars", str(ANSWER_BARS), "--feel", "straight"]
    for clock, half, killed in (("in", music[: count // 2], "command"), ("out", music[count // 2 :], "sender")):
        command = Command(folder, clock, "--clock", clock, *options)
        ticking = Clock(command.keyboard) if clock == "in" else None
        if ticking is not None:
            ticking.start()
        time.sleep(2)
        for number, notes in enumerate(half):
            rows.append(one_answer(command, ticking, notes))
            print(clock, number, rows[-1], flush=True)
            if rows[-1] is not None and number < len(half) - 1:
                heard_out(command)
        due = [(on_s, bytes.fromhex(on)) for line in command.told("play") for on_s, _, on in line["spans"]]
        off_s.append(late_s(command.synthesizer.heard, due))
        origin_s = beats_origin_s(command, ticking)
        beats.append([(at_s - origin_s) / BEAT_S for at_s, _ in command.synthesizer.notes_on()])
        late += len(command.told("late"))
        took_s += [line["took_s"] for line in command.told("take")]
        hanging += command.kill(killed)
        if ticking is not None:
            ticking.over.set()
    there = [row for row in rows if row is not None]
    off_s, released, felt = np.concatenate(off_s), *np.array([row[1:] for row in there]).T
    return {"phrases": count, "answers": len(there), "late_answers": late, "model_s": spread(took_s),
            "on_beat_share": float(np.mean([abs(row[0]) <= ON_BEAT_S for row in there])),
            "on_beat_off_ms": spread([1000 * abs(row[0]) for row in there]),
            "sixteenths_lock": float(phase_lock(np.concatenate(beats), np.arange(10_000.0), (4,))[0]),
            "answer_latency_beats": spread(released), "felt_to_answer_beats": spread(felt),
            "timing_in_answers_p95_ms": float(np.percentile(np.abs(off_s), 95) * 1000), "hanging_after_kill": hanging}  # fmt: skip


def one_answer(command, ticking, notes):
    """Of an answer: seconds from its beginning to the nearest beat of the clock, and beats from the last release and
    from the felt end to its first note; None: there is none.
    """
    heard = len(command.synthesizer.notes_on())
    released_s = command.keyboard.play(notes)
    if not wait_for(lambda: len(command.synthesizer.notes_on()) > heard, 30, 0.05):
        return None
    first_s = command.synthesizer.notes_on()[heard][0]
    beat = (command.told("placed")[-1]["entry_s"] - beats_origin_s(command, ticking)) / BEAT_S
    felt_s = command.told("phrase_ended")[-1]["ended_s"]
    return (beat - round(beat)) * BEAT_S, (first_s - released_s) / BEAT_S, (first_s - felt_s) / BEAT_S


def heard_out(command):
    """Wait until the answer is over."""
    before = len(command.told("listens"))
    wait_for(lambda: len(command.told("listens")) > before, 15, 0.2)


def beats_origin_s(command, ticking):
    """When beat 0 was: of the clock that is sent in, else of the one that came out, by all of its ticks."""
    if ticking is not None:
        return ticking.origin_s
    ticks = np.array([at_s for at_s, m in list(command.synthesizer.heard) if m.type == "clock"])
    return float(np.median(ticks - np.arange(len(ticks)) * BEAT_S / CLOCKS_A_QUARTER))


def spread(values):
    """Median and 95th percentile."""
    return {"median": round(float(np.median(values)), 3), "p95": round(float(np.percentile(values, 95)), 3)}


def measure_timing(words, folder):
    """timing_p95_ms, clock_jitter_ms: a recorded performance through the sender while the model works without a pause."""
    from lib.apps.live.duet_request import DuetRequest
    from lib.apps.live.midi_output_process import MidiOutputProcess
    from lib.apps.live.model_process import ModelProcess, warm_up_question
    from lib.config import STYLES

    synthesizer = Recorder()
    output = MidiOutputProcess(synthesizer.name)
    model = ModelProcess(DuetRequest(), {"released": True, "device": "cpu", "styles_dir": words.data / STYLES})
    model.wait(120)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    (notes,) = phrases(words.data, 1, PLAY_S, seed=7)
    begins_s = time.perf_counter() + 0.5
    output.order("start_clock", begins_s, BEAT_S)
    rows = zip(*(column.tolist() for column in (notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)))
    line = without_overlap([key(begins_s + t, begins_s + t + d, pitch, velocity) for t, d, pitch, velocity in rows])
    due, takes, used_s, idle_s = [], 0, cpu_s(model.process.pid), machine_idle_s()
    question = replace(warm_up_question(DuetRequest(tempo_bpm=TEMPO_BPM)), beats=16)
    model.ask(question)
    while (now_s := time.perf_counter()) < begins_s + PLAY_S + 0.5:
        if spans := [span for span in line if span.on_s < now_s + 0.4]:
            line = line[len(spans) :]
            output.order("play", spans)
            due += [pair for span in spans for pair in ((span.on_s, bytes(span.on.bin())), (span.off_s, bytes(span.off.bin())))]
        if model.receive() is not None:
            takes += 1
            model.ask(replace(question, number=takes))
        time.sleep(0.05)
    cores = (cpu_s(model.process.pid) - used_s) / (PLAY_S + 1)
    for process in busy:
        process.kill()
        process.wait()
    busy = 1 - (machine_idle_s() - idle_s) / (PLAY_S + 1) / os.cpu_count()
    sent_ms = [1000 * (sent_s - due_s) for due_s, sent_s, message in output.report()["sent"]]
    priority = output.priority
    output.close()
    model.close()
    off_ms = 1000 * np.abs(late_s(synthesizer.heard, due))
    ticks = np.array([at_s for at_s, m in synthesizer.heard if m.type == "clock"])
    ideal = begins_s + np.arange(len(ticks)) * BEAT_S / CLOCKS_A_QUARTER
    hanging = len(synthesizer.down)
    synthesizer.close()
    jitter_ms = 1000 * np.abs(ticks - ideal)
    return {"timing_p95_ms": float(np.percentile(off_ms, 95)), "timing_max_ms": float(off_ms.max()),
            "timed_messages": len(off_ms), "due_messages": len(due), "sent_p95_ms": float(np.percentile(sent_ms, 95)),
            "sent_max_ms": max(sent_ms), "clock_jitter_ms": float(np.percentile(jitter_ms, 95)), "ticks": len(ticks),
            "model_cores": round(cores, 2), "machine_busy": round(busy, 2), "model_takes": takes, "sender_priority": priority,
            "hanging_after_timing": hanging}  # fmt: skip


def cpu_s(pid):
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_idle_s():
    """Seconds that all cores together were idle."""
    return int(Path("/proc/stat").read_text().split()[4]) / os.sysconf("SC_CLK_TCK")


def measure_hanging(words, folder):
    """hanging_notes over all rounds, and how many rounds of each kind."""
    rounds = words.rounds or (20 if words.quick else 200)
    music, rng, hanging, silent = phrases(words.data, rounds, MUSIC_S, seed=3), random.Random(1), {}, 0
    for number, notes in enumerate(music):
        kind = ENDINGS[number % len(ENDINGS)]
        keys = one_round(kind, notes, 0.3 + rng.random())
        hanging[kind] = hanging.get(kind, 0) + (keys or 0)
        silent += keys is None
        print(number, kind, keys, flush=True)
    return {"hanging_notes": sum(hanging.values()), "rounds": rounds, "rounds_without_sound": silent, "hanging_by_ending": hanging}


def one_round(kind, notes, seconds):
    """Keys that still sound 5 s after an ending; None where nothing sounded before it."""
    synthesizer = Synthesizer()
    line = [sys.executable, ROOT / "tests" / "benchmarks" / "duet_command.py", synthesizer.name]
    command = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    rows = [[float(t), max(float(d), 2.0), int(p), int(v)]
            for t, d, p, v in zip(notes.onset_s, notes.duration_s, notes.pitch, notes.velocity)]  # fmt: skip
    command.stdin.write(json.dumps(rows) + "\n")
    command.stdin.flush()
    pid = int(command.stdout.readline())
    time.sleep(seconds)
    sounded = wait_for(lambda: synthesizer.down, 3)
    end_it(kind, command, pid, synthesizer)
    wait_for(lambda: not synthesizer.down and synthesizer.controls(123), 5)
    hanging = len(synthesizer.down)
    command.kill()
    command.wait()
    wait_for(lambda: not synthesizer.down, 5)
    command.stdin.close()
    command.stdout.close()
    synthesizer.close()
    return hanging if sounded else None


def end_it(kind, command, pid, synthesizer):
    """Bring about an ending."""
    if kind in ("stop", "panic"):
        command.stdin.write(kind + "\n")
        command.stdin.flush()
    elif kind == "unplug":
        synthesizer.unplug()
    elif kind == "kill_command":
        command.kill()
    else:
        os.kill(pid, signal.SIGTERM if kind == "terminate" else signal.SIGKILL)


def go_first_alone():
    """Real time for this process, not for those that it starts."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(2))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--answers", type=int, help="phrases to be answered")
    parser.add_argument("--rounds", type=int, help="of endings")
    words = parser.parse_args()
    go_first_alone()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in words.only.split(","):
            figures |= {"answers": measure_answers, "timing": measure_timing, "hanging": measure_hanging}[part](words, folder)
    if "hanging_notes" in figures:
        figures["hanging_notes"] += figures.get("hanging_after_kill", 0) + figures.get("hanging_after_timing", 0)
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}))


if __name__ == "__main__":
    main()

"""The server under fire: python tests/benchmarks/serve.py [--only openapi,hostile,load,workers,kill,memory] [--quick]

A server of its own for each part, with a tiny transformer that nobody trained; figures as JSON in the last line.
openapi: schemathesis asks everything that the OpenAPI allows, and much that it does not. hostile: bodies that mean harm.
load: 64 clients at once, then 8 against a server that plays one by one. workers: the same with one
worker behind a Redis. kill: kill -9 in the middle, and a restart.
memory: the server's resident set after 1,000 jobs against that after the first 100. `errors` counts answers from 500 up.
"""

import argparse
import base64
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from serving import free_port, serving, wait_for  # noqa: E402
from tiny import save_tiny_improviser  # noqa: E402

from lib.music.midi_writer import to_midi  # noqa: E402
from lib.music.notes import Notes  # noqa: E402

ORDER = {"seconds": 5, "num_steps": 30, "chords": "Dm7 G7 | Cmaj7"}
CLIENTS = 64


def errors_of(client):
    """Answers from 500 up that the server has given, by its own count."""
    found = re.findall(r'mehldau_answers_total\{status="(5\d\d)"\} ([\d.]+)', client.get("/metrics").text)
    return int(sum(float(count) for _, count in found))


MIDI_BODIES = """import schemathesis

@schemathesis.serializer("audio/midi")
def midi(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
"""


def openapi(improviser, folder, quick):
    """schemathesis: its examples, coverage, fuzzing and stateful phases."""
    hooks = folder / "midi_bodies.py"
    hooks.write_text(MIDI_BODIES, encoding="utf-8")
    with serving(improviser, folder, "--seconds", 10, "--queued", 100_000) as (process, client):  # a full queue would hide much
        words = ["--checks", "not_a_server_error", "--max-examples", "10" if quick else "60", "--seed", "1", "--no-color"]
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{client.base_url}/openapi.json", *words]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks.stem, "PYTHONPATH": str(folder)}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment)
        print(done.stdout[-2500:], done.stderr[-500:], file=sys.stderr)
        cases = re.search(r"(\d+) generated", done.stdout)
        found = {"cases": int(cases[1]) if cases else 0, "server_errors": errors_of(client), "exit_code": done.returncode}
        return {**found, "alive": process.poll() is None}


def hostile(improviser, folder, quick):
    """Bodies that mean harm: each must be answered, with less than 500, and the server live on."""
    chance, statuses, count = random.Random(1), Counter(), 200 if quick else 2000
    with serving(improviser, folder, "--seconds", 10, "--queued", 20) as (process, client):
        lost, slowest_s = 0, 0.0
        for number in range(count):
            path, content = HOSTILE[number % len(HOSTILE)](chance)
            began = time.monotonic()
            try:
                answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
            except httpx.HTTPError:
                lost += 1
                continue
            slowest_s = max(slowest_s, time.monotonic() - began)
            statuses[answer.status_code] += 1
            if answer.status_code == 202:
                client.delete(answer.json()["links"]["self"])
        alive = process.poll() is None and client.get("/readyz").status_code == 200
        crashes = lost + sum(n for status, n in statuses.items() if status >= 500) + (not alive)
        job = wait_for(client, client.post("/v1/solos", json=ORDER).json())
        return {"bodies": count, "crashes": crashes, "statuses": dict(statuses), "slowest_s": round(slowest_s, 2),
                "plays_afterwards": job["state"] == "done"}  # fmt: skip


def mutated_midi(chance):
    """A MIDI file with bytes changed, cut out, doubled, or cut short."""
    content = bytearray(MIDI)
    for _ in range(chance.choice((1, 1, 3, 20, 200))):
        place, way = chance.randrange(len(content)), chance.randrange(4)
        if way == 0:
            content[place] = chance.randrange(256)
        elif way == 1:
            del content[place : place + chance.randrange(1, 9)]
        elif way == 2:
            content[place:place] = content[place : place + chance.randrange(1, 60)]
        else:
            content[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"MTrk"))
    return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content)


def hostile_value(chance):
    """Anything that JSON, or nearly JSON, can say."""
    words = ["NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "1e-320", "9" * chance.choice((20, 400, 5000)), "true", "null",
             '""', '"\\ud800"', '"\\u0000"', '"' + "C | " * chance.choice((10, 3000)) + '"', "[]", "{}", '[[[[["x"]]]]]',
             '"../../etc/passwd"', "[" * 2000 + "]" * 2000, json.dumps([1e308] * 50), json.dumps({"a" * 50: 1}), '"%s%n"',
             '"A: C; ' + "A" * 500 + '"', "[NaN, 1]", "[" + "1," * 20000 + "1]", '"=1+1"', '"<script>"', str(2**63),
             str(-(2**63) - 1)]  # fmt: skip
    return chance.choice(words)


FIELDS = ("chords", "recall", "vamp", "choruses", "bars", "seconds", "seed", "tempo_bpm", "metre", "beats_per_bar", "feel",
          "style", "density", "left_density", "register", "loudness", "swing", "melody", "pitch_classes", "told",
          "condition_model", "own_changes", "num_candidates", "guidance_scale", "num_steps", "temperature", "midi", "from_s",
          "to_s", "theme", "__class__")  # fmt: skip


def hostile_order(chance):
    """An order with one to four fields that can't be, or perhaps can."""
    fields = {name: hostile_value(chance) for name in chance.sample(FIELDS, chance.randint(1, 4))}
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in {"num_steps": "1", "seconds": "1", **fields}.items()) + "}"
    return "/v1/solos", text.encode()


def hostile_midi_order(chance):
    """A mutated MIDI file to go on from, or to fill a gap of."""
    order = {"midi": base64.b64encode(mutated_midi(chance)).decode(), "seconds": 1, "num_steps": 1}
    gap = chance.choice(({}, {"from_s": 1, "to_s": 2}, {"from_s": 1e9, "to_s": 2e9}, {"theme": order["midi"]}))
    return "/v1/solos", json.dumps({**order, **gap}).encode()


def hostile_json(chance):
    """Bodies that are no order at all."""
    deep, long = ("[" * 200_000, '{"a":' * 100_000), ('"' + "a" * 10**6, "\x00" * 1000, "{}" * 1000)
    text = chance.choice((*deep, *long, hostile_value(chance), ""))
    return "/v1/solos", text.encode("utf-8", "replace") + bytes(chance.randrange(256) for _ in range(chance.choice((0, 0, 5))))


PERFORMANCE = Notes.from_arrays(np.arange(0, 8, 0.2), [0.15] * 40, 48 + np.arange(40) % 30, [70] * 40, [(1, 2), (3, 5)])
MIDI = to_midi(PERFORMANCE)
HOSTILE = (hostile_order, lambda chance: ("/v1/identify", mutated_midi(chance)), hostile_order, hostile_midi_order,
           lambda chance: ("/v1/reconstruct", mutated_midi(chance)), hostile_order, hostile_json)  # fmt: skip


class Clients:
    """So many clients, each asking for a solo, following it to its end, and asking for the next, for a while."""

    def __init__(self, base_url, seconds, most=None, count=CLIENTS, **order):
        self.base_url, self.until, self.most, self.order = base_url, time.monotonic() + seconds, most, {**ORDER, **order}
        self.lock, self.accept_s, self.finish_s, self.refused, self.wrong = threading.Lock(), [], [], 0, []
        self.accepted, self.done, self.seeds = [], [], iter(range(10**9))
        began, threads = time.monotonic(), [threading.Thread(target=self._run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - began

    def _run(self):
        with httpx.Client(base_url=self.base_url, timeout=120) as client:
            while time.monotonic() < self.until:
                with self.lock:
                    seed = next(self.seeds)
                if self.most is not None and seed >= self.most:
                    return
                self._one(client, seed)

    def _one(self, client, seed):
        began = time.monotonic()
        answer = client.post("/v1/solos", json={**self.order, "seed": seed})
        while answer.status_code == 429:
            self.refused += 1
            time.sleep(float(answer.headers["retry-after"]))
            began = time.monotonic()
            answer = client.post("/v1/solos", json={**self.order, "seed": seed})
        accept_s, job = time.monotonic() - began, answer.json()
        with self.lock:
            self.accept_s.append(accept_s)
            self.accepted.append(job["id"])
        with client.stream("GET", job["links"]["events"]) as events:
            last = [line for line in events.iter_lines() if line.startswith("event: ")][-1]
        finish_s = time.monotonic() - began
        played = client.get(f"/v1/solos/{job['id']}.json").json() if last == "event: done" else {}
        with self.lock:
            self.finish_s.append(finish_s)
            if played.get("request", {}).get("seed") == seed:
                self.done.append(job["id"])
            else:
                self.wrong.append((job["id"], last))


def load(improviser, folder, quick, *words):
    """lost: accepted, and not done with what was asked; duplicated: ids or results more than jobs."""
    seconds, found = 15 if quick else 60, {}
    # eight are enough to keep a server busy that plays one by one, and do not have it wait for a client
    for name, batch, lasts_s, count in (("together", 32, seconds, CLIENTS), ("one_by_one", 1, seconds / 3, 8)):
        place = folder / name
        with serving(improviser, place, "--batch", batch, "--queued", 100, *words) as (_, client):
            clients = Clients(client.base_url, lasts_s, count=count)
            results = list((place / "results").glob("*.json"))
            found[name] = {
                "jobs": len(clients.accepted),
                "lost": len(set(clients.accepted) - set(clients.done)),
                "duplicated": len(clients.accepted) - len(set(clients.accepted)) + len(results) - len(set(clients.accepted)),
                "refused": clients.refused,
                "errors": errors_of(client),
                "jobs_per_s": round(len(clients.done) / clients.seconds, 2),
                "accept_ms": percentiles(clients.accept_s),
                "finish_ms": percentiles(clients.finish_s),
            }
    gain = found["together"]["jobs_per_s"] / found["one_by_one"]["jobs_per_s"]
    worst = {name: max(part[name] for part in found.values()) for name in ("lost", "duplicated", "errors")}
    return {**worst, "batch_gain": round(gain, 2), **found}


def workers(improviser, folder, quick):
    """As load, but one worker behind a Redis plays."""
    if not shutil.which("redis-server"):
        raise SystemExit("workers: there is no redis-server on this machine (apt install redis-server; --only leaves it out)")
    port = free_port()
    address = f"redis://127.0.0.1:{port}/0"
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    line = [sys.executable, "-m", "lib", "worker", "--queue", address, "--run", str(improviser), "--device", "cpu"]
    with subprocess.Popen(redis, stdout=subprocess.DEVNULL) as queue:
        time.sleep(1)
        with subprocess.Popen(line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
            found = load(improviser, folder, quick, "--queue", address)
            worker.terminate()
        queue.terminate()
    return found


def percentiles(seconds):
    return {f"p{q}": round(1000 * float(np.percentile(seconds, q)), 1) for q in (50, 95)}


def kill(improviser, folder, quick):
    """Rounds of: accept 40 jobs, kill -9 after some are done, start again, wait."""
    lost, duplicated, rounds = 0, 0, 1 if quick else 3
    for number in range(rounds):
        place = folder / str(number)
        with serving(improviser, place, "--batch", 4) as (process, client):
            jobs = [client.post("/v1/solos", json={**ORDER, "seed": seed}).json() for seed in range(40)]
            wait_for(client, jobs[4 + 8 * number], 150)
            process.kill()
            process.wait()
        before = len(list((place / "results").glob("*.json")))
        with serving(improviser, place) as (_, client):
            ended = [wait_for(client, client.get(job["links"]["self"]).json(), 150) for job in jobs]
            seeds = [client.get(f"/v1/solos/{job['id']}.json").json().get("request", {}).get("seed") for job in ended]
        lost += sum(job["state"] != "done" or seed != n for n, (job, seed) in enumerate(zip(ended, seeds)))
        duplicated += len(list((place / "results").glob("*.json"))) - len(jobs)
        print(f"round {number}: {before} of {len(jobs)} were done at the kill", file=sys.stderr)
    return {"rounds": rounds, "jobs": 40 * rounds, "lost_after_kill": lost, "duplicated_after_kill": duplicated}


def memory(improviser, folder, quick):
    """Resident set of the server, in MB."""
    count = 200 if quick else 1000
    with serving(improviser, folder) as (process, client):
        def rss_mb():
            text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

        Clients(client.base_url, 600, most=100, num_steps=4)
        first_mb = rss_mb()
        clients = Clients(client.base_url, 600, most=count, num_steps=4)
        return {"jobs": len(clients.done), "rss_mb": round(rss_mb(), 1), "rss_growth_mb": round(rss_mb() - first_mb, 1)}


PARTS = {part.__name__: part for part in (openapi, hostile, load, workers, kill, memory)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true")
    words = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        improviser = save_tiny_improviser(Path(folder) / "improviser")
        for name in words.only.split(","):
            began = time.monotonic()
            place = Path(folder) / name
            place.mkdir()
            found[name] = PARTS[name](improviser, place, words.quick)
            found[name]["took_s"] = round(time.monotonic() - began, 1)
            print(f"{name}: {json.dumps(found[name])}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

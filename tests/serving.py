"""Servers in processes of their own, for tests and benchmarks, and what their clients do."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def wait_for(client, job, seconds=30.0):
    """The job when it has ended."""
    until = time.monotonic() + seconds
    while job["state"] in ("queued", "running"):
        assert time.monotonic() < until, job
        time.sleep(0.02)
        job = client.get(job["links"]["self"]).json()
    return job


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def serving(finished, folder, *words, port=None):
    """`python -m lib serve` in a process of its own: (process, httpx.Client), ready; killed at the end."""
    import httpx

    port = port or free_port()
    command = [sys.executable, "-m", "lib", "serve", "--run", finished, "--serve-dir", folder, "--port", port, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*map(str, command), *map(str, words)], cwd=ROOT, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(600):
                assert process.poll() is None, "the server ended"
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            yield process, client
    finally:
        process.kill()
        process.wait()


def until(condition, seconds=30):
    """Whether a condition holds in time."""
    until_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.05)
    return condition()

"""How much a server takes on: the only home of these numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is refused, and when.

    Attributes
    ----------
    body_bytes : of a request
    head_s, body_s : in which a request's head, then its body, must have come
    notes, performance_s, tracks : of a MIDI file that is sent
    seconds : of music that is asked for
    bars, chart_characters : of a chart
    num_steps, num_candidates, points : of a request; points are those of an arc, a melody or a mix
    queued : jobs that may wait; beyond it 429
    batch : candidates that go through the model together
    job_s : a job that plays longer fails
    tries : a job that has ended the process so often fails
    ttl_s, kept : how long, and how many, finished jobs and their results are kept
    streams : clients that may follow events at a time
    """

    body_bytes: int = 2 * 2**20
    head_s: float = 10.0
    body_s: float = 30.0
    notes: int = 20_000
    performance_s: float = 300.0
    tracks: int = 256
    seconds: float = 180.0
    bars: int = 512
    chart_characters: int = 2_000
    num_steps: int = 100
    num_candidates: int = 16
    points: int = 1_000
    queued: int = 100
    batch: int = 32
    job_s: float = 300.0
    tries: int = 3
    ttl_s: float = 24 * 3600.0
    kept: int = 5_000
    streams: int = 200

"""The limits of a server; these numbers are defined only here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is refused, and when."""

    body_bytes: int = 2 * 2**20  # of a request
    body_s: float = 30.0  # in which it must have come
    notes: int = 20_000  # of a MIDI file that is sent, as the next two
    performance_s: float = 300.0
    tracks: int = 256
    seconds: float = 180.0  # of music that is asked for
    bars: int = 512  # of a chart, as the next one
    chart_characters: int = 8_000
    num_steps: int = 100
    num_candidates: int = 16
    queued: int = 100  # jobs that may wait; beyond it 429
    batch: int = 32  # candidates that go through the model together
    job_s: float = 300.0  # a job that plays longer fails
    tries: int = 3  # a job that has ended the process so often fails
    ttl_s: float = 24 * 3600.0  # how long finished jobs and their results are kept
    kept: int = 5_000  # how many of them
    streams: int = 200  # clients that may follow events at a time

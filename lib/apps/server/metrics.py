"""What Prometheus may ask a server."""

from __future__ import annotations

import time
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """Counters of one server."""

    def __init__(self, jobs):
        self.registry = registry = CollectorRegistry()
        self.answers = Counter("mehldau_answers", "Answers by HTTP status", ["status"], registry=registry)
        self.accepted = Counter("mehldau_jobs_accepted", "Jobs accepted", registry=registry)
        self._ended = Counter("mehldau_jobs_ended", "Jobs ended", ["state"], registry=registry)
        self._waited = Histogram("mehldau_job_seconds", "From accept to done", buckets=SECONDS, registry=registry)
        self._batch = Histogram(
            "mehldau_batch_jobs", "Jobs played together", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self._playing = Histogram("mehldau_batch_seconds", "Time a batch took", buckets=SECONDS, registry=registry)
        for state in ("queued", "running"):
            gauge = Gauge(f"mehldau_jobs_{state}", f"Jobs that are {state}", registry=registry)
            gauge.set_function(lambda state=state: jobs.count(state))

    def ended(self, state, seconds=None):
        """A job came to its end."""
        self._ended.labels(state).inc()
        if seconds is not None:
            self._waited.observe(seconds)

    @contextmanager
    def playing(self, jobs):
        """While a batch of so many is played."""
        self._batch.observe(jobs)
        began = time.monotonic()
        yield
        self._playing.observe(time.monotonic() - began)

    def handed_on(self, jobs):
        """A batch of so many has gone to the workers."""
        self._batch.observe(jobs)

    def text(self):
        """In Prometheus's format."""
        return generate_latest(self.registry)

"""What Prometheus may ask a server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lib.apps.server.jobs import Jobs

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self, jobs: Jobs):
        self.registry = registry = CollectorRegistry()
        self.answers = Counter("mehldau_answers", "Answers by HTTP status", ["status"], registry=registry)
        self.accepted = Counter("mehldau_jobs_accepted", "Jobs accepted", registry=registry)
        self.ended = Counter("mehldau_jobs_ended", "Jobs ended", ["state"], registry=registry)
        self.job_seconds = Histogram("mehldau_job_seconds", "From accept to done", buckets=SECONDS, registry=registry)
        sizes = {"buckets": (1, 2, 4, 8, 16, 32), "registry": registry}
        self.batch_jobs = Histogram("mehldau_batch_jobs", "Jobs played together", **sizes)
        self.batch_seconds = Histogram("mehldau_batch_seconds", "Time a batch took", buckets=SECONDS, registry=registry)
        for state in ("queued", "running"):
            gauge = Gauge(f"mehldau_jobs_{state}", f"Jobs that are {state}", registry=registry)
            gauge.set_function(lambda state=state: jobs.count(state))

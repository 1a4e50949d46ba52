"""The REST server: routes, and what OpenAPI says of them. See docs/SERVER.md."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import Body, FastAPI, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lib.apps.server.gate import Gate
from lib.apps.server.jobs import ENDED, QueueFull
from lib.apps.server.orders import SoloOrder, check
from lib.apps.server.page import PAGE_POLICY, page_html
from lib.apps.server.problems import Problem, answers, say_problems
from lib.apps.server.results import KINDS, Busy
from lib.music.notes import MidiError, to_midi
from lib.style.classifier import TooShort

SOON = {"Retry-After": "2"}
EVENTS_EVERY_S, WORD_EVERY = 0.25, 40  # a comment now and then keeps proxies from closing the stream
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As POST /v1/solos gave it.")]
Kind = Annotated[Literal["mid", "wav", "json", "html"], Path(description="MIDI, sound, notes, or the player page.")]
EXAMPLES = {
    "changes": {"summary": "Ten seconds over changes", "value": {"chords": "Dm7 G7 | Cmaj7", "seconds": 10, "seed": 1}},
    "blues": {"summary": "A blues of 12 bars, busier towards the middle",
              "value": {"chords": "blues in F", "bars": 12, "tempo_bpm": 160, "density": [4, 9, 5]}},
    "mix": {"summary": "Two pianists", "value": {"style": "Brad Mehldau:0.7,Bill Evans:0.3", "seconds": 10}},
}  # fmt: skip
MIDI_BODY = {"requestBody": {"required": True, "content": {"audio/midi": {"schema": {"type": "string", "format": "binary"}}}}}


class JobView(BaseModel):
    """A job as clients see it."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float
    ahead: int
    error: str | None
    created_s: float
    ended_s: float | None
    links: dict[str, str]


class StylesView(BaseModel):
    """Whose styles are known; `own` is whom it plays like when nobody is asked for."""

    own: str | None
    styles: list[str]


def make_app(studio, token=None):
    """The ASGI application of a Studio.

    Parameters
    ----------
    studio : Studio; it is opened and closed with the application
    token : see Gate
    """

    @asynccontextmanager
    async def life(app):
        studio.open()
        yield
        await run_in_threadpool(studio.close)

    app = FastAPI(title="Brad Mehldau AI", version="1", description="Solo piano over chords: ask, wait, listen.",
                  lifespan=life, docs_url=None, redoc_url=None)  # fmt: skip
    app.state.studio, app.state.streams = studio, 0
    app.add_middleware(Gate, limits=studio.limits, token=token,
                       answered=lambda status: studio.metrics.answers.labels(status).inc())  # fmt: skip
    say_problems(app)
    _add_solos(app, studio)
    _add_listening(app, studio)
    _add_watching(app, studio)
    return app


def _view(studio, job):
    ahead = studio.jobs.ahead_of(job.id) if job.state == "queued" else 0
    here = f"/v1/solos/{job.id}"
    links = {"self": here, "events": f"{here}/events", **({k: f"{here}.{k}" for k in KINDS} if job.state == "done" else {})}
    return JobView(id=job.id, state=job.state, progress=studio.progress(job), ahead=ahead, error=job.error,
                   created_s=job.created_s, ended_s=job.ended_s, links=links)  # fmt: skip


def _find(studio, job_id):
    job = studio.jobs.find(job_id)
    if job is None:
        raise Problem(404, "There is no such job, or it ended so long ago that it was forgotten.")
    return job


def _add_solos(app, studio):
    @app.post("/v1/solos", status_code=202, response_model=JobView, responses=answers(401, 413, 422, 429), tags=["solos"])
    def ask(order: Annotated[SoloOrder, Body(openapi_examples=EXAMPLES)], response: Response):
        """Ask for a solo; with `midi` one that goes on from a performance, with `from_s` and `to_s` too one that fills a gap."""
        work = check(order, studio.improviser.styles, studio.limits)
        try:
            job = studio.add(work)
        except QueueFull:
            raise Problem(429, f"{studio.limits.queued} jobs are waiting already; try again soon.", headers=SOON) from None
        response.headers["Location"] = f"/v1/solos/{job.id}"
        return _view(studio, job)

    @app.get("/v1/solos/{job_id}.{kind}", response_class=Response, responses=answers(401, 404, 409, 422, 429), tags=["solos"])
    def result(job_id: JobId, kind: Kind):
        """The result: .mid, .wav, .json (notes, chords, rules) or .html (the player, all in one page)."""
        job = _find(studio, job_id)
        if job.state != "done":
            raise Problem(409, f"The job is {job.state}: there is no result{' yet' if job.state not in ENDED else ''}.")
        try:
            path = studio.results.path(job.id, kind)
        except Busy:
            raise Problem(429, "Sound is being made for others; try again.", headers=SOON) from None
        if path is None:
            raise Problem(404, "The result was forgotten.")
        headers = {"Content-Security-Policy": PAGE_POLICY} if kind == "html" else {}
        name = None if kind == "html" else f"solo-{job.id[:8]}.{kind}"
        return FileResponse(path, media_type=KINDS[kind], filename=name, headers=headers)

    @app.get("/v1/solos/{job_id}", response_model=JobView, responses=answers(401, 404, 422), tags=["solos"])
    def status(job_id: JobId):
        """How far a job is."""
        return _view(studio, _find(studio, job_id))

    @app.delete("/v1/solos/{job_id}", response_model=JobView, responses=answers(401, 404, 422), tags=["solos"])
    def cancel(job_id: JobId):
        """Cancel a job that has not ended; one that has stays as it is."""
        studio.cancel(_find(studio, job_id))
        return _view(studio, _find(studio, job_id))

    @app.get("/v1/solos/{job_id}/events", response_class=StreamingResponse, tags=["solos"],
             responses={200: {"content": {"text/event-stream": {}}}, **answers(401, 404, 422, 429)})  # fmt: skip
    async def events(job_id: JobId):
        """Progress as server-sent events: `progress` whenever it changes, then one named by how the job ended."""
        await run_in_threadpool(_find, studio, job_id)
        if app.state.streams >= studio.limits.streams:
            raise Problem(429, "Too many clients follow events; ask for the status instead.", headers=SOON)
        stream = _events(app, studio, job_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(app, studio, job_id):
    def look():
        job = studio.jobs.find(job_id)
        return None if job is None else _view(studio, job).model_dump()

    app.state.streams += 1
    try:
        told, quiet = None, 0
        while (view := await run_in_threadpool(look)) is not None:
            ended = view["state"] in ENDED
            if view != told:
                yield f"event: {view['state'] if ended else 'progress'}\ndata: {json.dumps(view)}\n\n"
                told, quiet = view, 0
            elif (quiet := quiet + 1) % WORD_EVERY == 0:
                yield ": still here\n\n"
            if ended:
                return
            await asyncio.sleep(EVENTS_EVERY_S)
    finally:
        app.state.streams -= 1


def _add_listening(app, studio):
    refusals = answers(401, 413, 422, 429)

    def listen(function, *words):
        try:
            return function(*words)
        except (MidiError, TooShort) as error:
            raise Problem.of_field("body", error) from None
        except Busy:
            raise Problem(429, "Others are being listened to; try again.", headers=SOON) from None

    @app.post("/v1/identify", responses=refusals, openapi_extra=MIDI_BODY, tags=["listening"])
    async def identify(request: Request, top: Annotated[int, Query(ge=1, le=30)] = 5):
        """Who may be playing a MIDI file (the body), and what speaks for it."""
        return JSONResponse(await run_in_threadpool(listen, studio.identify, await request.body(), top))

    @app.post("/v1/reconstruct", responses=refusals, openapi_extra=MIDI_BODY, tags=["listening"])
    async def reconstruct(request: Request, form: Annotated[Literal["json", "mid"], Query()] = "json"):
        """A MIDI file (the body) through the codec and back: the best that the model could say of it."""
        notes, values = await run_in_threadpool(listen, studio.reconstruct, await request.body())
        if form == "json":
            return JSONResponse(values)
        return Response(await run_in_threadpool(to_midi, notes), media_type=KINDS["mid"])

    @app.get("/v1/styles", response_model=StylesView, responses=answers(401), tags=["listening"])
    def styles():
        """Whose styles may be asked for."""
        return StylesView(own=studio.improviser.pianist, styles=list(studio.improviser.styles.names))


def _add_watching(app, studio):
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page():
        return HTMLResponse(page_html(), headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"})

    @app.get("/healthz", tags=["watching"])
    def healthy():
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses=answers(503), tags=["watching"])
    def ready():
        """Jobs are being played."""
        if not studio.ready:
            raise Problem(503, "The worker does not run.")
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses=answers(401), tags=["watching"])
    def metrics():
        """For Prometheus."""
        return Response(studio.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

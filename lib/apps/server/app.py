"""The REST server: routes, and what OpenAPI says of them. See docs/SERVER.md."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lib.apps.server.auth import add_middleware
from lib.apps.server.errors import Problem, answer_with_problems, answers
from lib.apps.server.jobs import ENDED, QueueFull
from lib.apps.server.page import PAGE_POLICY, page_html
from lib.apps.server.results import KINDS, Busy
from lib.apps.server.schemas import SoloOrder, check
from lib.apps.server.service import Service
from lib.music.notes import MidiError
from lib.style.classifier import TooShort

SOON = {"Retry-After": "2"}
EVENTS_EVERY_S, WORD_EVERY = 0.25, 40  # a comment now and then keeps proxies from closing the stream
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As POST /v1/solos gave it.")]
Kind = Annotated[Literal["mid", "wav", "json", "html"], Path(description="MIDI, sound, notes, or the player page.")]
BLUES = {"chords": "blues in F", "choruses": 2, "tempo_bpm": 160, "feel": "swing", "density": [4, 9, 5]}
WALTZ = {"chords": "Am7 | D7 | Gmaj7 | Cmaj7", "bars": 16, "metre": "3/4"}
EXAMPLES = {
    "changes": {"summary": "Ten seconds over changes", "value": {"chords": "Dm7 G7 | Cmaj7", "seconds": 10, "seed": 1}},
    "blues": {"summary": "Two choruses of a swung blues, busier towards the middle", "value": BLUES},
    "waltz": {"summary": "Sixteen bars of three", "value": WALTZ},
    "mix": {"summary": "Two pianists", "value": {"style": "Brad Mehldau:0.7,Bill Evans:0.3", "seconds": 10}},
}
MIDI_BODY = {
    "requestBody": {"required": True, "content": {"audio/midi": {"schema": {"type": "string", "format": "binary"}}}}
}


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


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """The ASGI application of a Service, which is opened and closed with it; `token` as of auth.Door."""

    @asynccontextmanager
    async def lifespan(app):
        service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="Brad Mehldau AI",
        version="1",
        description="Solo piano over chords: ask, wait, listen.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_middleware(app, service.limits, token, lambda status: service.metrics.answers.labels(status).inc())
    answer_with_problems(app)
    guarded = [Depends(HTTPBearer(auto_error=False))]  # for the description; auth.Door asks for it, before any body
    app.include_router(_solos(service), dependencies=guarded)
    app.include_router(_listening(service), dependencies=guarded)
    app.include_router(_metrics(service), dependencies=guarded)
    app.include_router(_watching(service))
    return app


def _view(service, job):
    ahead = service.jobs.ahead_of(job.id) if job.state == "queued" else 0
    here = f"/v1/solos/{job.id}"
    links = {
        "self": here,
        "events": f"{here}/events",
        **({k: f"{here}.{k}" for k in KINDS} if job.state == "done" else {}),
    }
    return JobView(id=job.id, state=job.state, progress=service.progress(job), ahead=ahead, error=job.error,
                   created_s=job.created_s, ended_s=job.ended_s, links=links)  # fmt: skip


def _find(service, job_id):
    job = service.jobs.find(job_id)
    if job is None:
        raise Problem(404, "There is no such job, or it ended so long ago that it was forgotten.")
    return job


def _solos(service):
    router, streams = APIRouter(tags=["solos"]), [0]  # how many clients follow events

    @router.post("/v1/solos", status_code=202, response_model=JobView, responses=answers(401, 413, 422, 429))
    def ask(order: Annotated[SoloOrder, Body(openapi_examples=EXAMPLES)], response: Response):
        """Ask for a solo; with `midi` it continues a performance, with `from_s` and `to_s` too it infills a passage."""
        work = check(order, service.improviser.styles, service.limits)
        try:
            job = service.add(work)
        except QueueFull:
            raise Problem(
                429, f"{service.limits.queued} jobs are waiting already; try again soon.", headers=SOON
            ) from None
        response.headers["Location"] = f"/v1/solos/{job.id}"
        return _view(service, job)

    @router.get("/v1/solos/{job_id}.{kind}", response_class=Response, responses=answers(401, 404, 409, 422, 429))
    def result(job_id: JobId, kind: Kind):
        """The result: .mid, .wav, .json (notes, chords, rules) or .html (the player, all in one page)."""
        job = _find(service, job_id)
        if job.state != "done":
            raise Problem(409, f"The job is {job.state}: there is no result{' yet' if job.state not in ENDED else ''}.")
        try:
            path = service.results.path(job.id, "mid" if kind == "json" else kind)
        except Busy:
            raise Problem(429, "Sound is being made for others; try again.", headers=SOON) from None
        if path is None:
            raise Problem(404, "The result was forgotten.")
        if kind == "json":
            return JSONResponse(service.results.values(job.id))
        headers = {"Content-Security-Policy": PAGE_POLICY} if kind == "html" else {}
        name = None if kind == "html" else f"solo-{job.id[:8]}.{kind}"
        return FileResponse(path, media_type=KINDS[kind], filename=name, headers=headers)

    @router.get("/v1/solos/{job_id}", response_model=JobView, responses=answers(401, 404, 422))
    def status(job_id: JobId):
        """How far a job is."""
        return _view(service, _find(service, job_id))

    @router.delete("/v1/solos/{job_id}", response_model=JobView, responses=answers(401, 404, 422))
    def cancel(job_id: JobId):
        """Cancel a job that has not ended; one that has stays as it is."""
        service.cancel(_find(service, job_id))
        return _view(service, _find(service, job_id))

    @router.get("/v1/solos/{job_id}/events", response_class=StreamingResponse,
             responses={200: {"content": {"text/event-stream": {}}}, **answers(401, 404, 422, 429)})  # fmt: skip
    async def events(job_id: JobId):
        """Progress as server-sent events: `progress` whenever it changes, then one named by how the job ended."""
        await run_in_threadpool(_find, service, job_id)
        if streams[0] >= service.limits.streams:
            raise Problem(429, "Too many clients follow events; ask for the status instead.", headers=SOON)
        stream = _events(streams, service, job_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return router


async def _events(streams, service, job_id):
    def look():
        job = service.jobs.find(job_id)
        return None if job is None else _view(service, job).model_dump()

    streams[0] += 1
    try:
        sent, quiet = None, 0
        while (view := await run_in_threadpool(look)) is not None:
            ended = view["state"] in ENDED
            if view != sent:
                yield f"event: {view['state'] if ended else 'progress'}\ndata: {json.dumps(view)}\n\n"
                sent, quiet = view, 0
            elif (quiet := quiet + 1) % WORD_EVERY == 0:
                yield ": still here\n\n"
            if ended:
                return
            await asyncio.sleep(EVENTS_EVERY_S)
    finally:
        streams[0] -= 1


def _listening(service):
    router = APIRouter(tags=["listening"])
    refusals = answers(401, 413, 422, 429)

    def listen(function, *words):
        try:
            return function(*words)
        except (MidiError, TooShort) as error:
            raise Problem.of_field("body", error) from None
        except Busy:
            raise Problem(429, "Others are being listened to; try again.", headers=SOON) from None

    @router.post("/v1/identify", responses=refusals, openapi_extra=MIDI_BODY)
    async def identify(request: Request, top: Annotated[int, Query(ge=1, le=30)] = 5):
        """Who may be playing a MIDI file (the body), and what speaks for it."""
        return JSONResponse(await run_in_threadpool(listen, service.identify, await request.body(), top))

    @router.post("/v1/reconstruct", responses=refusals, openapi_extra=MIDI_BODY)
    async def reconstruct(request: Request, form: Annotated[Literal["json", "mid"], Query()] = "json"):
        """A MIDI file (the body) through the codec and back: the best that the model could say of it."""
        midi, values = await run_in_threadpool(listen, service.reconstruct, await request.body())
        return JSONResponse(values) if form == "json" else Response(midi, media_type=KINDS["mid"])

    @router.get("/v1/styles", response_model=StylesView, responses=answers(401))
    def styles():
        """Whose styles may be asked for."""
        return StylesView(own=service.improviser.pianist, styles=list(service.improviser.styles.names))

    return router


def _watching(service):
    router = APIRouter()

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page():
        return HTMLResponse(page_html(), headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"})

    @router.get("/healthz", tags=["watching"])
    def healthy():
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz", responses=answers(503), tags=["watching"])
    def ready():
        """Jobs are being played."""
        if not service.ready:
            raise Problem(503, "The worker does not run.")
        return {"status": "ready"}

    return router


def _metrics(service):
    router = APIRouter(tags=["watching"])

    @router.get("/metrics", response_class=Response, responses=answers(401))
    def metrics():
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router

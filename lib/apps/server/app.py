"""The REST server: routes, what OpenAPI says of them, and the page at /. See docs/SERVER.md."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from lib.apps.server.auth import LOOPBACK, Guard
from lib.apps.server.errors import Problem, answer_with_problems, answers, of_field
from lib.apps.server.jobs import ENDED
from lib.apps.server.schemas import SoloOrder
from lib.apps.server.service import Service, content_of
from lib.display.page import make_page
from lib.generation.request import GenerateRequest

AGAIN = {"Retry_After": "2"}
KINDS = {"json": "application/json", "mid": "audio/midi", "wav": "audio/wav", "html": "text/html; charset=utf-8"}
EVENTS_EVERY_S = 0.25
WAITING = 8  # who may wait for sound to be made, or for one who is listened to
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As POST /v1/solos gave it.")]
Kind = Annotated[Literal["mid", "wav", "json", "html"], Path(description="MIDI, sound, notes, or the player page.")]
MIDI_BODY = {
    "requestBody": {"required": True, "content": {"audio/midi": {"schema": {"type": "string", "format": "binary"}}}}
}
# the player within the page is a page of its own (srcdoc) and plays from data: URLs
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src data: blob:; "
    "img-src data: blob:; connect-src 'self' data: blob:; frame-src 'self'; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)


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


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """The ASGI application of a Service, which plays and is closed with it; without a token, none is required,
    and only loopback names are answered to."""

    @asynccontextmanager
    async def lifespan(app):
        service.dispatcher.start()
        yield
        await run_in_threadpool(service.close)

    about = {"title": "Brad Mehldau AI", "version": "1", "description": "Solo piano over chords: ask, wait, listen."}
    app = FastAPI(**about, lifespan=lifespan, docs_url=None, redoc_url=None)
    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"], www_redirect=False)
    app.add_middleware(Guard, limits=service.limits, token=token, answers=service.metrics.answers)
    answer_with_problems(app)
    guarded = [Depends(HTTPBearer(auto_error=False))]  # for the description: Guard asks, before any body
    app.include_router(_solos(service), dependencies=guarded)
    app.include_router(_analysis(service), dependencies=guarded)
    app.include_router(_monitoring(service, guarded))
    return app


def page_html(request_type: type = GenerateRequest) -> str:
    """The page at /, in one file, with an input for each rule that a request can ask for and that has a label."""
    rules = [field for field in dataclasses.fields(request_type) if field.metadata.get("label")]
    return make_page(FilePath(__file__).parent, "page", "Brad Mehldau AI", rules=rules)


async def in_turn(turn: CapacityLimiter, function: Callable, *arguments: Any) -> Any:
    """What a function returns that is called in a thread, one at a time; Problem where too many wait for it."""
    if turn.statistics().tasks_waiting >= WAITING:
        raise Problem(429, "Too many wait for the same; try again.", **AGAIN)
    return await to_thread.run_sync(function, *arguments, limiter=turn)


def _view(service, job):
    address = f"/v1/solos/{job.id}"
    links = {"self": address, "events": f"{address}/events"}
    if job.state == "done":
        links |= {kind: f"{address}.{kind}" for kind in KINDS}
    progress = 1.0 if job.state == "done" else round(service.dispatcher.progress.get(job.id, 0.0), 3)
    ahead = service.jobs.ahead_of(job.id) if job.state == "queued" else 0
    fields = {name: getattr(job, name) for name in ("id", "state", "error", "created_s", "ended_s")}
    return JobView(**fields, progress=progress, ahead=ahead, links=links)


def _find(service, job_id):
    job = service.jobs.find(job_id)
    if job is None:
        raise Problem(404, "There is no such job, or it ended so long ago that it was forgotten.")
    return job


def _solos(service):
    router = APIRouter(prefix="/v1/solos", tags=["solos"])
    streams, sound = asyncio.Semaphore(service.limits.streams), CapacityLimiter(1)  # sound takes much memory

    @router.post("", status_code=202, response_model=JobView, responses=answers(401, 413, 422, 429))
    def ask(order: SoloOrder, response: Response):
        """Ask for a solo; with `midi` it continues a performance, with `from_s` and `to_s` too it infills a passage."""
        if (job := service.add(order)) is None:
            raise Problem(429, f"{service.limits.queued} jobs are waiting already; try again soon.", **AGAIN)
        response.headers["Location"] = f"/v1/solos/{job.id}"
        return _view(service, job)

    @router.get("/{job_id}.{kind}", response_class=Response, responses=answers(401, 404, 409, 422, 429))
    async def result(job_id: JobId, kind: Kind):
        """The result: .mid, .wav, .json (notes, chords, rules) or .html (the player, all in one page)."""
        job = await run_in_threadpool(_find, service, job_id)
        if job.state != "done":
            raise Problem(409, f"The job is {job.state}: there is no result{'' if job.state in ENDED else ' yet'}.")
        call = partial(in_turn, sound) if kind in ("wav", "html") else run_in_threadpool
        if (content := await call(content_of, service.store, job.id, kind, service.soundfont)) is None:
            raise Problem(404, "The result was forgotten.")
        as_file = {"Content-Disposition": f'attachment; filename="solo-{job.id[:8]}.{kind}"'}
        headers = {"html": {"Content-Security-Policy": PAGE_POLICY}, "json": {}}.get(kind, as_file)
        return Response(content, media_type=KINDS[kind], headers=headers)

    @router.get("/{job_id}", response_model=JobView, responses=answers(401, 404, 422))
    def status(job_id: JobId):
        """How far a job is."""
        return _view(service, _find(service, job_id))

    @router.delete("/{job_id}", response_model=JobView, responses=answers(401, 404, 422))
    def cancel(job_id: JobId):
        """Cancel a job that has not ended; one that has stays as it is."""
        service.cancel(_find(service, job_id))
        return _view(service, _find(service, job_id))

    stream = {200: {"content": {"text/event-stream": {}}}, **answers(401, 404, 422, 429)}

    @router.get("/{job_id}/events", response_class=StreamingResponse, responses=stream)
    async def events(job_id: JobId):
        """Progress as server-sent events: `progress` whenever it changes, then one named by how the job ended."""
        await run_in_threadpool(_find, service, job_id)
        if streams.locked():
            raise Problem(429, "Too many clients follow events; ask for the status instead.", **AGAIN)
        lines, headers = _events(service, job_id, streams), {"Cache-Control": "no-store"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)

    return router


async def _events(service, job_id, streams):
    def look():
        job = service.jobs.find(job_id)
        return None if job is None else _view(service, job).model_dump()

    async with streams:
        sent = None
        while (view := await run_in_threadpool(look)) is not None:
            ended = view["state"] in ENDED
            text = f"event: {view['state'] if ended else 'progress'}\ndata: {json.dumps(view)}\n\n"
            yield text if view != sent else ":\n\n"  # a comment keeps proxies from closing the stream
            if ended:
                return
            sent = view
            await asyncio.sleep(EVENTS_EVERY_S)


def _analysis(service):
    router = APIRouter(prefix="/v1", tags=["analysis"])
    refusals, turn = answers(401, 413, 422, 429), CapacityLimiter(1)

    @router.post("/identify", responses=refusals, openapi_extra=MIDI_BODY)
    async def identify(request: Request, top: Annotated[int, Query(ge=1, le=30)] = 5):
        """Who may be playing a MIDI file (the body), and what speaks for it."""
        with of_field("body"):
            return JSONResponse(await in_turn(turn, service.identify, await request.body(), top))

    @router.post("/reconstruct", responses=refusals, openapi_extra=MIDI_BODY)
    async def reconstruct(request: Request, form: Annotated[Literal["json", "mid"], Query()] = "json"):
        """A MIDI file (the body) through the codec and back: the best that the model could say of it."""
        with of_field("body"):
            midi, values = await in_turn(turn, service.reconstruct, await request.body())
        return JSONResponse(values) if form == "json" else Response(midi, media_type=KINDS["mid"])

    @router.get("/styles", responses=answers(401))
    def styles():
        """Whose `styles` may be asked for, and whom it plays like when nobody is: its `own`."""
        return {"own": service.improviser.pianist, "styles": list(service.improviser.styles.names)}

    return router


def _monitoring(service, guarded):
    router = APIRouter(tags=["monitoring"])

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page():
        return HTMLResponse(page_html(), headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"})

    @router.get("/healthz")
    def healthy():
        """The process answers."""
        return {"status": "ok"}

    @router.get("/readyz", responses=answers(503))
    def ready():
        """Jobs are being played."""
        if not service.dispatcher.is_alive():
            raise Problem(503, "The dispatcher does not run.")
        return {"status": "ready"}

    @router.get("/metrics", response_class=Response, responses=answers(401), dependencies=guarded)
    def metrics():
        """For Prometheus."""
        text = generate_latest(service.metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router

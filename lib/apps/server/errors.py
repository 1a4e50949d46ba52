"""Errors of a request as problem+json (RFC 9457) that names the field."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteError

from lib.config import ConfigError
from lib.music.chords import ChordError
from lib.music.notes import MidiError
from lib.style.classifier import TooShort

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
MEMBERS = {"type": "string", "title": "string", "status": "integer", "detail": "string", "errors": "array"}


class Problem(HTTPException):
    """A request that is refused, with headers such as Retry_After."""

    def __init__(self, status: int, detail: str, **headers: str):
        super().__init__(status, detail, {name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def of_field(field: str) -> Iterator[None]:
    """A block in which errors that the client can fix become a ConfigError of a field."""
    try:
        yield
    except (ConfigError, ChordError, MidiError, TooShort) as error:
        raise field_error(field, getattr(error, "fields", {}).get("passage") or str(error)) from None


def field_error(field: str, detail: str) -> ConfigError:
    """What is wrong with one field."""
    return ConfigError(f"{field}: {detail}", {field: detail})


def respond(status: int, detail: str, fields: Mapping[str, str] | None = None, headers=None) -> Response:
    """A refusal as problem+json, in plain ASCII whatever the request held; field -> what is wrong with it."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if fields:
        body["errors"] = [{"field": field, "detail": detail} for field, detail in fields.items()]
    return Response(json.dumps(body), status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def answers(*statuses: int) -> dict:
    """OpenAPI's `responses` for these statuses."""
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in MEMBERS.items()}}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer_with_problems(app: FastAPI) -> None:
    """Let an app answer every error as problem+json."""

    @app.exception_handler(StarletteError)
    async def refuse(request: Request, error: StarletteError):
        return respond(error.status_code, str(error.detail), None, error.headers)

    @app.exception_handler(ConfigError)
    async def refuse_fields(request: Request, error: ConfigError):
        return respond(422, str(error), error.fields)

    @app.exception_handler(RequestValidationError)
    async def refuse_values(request: Request, error: RequestValidationError):
        fields = {}
        for each in error.errors()[:20]:  # a ConfigError names its fields itself
            cause = each.get("ctx", {}).get("error", each["msg"])
            names = ".".join(str(part) for part in each["loc"] if part not in ("body", "query", "header", "path"))
            fields |= getattr(cause, "fields", None) or {names[:200] or "body": str(cause)}
        return respond(422, "; ".join(f"{field}: {detail}" for field, detail in fields.items()), fields)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception):
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return respond(500, "The server's log says more.")

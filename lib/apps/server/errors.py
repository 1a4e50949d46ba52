"""What is wrong with a request, as problem+json (RFC 9457) that names the field."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteError

log = logging.getLogger(__name__)
TITLES = {400: "Bad request", 401: "A token is wanted", 403: "Refused", 404: "Not found", 405: "Method not allowed",
          408: "Too slow", 409: "Not now", 413: "Too large", 422: "Unusable request", 429: "Too many requests",
          500: "Internal error", 503: "Not ready"}  # fmt: skip
MEDIA_TYPE = "application/problem+json"
FIELDS = {"type": "string", "title": "string", "status": "integer", "detail": "string", "errors": "array"}


class Problem(HTTPException):
    """A request that is refused.

    Parameters
    ----------
    fields : field -> what is wrong with it
    """

    def __init__(self, status: int, detail: str, fields: Mapping[str, str] | None = None, **headers: str):
        super().__init__(status, detail, {name.replace("_", "-"): value for name, value in headers.items()})
        self.fields = fields or {}

    @classmethod
    def of_field(cls, field: str, detail: object) -> Problem:
        """422 for one field."""
        return cls(422, f"{field}: {detail}", {field: str(detail)})


def respond(error: StarletteError) -> Response:
    """A refusal as problem+json, in plain ASCII whatever the request held."""
    title = TITLES.get(error.status_code, "Error")
    body = {"type": "about:blank", "title": title, "status": error.status_code, "detail": str(error.detail)}
    if fields := getattr(error, "fields", None):
        body["errors"] = [{"field": field, "detail": detail} for field, detail in fields.items()]
    headers = {"Cache-Control": "no-store", **(error.headers or {})}
    return Response(json.dumps(body), error.status_code, headers, MEDIA_TYPE)


def answers(*statuses: int) -> dict:
    """OpenAPI's `responses` for these statuses."""
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in FIELDS.items()}}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {status: {"description": TITLES[status], "content": content} for status in statuses}


def answer_with_problems(app: FastAPI) -> None:
    """Let an app answer every error as problem+json."""

    @app.exception_handler(StarletteError)
    async def refuse(request: Request, error: StarletteError):
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError):
        fields = {}
        for each in error.errors()[:20]:  # a ConfigError names its fields itself
            cause = each.get("ctx", {}).get("error", each["msg"])
            fields |= getattr(cause, "fields", None) or {_field_of(each["loc"]): str(cause)}
        return respond(Problem(422, "; ".join(f"{field}: {detail}" for field, detail in fields.items()), fields))

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception):
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return respond(Problem(500, "The server's log says more."))


def _field_of(location):
    """A field's name, without the part that says where requests have fields."""
    names = [str(part) for part in location if part not in ("body", "query", "header", "path")]
    return ".".join(names)[:200] or "body"

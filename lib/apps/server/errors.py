"""What is wrong with a request, as problem+json (RFC 9457) that names the field."""

from __future__ import annotations

import json
import logging

from starlette.responses import Response

log = logging.getLogger(__name__)
TITLES = {400: "Bad request", 401: "A token is wanted", 403: "Refused", 404: "Not found", 405: "Method not allowed",
          408: "Too slow", 409: "Not now", 410: "Gone", 413: "Too large", 415: "Wrong content type", 422: "Unusable request",
          429: "Too many requests", 500: "Internal error", 503: "Not ready"}  # fmt: skip
MEDIA_TYPE = "application/problem+json"
SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": {"type": "string"}, "detail": {"type": "string"}}},
        },
    },
}


class Problem(Exception):
    """A request that is refused: its status, and what is wrong with which fields."""

    def __init__(self, status, detail, errors=(), headers=None):
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), headers or {}

    @classmethod
    def of_field(cls, field, detail):
        """422 for one field."""
        return cls(422, f"{field}: {detail}", [(field, str(detail))])

    def response(self):
        """Plain ASCII, whatever the request held."""
        body = {
            "type": "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [{"field": field, "detail": detail} for field, detail in self.errors]
        return Response(json.dumps(body), self.status, {"Cache-Control": "no-store", **self.headers}, MEDIA_TYPE)


def answers(*statuses):
    """OpenAPI's `responses` for these statuses."""
    return {status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": SCHEMA}}} for status in statuses}


def answer_with_problems(app):
    """Let a FastAPI app answer with problems only."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    @app.exception_handler(Problem)
    async def refused(request, problem):
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def unusable(request, error):
        errors = [pair for e in error.errors()[:20] for pair in _fields_of(e)]
        return Problem(422, "; ".join(f"{field}: {detail}" for field, detail in errors), errors).response()

    @app.exception_handler(HTTPException)
    async def plain(request, error):
        return Problem(error.status_code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(Exception)
    async def broken(request, error):
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return Problem(500, "The server's log says more.").response()


def _fields_of(error):
    """(field, what is wrong with it) of one of pydantic's errors; a ConfigError names its fields itself."""
    cause = error.get("ctx", {}).get("error", error["msg"])
    return list(getattr(cause, "fields", {}).items()) or [(_field(error["loc"]), str(cause))]


def _field(location):
    """A field's name, without the part that says where requests have fields."""
    names = [str(part) for part in location if part not in ("body", "query", "header", "path")]
    return ".".join(names)[:200] or "body"

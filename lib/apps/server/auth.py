"""Who may come in, from where, and with how much: a token, known hosts, no other site's pages, bodies of limited size."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.authentication import AuthenticationBackend, AuthenticationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection

from lib.apps.server.errors import Problem
from lib.apps.server.limits import Limits
from lib.config import ConfigError

OPEN_PATHS = ("/", "/healthz", "/readyz", "/openapi.json")  # they tell nothing of anybody's music
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 12
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def check_exposure(host: str, token: str | None) -> None:
    """ConfigError where the address may be reached from elsewhere and no token, or a short one, is asked for."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"--token wants {SHORTEST_TOKEN} characters at least, e.g. of: openssl rand -hex 16")
    if host not in LOOPBACK and token is None:
        raise ConfigError(
            f"--host {host} can be reached from other machines: it wants --token TOKEN (or LIB_SERVE_TOKEN)."
        )


class Door(AuthenticationBackend):
    """Refuses strangers and the pages of other sites by their headers alone, before a body is read.

    Parameters
    ----------
    token : what `Authorization: Bearer TOKEN` must say but on OPEN_PATHS; None: nobody is asked
    """

    def __init__(self, token: str | None):
        self.token = token

    async def authenticate(self, conn: HTTPConnection) -> None:
        """None where a request may come in; raises Refused with the answer otherwise."""
        origin = conn.headers.get("origin")
        try:
            source = urlsplit(origin or "").netloc
        except ValueError:
            raise Refused(Problem(400, "Origin can't be read.")) from None
        if origin and source != conn.headers.get("host"):
            raise Refused(Problem(403, "Pages of other sites may not use this server (Origin)."))
        given = conn.headers.get("authorization", "").encode("latin-1")
        if self.token is None or conn.scope["path"] in OPEN_PATHS:
            return
        if not hmac.compare_digest(given, b"Bearer " + self.token.encode()):
            text = "Authorization: Bearer TOKEN is wanted."
            raise Refused(Problem(401, text, headers={"WWW-Authenticate": "Bearer"}))


class Refused(AuthenticationError):
    """A request that may not come in; `problem` is the answer."""

    def __init__(self, problem: Problem):
        super().__init__(str(problem))
        self.problem = problem


def add_middleware(app: FastAPI, limits: Limits, token: str | None, count: Callable[[int], None]) -> None:
    """Hosts, bodies and headers of a FastAPI app, in front of its routes.

    Parameters
    ----------
    token : None: nobody is asked for one, and only loopback names are answered to
    count : called with the status of every answer
    """
    app.add_middleware(BodyLimit, limits=limits)
    refuse = {"on_error": lambda conn, error: error.problem.response()}
    app.add_middleware(AuthenticationMiddleware, backend=Door(token), **refuse)
    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"], www_redirect=False)
    app.add_middleware(Answers, count=count)


class Answers:
    """ASGI middleware: adds SECURITY_HEADERS to every answer and counts its status."""

    def __init__(self, app, count: Callable[[int], None]):
        self.app, self.count = app, count

    async def __call__(self, scope, receive, send):
        async def answer(message):
            if message["type"] == "http.response.start":
                self.count(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:  # Starlette's outermost middleware answers with 500, and logs it
            self.count(500)
            raise


class BodyLimit:
    """ASGI middleware: reads the body, and refuses one that is too large (413) or too slow (408).

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    """

    def __init__(self, app, limits: Limits):
        self.app, self.limits = app, limits

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._body(Headers(scope=scope).get("content-length", "0"), receive)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self.app(scope, _with_body(body, receive), send)

    async def _body(self, length, receive):
        most, parts, size = self.limits.body_bytes, [], 0
        too_large = Problem(413, f"A body may have {most:,} bytes.", headers={"Connection": "close"})
        if not length.isdigit() or len(length) > 15 or int(length) > most:
            raise too_large
        try:
            async with asyncio.timeout(self.limits.body_s):
                while (message := await receive())["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_large
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            text = f"The body took more than {self.limits.body_s:g} s."
            raise Problem(408, text, headers={"Connection": "close"}) from None
        return b"".join(parts)


def _with_body(body, receive):
    """A `receive` that gives the body at once, then what comes later (such as: the client went away)."""
    given = False

    async def receive_body():
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body

"""The door: who may come in, from where, and with how much. Plain ASGI, in front of every route."""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import urlsplit

from lib.apps.server.problems import Problem
from lib.config import ConfigError

OPEN_PATHS = ("/", "/healthz", "/readyz", "/openapi.json")  # they tell nothing of anybody's music
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_TOKEN = 12
HEADERS = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer",
           b"cross-origin-resource-policy": b"same-origin"}  # fmt: skip


def check_door(host, token):
    """ConfigError where the address may be reached from elsewhere and no token, or a short one, is asked for."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ConfigError(f"--token wants {SHORTEST_TOKEN} characters at least, e.g. of: openssl rand -hex 16")
    if host not in LOOPBACK and token is None:
        raise ConfigError(f"--host {host} can be reached from other machines: it wants --token TOKEN (or LIB_SERVE_TOKEN).")


class Gate:
    """Refuses before a route is reached: strangers, other sites' pages, bodies that are too large or too slow.

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    token : what `Authorization: Bearer TOKEN` must say; None: nobody is asked, and only loopback names are answered to
    answered : callable(status), told of every answer
    """

    def __init__(self, app, limits, token, answered):
        self.app, self.limits, self.token, self.answered = app, limits, token, answered

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message):
            if message["type"] == "http.response.start":
                self.answered(message["status"])
                known = {name.lower() for name, _ in message.get("headers", ())}
                extra = [(name, value) for name, value in HEADERS.items() if name not in known]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            headers = {name.lower(): value for name, value in scope["headers"]}
            self._check(scope["path"], headers)
            body = await self._body(headers, receive)
        except Problem as problem:
            await problem.response()(scope, receive, answer)
            return
        try:
            await self.app(scope, _with_body(body, receive), answer)
        except Exception:  # what answers with 500 stands in front of this door
            self.answered(500)
            raise

    def _check(self, path, headers):
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1"))
        origin = headers.get(b"origin", b"").decode("latin-1")
        try:
            name, place, source = host.hostname, host.netloc, urlsplit(origin).netloc
        except ValueError:
            raise Problem(400, "Host or Origin can't be read.") from None
        if self.token is None and name not in LOOPBACK:
            raise Problem(403, "This server answers to localhost only (Host).")
        if origin and source != place:
            raise Problem(403, "Pages of other sites may not use this server (Origin).")
        if self.token is not None and path not in OPEN_PATHS:
            said = headers.get(b"authorization", b"")
            if not hmac.compare_digest(said, b"Bearer " + self.token.encode()):
                raise Problem(401, "Authorization: Bearer TOKEN is wanted.", headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, headers, receive):
        most = self.limits.body_bytes
        length = headers.get(b"content-length", b"0")
        too_large = Problem(413, f"A body may have {most:,} bytes.", headers={"Connection": "close"})
        if not length.isdigit() or len(length) > 15 or int(length) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        break
                    size += len(message.get("body", b""))
                    if size > most:
                        raise too_large
                    parts.append(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise Problem(408, f"The body took more than {self.limits.body_s:g} s.", headers={"Connection": "close"}) from None
        return b"".join(parts)


def _with_body(body, receive):
    """A `receive` that gives the body at once, then what comes later (such as: the client went away)."""
    given = False

    async def again():
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

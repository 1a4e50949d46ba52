"""Access control: a token, no pages of other sites, bodies of limited size."""

from __future__ import annotations

import asyncio
import hmac

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders

from lib.apps.server.errors import Problem, respond
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
        raise ConfigError(f"--host {host} can be reached by others: it wants --token TOKEN (or LIB_SERVE_TOKEN).")


class Guard:
    """ASGI middleware: refuses strangers by their headers alone, and bodies while they are read; counts all answers.

    Parameters
    ----------
    token : what `Authorization: Bearer TOKEN` must contain, except on OPEN_PATHS; None: no token is required
    answers : Counter of all answers by their status
    """

    def __init__(self, app, limits: Limits, token: str | None, answers: Counter):
        self.app, self.limits, self.token, self.answers = app, limits, token, answers

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = _Body(receive, self.limits)

        async def answer(message):
            if message["type"] == "http.response.start":
                body.is_read = True
                self.answers.labels(message["status"]).inc()
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
            await self.app(scope, body.receive, answer)
        except Problem as problem:
            refusal = respond(problem.status_code, problem.detail, None, problem.headers)
            await refusal(scope, receive, answer)
        except Exception:  # Starlette's outermost middleware answers with 500, and logs it
            self.answers.labels(500).inc()
            raise

    def _check(self, path, headers):
        """Problem for what may not come in."""
        origin, given = headers.get("origin"), headers.get("authorization", "")
        if origin and origin.partition("://")[2] != headers.get("host"):
            raise Problem(403, "Pages of other sites may not use this server (Origin).")
        is_open = self.token is None or path in OPEN_PATHS
        if not (is_open or hmac.compare_digest(given.encode("latin-1"), f"Bearer {self.token}".encode())):
            raise Problem(401, "Authorization: Bearer TOKEN is wanted.", WWW_Authenticate="Bearer")


class _Body:
    """A `receive` that raises Problem where a body is too large (413) or too slow (408), until it `is_read`."""

    def __init__(self, receive, limits):
        self._receive, self._limits, self._size, self.is_read = receive, limits, 0, False
        self._ends_s = asyncio.get_running_loop().time() + limits.body_s

    async def receive(self):
        if self.is_read:  # what comes later: the client went away
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._ends_s):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"The body took more than {self._limits.body_s:g} s.", Connection="close") from None
        self._size += len(message.get("body", b""))
        if self._size > self._limits.body_bytes:
            raise Problem(413, f"A body may have {self._limits.body_bytes:,} bytes.", Connection="close")
        self.is_read = not message.get("more_body")
        return message

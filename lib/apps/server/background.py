"""The server behind uvicorn: in the foreground for the command line, in a thread for notebooks and tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from lib.apps.server.app import make_app
from lib.apps.server.service import Service

HOST, SHUTDOWN_S = "127.0.0.1", 10.0


class Connection(AutoHTTPProtocol):
    """uvicorn's waits for a request's head for ever, this one hangs up; `cycle` is the request that came last."""

    head_s = 10.0  # so long without a new request, or twice as long

    def connection_made(self, transport):
        super().connection_made(transport)
        self.loop.call_later(self.head_s, self.hang_up_if_idle, self._state())

    def hang_up_if_idle(self, before):
        state = _, is_idle = self._state()
        if is_idle and state == before:
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(self.head_s, self.hang_up_if_idle, state)

    def _state(self):
        return self.cycle, self.cycle is None or self.cycle.response_complete


def serve(service: Service, host: str, port: int, token: str | None) -> None:
    """Answer at an address until the process is asked to end; port 0: any, which the log names."""
    uvicorn.run(
        make_app(service, token),
        host=host,
        port=port,
        log_level="warning" if port else "info",
        access_log=False,
        limit_concurrency=2 * service.limits.streams,  # all that follow events, and as many that ask
        timeout_graceful_shutdown=3,
        server_header=False,
        http=Connection,
        ws="none",
    )


@contextlib.contextmanager
def server(folder: Path | str, run: Path | str | None = None, **options) -> Iterator[str]:
    """A server that answers this machine alone, until the end of the block: its URL.

    Parameters
    ----------
    folder : of jobs and results
    run : an improviser or a run; None: the released weights
    options : of Service
    """
    app = make_app(Service(folder, run, run is None, **options))
    serving = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=3))
    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=serving.run, args=([listening],), name="server", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}/"
        finally:
            serving.should_exit = True
            thread.join(SHUTDOWN_S)

"""A server in a thread of this process, for notebooks and tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from lib.apps.server.app import make_app
from lib.apps.server.service import Service

HOST, SHUTDOWN_S = "127.0.0.1", 10.0


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
    config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=3)
    serving = uvicorn.Server(config)
    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=serving.run, args=([listening],), name="server", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}/"
        finally:
            serving.should_exit = True
            thread.join(SHUTDOWN_S)

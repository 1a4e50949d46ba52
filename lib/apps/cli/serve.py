"""The REST server, and workers for it on other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, OUTPUT_DIR, DataDir, Released, Run, option

MISSING = "The server needs some packages more: pip install -r requirements-serve.txt ({error})"


def serve(
    run: Run = None,
    released: Released = False,
    host: Annotated[str, option("Beyond 127.0.0.1 it wants --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[str | None, option("What clients must say.", envvar="LIB_SERVE_TOKEN", show_envvar=True)] = None,
    serve_dir: Annotated[Path, option("Folder of jobs and results.")] = OUTPUT_DIR / "serve",
    soundfont: Annotated[Path | None, option("Another .sf2 than the built-in grand.")] = None,
    queued: Annotated[int | None, option("Jobs that may wait.", min=1)] = None,
    seconds: Annotated[float | None, option("Music that may be asked for at once.", min=1)] = None,
    ttl: Annotated[float | None, option("Seconds that results are kept.", min=1)] = None,
    batch: Annotated[int | None, option("Solos that are played together.", min=1)] = None,
    queue: Annotated[str | None, option("redis://HOST:6379/0: let `python -m lib worker` play.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Play for others: a REST server, and a page with knobs and the player at http://127.0.0.1:8000/."""
    try:
        from lib.apps.server.background import serve as serve_at
    except ImportError as error:
        raise configs.ConfigError(MISSING.format(error=error)) from None
    from lib.apps.server.auth import check_exposure
    from lib.apps.server.limits import Limits
    from lib.apps.server.service import Service
    from lib.music.audio import find_soundfont

    check_exposure(host, token)
    find_soundfont(soundfont)
    given = {"queued": queued, "seconds": seconds, "ttl_s": ttl, "batch": batch}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    service = Service(serve_dir, run, released, device, data_dir / configs.STYLES, limits, soundfont, queue)
    print(f"http://{host}:{port}/" if port else "the port is in the log", flush=True)
    serve_at(service, host, port, token)


def worker(
    queue: Annotated[str, option("The server's: redis://HOST:6379/0")],
    run: Annotated[Path | None, option("The same as the server's: brad_final, or a run.")] = None,
    released: Released = False,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Play the jobs of a server that was started with --queue; as many workers as there are machines."""
    try:
        from lib.apps.server.redis_queue import make_worker, without_password
    except ImportError as error:
        raise configs.ConfigError(MISSING.format(error=error)) from None
    import signal
    import time

    from lib.apps.server.dispatcher import Player
    from lib.apps.server.limits import Limits
    from lib.generation.generate import load_improviser

    improviser = load_improviser(run, released, device, data_dir / configs.STYLES)
    playing = make_worker(queue, Player(improviser, Limits()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        playing.start()
        print(f"playing for {without_password(queue)}", flush=True)
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        playing.stop()

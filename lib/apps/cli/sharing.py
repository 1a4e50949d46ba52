"""Share and automate: a server and its workers, exported weights, unattended notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli.options import DATA_DIR, OUTPUT_DIR, RUNS_DIR, DataDir, Released, Run, RunsDir, option
from lib.config import ConfigError

MISSING = "The server needs more packages: pip install -r requirements-serve.txt ({error})"


def serve(
    run: Run = None,
    released: Released = False,
    host: Annotated[str, option("Any other than 127.0.0.1 needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token: Annotated[str | None, option("What clients must send.", envvar="LIB_SERVE_TOKEN", show_envvar=True)] = None,
    serve_dir: Annotated[Path, option("Folder of jobs and results.")] = OUTPUT_DIR / "serve",
    soundfont: Annotated[Path | None, option("Another piano sound (.sf2).")] = None,
    queued: Annotated[int | None, option("Maximum number of waiting jobs.", min=1)] = None,
    seconds: Annotated[float | None, option("Maximum seconds of music in a request.", min=1)] = None,
    ttl: Annotated[float | None, option("Seconds before results are deleted.", min=1)] = None,
    batch: Annotated[int | None, option("Solos in one batch.", min=1)] = None,
    queue: Annotated[str | None, option("redis://HOST:6379/0: let `python -m lib worker` play.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Start a REST server and a page with knobs and player."""
    try:
        from lib.apps.server.background import serve as serve_at
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from None
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
    """Play the jobs of a server with --queue; you can start several."""
    try:
        from lib.apps.server.redis_queue import make_worker, without_password
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from None
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


def export(
    run: Annotated[Path, typer.Argument(help="A run of any stage, or a finished improviser such as data/released.")],
    to: Annotated[Path, option("Folder to write: new, or an earlier export.")],
    half: Annotated[bool, option("Weights in half precision.", "--half")] = False,
    base: Annotated[bool, option("Of a fine_tune run: take the base model along.", "--base")] = False,
    interim: Annotated[bool, option("One small file to continue training from elsewhere.", "--interim")] = False,
):
    """Export weights for others, or for the Hugging Face hub."""
    if interim:
        from lib.checkpoints.checkpoint import find_origin
        from lib.checkpoints.interim_weights import write_interim_weights
        from lib.checkpoints.run_dependencies import require

        checkpoint = find_origin(run, run.parent, None).checkpoint or require(run, "diffusion")
        path, step = write_interim_weights(checkpoint, to), f"step {checkpoint.step:,}"
        return print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {step}; train --from-weights continues there")
    from lib.apps.export.export import export as write

    folder = write(run, to, half, base)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.relative_to(folder).as_posix():<32} {path.stat().st_size / 1000:>10,.0f} kB")
    print(f"Complete {folder}/README.md as you like, then for example: hf upload OWNER/NAME {folder}")


def headless(
    preset: str = "demo",
    notebooks: Annotated[str, option("Numbers: 00-06, or 02,06.")] = "00-06",
    settings: Annotated[list[str] | None, option("NOTEBOOK.parameter=value.", "--set")] = None,
    sweep: Annotated[Path | None, option("A YAML with a grid of parameters: all combinations, and a table.")] = None,
    data_dir: DataDir = DATA_DIR,
    runs_dir: RunsDir = RUNS_DIR,
    output_dir: Path = OUTPUT_DIR,
    again: Annotated[bool, option("Also run what is already done.", "--again")] = False,
):
    """Run notebooks unattended; exit code 75: run it again."""
    from lib.apps.headless import headless as runner
    from lib.apps.headless.sweep import read_sweep, run_sweep

    folders = output_dir, data_dir, runs_dir
    if sweep is None:
        results = runner.run(notebooks, preset, configs.parse_settings(settings or []), *folders, again=again)
    elif settings:
        raise ConfigError(f"With --sweep, write settings into {sweep}, under set, instead of --set.")
    else:
        results = run_sweep(read_sweep(sweep, preset, notebooks), *folders, again=again)
    statuses = {result.status for result in results}
    code = configs.EXIT_STOPPED_EARLY if runner.STOPPED_EARLY in statuses else 0
    raise typer.Exit(1 if "failed" in statuses else code)

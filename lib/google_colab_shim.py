"""One interface for Colab and all other places: each call does what its users expect there.

`google.colab` is imported inside the functions and nowhere else in the project, so that this file, and all
that import it, work on a machine without Colab.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.config import ROOT, STYLES
from lib.storage.atomic_write import DRIVE
from lib.storage.backends import describe_error, open_storage
from lib.storage.manifest import read_manifest
from lib.storage.slots import copy_newest, newest_here

NAME = "brad-mehldau-ai"
PATIENCE_S, FLUSH_MS = 1800.0, 600_000  # of `release`; Colab's own limit for a flush is a day
USUAL_UNITS = "1.2 (T4) to 5 (A100)"
UNATTENDED = "LIB_UNATTENDED"  # environment variable of kernels that no browser is connected to: nobody is asked


class SecretError(LookupError):
    """A secret that is not set; the message says how to set it here."""


@dataclass(frozen=True)
class Folders:
    """Where a notebook reads and writes.

    Attributes
    ----------
    data : note stores, on the local disk (memory-mapped files are slow on Drive)
    runs : one folder a stage, a preset's runs apart from another's; on the local disk (Drive loses writes)
    output : what is for ears and eyes: MIDI, audio, pictures
    styles : the user's own styles, small files that must outlive a runtime: on Drive on Colab, else beside the data
    mirror : where training copies its checkpoints: Drive on Colab, the environment variable MIRROR elsewhere; or None
    """

    data: Path
    runs: Path
    output: Path
    styles: Path
    mirror: str | None = None


def detect() -> str:
    """Where we run: "colab" or "local"."""
    return "colab" if "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ else "local"


def on_colab() -> bool:
    """Whether this is a Colab runtime."""
    return detect() == "colab"


def _can_ask():
    """Whether Colab's browser can be asked: otherwise a call would wait for ever."""
    return on_colab() and UNATTENDED not in os.environ


def mount() -> Path:
    """The folder that outlives a runtime: one on Drive on Colab, the project's own elsewhere.

    Where Drive can't be mounted (the user said no, or nobody can be asked) the runtime's disk is taken, and the message
    says that it dies with the runtime.

    Returns
    -------
    Path : exists and can be written to
    """
    if not on_colab():
        return ROOT
    home = DRIVE / "MyDrive" / NAME
    is_there, is_dead = _look(home.parent)
    if not is_there:
        from google.colab import drive

        try:
            if not _can_ask():
                raise ValueError("mount it in a notebook first, with shim.mount()")
            drive.mount(str(DRIVE), **({"force_remount": True} if is_dead else {}))
        except Exception as error:  # Colab raises ValueError, AttributeError and its own types
            print(f"Google Drive is not mounted ({error}). Everything stays on this runtime and is lost when it ends.")
            return ROOT
    home.mkdir(exist_ok=True)
    print(f"Google Drive is mounted: outputs go to {home}, and training copies its checkpoints there")
    return home


def _look(folder):
    """(whether a folder is there, whether its mount has died: Errno 107)."""
    try:
        return bool(os.listdir(folder) or True), False
    except (FileNotFoundError, NotADirectoryError):
        return False, False
    except OSError:
        return False, True


def folders(
    home: Path, preset: str, data_dir: Path | str = "", runs_dir: Path | str = "", output_dir: Path | str = ""
) -> Folders:
    """The folders of a notebook, made if absent but for styles.

    Parameters
    ----------
    home : as `mount` returns it
    preset : runs and outputs of different presets stay apart
    data_dir, runs_dir : "" takes a folder of the project, on this machine's own disk
    output_dir : "" takes the place under `home`
    """
    data, lasting = Path(data_dir or ROOT / "data").expanduser().absolute(), Path(home) != ROOT
    chosen = Folders(
        data=data,
        runs=Path(runs_dir or ROOT / "runs" / preset).expanduser().absolute(),
        output=Path(output_dir or Path(home) / "outputs" / preset).expanduser().absolute(),
        styles=(Path(home) if lasting else data) / STYLES,
        mirror=os.environ.get("MIRROR") or (str(home) if lasting else None),
    )
    for folder in (chosen.data, chosen.runs, chosen.output):
        folder.mkdir(parents=True, exist_ok=True)
    return chosen


def secret(name: str) -> str:
    """A secret by name: Colab's key panel, or an environment variable.

    Raises
    ------
    SecretError : it is not set; the message says where to set it
    """
    if name in os.environ:
        return os.environ[name]
    if not _can_ask():
        raise SecretError(f"The secret {name} is not set. Set an environment variable: export {name}=...")
    from google.colab import userdata

    try:
        return userdata.get(name)
    except Exception as error:  # not found, no access granted, or no notebook to ask
        raise SecretError(
            f"The secret {name} can't be read ({type(error).__name__}). Click the key in Colab's left bar, "
            f"add {name} and switch notebook access on."
        ) from error


def upload(folder: Path | str) -> list[Path]:
    """The user's own MIDI files, brought into `folder`.

    On Colab the browser asks for files; elsewhere the user copies them there, as the printed line says.

    Returns
    -------
    The MIDI files that lie in `folder` now, by name
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if _can_ask():
        from google.colab import files

        for name, content in files.upload().items():
            (folder / Path(name).name).write_bytes(content)
    else:
        print(f"Copy your MIDI files into {folder}, then run this again.")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi", ".kar", ".rmi"))


def download(path: Path | str) -> Path:
    """Hand a file to the user: the browser saves it on Colab, elsewhere its place is printed.

    Returns
    -------
    Path : the file, absolute

    Raises
    ------
    FileNotFoundError : there is no such file
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} to download.")
    if _can_ask():
        from google.colab import files

        files.download(str(path))
    else:
        print(path)
    return path


def download_run(run: Path | str, mirror: str | None = None) -> Path | None:
    """Let the browser save a run as a zip, on Colab where no mirror keeps it; else print where the run is.

    Parameters
    ----------
    run : its folder, or that of a finished improviser
    mirror : as of Folders

    Returns
    -------
    Path : RUN.zip beside the run: its newest checkpoint, its best one, and its small files; None where none was made
    """
    run = Path(run).absolute()
    if mirror is not None or not on_colab():
        print(f"{run.name} is saved in {mirror or run}")
        return None
    return download(pack_run(run))


def pack_run(run: Path | str) -> Path:
    """RUN.zip beside a run, as `download_run` hands it out; FileNotFoundError where there is no such folder."""
    run = Path(run)
    newest = newest_here(run)
    best = read_manifest(newest).get("best_step") if newest else None
    kept = {newest.name, f"step-{best or 0:08d}"} if newest else set()
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "lease.json"]
    if not files:
        raise FileNotFoundError(f"There is no run {run} to pack.")
    with zipfile.ZipFile(run.with_name(f"{run.name}.zip"), "w") as archive:  # weights don't get smaller
        for path in sorted(files):
            name = path.relative_to(run)
            if name.parts[0] != "checkpoints" or name.parts[1] in kept:
                archive.write(path, Path(run.name) / name)
    return run.with_name(f"{run.name}.zip")


def upload_run(runs: Path | str) -> list[Path]:
    """Bring runs back that `download_run` saved: on Colab the browser asks for the zips, elsewhere they lie in `runs`.

    Parameters
    ----------
    runs : folder of runs; one that is there already is left as it is

    Returns
    -------
    The folders of the runs that are there now
    """
    runs = Path(runs)
    runs.mkdir(parents=True, exist_ok=True)
    if _can_ask():
        from google.colab import files

        for name, content in files.upload().items():
            (runs / Path(name).name).write_bytes(content)
    found = []
    for path in sorted(runs.glob("*.zip")):
        if not zipfile.is_zipfile(path):
            print(f"{path.name} is not a complete zip: download the run again.")
            continue
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).parts[0] for name in archive.namelist()}
            if not any((runs / name).exists() for name in names):
                archive.extractall(runs)
            found += [runs / name for name in sorted(names)]
    print("\n".join(map(str, found)) or f"Copy the zips of your runs into {runs}, then run this again.")
    return found


def enable_widgets() -> None:
    """Let third-party widgets draw in Colab; other front ends need nothing."""
    if on_colab():
        from google.colab import output

        output.enable_custom_widget_manager()


def release(
    runs: Path | str | None = None,
    mirror: str | None = None,
    force: bool = False,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Give Colab's runtime back, which stops its compute units, once Drive has what was trained: whether it was.

    Parameters
    ----------
    runs, mirror : as of Folders: every run's newest checkpoint is brought to the mirror first, and where there is none
        the runtime is kept; runs None: nothing is looked at
    force : whatever is not saved
    patience_s : how long it is tried again; then the runtime stays, and costs
    """
    if not on_colab():
        print("Nothing to release: this is not a Colab runtime.")
        return False
    from google.colab import drive, runtime

    began, problem = time.monotonic(), None
    while not force:
        problem = _behind(runs, mirror) or _unmounted(drive)
        left_s = patience_s - (time.monotonic() - began)
        if problem is None or left_s <= 0 or runs is not None and mirror is None:  # waiting brings no mirror
            break
        print(f"Not released yet: {problem}. Trying again for {max(1, left_s / 60):.0f} min.", flush=True)
        sleep(min(60.0, left_s))
    if problem is not None:
        print(f"The runtime was kept: {problem}. It costs about {USUAL_UNITS} compute units an hour.")
        print("Make room, or download the checkpoints by hand, then run shim.release(force=True).", flush=True)
        return False
    runtime.unassign()
    return True


def _behind(runs, mirror):
    """Why a mirror lacks what was trained, None where it does not."""
    if runs is None or not any(Path(runs).glob("*/checkpoints")):
        return None
    if mirror is None:
        return f"no mirror has the trained runs: download each folder in {runs} with shim.download_run"
    storage = open_storage(mirror)
    try:
        storage.open()
        for run in sorted(path.parent for path in Path(runs).glob("*/checkpoints")):
            preset = json.loads((run / "config.json").read_text(encoding="utf-8"))["preset"]
            if not copy_newest(storage, run, f"runs/{preset}/{run.name}"):
                return f"{run.name}: the mirror returned different bytes from those written"
    except OSError as error:
        return f"the mirror {mirror}: {describe_error(error)}"
    return None


def _unmounted(drive):
    """Why Drive could not be flushed, None where it could: what was written is on its way until then."""
    if not DRIVE.is_dir():
        return None
    try:
        drive.flush_and_unmount(timeout_ms=FLUSH_MS)
    except Exception as error:  # Colab raises ValueError and its own types
        return f"Drive has not finished: {error}"
    return None

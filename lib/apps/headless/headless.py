"""Run the notebooks unattended: checked first, streamed while they run, summed up at the end.

What has succeeded with the same notebook, parameters and code is not run again; a stage that was cut short
continues from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib import google_colab_shim
from lib.apps.headless.notebook_parameters import assign, check_values, parameters_of, select
from lib.checkpoints.history import read_events
from lib.config import PRESETS, ROOT, choose
from lib.storage.atomic_write import write_text

DONE, STOPPED_EARLY = ("done", "resumed", "done before"), "stopped early"
KERNEL_LOG = "--IPKernelApp.log_level=50"  # the kernel's own remarks on sockets and signals concern nobody here
# no warnings that no reader can act on, and progress as lines of text
KERNEL_ENVIRONMENT = {"LIB_PROGRESS": "lines", "JUPYTER_PLATFORM_DIRS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TRACEBACK_LINES = 12


class NotebookError(RuntimeError):
    """A notebook stopped with an error; the message has its last lines and where its executed copy is.

    Attributes
    ----------
    reason : one line, the error itself
    """

    def __init__(self, notebook: str, copy: Path, reason: str, traceback: str = ""):
        super().__init__(f"{notebook} failed.\n{traceback or reason}\nIts executed copy: {copy}")
        self.reason = reason


@dataclass(frozen=True)
class NotebookResult:
    """What became of one notebook.

    Attributes
    ----------
    status : "done", "resumed" (its stage continued from a checkpoint, or had nothing left to do), "done before"
        (not run again), "stopped early" (its stage stopped in time for the end of the runtime: run it again), "failed",
        "stopped" (Ctrl-C) or "not run"
    seconds : float, wall time of the run that did the work
    fingerprint : hex digest of notebook, parameters and code
    made : paths that its run made; where one is missing the notebook is run again
    """

    notebook: str
    status: str
    seconds: float = 0.0
    fingerprint: str = ""
    made: tuple[str, ...] = ()


# --- What need not be run again ------------------------------------------------------------


def fingerprint(path: Path, values: dict) -> str:
    """Hex digest of a notebook's cells, its parameters and all files under lib/, scripts and styles of pages too."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        digest.update("".join(cell["source"]).encode() + b"\0")
    for source in sorted((ROOT / "lib").rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _read_summary(output):
    path = output / "summary.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["notebooks"]
        results = [NotebookResult(**{**entry, "made": tuple(entry["made"])}) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path} can't be read ({error}): every notebook is run", flush=True)
        return {}
    return {result.notebook: result for result in results}


def _write_summary(output, preset, results):
    entries = [dataclasses.asdict(results[notebook]) for notebook in sorted(results)]
    write_text(output / "summary.json", json.dumps({"preset": preset, "notebooks": entries}, indent=1))


def _stale(result):
    """A result that no longer counts, because a notebook that it builds on was run again."""
    return dataclasses.replace(result, fingerprint="")


def _is_done(earlier, digest, copy):
    return (
        earlier is not None
        and earlier.status in DONE
        and earlier.fingerprint == digest
        and copy.is_file()
        and all(Path(path).exists() for path in earlier.made)
    )


def _snapshot(folders):
    """What a notebook may make (output files, folders of runs and data) -> when it changed last."""
    entries = [path for path in folders.output.iterdir() if path.is_file() and path.suffix != ".json"]
    entries += [path for folder in (folders.runs, folders.data) for path in folder.iterdir() if path.is_dir()]
    return {str(path): path.stat().st_mtime_ns for path in entries}


def _count_events(runs):
    """dict run folder -> how many events it has."""
    return {run: len(read_events(run)) for run in runs.iterdir() if run.is_dir()}


def _status(runs, before):
    """STOPPED_EARLY, "resumed" or "done", by the events of the runs in a folder since `before`, of _count_events."""
    new = [read_events(run)[before.get(run, 0) :] for run in _count_events(runs)]
    ends = [[event["event"] for event in events if event["event"] in ("stopped", "finished")] for events in new]
    if any(end and end[-1] == "stopped" for end in ends):
        return STOPPED_EARLY
    return (
        "resumed" if any(event["event"] == "start" and event["step"] for events in new for event in events) else "done"
    )


# --- Running -------------------------------------------------------------------------------


class _Stream:
    """A file that papermill writes a notebook's output to: its lines are printed, indented."""

    def write(self, text: str) -> None:
        for line in ANSI.sub("", text).replace("\r", "\n").split("\n"):
            if line.strip():
                print(f"   {line.rstrip()}", flush=True)

    def flush(self) -> None:
        """Nothing is held back."""


@contextlib.contextmanager
def _environment(mirror: str | None) -> Iterator[None]:
    """The variables that a kernel inherits; the user's own stay, but for MIRROR where one is given."""
    changed = {name: value for name, value in KERNEL_ENVIRONMENT.items() if name not in os.environ}
    changed |= {"MIRROR": mirror} if mirror else {}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _execute(path: Path, copy: Path, values: dict, mirror: str | None) -> None:
    """Run one notebook; its executed copy is kept whatever happens."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    stream = _Stream()
    try:
        with _environment(mirror):
            papermill.execute_notebook(
                str(path),
                str(copy),
                parameters=values,
                cwd=str(ROOT),
                kernel_name="python3",
                progress_bar=False,
                start_timeout=180,
                stdout_file=stream,
                stderr_file=stream,
                extra_arguments=[KERNEL_LOG],
            )
    except papermill.PapermillExecutionError as error:
        lines = ANSI.sub("", "\n".join(error.traceback)).strip().splitlines()[-TRACEBACK_LINES:]
        raise NotebookError(path.stem, copy, f"{error.ename}: {error.evalue}", "\n".join(lines)) from None
    except DeadKernelError:
        raise NotebookError(path.stem, copy, "Its process died, most often for want of memory.") from None


def _run_one(path, copy, values, folders, mirror, digest, earlier):
    """Run one notebook; returns (its result, the error or None)."""
    before, events, start, error = _snapshot(folders), _count_events(folders.runs), time.monotonic(), None
    try:
        _execute(path, copy, values, mirror)
        status = _status(folders.runs, events)
    except (NotebookError, KeyboardInterrupt) as caught:
        error, status = caught, "stopped" if isinstance(caught, KeyboardInterrupt) else "failed"
    made = {name for name, changed in _snapshot(folders).items() if before.get(name) != changed}
    made |= set(earlier.made) if earlier else set()
    seconds = round(time.monotonic() - start, 1)
    return NotebookResult(path.stem, status, seconds, digest, tuple(sorted(made))), error


def run(
    notebooks: str = "00-06",
    preset: str = "demo",
    overrides: dict | None = None,
    output_dir: Path | str | None = None,
    data_dir: Path | str | None = None,
    runs_dir: Path | str | None = None,
    again: bool = False,
    mirror: str | None = None,
) -> list[NotebookResult]:
    """Run notebooks one after the other.

    Parameters
    ----------
    notebooks : str, such as "00-06", "02" or "00,02-04"
    preset : one of lib.config.PRESETS
    overrides : dict, "NOTEBOOK.NAME" -> value, such as {"02_vqvae.batch_size": 8}
    output_dir, data_dir, runs_dir : folders; None takes outputs/PRESET, data and runs/PRESET
    again : run also what has succeeded before
    mirror : where trainings copy their checkpoints, a folder or a remote; None: MIRROR, or Drive on Colab

    Returns
    -------
    list[NotebookResult], one a notebook; those after one that stopped early were not run. Beside them, in the output
    folder: notebooks/ (executed copies) and summary.json

    Raises
    ------
    ConfigError : an unknown notebook, preset or parameter, or a value it can't have; nothing was run
    NotebookError : a notebook failed; those after it were not run
    """
    choose("preset", preset, PRESETS)
    paths = select(notebooks)
    assigned = assign(paths, overrides or {})
    for notebook, values in assigned.items():
        check_values(notebook, values.get("preset", preset), values)
    home = google_colab_shim.mount()
    folders = google_colab_shim.folders(home, preset, data_dir or "", runs_dir or "", output_dir or "")
    shared = {
        "preset": preset,
        "data_dir": str(folders.data),
        "runs_dir": str(folders.runs),
        "output_dir": str(folders.output),
    }
    return _run_chain(paths, shared, assigned, folders, mirror, again)


def _run_chain(paths, shared, assigned, folders, mirror, again):
    summary, results = _read_summary(folders.output), []
    (folders.output / "notebooks").mkdir(exist_ok=True)
    error = None
    for path in paths:
        known = parameters_of(path)
        values = {**{name: value for name, value in shared.items() if name in known}, **assigned[path.stem]}
        copy = folders.output / "notebooks" / path.name
        digest, earlier = fingerprint(path, values), summary.get(path.stem)
        if error or has_stopped_early(results):
            result = NotebookResult(path.stem, "not run")
        elif not again and _is_done(earlier, digest, copy):
            result = dataclasses.replace(earlier, status="done before")
            print(f"== {path.stem}: done before", flush=True)
        else:
            print(f"== {path.stem}", flush=True)
            result, error = _run_one(path, copy, values, folders, mirror, digest, earlier)
            summary = {stem: _stale(known) if stem > path.stem else known for stem, known in summary.items()}
        results.append(result)
        summary[path.stem] = result
        _write_summary(folders.output, shared["preset"], summary)
    print(table(results, folders), flush=True)
    if error:
        raise error
    return results


def has_stopped_early(results: list[NotebookResult]) -> bool:
    """Whether a training stopped before it was done: the same call continues it."""
    return any(result.status == STOPPED_EARLY for result in results)


def table(results: list[NotebookResult], folders: google_colab_shim.Folders) -> str:
    """The results as text: a line a notebook, then what is in the output folder."""
    lines = ["", f"{'notebook':<20} {'status':<13} {'seconds':>8}"]
    lines += [f"{result.notebook:<20} {result.status:<13} {result.seconds:>8.1f}" for result in results]
    files = sorted(path for path in folders.output.iterdir() if path.is_file())
    lines += ["", f"in {folders.output}:"]
    lines += [f"   {path.name:<20} {path.stat().st_size / 1024:>8.0f} kB" for path in files]
    return "\n".join([*lines, f"   notebooks/{'':<10} executed copies"])

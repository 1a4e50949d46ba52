"""Run the notebooks without anybody watching: checked first, streamed while they run, summed up at the end.

What has succeeded with the same notebook, parameters and code is not run again; a stage that was cut short
goes on from its last checkpoint by itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lib import google_colab_shim
from lib.apps.headless.notebook_parameters import assign, check_values, parameters_of, select
from lib.checkpoints.history import read_events
from lib.config import PRESETS, ROOT, choose
from lib.storage.atomic_write import write_text

DONE = ("done", "resumed", "done before")
BAR_SECONDS = 5.0  # a progress bar is shown at most so often
KERNEL_LOG = "--IPKernelApp.log_level=50"  # the kernel's own remarks on sockets and signals are for nobody here
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookError(RuntimeError):
    """A notebook stopped with an error; the message has its last lines and where its executed copy is."""


@dataclass(frozen=True)
class NotebookResult:
    """What became of one notebook.

    Attributes
    ----------
    status : "done", "resumed" (its stage went on from a checkpoint, or had nothing left to do), "done before"
        (not run again), "to go on" (its stage stopped in time for the end of the runtime), "failed", "stopped"
        (Ctrl-C) or "not run"
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


def fingerprint(path, values):
    """Hex digest of a notebook's cells, its parameters and all code under lib/."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        digest.update("".join(cell["source"]).encode() + b"\0")
    for source in sorted((ROOT / "lib").rglob("*")):
        if source.suffix in (".py", ".html"):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _read_summary(output):
    try:
        entries = json.loads((output / "summary.json").read_text(encoding="utf-8"))["notebooks"]
        results = [NotebookResult(**{**entry, "made": tuple(entry["made"])}) for entry in entries]
        return {result.notebook: result for result in results}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # none yet, or not ours: everything is run


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
    """"to go on", "resumed" or "done", by what the runs in a folder have reported since `before`, of _count_events."""
    new = [read_events(run)[before.get(run, 0) :] for run in _count_events(runs)]
    ends = [[event["event"] for event in events if event["event"] in ("stopped", "finished")] for events in new]
    if any(end and end[-1] == "stopped" for end in ends):
        return "to go on"
    return "resumed" if any(event["event"] == "start" and event["step"] for events in new for event in events) else "done"


# --- Running -------------------------------------------------------------------------------


class _Progress:
    """A file that papermill writes a notebook's output to: lines go through, bars are thinned out."""

    def __init__(self, clock=time.monotonic):
        self.clock, self.last_bar = clock, float("-inf")

    def write(self, text):
        for line in re.split(r"[\r\n]+", ANSI.sub("", text)):
            is_bar = re.search(r"\d+%\|", line)
            if is_bar and "100%|" not in line and self.clock() - self.last_bar < BAR_SECONDS:
                continue
            if is_bar:
                self.last_bar = self.clock()
            if line.strip():
                print(f"   {line.rstrip()}", flush=True)

    def flush(self):
        sys.stdout.flush()


def _execute(path, copy, values):
    """Run one notebook; its executed copy is kept whatever happens."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    progress = _Progress()
    try:
        papermill.execute_notebook(
            str(path), str(copy), parameters=values, cwd=str(ROOT), kernel_name="python3", progress_bar=False,
            start_timeout=180, stdout_file=progress, stderr_file=progress, extra_arguments=[KERNEL_LOG],
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        reason = "\n".join(ANSI.sub("", "\n".join(error.traceback)).strip().splitlines()[-12:])
        raise NotebookError(f"{path.stem} failed.\n{reason}\nIts executed copy: {copy}") from None
    except DeadKernelError:
        reason = "Its process died, most often for want of memory."
        raise NotebookError(f"{path.stem} failed. {reason} Its executed copy: {copy}") from None


def _run_one(path, copy, values, folders, digest, earlier):
    """Run one notebook; returns (its result, the error or None)."""
    before, events, start, error = _snapshot(folders), _count_events(folders.runs), time.monotonic(), None
    try:
        _execute(path, copy, values)
        status = _status(folders.runs, events)
    except (NotebookError, KeyboardInterrupt) as caught:
        error, status = caught, "stopped" if isinstance(caught, KeyboardInterrupt) else "failed"
    made = {name for name, changed in _snapshot(folders).items() if before.get(name) != changed}
    made |= set(earlier.made) if earlier else set()
    seconds = round(time.monotonic() - start, 1)
    return NotebookResult(path.stem, status, seconds, digest, tuple(sorted(made))), error


def run(
    notebooks="00-06",
    preset="demo",
    overrides=None,
    output_dir=None,
    data_dir=None,
    runs_dir=None,
    again=False,
):
    """Run notebooks one after the other.

    Parameters
    ----------
    notebooks : str, such as "00-06", "02" or "00,02-04"
    preset : one of lib.config.PRESETS
    overrides : dict, "NOTEBOOK.NAME" -> value, such as {"02_vqvae.batch_size": 8}
    output_dir, data_dir, runs_dir : folders; None takes outputs/PRESET, data and runs/PRESET
    again : bool; run also what has succeeded before

    Returns
    -------
    list[NotebookResult], one a notebook; those after one that is "to go on" were not run. Beside them, in the output
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
    shared = {"preset": preset, "data_dir": str(folders.data), "runs_dir": str(folders.runs),
              "output_dir": str(folders.output)}  # fmt: skip
    _quieten()
    return _run_chain(paths, shared, assigned, folders, again)


def _quieten():
    """Settings for the kernels: no warnings that no reader can act on, and progress as lines of text."""
    os.environ.setdefault("LIB_PROGRESS", "lines")
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def _run_chain(paths, shared, assigned, folders, again):
    summary, results = _read_summary(folders.output), []
    (folders.output / "notebooks").mkdir(exist_ok=True)
    error = None
    for path in paths:
        known = parameters_of(path)
        values = {**{name: value for name, value in shared.items() if name in known}, **assigned[path.stem]}
        copy = folders.output / "notebooks" / path.name
        digest, earlier = fingerprint(path, values), summary.get(path.stem)
        if error or any(earlier.status == "to go on" for earlier in results):
            result = NotebookResult(path.stem, "not run")
        elif not again and _is_done(earlier, digest, copy):
            result = dataclasses.replace(earlier, status="done before")
            print(f"== {path.stem}: done before", flush=True)
        else:
            print(f"== {path.stem}", flush=True)
            result, error = _run_one(path, copy, values, folders, digest, earlier)
            summary = {stem: _stale(known) if stem > path.stem else known for stem, known in summary.items()}
        results.append(result)
        summary[path.stem] = result
        _write_summary(folders.output, shared["preset"], summary)
    print(table(results, folders), flush=True)
    if error:
        raise error
    return results


def table(results, folders):
    """The results as text: a line a notebook, then what lies in the output folder."""
    lines = ["", f"{'notebook':<20} {'status':<12} {'seconds':>8}"]
    lines += [f"{result.notebook:<20} {result.status:<12} {result.seconds:>8.1f}" for result in results]
    files = sorted(path for path in folders.output.iterdir() if path.is_file())
    lines += ["", f"in {folders.output}:"]
    lines += [f"   {path.name:<20} {path.stat().st_size / 1024:>8.0f} kB" for path in files]
    return "\n".join([*lines, f"   notebooks/{'':<10} executed copies"])

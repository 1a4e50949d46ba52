"""Runs the notebooks unattended: checks them first, streams their output, and prints a summary.

What has succeeded with the same notebook, parameters and code is not run again; a stage that was cut short
continues from its last checkpoint. papermill only warns about a parameter that does not exist and hands text through as
text, so names and types are checked here, against each notebook's cell tagged `parameters`.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic import ConfigDict, TypeAdapter

from lib import config, google_colab_shim
from lib.checkpoints.config_migration import renamed
from lib.checkpoints.history import read_events
from lib.config import ROOT
from lib.generation.request import GenerateRequest
from lib.storage.atomic_write import write_text

NOTEBOOKS = ROOT / "notebooks"
CONFIGS = {**config.STAGES, "listen": GenerateRequest}  # a notebook without its number -> where its parameters end up
EXAMPLES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
DONE, STOPPED_EARLY = ("done", "resumed", "done before"), "stopped early"
KERNEL_LOG = "--IPKernelApp.log_level=50"  # the kernel's own remarks on sockets and signals concern nobody here
# of kernels, where the user has no others: no warnings that nobody can act on, progress as lines of text, no questions
KERNEL_ENVIRONMENT = {
    "LIB_PROGRESS": "lines",
    google_colab_shim.UNATTENDED: "1",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
TRACEBACK_LINES = 12


class NotebookError(RuntimeError):
    """A notebook stopped with an error; `reason` is the error in one line, the message has more of it."""

    def __init__(self, notebook: str, copy: Path, reason: str, traceback: str = ""):
        super().__init__(f"{notebook} failed.\n{traceback or reason}\nIts executed copy: {copy}")
        self.reason = reason


@dataclass(frozen=True)
class NotebookResult:
    """What became of one notebook."""

    notebook: str
    # done; resumed: its stage continued from a checkpoint, or had nothing left to do; done before: not run again;
    # stopped early: in time for the end of the runtime; failed; stopped: by Ctrl-C; not run
    status: str
    seconds: float = 0.0  # that the run which did the work took
    ended_s: float = 0.0  # when it ended, Unix seconds
    fingerprint: str = ""  # of notebook, parameters and code
    made: tuple[str, ...] = ()  # paths; where one is missing the notebook is run again


def run(
    notebooks: str = "00-06",
    preset: str = "demo",
    overrides: Mapping | None = None,
    output_dir: Path | str | None = None,
    data_dir: Path | str | None = None,
    runs_dir: Path | str | None = None,
    again: bool = False,
    mirror: str | None = None,
) -> list[NotebookResult]:
    """Run notebooks one after the other, until one stops early or fails: one NotebookResult each.

    Parameters
    ----------
    notebooks : such as "00-06", "02" or "00,02-04"
    overrides : "NOTEBOOK.NAME" -> value, such as {"02_vqvae.batch_size": 8}
    output_dir : gets notebooks/ (executed copies) and summary.json; None: outputs/PRESET
    data_dir, runs_dir : None: data and runs/PRESET
    again : run also what has succeeded before
    mirror : where trainings copy their checkpoints, a folder or a remote; None: MIRROR, or Drive on Colab

    Raises
    ------
    ConfigError : an unknown notebook, preset or parameter, or a value it can't have; nothing was run
    NotebookError : a notebook failed
    """
    paths = select(notebooks)
    assigned = assign(paths, overrides or {}, preset)
    home = google_colab_shim.mount()
    folders = google_colab_shim.folders(home, preset, data_dir or "", runs_dir or "", output_dir or "")
    (folders.output / "notebooks").mkdir(exist_ok=True)
    shared = {"preset": preset, "data_dir": folders.data, "runs_dir": folders.runs, "output_dir": folders.output}
    summary, results, error = _read_summary(folders.output), [], None
    for path in paths:
        known = parameters_of(path)
        values = {name: str(value) for name, value in shared.items() if name in known} | assigned[path.stem]
        if error or has_stopped_early(results):
            result = NotebookResult(path.stem, "not run")
        elif not again and _is_done(path, values, folders, summary):
            result = dataclasses.replace(summary[path.stem], status="done before")
            print(f"== {path.stem}: done before", flush=True)
        else:
            print(f"== {path.stem}", flush=True)
            result, error = _run_one(path, values, folders, mirror, summary.get(path.stem))
        results.append(result)
        summary[path.stem] = result
        entries = [dataclasses.asdict(summary[notebook]) for notebook in sorted(summary)]
        write_text(folders.output / "summary.json", json.dumps({"preset": preset, "notebooks": entries}, indent=1))
    print(f"\n{'notebook':<20} {'status':<13} {'seconds':>8}")
    for result in results:
        print(f"{result.notebook:<20} {result.status:<13} {result.seconds:>8.1f}")
    files = sorted(path.name for path in folders.output.iterdir() if path.is_file())
    print(f"\nin {folders.output}: {', '.join(files)}; executed copies in notebooks/", flush=True)
    if error:
        raise error
    return results


def has_stopped_early(results: list[NotebookResult]) -> bool:
    """Whether a training stopped before it was done: the same call continues it."""
    return any(result.status == STOPPED_EARLY for result in results)


def select(notebooks: str = "00-06") -> list[Path]:
    """'00-06', '02', '02_vqvae' or '00,02-04' -> the notebooks' paths, in order; ConfigError names what is unknown."""
    paths = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    chosen = set()
    for word in (word.strip() for word in notebooks.split(",")):
        first, _, last = word.partition("-")
        if first.isdigit() and last.isdigit():
            stems = {stem for stem in paths if int(first) <= int(stem[:2]) <= int(last)}
        else:
            stems = {stem for stem in paths if word in (stem, stem[:2])}
        if not stems:
            raise config.ConfigError(f"Unknown notebook {word!r}.{config.nearest(word, paths)}")
        chosen |= stems
    return [paths[stem] for stem in sorted(chosen)]


def parameters_of(path: Path) -> dict[str, Any]:
    """The parameters of a notebook and their defaults, from its cell tagged `parameters`."""
    import papermill

    parameters = papermill.inspect_notebook(str(path))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in parameters.items()}


def assign(paths: Sequence[Path], overrides: Mapping[str, Any], preset: str) -> dict[str, dict[str, Any]]:
    """{'02_vqvae.batch_size': '8'} -> {'02_vqvae': {'batch_size': 8}}, for all paths.

    Raises
    ------
    ConfigError : a name that is not there, a value that is not of its parameter's type, or one that the config that it
        ends up in refuses; names the nearest that would do
    """
    config.choose("preset", preset, config.PRESETS)
    assigned = {path.stem: {} for path in paths}
    for key, value in overrides.items():
        notebook, dot, name = str(key).partition(".")
        if not dot:
            raise config.ConfigError(f"Notebook parameters are written NOTEBOOK.NAME=VALUE, got {key!r}.")
        notebook = {stem[:2]: stem for stem in assigned}.get(notebook, notebook)
        config.choose("notebook among those to run:", notebook, assigned)
        current = renamed(notebook, {name: value}, f"{notebook}.")
        if notebook[3:] in CONFIGS:
            current = renamed(CONFIGS[notebook[3:]], current, f"{notebook}.")
        ((name, value),) = current.items()
        defaults = parameters_of(NOTEBOOKS / f"{notebook}.ipynb")
        config.choose(f"parameter of {notebook}:", name, defaults)
        assigned[notebook][name] = _typed(key, value, defaults[name])
    for notebook, values in assigned.items():
        _check(notebook[3:], values.get("preset", preset), values)
    return assigned


def _typed(name, value, default):
    """`value` as the type of `default`; text from a command line is read as a number or true/false."""
    kind = type(default)
    if value is None:
        return default
    try:
        if isinstance(value, bool) and kind is not bool:
            raise ValueError
        return TypeAdapter(kind, config=ConfigDict(coerce_numbers_to_str=True)).validate_python(value)
    except ValueError:  # pydantic's too
        wanted = f"{EXAMPLES[kind]} (its default is {default!r})"
        raise config.ConfigError(f"{name} wants {wanted}, got {value!r}.") from None


def _check(stage, preset, values):
    """Let the config that these parameters end up in refuse what is out of range."""
    if (config_type := CONFIGS.get(stage)) is None:
        return
    names = {field.name for field in dataclasses.fields(config_type)} - {"preset"}
    given = {name: value for name, value in values.items() if name in names and value not in ("", 0)}
    if stage in config.STAGES:
        config.preset(stage, preset, **given)
    else:
        config.build(config_type, given)


def fingerprint(path: Path, values: Mapping) -> str:
    """Hex digest of a notebook's cells, its parameters and all files under lib/, scripts and styles of pages too."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        digest.update("".join(cell["source"]).encode() + b"\0")
    for source in sorted((ROOT / "lib").rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _read_summary(output):
    """dict notebook -> NotebookResult of the runs before."""
    path = output / "summary.json"
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["notebooks"]
        return {entry["notebook"]: NotebookResult(**{**entry, "made": tuple(entry["made"])}) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path} can't be read ({error}): every notebook is run", flush=True)
        return {}


def _is_done(path, values, folders, summary):
    """Whether the same was run with success, what it made is there, and nothing that it builds on was run since."""
    result = summary.get(path.stem)
    return (
        result is not None
        and result.status in DONE
        and result.fingerprint == fingerprint(path, values)
        and (folders.output / "notebooks" / path.name).is_file()
        and all(Path(made).exists() for made in result.made)
        and all(result.ended_s >= other.ended_s for stem, other in summary.items() if stem < path.stem)
    )


def _files_made(folders):
    """What a notebook may make (output files, folders of runs and data) -> when it changed last."""
    paths = [path for path in folders.output.iterdir() if path.is_file() and path.suffix != ".json"]
    paths += [path for folder in (folders.runs, folders.data) for path in folder.iterdir() if path.is_dir()]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def _status(runs, since_s):
    """STOPPED_EARLY, "resumed" or "done", by the events of a folder's runs since a time."""
    status = "done"
    for run in runs.iterdir():
        events = [event for event in read_events(run) if event.get("time", 0.0) >= since_s]
        ends = [event["event"] for event in events if event["event"] in ("stopped", "finished")]
        if ends[-1:] == ["stopped"]:
            return STOPPED_EARLY
        if any(event["event"] == "start" and event["step"] for event in events):
            status = "resumed"
    return status


def _run_one(path, values, folders, mirror, earlier):
    """Run one notebook: (its result, the error or None)."""
    digest, before, began_s, error = fingerprint(path, values), _files_made(folders), round(time.time(), 3), None
    try:
        _execute(path, folders.output / "notebooks" / path.name, values, mirror)
        status = _status(folders.runs, began_s)
    except (NotebookError, KeyboardInterrupt) as caught:
        error, status = caught, "stopped" if isinstance(caught, KeyboardInterrupt) else "failed"
    made = {name for name, changed_ns in _files_made(folders).items() if before.get(name) != changed_ns}
    made |= set(earlier.made) if earlier else set()
    ended_s = time.time()
    return NotebookResult(path.stem, status, round(ended_s - began_s, 1), ended_s, digest, tuple(sorted(made))), error


def _execute(path: Path, copy: Path, values: Mapping, mirror: str | None) -> None:
    """Run one notebook; its executed copy is kept whatever happens."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    environment = {**KERNEL_ENVIRONMENT, **os.environ, **({"MIRROR": mirror} if mirror else {})}
    streams = {"stdout_file": _Stream(), "stderr_file": _Stream(), "progress_bar": False}
    kernel = {"kernel_name": "python3", "start_timeout": 180, "extra_arguments": [KERNEL_LOG], "cwd": str(ROOT)}
    try:
        with mock.patch.dict(os.environ, environment):
            papermill.execute_notebook(str(path), str(copy), dict(values), **streams, **kernel)
    except papermill.PapermillExecutionError as error:
        lines = ANSI.sub("", "\n".join(error.traceback)).strip().splitlines()[-TRACEBACK_LINES:]
        raise NotebookError(path.stem, copy, f"{error.ename}: {error.evalue}", "\n".join(lines)) from None
    except DeadKernelError:
        raise NotebookError(path.stem, copy, "Its process died, most often for want of memory.") from None


class _Stream:
    """A file that papermill writes a notebook's output to: its lines are printed, indented."""

    def write(self, text: str) -> None:
        for line in ANSI.sub("", text).replace("\r", "\n").split("\n"):
            if line.strip():
                print(f"   {line.rstrip()}", flush=True)

    def flush(self) -> None:
        """Nothing is held back."""

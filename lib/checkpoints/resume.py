"""Where a training goes on from: its own newest checkpoint, the mirror's, or another run's checkpoint."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import completed
from lib.checkpoints.history import append_event
from lib.checkpoints.mirror import remote_manifest, remote_steps
from lib.checkpoints.restore import restore_run
from lib.checkpoints.run_dependencies import SOURCES
from lib.data.ingest import STORE_NAME
from lib.data.prepare import fetch_store
from lib.storage.backends import describe_error
from lib.storage.manifest import DamageError

log = logging.getLogger("lib.training")
# what may differ when a run goes on: nothing that changes the weights' trajectory before the change
FREE = {"preset", "epochs", "steps", "decay", "device", "mixed_precision", "log_every", "validate_every", "save_every",
        "keep_checkpoints", "tracker", "validation_batches", "final_name", "mirror_verify_minutes", "deterministic",
        "skips_in_a_row"}  # fmt: skip
PARTS = ("batch_size", "gradient_accumulation")  # may differ where their product, the global batch, is the same


@dataclass(frozen=True)
class Origin:
    """Where a training begins.

    Attributes
    ----------
    folder : of the run that is trained
    checkpoint : Checkpoint to go on from, None for a new run
    run_id : of the run, the same in all its checkpoints wherever they are copied
    """

    folder: Path
    checkpoint: checkpoints.Checkpoint | None
    run_id: str


def run_folder(stage, runs_dir, run=None, resume=None):
    """The folder of the run that `--run` and `--resume` mean; it need not be there yet."""
    if run or not resume:
        return Path(runs_dir) / (run or stage)
    return _run_of(_in(runs_dir, Path(resume)))


def _run_of(path):
    if path.name in checkpoints.NAMES or checkpoints.step_of(path) is not None:
        path = path.parent
    return path.parent if path.name == "checkpoints" else path


def _in(runs_dir, path):
    """A name is looked for among the runs first, then as a path."""
    below = Path(runs_dir) / path
    return path if _run_of(path).is_dir() and not _run_of(below).is_dir() else below


def find_origin(folder, runs_dir, resume=None):
    """Where the run `folder` goes on from: Origin.

    Parameters
    ----------
    folder : of `run_folder`
    runs_dir : folder of runs
    resume : None: go on if the run is there, begin otherwise; else a run (a name in runs_dir, or a folder), which must
        be there, or a checkpoint (RUN/checkpoints/step-00000250, RUN/best). Another run's checkpoint begins a new run.

    Raises
    ------
    CheckpointError : it is not there, or damaged, or would rewrite the history of a run
    """
    if resume is None:
        return _origin(folder, checkpoints.find(folder) if checkpoints.step_folders(folder) else None)
    found = asked_checkpoint(runs_dir, resume)
    if folder.resolve() != found.run.resolve():
        return _fork(folder, found)
    newest = checkpoints.find(folder)
    if found.step != newest.step:
        raise CheckpointError(
            f"{found.path} is not the newest of its run (step {newest.step} is). To go another way from there, "
            f"name a new run: --run NAME --resume {resume}."
        )
    return _origin(folder, newest)


def asked_checkpoint(runs_dir, resume):
    """The checkpoint that `--resume` names; CheckpointError where there is none."""
    found = checkpoints.find(_in(runs_dir, Path(resume)))
    if found is None:
        raise CheckpointError(f"--resume {resume}: the run has no checkpoint yet. Leave --resume out to begin it.")
    return found


def _fork(folder, found):
    if folder.is_dir() and checkpoints.step_folders(folder):
        raise CheckpointError(f"{folder} is a run already: --resume with another run's checkpoint wants a new --run.")
    return Origin(folder, found, uuid.uuid4().hex)


def _origin(folder, checkpoint):
    return Origin(folder, checkpoint, checkpoint.manifest["run_id"] if checkpoint else uuid.uuid4().hex)


def check_config(origin, config, stage):
    """CheckpointError where the checkpoint is another stage's, or was trained with another config."""
    if origin.checkpoint is None:
        return
    manifest, folder = origin.checkpoint.manifest, origin.folder
    if manifest["stage"] != stage:
        raise CheckpointError(f"{origin.checkpoint.run} is a run of {manifest['stage']!r}; use another --run.")
    before, now = completed(stage, manifest["config"], origin.checkpoint.path), json.loads(json.dumps(configs.as_values(config)))
    same_batch = _global_batch(before) == _global_batch(now)
    free = FREE | (set(PARTS) if same_batch else set())
    differing = [name for name in now if name not in free and before.get(name) != now[name]]
    if differing:
        changes = ", ".join(f"{name}: {before.get(name)} there, {now[name]} asked" for name in differing)
        raise CheckpointError(
            f"{folder} was trained with another config ({changes}). Go on with its own values, or name a new --run."
        )


def _global_batch(values):
    return values[PARTS[0]] * values[PARTS[1]]


# --- From the mirror ---------------------------------------------------------------------------------------------


def remote_name(preset, folder):
    """Where the mirror keeps a run."""
    return f"runs/{preset}/{Path(folder).name}"


def reach(storage, run):
    """Whether the mirror can be used; said where it can't and the run is here.

    Raises
    ------
    CheckpointError : it can't, and there is no run here: it may hold one
    """
    try:
        storage.open()
        return True
    except OSError as error:
        said, step = f"The mirror {storage.where} can't be reached: {describe_error(error)}.", newest_step(run)
    if not step:
        raise CheckpointError(f"{said} It may hold {run.name}, which is not here. Bring it back, or leave the mirror out.")
    said = f"{said} Going on with step {step} of {run}, which is here; the copy is made when the mirror is back."
    log.warning(said)
    print(said, flush=True)
    return False


def bring_back(storage, config, folder, runs_dir, given, data_dir):
    """What the mirror has and this machine has not: newer checkpoints of the run, the runs that it builds on, its music.

    Parameters
    ----------
    storage : of lib.storage.backends
    config : of the stage
    folder : of the run
    runs_dir, given : where the runs that it builds on are, see sources.find_sources
    data_dir : folder of note stores

    Raises
    ------
    CheckpointError : the mirror holds another run of that name; OSError : it can't be read
    """
    for name in config.corpora:
        if not (Path(data_dir) / name / STORE_NAME).exists() and fetch_store(storage, name, data_dir):
            print(f"The note store of {name} is here again, from {storage.where}", flush=True)
    missing = [Path(runs_dir) / name for name in SOURCES[configs.stage_of(config)] if not given.get(name)]
    for run in (folder, *(source for source in missing if not newest_step(source))):
        step, remote = newest_step(run), remote_name(config.preset, run)
        _check_same_run(storage, remote, run, step)
        for restored in restore_run(storage, remote, run, step):
            append_event(run, "restored", restored, f"from {storage.where}")


def newest_step(run):
    """Step of a run's newest valid checkpoint; 0 where there is none."""
    try:
        found = checkpoints.find(run) if checkpoints.step_folders(run) else None
    except CheckpointError:
        return 0
    return found.step if found else 0


def _check_same_run(storage, remote, run, step):
    if not step:
        return
    here = checkpoints.find(run).manifest["run_id"]
    for name in remote_steps(storage, remote):
        try:
            there = remote_manifest(storage, remote, name).get("run_id")
        except DamageError:
            continue
        if there != here:
            raise CheckpointError(f"{storage.where} holds another run named {run.name!r}: name a new --run, or another --mirror.")
        return

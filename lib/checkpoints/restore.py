"""The way back: runs from the mirror to a new machine, every byte checked."""

from __future__ import annotations

import logging
from pathlib import Path

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.mirror import SMALL_FILES, remote_manifest, remote_steps
from lib.storage.backends import describe_error, open_storage
from lib.storage.copies import fetch_folder
from lib.storage.manifest import MANIFEST, DamageError

log = logging.getLogger("lib.training")


def restore_run(storage, remote_run, run, newest_here=0):
    """Bring a run's newest valid checkpoint here where it is newer than `newest_here`, and its best one.

    Parameters
    ----------
    storage : of lib.storage.backends
    remote_run : the run's folder there
    run : the run's folder here
    newest_here : step of the newest valid checkpoint here

    Returns
    -------
    list of int : steps that were brought here, the newest first

    Raises
    ------
    CheckpointError : nothing is here, and what is there is damaged; OSError : the storage can't be reached
    """
    restored, best, names = [], None, remote_steps(storage, remote_run)
    for name in names:
        if restored or checkpoints.step_of(name) <= newest_here:
            break
        manifest = _fetch_checkpoint(storage, remote_run, run, name)
        if manifest:
            restored.append(manifest["step"])
            best = manifest.get("best_step")
    if best is not None and best not in restored and not _is_here(run, best):
        manifest = _fetch_checkpoint(storage, remote_run, run, f"step-{best:08d}")
        restored += [best] if manifest else []
    if restored:
        _fetch_small_files(storage, remote_run, Path(run))
    elif not newest_here and not _only_begun(storage, remote_run, names):
        raise checkpoints.CheckpointError(
            f"All {len(names)} checkpoints of {storage.where}/{remote_run} are damaged, and {run} has none. Start afresh with "
            f"a new --run, or bring an older copy back (Drive keeps versions)."
        )
    return restored


def _only_begun(storage, remote_run, names):
    """Whether there is at most one checkpoint, whose copy was cut before its manifest: no loss then."""
    return not names or len(names) == 1 and MANIFEST not in storage.names(f"{remote_run}/checkpoints/{names[0]}")


def _is_here(run, step):
    try:
        checkpoints.check(Path(run) / "checkpoints" / f"step-{step:08d}")
    except DamageError:
        return False
    return True


def _fetch_checkpoint(storage, remote_run, run, name):
    """The manifest of the checkpoint that is here now, or None where the mirror's is damaged."""
    try:
        remote_manifest(storage, remote_run, name)  # of the step that its folder says
        return fetch_folder(storage, f"{remote_run}/checkpoints/{name}", Path(run) / "checkpoints" / name)
    except (DamageError, FileNotFoundError) as damage:
        log.warning("skipped a damaged checkpoint in the mirror: %s", damage)
        return None


def _fetch_small_files(storage, remote_run, run):
    """History, adjustments and logs, where this machine has none."""
    there = storage.names(remote_run)
    for name in SMALL_FILES:
        if name in there and (not (run / name).exists() or name == "adjustments.json"):
            storage.get(f"{remote_run}/{name}", run / name)


def bring_runs(mirror, preset, runs_dir, names):
    """Bring here what a notebook looks for in RUNS and a new machine has not: runs, or the finished improviser.

    Parameters
    ----------
    mirror : as for train; None: nothing is done
    preset : str; runs_dir : folder of runs
    names : of the folders wanted; what is here, or not there, is left out
    """
    missing = [name for name in names if not (Path(runs_dir) / name).exists()]
    if mirror is None or not missing:
        return
    storage = open_storage(mirror)
    try:
        storage.open()
        there = storage.names(f"runs/{preset}")
        for name in missing:
            if name in there:
                _bring(storage, f"runs/{preset}/{name}", Path(runs_dir) / name)
    except OSError as error:
        print(f"The mirror {mirror} can't be read: {describe_error(error)}.", flush=True)


def _bring(storage, remote, folder):
    if MANIFEST in storage.names(remote):
        fetch_folder(storage, remote, folder)
    else:
        restore_run(storage, remote, folder)
    print(f"{folder.name} is here again, from {storage.where}", flush=True)

"""The user's own runs on a machine that did not train them: restored from the mirror, with a printed line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib import config as configs
from lib.checkpoints.checkpoint import CheckpointError, newest_step
from lib.checkpoints.history import append_event
from lib.checkpoints.mirror import restore_run
from lib.checkpoints.run_dependencies import remote_name
from lib.google_colab_shim import Folders
from lib.storage.backends import Storage, describe_error, open_storage
from lib.storage.copies import fetch_folder
from lib.storage.manifest import MANIFEST, DamageError, read_manifest

BUILT_ON = ("vqvae", "style_encoder")  # without these no run of diffusion or fine_tune plays


def own_model(folders: Folders, preset: str) -> Path | None:
    """The user's own model, here or in the mirror: what notebooks play with and evaluate.

    It is the finished improviser, else the run of fine_tune, else that of diffusion. A line says where it comes from,
    or that there is none and the released weights play.

    Parameters
    ----------
    folders : of google_colab_shim.folders
    preset : whose runs

    Returns
    -------
    Path; None where there is none

    Raises
    ------
    CheckpointError : the mirror can't be read, so its contents are unknown
    """
    for name in (configs.preset("fine_tune", preset).final_name, "fine_tune", "diffusion"):
        names = (name, *BUILT_ON) if name in configs.STAGES else (name,)
        if paths := bring_runs(folders, preset, names):
            return paths[0]
    places = " and ".join(filter(None, [str(folders.runs), folders.mirror]))
    presets = ", ".join(name for name in _mirrored_presets(folders.mirror) if name != preset)
    hint = f" The mirror has runs of {presets}: choose that preset for your own." if presets else ""
    print(f"The released weights play: no run of preset {preset} is in {places}.{hint}", flush=True)
    return None


def bring_runs(folders: Folders, preset: str, names: Sequence[str]) -> list[Path]:
    """The folders of runs, those that are not here fetched from the mirror; a line for each says where it comes from.

    Parameters
    ----------
    folders, preset : of own_model
    names : of runs, or of a finished improviser

    Returns
    -------
    list of Path, as many as names; empty where one is neither here nor, whole, in the mirror

    Raises
    ------
    CheckpointError : the mirror can't be read, or all that it holds of a run is damaged
    """
    paths = [folders.runs / name for name in names]
    missing = [path for path in paths if not _state(path)]
    if missing and not folders.mirror:
        return []
    try:
        if missing and not _fetch(open_storage(folders.mirror), preset, missing):
            return []
    except OSError as error:
        problem = f"The mirror {folders.mirror} can't be read: {describe_error(error)}."
        raise CheckpointError(f"{problem} It may hold {missing[0].name}, which is not here: mount it again.") from None
    for path in paths:
        there = f"from the mirror, {folders.mirror}/{remote_name(preset, path)}"
        print(f"{path.name}: {_state(path)}, {there if path in missing else 'which is here'}", flush=True)
    return paths


def _mirrored_presets(mirror):
    try:
        return open_storage(mirror).names("runs") if mirror else []
    except OSError:
        return []


def _fetch(storage: Storage, preset: str, paths: Sequence[Path]) -> bool:
    """Whether the mirror has all of these, which are here then."""
    storage.open()
    there = storage.names(f"runs/{preset}")
    if any(path.name not in there for path in paths):
        return False
    for path in paths:
        remote_run = remote_name(preset, path)
        try:
            if MANIFEST in storage.names(remote_run):
                fetch_folder(storage, remote_run, path)
                continue
            for step in restore_run(storage, remote_run, path):
                append_event(path, "restored", step, f"from {storage.where}")
        except DamageError as error:
            print(f"Left out: {error}", flush=True)
    return all(map(_state, paths))


def _state(path):
    """'finished', 'step 250'; "" where the run is not here, or has no checkpoint."""
    if (path / MANIFEST).exists():
        return f"finished, step {read_manifest(path)['step']}" if "step" in read_manifest(path) else "finished"
    step = newest_step(path)
    return f"step {step}" if step else ""

"""The runs that a stage builds on: finds them here, on the Hugging Face hub or in the mirror, and checks for changes.

Codes and styles mean something only together with the very weights that made them: a manifest keeps their hashes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import Checkpoint, CheckpointError, newest_step
from lib.checkpoints.history import append_event
from lib.checkpoints.mirror import restore_run
from lib.data.note_store import STORE_NAME
from lib.data.prepare import fetch_store
from lib.storage.backends import Storage, describe_error
from lib.storage.manifest import MANIFEST, verify
from lib.storage.slots import stored_checkpoints

DEPENDENCIES = {
    "vqvae": (),
    "style_encoder": (),
    "diffusion": ("vqvae", "style_encoder"),
    "fine_tune": ("vqvae", "style_encoder", "diffusion"),
}
STAGE_FILE = "model.safetensors"  # of a stage that was exported on its own
# what a finished improviser's folder calls the config of each stage that can be built on
FINISHED = {"vqvae": "vqvae", "style_encoder": "style_encoder", "diffusion": "dit"}
HUB_SCHEME = "hf:"
HUB_NAME = re.compile(r"(?:hf:/{1,2})?([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")
HUB_FILES = ("*.json", "*.safetensors", "*.md")  # weights, configs and cards: nothing that could run
LOCAL_FOLDERS = ("data", "runs", "outputs")  # a path that begins so is a folder of this suite, even if it is missing
log = logging.getLogger("lib.training")


# --- Runs by name ------------------------------------------------------------------------------------------------


def locate(run: Path | str) -> Path:
    """The folder of a run: one here, or a repository of the Hugging Face hub, downloaded once and kept in its cache.

    Parameters
    ----------
    run : a folder; `hf://OWNER/NAME` (pathlib may have taken one slash), or OWNER/NAME where no such folder exists
        here; `@REVISION` behind it takes a branch, tag or commit

    Returns
    -------
    Path; a folder that is neither here nor a name of the hub is given back as it is

    Raises
    ------
    CheckpointError : it is a name, and the hub does not provide it; the message says why
    """
    path, text = Path(run), str(run).replace("\\", "/")
    match = HUB_NAME.fullmatch(text)
    if text.startswith(HUB_SCHEME):
        if match is None:
            raise CheckpointError(
                f"{text} is not a name on the Hugging Face hub. Write hf://OWNER/NAME or hf://OWNER/NAME@REVISION."
            )
    elif match is None or path.exists() or Path(match[1]).exists() or match[1] in LOCAL_FOLDERS:
        return path
    return _download(f"{match[1]}/{match[2]}", match[3], text)


def _download(name, revision, text):
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
    except ImportError:
        reason = "fetching it from the Hugging Face hub needs: pip install huggingface_hub"
    except Exception as error:  # the hub raises several unrelated types
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"the Hugging Face hub does not give {name}: {lines[0]}"
    raise CheckpointError(f"There is no folder {text}, and {reason}")


# --- Checkpoints to build on -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FinishedPart(Checkpoint):
    """Weights in a finished improviser's folder, or a stage exported alone: used like a run's best checkpoint.

    Attributes
    ----------
    file : name of the file of weights, without its suffix
    """

    file: str

    def __str__(self):
        stage = self.manifest["stage"]
        return f"{self.path / self.file}.safetensors: {FINISHED.get(stage, stage)}"

    @property
    def run(self) -> Path:
        """The folder itself."""
        return self.path

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """The weights as `model`, the pianists' `styles` and `changes`, in single precision; None for all else."""
        path = self.path / f"{self.file if name == 'model' else name}.safetensors"
        if name not in ("model", "styles", "changes") or not path.exists():
            return None
        tensors = load_file(path)
        return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def require(run: Path | str | Checkpoint, stage: str) -> Checkpoint:
    """A checkpoint of `stage`: the best of a run, part of a finished improviser's folder, or exported alone.

    Parameters
    ----------
    run : a folder, or a name of the Hugging Face hub (`locate`); a Checkpoint is given back as it is
    stage : one of DEPENDENCIES

    Raises
    ------
    CheckpointError : there is none; DamageError : a file of it is damaged
    """
    if isinstance(run, Checkpoint):
        return run
    run = locate(run)
    if (run / MANIFEST).exists() and checkpoints.step_of(run) is None:
        finished = verify(run)
        if finished.get("kind") == "stage" and finished.get("stage") == stage:
            return FinishedPart(run, finished, STAGE_FILE.removesuffix(".safetensors"))
        weights = f"{stage}.safetensors"
        if finished.get("kind") != "improviser" or stage not in FINISHED or weights not in finished["sha256"]:
            raise CheckpointError(f"{run} holds no weights of {stage!r} to build on.")
        return finished_part(run, finished, stage)
    if run.name == stage and not run.is_dir():
        ways = f"train it first (python -m lib train {stage})"
        ways = f"{ways}, or build on the released one (--{stage.replace('_', '-')}-run data/released)"
        raise CheckpointError(f"There is no run folder {run}: {ways}.")
    checkpoint = checkpoints.find(run, "best")
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint yet: train it first (python -m lib train {stage}).")
    if checkpoint.manifest.get("stage") != stage:
        raise CheckpointError(f"{run} is a run of {checkpoint.manifest.get('stage')!r}, but a {stage!r} run is needed.")
    return checkpoint


def finished_part(folder: Path, finished: Mapping, stage: str, file: str | None = None) -> FinishedPart:
    """One stage of a finished improviser.

    Parameters
    ----------
    folder : Path, whose files have been verified
    finished : its manifest
    stage : one of FINISHED
    file : name of the file of weights, without its suffix; None: that of the stage
    """
    sha256 = {name.removesuffix(".safetensors"): value for name, value in finished["sha256"].items()}
    manifest = {
        "stage": stage,
        "step": 0,
        "config": finished["configs"][FINISHED[stage]],
        "pianists": finished["classes"],
        "styles": finished["pianists"],
        "sha256": {"model.safetensors": sha256[file or stage]},
        "sources": dict.fromkeys(DEPENDENCIES[stage], os.curdir),
        "source_sha256": {part: sha256[part] for part in DEPENDENCIES[stage]},
    }
    return FinishedPart(folder, manifest, file or stage)


# --- Dependencies ------------------------------------------------------------------------------------------------


def find_dependencies(stage: str, runs_dir: Path | str, given: Mapping[str, Path | str | None]) -> dict[str, Path]:
    """The runs that a stage builds on.

    Parameters
    ----------
    stage : one of DEPENDENCIES
    runs_dir : where they are looked for
    given : stage -> a run, or a finished improviser's folder, to take instead, or None

    Returns
    -------
    dict stage -> Path; a training that begins with a diffusion model's weights (fine-tuning does, diffusion may) takes
    that model's codec and style encoder unless others are given

    Raises
    ------
    CheckpointError : one does not exist, is not trained yet, or is not what the diffusion run was trained with
    """
    stages = DEPENDENCIES[stage]
    if stage == "diffusion" and given.get("diffusion"):
        stages = (*stages, "diffusion")
    runs, base = {}, None
    for name in sorted(stages, key=lambda name: name != "diffusion"):  # it knows where the others are
        default = resolve_dependency(base, name) if base is not None else Path(runs_dir) / name
        runs[name] = locate(given.get(name) or default)
        checkpoint = require(runs[name], name)
        base = checkpoint if name == "diffusion" else base
    if base is not None:  # but for the weights that it may have begun with itself
        check_unchanged(base, {name: run for name, run in runs.items() if name != "diffusion"})
    return {name: runs[name] for name in stages}


def resolve_dependency(checkpoint: Checkpoint, stage: str) -> Path:
    """The folder of the run that a checkpoint was trained on; its manifest holds it relative to its own run."""
    return (checkpoint.run / checkpoint.manifest["sources"][stage]).resolve()


def weights_sha256(runs: Mapping[str, Path]) -> dict[str, str]:
    """Stage -> sha256 of the file of weights that is taken from its run."""
    hashes = {stage: require(run, stage).manifest["sha256"] for stage, run in runs.items()}
    return {stage: files.get("ema.safetensors") or files["model.safetensors"] for stage, files in hashes.items()}


def check_unchanged(checkpoint: Checkpoint, runs: Mapping[str, Path]) -> None:
    """CheckpointError where a run that a checkpoint was trained on has other weights by now."""
    before = checkpoint.manifest["source_sha256"]
    for stage, sha256 in weights_sha256({stage: run for stage, run in runs.items() if stage in before}).items():
        if sha256 != before[stage]:
            raise CheckpointError(
                f"{checkpoint.run} was trained on weights that {runs[stage]} no longer has. "
                f"Name the {stage} run it was trained on, or train again with another --run."
            )


# --- From the mirror ---------------------------------------------------------------------------------------------


def remote_name(preset: str, folder: Path | str) -> str:
    """Where the mirror keeps a run."""
    return f"runs/{preset}/{Path(folder).name}"


def reach(storage: Storage, run: Path) -> bool:
    """Whether the mirror can be used; prints a line if it can't but the run is here.

    Raises
    ------
    CheckpointError : it can't, and there is no run here: the mirror may hold one
    """
    try:
        storage.open()
        return True
    except OSError as error:
        problem, step = f"The mirror {storage.where} can't be reached: {describe_error(error)}.", newest_step(run)
    if not step:
        raise CheckpointError(
            f"{problem} It may hold {run.name}, which is not here. Restore the mirror, or leave it out."
        )
    line = f"{problem} Continuing from step {step} of {run}, which is here; it is copied when the mirror is back."
    log.warning(line)
    print(line, flush=True)
    return False


def bring_back(
    storage: Storage,
    config: configs.StageConfig,
    folder: Path,
    runs_dir: Path | str,
    given: Mapping[str, Path | str | None],
    data_dir: Path | str,
) -> None:
    """Fetch what the mirror has and this machine lacks: newer checkpoints, the runs that it builds on, note stores.

    Parameters
    ----------
    storage : the mirror
    config : of the stage
    folder : of the run
    runs_dir, given : where the runs that it builds on are, see `find_dependencies`
    data_dir : folder of note stores

    Raises
    ------
    CheckpointError : the mirror holds another run of that name; OSError : it can't be read
    """
    for name in config.corpora:
        if not (Path(data_dir) / name / STORE_NAME).exists() and fetch_store(storage, name, data_dir):
            print(f"The note store of {name} is here again, from {storage.where}", flush=True)
    dependencies = [Path(runs_dir) / name for name in DEPENDENCIES[configs.stage_of(config)] if not given.get(name)]
    for run in (folder, *(dependency for dependency in dependencies if not newest_step(dependency))):
        step, remote_run = newest_step(run), remote_name(config.preset, run)
        _check_same_run(storage, remote_run, run, step)
        for restored in restore_run(storage, remote_run, run, step):
            append_event(run, "restored", restored, f"from {storage.where}")
            print(f"{run.name}: step {restored}, from the mirror, {storage.where}/{remote_run}", flush=True)


def _check_same_run(storage, remote_run, run, step):
    if not step:
        return
    run_id = checkpoints.find(run).manifest["run_id"]
    for checkpoint in stored_checkpoints(storage, remote_run)[0][:1]:
        if checkpoint.manifest.get("run_id") != run_id:
            raise CheckpointError(
                f"{storage.where} holds another run named {run.name!r}: name a new --run, or another --mirror."
            )

"""Train a stage: one entry for command line, notebooks and tests, resumable at any step.

Run again with the same arguments, a run goes on from its newest valid checkpoint, here or in the mirror; because every
batch is a function of its step (stream.py), it goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lib import config as configs
from lib.checkpoints.checkpoint import find_origin, resumed_checkpoint, run_folder
from lib.checkpoints.config_migration import check_config, config_from
from lib.checkpoints.history import append_event, logging_to
from lib.checkpoints.lease import NAME as LEASE
from lib.checkpoints.lease import Lease
from lib.checkpoints.mirror import Mirror
from lib.checkpoints.run_dependencies import (
    bring_back,
    check_unchanged,
    find_dependencies,
    reach,
    remote_name,
    require,
)
from lib.devices import choose_device, determinism, make_accelerator, processes
from lib.storage.atomic_write import write_text
from lib.storage.backends import FolderStorage, open_storage
from lib.training.budget import Budget
from lib.training.session import Session
from lib.training.stages.vqvae import STAGES

log = logging.getLogger("lib.training")
VERIFY_RCLONE_S = 3600.0  # reading back from a remote costs as much as writing: hourly


@dataclass(frozen=True)
class TrainResult:
    """How a call of train ended.

    Attributes
    ----------
    run : Path; step, total_steps : optimizer steps; finished : whether step == total_steps
    losses : the newest training and validation figures; seconds : of this call
    resumed_from_step : 0 for a new run; message : one sentence for people
    """

    run: Path
    step: int
    total_steps: int
    finished: bool
    losses: dict
    seconds: float
    resumed_from_step: int
    message: str


def train(config, data_dir, runs_dir, run=None, vqvae_run=None, style_encoder_run=None, diffusion_run=None, *,
          mirror=None, resume=None, take_over=False, time_budget_s=None, epochs_this_runtime=None,
          wandb_project=None):  # fmt: skip
    """Train a stage, or go on training it.

    Parameters
    ----------
    config : a stage's config (lib.config.preset); its type says which stage
    data_dir, runs_dir : folders of note stores and of runs
    run : name of the run's folder in runs_dir; None: the stage's name
    vqvae_run, style_encoder_run, diffusion_run : runs this stage builds on, or the folder of a finished improviser; None:
        runs_dir/STAGE; diffusion itself begins with random weights where it is given no diffusion_run
    mirror : a second place for checkpoints: a folder (Drive), or an rclone remote such as "gdrive:brad-mehldau"
    resume : a run or checkpoint to go on from, see checkpoint.find_origin; None: go on if there is something
    take_over : train although another runtime's lease says that it is training this run
    time_budget_s : stop, save and be done within so many seconds; None: on Colab what is left of the runtime
    epochs_this_runtime : stop and save after so many epochs
    wandb_project : log to Weights & Biases as well

    Returns
    -------
    TrainResult

    Raises
    ------
    CheckpointError, ConfigError, CorpusError : nothing has been changed
    LeaseError : another runtime trains this run
    OSError : the last checkpoint could not be written; the one before it is there
    """
    began = time.monotonic()
    stage_name, runs_dir = configs.stage_of(config), Path(runs_dir)
    choose_device(config.device)  # said before anything is written
    budget = Budget(time_budget_s, epochs_this_runtime)
    given = {"vqvae": vqvae_run, "style_encoder": style_encoder_run, "diffusion": diffusion_run}
    folder = run_folder(stage_name, runs_dir, run, resume)
    if resume and mirror is None:
        resumed_checkpoint(runs_dir, resume)
    with ExitStack() as stack:
        stack.enter_context(determinism(config))
        is_main, wait_for_all = processes(config)
        place = lease = None
        if is_main:
            stack.enter_context(_gone_if_empty(folder))
            place = open_storage(mirror) if mirror else None
            reached = place is not None and reach(place, folder)
            lease = _take_lease(folder, place, config.preset, take_over, stack)
            if reached:
                bring_back(place, config, folder, runs_dir, given, data_dir)
        wait_for_all()
        stage, origin, sources = _prepare(config, stage_name, data_dir, folder, runs_dir, resume, given)
        stack.enter_context(logging_to(folder))
        if is_main:
            write_text(folder / "config.json", json.dumps(configs.as_values(stage.config), indent=1))
        accelerator = make_accelerator(stage.config, folder, wandb_project)
        copies = _start_mirror(place, stage.config, folder, data_dir, stack)
        session = Session(stage, stage_name, origin, sources, accelerator, budget, lease, copies)
        why = session.go()
        accelerator.end_training()
        seconds = time.monotonic() - began
        message = session.message(why, seconds)
        log.info(message)
    done = session.step >= session.total
    return TrainResult(folder, session.step, session.total, done, session.newest, seconds, session.start, message)


def _prepare(config, stage_name, data_dir, folder, runs_dir, resume, given):
    """(stage, origin, sources), everything checked; nothing is written."""
    origin = find_origin(folder, runs_dir, resume)
    sources = find_dependencies(stage_name, runs_dir, given)
    if "diffusion" in sources:
        source = require(sources["diffusion"], "diffusion")
        config = configs.inherit_model(config, config_from("diffusion", source.manifest["config"], source.path))
    check_config(origin, config, stage_name)
    if origin.checkpoint is not None:
        check_unchanged(origin.checkpoint, sources)
    with torch.random.fork_rng(devices=[]):  # the first weights follow from the seed, and nothing else does
        torch.manual_seed(config.seed)
        return STAGES[stage_name](config, data_dir, origin.checkpoint, sources), origin, sources


@contextmanager
def _gone_if_empty(folder):
    """A run that could not even begin leaves no folder behind."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _take_lease(folder, place, preset, take_over, stack):
    """The run's lease, here and in the mirror, beating until the stack ends."""
    spots = [(FolderStorage(folder, marked=False), LEASE)]
    spots += [(place, f"{remote_name(preset, folder)}/{LEASE}")] if place else []
    lease = Lease(spots)
    lease.acquire(take_over)
    lease.start()
    stack.callback(lease.release)
    return lease


def _start_mirror(place, config, folder, data_dir, stack):
    """The thread that copies checkpoints, None without a mirror."""
    if place is None:
        return None
    minutes = config.mirror_verify_minutes
    every_s = 60 * minutes if minutes is not None else VERIFY_RCLONE_S if place.kind == "rclone" else None

    def report(event, step, text):
        append_event(folder, event, step, text)

    mirror = Mirror(place, remote_name(config.preset, folder), folder, config.keep_checkpoints, every_s, report,
                    (data_dir, config.corpora))  # fmt: skip
    mirror.start()
    stack.callback(mirror.close)
    return mirror

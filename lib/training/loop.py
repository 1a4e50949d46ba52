"""Train a stage: one entry for command line, notebooks and tests, resumable at any step.

Called again with the same arguments, a run continues from its newest valid checkpoint, here or in the mirror; because
every batch is a function of its step (stream.py), it continues as if it had never stopped. `_steps` is the loop.
"""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import resumed_checkpoint, run_folder
from lib.checkpoints.history import logging_to
from lib.checkpoints.interim_weights import read_interim_weights
from lib.checkpoints.run_dependencies import bring_back, reach
from lib.data.note_store import resolution_ms
from lib.devices import choose_device, determinism, device_name, make_accelerator, processes
from lib.storage.atomic_write import write_text
from lib.storage.backends import open_storage
from lib.training.budget import Budget, Stop, StopReason, stop_requested
from lib.training.run import Run, make_stage, name_other_commit, removed_if_empty, start_mirror, take_lease
from lib.training.trainer import MOST_DETOURS, Trainer

log = logging.getLogger("lib.training")


class NotLearning(configs.ConfigError):
    """The loss has not been finite for too long."""


@dataclass(frozen=True)
class TrainResult:
    """How a call of train ended.

    Attributes
    ----------
    run : folder; step, total_steps : optimizer steps; finished : whether step == total_steps
    losses : the newest training and validation figures; seconds : of this call
    resumed_from_step : 0 for a new run; message : one sentence for people
    reason : why it stopped before its last step; None where it finished
    """

    run: Path
    step: int
    total_steps: int
    finished: bool
    losses: dict[str, float]
    seconds: float
    resumed_from_step: int
    message: str
    reason: StopReason | None


@dataclass(frozen=True)
class Outcome:
    """What became of an optimizer step.

    Attributes
    ----------
    losses : means over the global batch by name, and "gradient_norm"
    updated : False where the step was left out: a loss or gradient was not finite
    is_fault : whether that is a fault; the scaler of fp16 leaves steps out by design
    """

    losses: dict[str, float]
    updated: bool = True
    is_fault: bool = False


def train(
    config: configs.StageConfig,
    data_dir: Path | str,
    runs_dir: Path | str,
    run: str | None = None,
    vqvae_run: Path | str | None = None,
    style_encoder_run: Path | str | None = None,
    diffusion_run: Path | str | None = None,
    *,
    mirror: Path | str | None = None,
    resume: Path | str | None = None,
    take_over: bool = False,
    time_budget_s: float | None = None,
    epochs_this_runtime: int | None = None,
    wandb_project: str | None = None,
    from_weights: Path | str | None = None,
    first_step: int | None = None,
) -> TrainResult:
    """Train a stage, or continue to train it.

    Parameters
    ----------
    config : a stage's config (lib.config.preset); its type says which stage
    data_dir, runs_dir : folders of note stores and of runs
    run : name of the run's folder in runs_dir; None: the stage's name
    vqvae_run, style_encoder_run, diffusion_run : runs this stage builds on, or the folder of a finished improviser;
        None: runs_dir/STAGE; diffusion itself begins with random weights where it is given no diffusion_run
    mirror : a second storage for checkpoints: a folder (Drive), or an rclone remote such as "gdrive:brad-mehldau-ai"
    resume : a run or checkpoint to continue, see checkpoint.find_origin; None: continue if there is something
    take_over : train although another runtime's lease says that it is training this run
    time_budget_s : stop, save and be done within so many seconds; None: on Colab what is left of the runtime
    epochs_this_runtime : stop and save after so many epochs
    wandb_project : log to Weights & Biases as well
    from_weights : a file of checkpoints.interim_weights that a new run begins with; where there is a checkpoint, that
        one is continued
    first_step : the step it begins at; None: the one that the weights were taken after

    Raises
    ------
    CheckpointError, ConfigError, CorpusError : nothing has been changed
    LeaseError : another runtime trains this run
    SaveError : the last checkpoint could not be written; the one before it is there
    """
    began = time.monotonic()
    stage_name, runs_dir = configs.stage_of(config), Path(runs_dir)
    choose_device(config.device)  # an unknown one is an error before anything is written
    budget = Budget(time_budget_s, epochs_this_runtime)
    sources = {"vqvae": vqvae_run, "style_encoder": style_encoder_run, "diffusion": diffusion_run}
    folder = run_folder(stage_name, runs_dir, run, resume)
    if first_step is not None and from_weights is None:
        raise configs.ConfigError("first_step says where from_weights continues: give --from-weights FILE too.")
    if resume and mirror is None:
        resumed_checkpoint(runs_dir, resume)
    with ExitStack() as stack:
        stack.enter_context(determinism(config))
        is_main, wait_for_all = processes(config)
        storage = lease = None
        if is_main:
            stack.enter_context(removed_if_empty(folder))
            storage = open_storage(mirror) if mirror else None
            reached = storage is not None and reach(storage, folder)
            lease = take_lease(folder, storage, config.preset, take_over, stack)
            if reached:
                bring_back(storage, config, folder, runs_dir, sources, data_dir)
        wait_for_all()
        stage, origin, sources = make_stage(config, stage_name, data_dir, folder, runs_dir, resume, sources)
        is_new = from_weights is not None and origin.checkpoint is None
        initial = read_interim_weights(from_weights, stage_name, first_step) if is_new else None
        stack.enter_context(logging_to(folder))
        if is_main:
            name_other_commit(folder)
            write_text(folder / "config.json", json.dumps(configs.as_values(stage.config), indent=1))
        accelerator = make_accelerator(stage.config, folder, wandb_project)
        copies = start_mirror(storage, stage.config, folder, data_dir, stack)
        run = Run(stage_name, stage, origin, sources, accelerator, lease, copies, initial)
        reason = _steps(run, budget)
        accelerator.end_training()
        seconds = time.monotonic() - began
        message = _message(run, reason, seconds)
        log.info(message)
    return TrainResult(folder, run.step, run.total, run.is_done, run.log.newest, seconds, run.start, message, reason)


# --- The loop ----------------------------------------------------------------------------------------------------


def _steps(run: Run, budget: Budget) -> StopReason | None:
    """Train to the last step, or until there is a reason to stop, which is returned."""
    trainer, config, speed = run.trainer, run.stage.config, run.log.speed
    resolutions = {store.path.parent.name: resolution_ms(store) for store, _ in run.stage.stream.pieces}
    steps_text = ", ".join(f"{name} {step_ms:g} ms" for name, step_ms in resolutions.items())
    text = f"of {run.total}; times in steps of {steps_text}"
    device = device_name(trainer.device.type) if trainer.accelerator.num_processes == 1 else ""
    facts = {"device": device, "time_resolution_ms": resolutions, "commit": configs.commit()}
    run.log.event("start", run.step, text, total=run.total, **facts)
    reason = None
    with stop_requested() as stop, run.log.bar:
        while not run.is_done and reason is None:
            speed.begin()
            outcome = optimizer_step(trainer, run.step)
            speed.end()
            if outcome.is_fault and _too_many_faults(run, outcome):
                _go_back(run)
            else:
                run.step += 1
                run.skipped = 0 if outcome.updated else run.skipped
                run.log.advance(run.step)
                if outcome.updated and (run.step % config.log_every == 0 or run.is_done):
                    run.log.row(run.step, "train", {**outcome.losses, "lr": trainer.optimizer.param_groups[0]["lr"]})
                    run.log.show(run.step, outcome.losses, run.mirror and run.mirror.state)
                improved = (run.step % config.validate_every == 0 or run.is_done) and _validate(run)
                if run.skipped == 0 and (improved or run.save_is_due()):
                    run.save()
                if run.step - run.saver.durable >= config.save_every:
                    run.saver.wait()  # so that a restart never repeats more than save_every steps
            reason = _reason_to_stop(run, budget, stop)
        run.end(reason)
    return reason


def optimizer_step(trainer: Trainer, step: int) -> Outcome:
    """Optimizer step `step` (from 0) over the global batch: forward, backward, clip, update.

    Raises
    ------
    MemoryUsedUp : out of memory with micro-batches of 1
    """
    trainer.set_learning_rate(step)
    losses = trainer.forward_backward(step)
    losses["gradient_norm"] = trainer.clip_gradients()
    if not (math.isfinite(losses["loss"]) and math.isfinite(losses["gradient_norm"])):
        return Outcome(losses, updated=False, is_fault=trainer.leave_out(losses))
    return Outcome({**losses, **trainer.update(step)})


def _validate(run):
    """Log the validation figures; whether the loss is lower than ever before."""
    run.log.row(run.step, "validation", run.trainer.validate(run.step))
    loss = run.log.newest.get("validation/loss", math.inf)
    improved = loss < run.best
    if improved:
        run.best, run.best_step = loss, run.step
    return improved


def _reason_to_stop(run: Run, budget: Budget, stop: Stop) -> StopReason | None:
    """Of this process or another; None: train on."""
    if run.is_done:
        return None
    taken_over = StopReason.TAKEN_OVER if run.lease and run.lease.lost else None
    last_save_s = run.saver.seconds + (run.mirror.seconds if run.mirror else 0.0)
    steps_an_epoch = run.stage.stream.num_chunks / run.trainer.global_batch
    reason = taken_over or stop.reason or budget.spent(last_save_s, run.step, steps_an_epoch, run.start)
    if not run.trainer.agree(reason is not None):
        return None
    return reason or StopReason.OTHER_PROCESS


# --- Losses that are not finite ----------------------------------------------------------------------------------


def _too_many_faults(run, outcome):
    """Count a step that was left out; whether there were too many in a row."""
    run.skipped += 1
    losses = outcome.losses
    text = f"loss {losses['loss']}, gradient norm {losses['gradient_norm']}; {run.skipped} in a row"
    run.log.event("skipped", run.step + 1, text)
    return run.skipped >= run.stage.config.skips_in_a_row


def _go_back(run):
    """Back to the newest checkpoint, and on with other music; NotLearning where that has not helped."""
    run.saver.wait()
    run.trainer.accelerator.wait_for_everyone()
    checkpoint = checkpoints.find(run.folder) or run.origin.checkpoint
    if checkpoint is None or not run.trainer.adjustments.leave_out(checkpoint.step, run.step):
        tries = f"after {MOST_DETOURS} tries with other music" if checkpoint else "from the first steps on"
        text = f"{run.stage_name}: the loss is not finite ({tries}, at step {run.step})."
        raise NotLearning(f"{text} Try a smaller --lr or --mixed-precision no, with a new --run.")
    run.restore(checkpoint)
    way = f"from step {run.step + 1} to {checkpoint.step}"
    text = f"{way}: {run.skipped} losses in a row were not finite; continuing with other music"
    run.step, run.skipped = checkpoint.step, 0
    run.log.advance(run.step)
    run.log.event("went_back", run.step, text)


def _message(run: Run, reason: StopReason | None, seconds: float) -> str:
    """What happened and what to do, in one line."""
    if run.start == run.step:
        return f"{run.stage_name}: all {run.step} steps are already done. Run: {run.folder}"
    duration = timedelta(seconds=round(seconds))
    text = f"{run.stage_name}: steps {run.start} to {run.step} of {run.total} in {duration}"
    if reason is None:
        return f"{text}; finished. Run: {run.folder}"
    return f"{text}; {reason.text} and saved. Run this cell (or command) again to continue. Run: {run.folder}"

"""What this machine does in a minute: each stage measured in a process of its own, kept until the machine changes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from lib import config as configs
from lib.apps.plan.machines import here
from lib.config import ROOT
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text

SECONDS = 60.0
SHARES = {"vqvae": 0.2, "style_encoder": 0.25, "diffusion": 0.55}  # of the time; fine-tuning is the diffusion model again
CACHE = ROOT / ".cache" / "plan.json"


class CalibrationError(configs.ConfigError):
    """A stage that could not be measured here; the message is what it said."""


@dataclass(frozen=True)
class Measured:
    """One stage, measured on the machine at hand by probe.py.

    Attributes
    ----------
    flops, chunks, step_s : of a step as it was measured; small_flops, small_step_s : of a tiny model with the same batch
    spread_s : half the distance of the quartiles of a step's time, as a share of its median
    validate_s, save_s : one validation, one checkpoint
    start_s : of Python and its libraries; setup_s : of the stage, for `hours` of music by `players`
    encode_s : of `encoded_hours` of music, diffusion alone
    peak_bytes : the most memory, 0 where unknown
    waited : share of the steps' time in which a CPU did something else
    """

    stage: str
    preset: str
    precision: str
    chunks: int
    flops: float
    step_s: float
    spread_s: float
    small_flops: float
    small_step_s: float
    validate_s: float
    save_s: float
    start_s: float
    setup_s: float
    hours: float
    players: int
    encode_s: float
    encoded_hours: float
    peak_bytes: int
    waited: float = 0.0


def machine_key():
    """What a measurement holds for: device, cores and torch."""
    at_hand = here()
    return f"{at_hand.name}, {at_hand.cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def calibrate(preset, seconds=SECONDS, stages=tuple(SHARES), settings=(), cache=CACHE):
    """Measure stages of a preset here, and remember it.

    Parameters
    ----------
    preset : one of PRESETS
    seconds : about how long it takes in all
    stages : which of SHARES
    settings : texts "key=value", for each of them
    cache : Path of the file that remembers; None: nothing is kept

    Returns
    -------
    dict stage -> Measured

    Raises
    ------
    CalibrationError : a stage could not be measured, for instance because it does not fit into memory
    """
    configs.choose("preset", preset, configs.PRESETS)
    whole = sum(SHARES[stage] for stage in stages)
    found = {stage: _in_a_process(stage, preset, seconds * SHARES[stage] / whole, settings)
             for stage in progress_bar(list(stages), desc="measure", unit="stage")}  # fmt: skip
    if cache is not None:
        known = _read(cache)
        rows = {**known.get(machine_key(), {}), **{name: dataclasses.asdict(one) for name, one in found.items()}}
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps({**known, machine_key(): {**rows, "at": round(time.time())}}, indent=1))
    return found


def _in_a_process(stage, preset, seconds, settings):
    words = [sys.executable, "-m", "lib.apps.plan.probe", stage, preset, str(seconds), *settings]
    environment = {**os.environ, "LIB_QUIET": "1", "LIB_BEGAN": str(time.time())}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise CalibrationError(f"{stage} of preset {preset} can't be measured here: {said}\n--no-calibrate plans without.")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def remembered(cache=CACHE):
    """dict stage -> Measured of this machine, as it was last measured; {} where it never was."""
    rows = _read(cache).get(machine_key(), {})
    fields = {field.name for field in dataclasses.fields(Measured)}
    return {stage: Measured(**row) for stage, row in rows.items() if isinstance(row, dict) and set(row) == fields}


def _read(cache):
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

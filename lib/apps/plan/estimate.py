"""What a stage takes on a machine: hours, dollars, memory and disk; and what a budget buys.

A device of the table (machines.py) does so much of a step's work (work.step_work) in a second. Where this
machine was measured, a step and a validation are scaled by measured over tabulated time: the stage that was measured
takes what it took, and others what the table says, corrected. The bar says which it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lib import config as configs
from lib.apps.plan.machines import RUNTIME_H, Environment
from lib.apps.plan.measurements import Measurement, best_for
from lib.apps.plan.work import FLOAT_BYTES, step_work
from lib.config import ConfigError, StageConfig
from lib.data.corpora import CORPORA, gather_labelled, gather_pieces, in_published_test
from lib.data.note_store import CorpusError
from lib.data.tempo_maps import tempo_maps_of
from lib.models.vqvae import GROUPS
from lib.music.piano_roll import WINDOW
from lib.training.coded_stream import FRAME, BeatStream
from lib.training.stream import Stream
from lib.training.trainer import total_steps

UNMEASURED, OTHER, SAME = 2.0, 1.5, 1.15  # hours may be so many times more or less: never measured; other preset; same
BUSY = 0.1  # share of the processors that other programs take: from here on an hour may be two
RELEASED_CODES = 1024  # patterns of the released codec, which a measurement of the diffusion model uses
START_S = 8.0  # of Python, torch and accelerate, before anything
# an hour of training music: dictionaries, and the styles of pianists
SETUP_S = {"vqvae": 0.02, "style_encoder": 0.002, "diffusion": 0.13, "fine_tune": 0.13}
# what one core of an AMD EPYC (Zen 4) needs besides the model: an example of training, from the note store; one of
# validation, where the codec decodes, and notes are matched
EXAMPLE_S = {"vqvae": 0.8e-3, "style_encoder": 0.3e-3, "diffusion": 0.5e-3, "fine_tune": 0.5e-3}
HELD_OUT_S = {**EXAMPLE_S, "vqvae": 40e-3}
ENCODE_S, ENCODE_KEY_S = 3.1, 1.2  # an hour of music, into chords and styles; and into the codes of a key
SAVE_S = 8e-9  # a byte of a checkpoint: copied, written, hashed, read again
SPARE_MINUTES = 10.0  # of each runtime: installing, copying, saving
RESIDENT_BYTES = 340e6  # of Python and its libraries
OWN_STORE_BYTES = 60e6  # of a corpus of the user's own that is not counted
CODE_BYTES = 2  # on disk
ACTIVATIONS, HALF_ACTIVATIONS = 1.5, 0.65  # of what the backward pass needs, at the worst moment; of it in 16 bit


def of_preset(stage: str, name: str, **overrides) -> StageConfig:
    """A stage's config as a whole preset trains it: fine-tuning has the sizes of the preset's diffusion model."""
    config = configs.preset(stage, name, **overrides)
    return configs.inherit_model(config, configs.preset("diffusion", name)) if stage == "fine_tune" else config


# --- The music ---------------------------------------------------------------------------------------------------


class Music(NamedTuple):
    """What a stage trains on: windows of 32 beats (of a style encoder 10.24 s) in its training pieces, and their hours."""

    windows: int
    train_hours: float
    validation_hours: float


# of MAESTRO v3.0.0, PiJAMA and the demo corpus; tests/apps/plan/test_estimate.py holds it against the note stores
KNOWN = {
    ("vqvae", "maestro"): Music(36_435, 159.24, 19.43),
    ("vqvae", "pijama"): Music(37_408, 167.62, 20.98),
    ("style_encoder", "pijama"): Music(33_732, 97.70, 12.95),
    ("diffusion", "maestro"): Music(36_435, 159.24, 19.43),
    ("diffusion", "pijama"): Music(39_212, 175.69, 21.66),
    ("fine_tune", "pijama"): Music(1_459, 6.77, 0.80),
    ("vqvae", "demo"): Music(184, 0.85, 0.41),
    ("style_encoder", "demo"): Music(277, 0.85, 0.41),
    ("diffusion", "demo"): Music(184, 0.85, 0.41),
    ("fine_tune", "demo"): Music(30, 0.13, 0.08),
}


def music_of(config: StageConfig, data_dir: Path | str | None = None) -> Music:
    """The Music of a stage's config: counted in the note stores of `data_dir` where they are, else as it is known.

    Raises
    ------
    ConfigError : a corpus that is neither there nor known
    """
    stage = configs.stage_of(config)
    try:
        if data_dir is not None:
            given = {name: getattr(config, name) for name in ("pianist", "benchmark") if hasattr(config, name)}
            return _counted(stage, config.corpora, tuple(given.items()), Path(data_dir))
    except CorpusError:
        pass  # not ingested here
    for name in config.corpora:
        if (stage, name) not in KNOWN:
            way = f"python -m lib data ingest {name}"
            raise ConfigError(f"How much music is in {name!r}? Ingest it first ({way}), and give --data-dir.")
    return Music(*map(sum, zip(*(KNOWN[stage, name] for name in config.corpora), strict=True)))


@lru_cache(maxsize=64)  # a plan asks for the same music again and again
def _counted(stage, corpora, given, data_dir):
    config = configs.preset(stage, corpora=corpora, **dict(given))

    def pieces(split):
        if stage == "style_encoder":
            return gather_labelled(config, data_dir, split)
        rows = gather_pieces(config, data_dir, split, getattr(config, "pianist", None))
        return [(s, i) for s, i in rows if not in_published_test(s.pieces[i])] if stage == "vqvae" else rows

    train, validation = pieces("train"), pieces("validation")
    hours = [sum(store.pieces[i].seconds for store, i in rows) / 3600 for rows in (train, validation)]
    in_seconds = stage == "style_encoder"
    stream = Stream(train, None) if in_seconds else BeatStream(train, tempo_maps_of(train), None)
    return Music(stream.num_chunks, *hours)


# --- A stage -----------------------------------------------------------------------------------------------------

FIELDS = (
    *("stage", "preset", "environment", "steps", "gflop", "hours", "low_hours", "high_hours", "usd", "high_usd"),
    *("runtimes", "memory_gb", "fits", "disk_gb", "drive_gb", "basis"),
)


class Estimate:
    """What a stage takes in an environment.

    Parameters
    ----------
    config : of the stage (of_preset for a whole preset)
    machine : the environment
    data_dir : folder of note stores to count; None: the corpora as they are known
    measurement : of this environment's machine, None: the table of devices
    codes : see work.step_work
    steps : optimizer steps, None: of the whole training

    Attributes
    ----------
    steps : optimizer steps; gflop : of a step; basis : "measured", "measured, other preset" or "table"
    parts_s : dict of seconds: start, encode, steps, validate, save
    hours, low_hours, high_hours : their sum; the bar. Other programs on the same processors widen it: low is without
        them, high with those of now
    usd, high_usd : at the environment's price; runtimes : of 12 h, 0 where the machine lives as long as you like
    memory_gb : of the device at its peak; fits : whether it has that
    disk_gb : runs, note stores and codes; drive_gb : what a mirror holds
    """

    def __init__(
        self,
        config: StageConfig,
        machine: Environment,
        data_dir: Path | str | None = None,
        measurement: Measurement | None = None,
        codes: int | None = None,
        steps: int | None = None,
    ):
        self.config, self.machine, self.measurement = config, machine, measurement
        self.stage, self.preset, self.environment = configs.stage_of(config), config.preset, machine.name
        self.work, self.music = step_work(config, codes), music_of(config, data_dir)
        self.steps = steps or total_steps(config, self.music.windows)
        self.gflop = round(self.work.flops / 1e9, 2)
        measured_work = measurement and step_work(measurement.config, RELEASED_CODES)
        same_stage = measurement is not None and configs.stage_of(measurement.config) == self.stage
        self.is_measured = same_stage and measured_work == self.work  # this very step: same sizes and batch
        self.parts_s = self._parts_s(measured_work)
        self.hours = sum(self.parts_s.values()) / 3600
        low, high, self.basis = self._bar()
        self.low_hours, self.high_hours = low * self.hours, high * self.hours
        self.usd, self.high_usd = (hours * machine.usd_per_hour for hours in (self.hours, self.high_hours))
        self.runtimes = math.ceil(self.hours / (RUNTIME_H - SPARE_MINUTES / 60)) if machine.runtime_h else 0
        self.memory_gb = self._memory_bytes() / 1e9
        self.fits = self.memory_gb <= machine.device.memory_gb
        self.drive_gb = ((config.keep_checkpoints + 1) * self.checkpoint_bytes + self._stores_bytes()) / 1e9
        self.disk_gb = self.drive_gb + (self.checkpoint_bytes + self.codes_bytes) / 1e9

    def as_values(self) -> dict:
        """For JSON."""
        return {name: getattr(self, name) for name in FIELDS}

    def _parts_s(self, measured_work):
        config, measurement, device = self.config, self.measurement, self.machine.device
        start_s, (step_s, validate_s) = START_S, _table_s(config, self.work, device)
        if measurement is not None:
            of_table = _table_s(measurement.config, measured_work, device)
            start_s = measurement.start_s
            step_s *= measurement.step_s / of_table[0]
            validate_s *= measurement.validate_s / of_table[1]
        validations = math.ceil(self.steps / config.validate_every)
        saves = math.ceil(self.steps / max(1, config.save_every - config.save_every // 10))
        return {
            "start": start_s + SETUP_S[self.stage] * self.music.train_hours,
            "encode": self._per_hour(ENCODE_S, ENCODE_KEY_S),
            "steps": self.steps * step_s,
            "validate": validations * validate_s,
            "save": (saves + validations / 2) * SAVE_S * self.checkpoint_bytes,  # the best one besides
        }

    def _bar(self):
        """(low, high) as shares of the hours, and the basis."""
        bar, basis = (UNMEASURED, "table") if self.measurement is None else (OTHER, "measured, other preset")
        if self.is_measured:
            bar, basis = SAME, "measured"
        others_then, others_now = self.measurement.others if self.measurement else 0.0, self.machine.others
        if max(others_then, others_now) > BUSY:
            bar = UNMEASURED
        quiet = 1 - others_then
        return quiet / bar, bar * max(1.0, quiet / max(1 - others_now, 0.05)), basis

    def _per_hour(self, once, in_a_key):
        """Of the music that the stage encodes before its first step: what an hour takes once, and in each key."""
        keys, (_, train_hours, validation_hours) = getattr(self.config, "encodings", 0), self.music
        return train_hours * (once + keys * in_a_key) + validation_hours * (once + in_a_key) if keys else 0.0

    @property
    def checkpoint_bytes(self) -> float:
        """Of one checkpoint: weights, their average, the optimizer."""
        copies = 2 if self.config.ema_decay else 1
        return FLOAT_BYTES * (self.work.parameters * copies + self.work.optimizer_floats)

    @property
    def codes_bytes(self) -> float:
        """Of the encoded pieces."""
        latents_per_hour = WINDOW * self.music.windows / self.music.train_hours
        return latents_per_hour * self._per_hour(FRAME.itemsize, CODE_BYTES * GROUPS)

    def _stores_bytes(self):
        names = self.config.corpora
        return sum(CORPORA[name].store_bytes if name in CORPORA else OWN_STORE_BYTES for name in names)

    def _memory_bytes(self):
        """At the peak: as measured for the same step, else weights, gradients, optimizer, averages and activations.

        In a machine's own memory note stores and codes count as well: they are mapped, and stay until others need it.
        """
        on_gpu = self.machine.device.half_tflops > 0
        mapped = 0 if on_gpu else self._stores_bytes() + self.codes_bytes
        if self.is_measured and self.measurement.peak_bytes:
            return mapped + self.measurement.peak_bytes
        half = HALF_ACTIVATIONS if on_gpu and self.config.mixed_precision != "no" else 1.0
        # gradients, what is trained, and off a GPU the snapshot that is being saved
        state = FLOAT_BYTES * self.work.parameters + (1 if on_gpu else 2) * self.checkpoint_bytes
        activations = ACTIVATIONS * half * FLOAT_BYTES * self.work.saved_floats
        return mapped + state + activations + (0 if on_gpu else RESIDENT_BYTES)


def _table_s(config, work, device):
    """Seconds of one step and of one validation, by the table of devices."""
    stage = configs.stage_of(config)
    compute_s = device.seconds(work.flops, work.optimizer_flops, config.mixed_precision != "no")
    step_s = EXAMPLE_S[stage] * work.examples + max(compute_s, work.kernels * device.launch_s)
    return step_s, config.validation_batches * (HELD_OUT_S[stage] * work.examples + step_s / 3)


# --- A preset, and a budget --------------------------------------------------------------------------------------

BY_SIZE = ("large", "colab", "laptop", "demo")  # presets for music, the best first
ACCUMULATED, MUCH = 4, 0.3  # forward passes that Muon's work is spread over where it is more of a step than this


@dataclass(frozen=True)
class Total:
    """All stages of a preset in an environment, one after another."""

    preset: str
    environment: str
    stages: list[Estimate]

    def sum(self, name: str) -> float:
        """Of a field of an Estimate over the stages."""
        return sum(getattr(stage, name) for stage in self.stages)

    @property
    def fits(self) -> bool:
        """Whether each stage fits into the device's memory."""
        return all(stage.fits for stage in self.stages)


class Advice(NamedTuple):
    """What a budget buys in one environment.

    Attributes
    ----------
    chosen : Total that fits, None where none does
    wanted : the next larger Total, None where the largest fits
    savings : list of (words for people, what `wanted` then takes), each on top of those before, until it fits
    """

    budget_usd: float
    chosen: Total | None
    wanted: Total | None
    savings: list[tuple[str, Total]]


def total(
    preset: str,
    environment: Environment,
    data_dir: Path | str | None = None,
    measured: dict[str, Measurement] | None = None,
    changes: dict[str, dict] | None = None,
) -> Total:
    """Total of a preset.

    Parameters
    ----------
    measured : dict stage -> Measurement, where the environment is the machine at hand
    changes : dict stage -> dict of settings other than the preset's
    """
    rows = []
    for stage in configs.STAGES:
        config = of_preset(stage, preset, **(changes or {}).get(stage, {}))
        rows.append(Estimate(config, environment, data_dir, best_for(stage, measured or {})))
    return Total(preset, environment.name, rows)


def advise(budget_usd: float, environment: Environment, data_dir: Path | str | None = None) -> Advice:
    """Advice for a budget in dollars."""
    totals = [total(name, environment, data_dir) for name in BY_SIZE]
    affordable = [number for number, row in enumerate(totals) if row.sum("usd") <= budget_usd and row.fits]
    best = min(affordable, default=len(totals))
    wanted = next((row for row in reversed(totals[:best]) if row.fits), None)
    savings = save(wanted.preset, budget_usd, environment, data_dir) if wanted else []
    return Advice(budget_usd, totals[best] if affordable else None, wanted, savings)


def save(
    preset: str, budget_usd: float, environment: Environment, data_dir: Path | str | None = None
) -> list[tuple[str, Total]]:
    """Savings in order, until a preset fits the budget or there is nothing more to give up."""
    changes, savings = {}, []
    for words, stage, settings in _ways(preset):
        changes = {**changes, stage: {**changes.get(stage, {}), **settings}}
        savings.append((words, total(preset, environment, data_dir, changes=changes)))
        if savings[-1][1].sum("usd") <= budget_usd:
            break
    return savings


def _ways(preset):
    """(words, stage, settings): what is missed least comes first."""
    vqvae, diffusion = configs.preset("vqvae", preset), of_preset("diffusion", preset)
    work = step_work(diffusion)
    share = work.optimizer_flops / work.flops
    fewer, half = max(1, vqvae.epochs // 10), max(1, diffusion.epochs // 2)
    if share > MUCH:
        words = f"Muon's own work is {share:.0%} of a step of {diffusion.batch_size} windows"
        words = f"train diffusion --set gradient_accumulation={ACCUMULATED}: {words}"
        yield words, "diffusion", {"gradient_accumulation": ACCUMULATED}
    yield f"train vqvae --epochs {fewer}: the codec learns early", "vqvae", {"epochs": fewer}
    if len(diffusion.corpora) > 1:
        yield "train diffusion --set corpora=pijama: jazz alone", "diffusion", {"corpora": ("pijama",)}
    yield f"train diffusion --epochs {half}", "diffusion", {"epochs": half}
    yield f"train diffusion --epochs {max(1, half // 2)}", "diffusion", {"epochs": max(1, half // 2)}

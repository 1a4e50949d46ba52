"""What training costs here, measured by a short training; and what runs have logged.

    python -m lib.apps.plan.measurements JSON

trains one stage for some seconds in a process of its own, as `measure` asks for it, and prints one line of JSON. Its
music is the demo corpus, its codec and style encoder are the released ones: the cost of a step depends on sizes, not on
notes.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib import config as configs
from lib.apps.plan.machines import at_hand, available_cores, others_since, processor_times
from lib.checkpoints.config_migration import config_of_run
from lib.checkpoints.history import read_events, read_rows
from lib.config import ROOT, StageConfig
from lib.data.prepare import prepare
from lib.progress import progress_bar
from lib.storage.atomic_write import write_text

SECONDS = 20.0  # of measuring a stage
STAGES = ("vqvae", "style_encoder", "diffusion")  # fine-tuning is the diffusion model again
CACHE = ROOT / ".cache" / "plan.json"
VALIDATE_EVERY, WARM_STEPS = 4, 1  # while measuring


class MeasurementError(configs.ConfigError):
    """A stage that could not be measured here; the message is what it said."""


@dataclass(frozen=True)
class Measurement:
    """One stage, trained on the machine at hand for some seconds.

    Attributes
    ----------
    config : of the stage
    start_s : of Python, torch and the suite, before the training begins
    step_s, validate_s : median seconds of a step; least ones of a validation, beside which checkpoints are saved
    spread : half the distance of the quartiles of a step's time, as a share of its median
    own, others : processors that this training kept busy; share of all of them that other programs took meanwhile
    peak_bytes : the most memory, 0 where unknown
    """

    config: StageConfig
    start_s: float
    step_s: float
    validate_s: float
    spread: float
    own: float
    others: float
    peak_bytes: int

    def as_values(self) -> dict:
        """As plain values for JSON."""
        return {"stage": configs.stage_of(self.config), **dataclasses.asdict(self)}

    @classmethod
    def from_values(cls, values: dict) -> Measurement:
        """What `as_values` gave; ConfigError, TypeError or KeyError where another version did."""
        values = dict(values)
        config = configs.build(configs.STAGES[values.pop("stage")], values.pop("config"))
        return cls(config, **values)


def measure(
    preset: str,
    seconds: float = SECONDS,
    stages: Sequence[str] = STAGES,
    settings: Sequence[str] = (),
    cache: Path | None = CACHE,
) -> dict[str, Measurement]:
    """Measure stages of a preset here, each in a process of its own, and remember it.

    Parameters
    ----------
    preset : one of PRESETS
    seconds : about how long each stage takes; some steps are done in any case
    stages : which of STAGES
    settings : texts "key=value", for each of them
    cache : file that remembers; None: nothing is kept

    Raises
    ------
    MeasurementError : a stage could not be measured, for instance because it does not fit into memory
    """
    configs.choose("preset", preset, configs.PRESETS)
    measured = {}
    for stage in progress_bar(list(stages), desc="measure", unit="stage"):
        request = {"stage": stage, "preset": preset, "seconds": seconds, "settings": list(settings)}
        request = json.dumps({**request, "began": time.time()})
        command = [sys.executable, "-m", "lib.apps.plan.measurements", request]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            text = f"{stage} of preset {preset} can't be measured here: {reason}"
            raise MeasurementError(f"{text}\n--no-calibrate plans without.")
        measured[stage] = Measurement.from_values(json.loads(done.stdout.splitlines()[-1]))
    if cache is not None:
        known, rows = _read(cache), {name: measurement.as_values() for name, measurement in measured.items()}
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps({**known, machine_key(): {**known.get(machine_key(), {}), **rows}}, indent=1))
    return measured


def machine_key() -> str:
    """What a measurement holds for: device, cores and torch."""
    import torch

    threads = f"{available_cores()} cores, {torch.get_num_threads()} threads"
    return f"{at_hand().title}, {threads}, torch {torch.__version__}"


def remembered(cache: Path = CACHE) -> dict[str, Measurement]:
    """dict stage -> Measurement of this machine, as it was last measured; {} where it never was."""
    measured = {}
    for stage, values in _read(cache).get(machine_key(), {}).items():
        try:
            measured[stage] = Measurement.from_values(values)
        except (ValueError, TypeError, KeyError):  # of another version
            continue
    return measured


def _read(cache):
    try:
        rows = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return rows if isinstance(rows, dict) else {}


def best_for(stage: str, measured: dict[str, Measurement]) -> Measurement | None:
    """The measurement that says most of a stage; fine-tuning is the diffusion model again."""
    return measured.get(stage) or (measured.get("diffusion") if stage == "fine_tune" else None)


def train_briefly(config: StageConfig, seconds: float, folder: Path, started: float) -> Measurement:
    """Train on the demo corpus for about so many seconds, and read the run's own log.

    The first VALIDATE_EVERY steps and a validation are done in any case; then it continues while there is time.
    `started` is when this process was asked for, by time.time.
    """
    from lib.devices import choose_device
    from lib.training.loop import train

    start_s = time.time() - started
    prepare(["demo"], folder / "data")
    brief = {"corpora": ("demo",), "tracker": "none", "epochs": 10**6, "save_every": 10**6, "log_every": 1}
    brief = replace(config, **brief, steps=VALIDATE_EVERY, validate_every=VALIDATE_EVERY)
    sources = dict.fromkeys(("vqvae_run", "style_encoder_run"), configs.RELEASED)
    folders = folder / "data", folder / "runs"
    before, began, used = processor_times(), time.perf_counter(), time.process_time()
    run = train(brief, *folders, **sources).run
    left_s = seconds - (time.perf_counter() - began)
    if left_s > 0:
        train(replace(brief, steps=10**6), *folders, time_budget_s=left_s, **sources)
    own = (time.process_time() - used) / (time.perf_counter() - began)
    device = choose_device(config.device)
    rows = read_rows(run)
    steps = [row["ms_per_step"] / 1000 for row in rows if row["split"] == "train"][WARM_STEPS:]
    validations = [row["time"] - step["time"] for step, row in zip(rows, rows[1:]) if row["split"] == "validation"]
    low, middle, high = statistics.quantiles(steps, n=4)
    others = others_since(before) if device == "cpu" else 0.0
    spread = (high - low) / 2 / middle
    return Measurement(config, start_s, middle, min(validations), spread, own, others, peak_bytes(device))


def peak_bytes(kind: str) -> int:
    """The most that this process has taken: of the GPU's memory on "cuda" and "mps", else of the machine's; 0: unknown."""
    import torch

    if kind == "cuda":
        return torch.cuda.max_memory_allocated()
    if kind == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main():
    """Measure what the one argument asks for, and print it."""
    request = json.loads(sys.argv[1])
    config = configs.preset(request["stage"], request["preset"], **configs.parse_settings(request["settings"]))
    with tempfile.TemporaryDirectory() as folder:
        measurement = train_briefly(config, request["seconds"], Path(folder), request["began"])
    print(json.dumps(measurement.as_values()))


# --- Runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Actuals:
    """A run so far, as it was logged.

    Attributes
    ----------
    config : of its stage
    hours : with a runtime at work on it, from its first step on; runtimes : how many there were
    steps : the last one; total : of the whole training, 0 where unknown
    step_s : seconds a step, median over the logged ones; None where too few were logged
    """

    config: StageConfig
    hours: float
    runtimes: int
    steps: int
    total: int
    step_s: float | None


def actuals(run: Path | str) -> Actuals | None:
    """Of a run's folder; None where nothing was logged; CheckpointError where its config is of an unknown version."""
    rows, events = read_rows(run), read_events(run)
    lines = [line for line in [*events, *rows] if {"time", "runtime", "step"} <= line.keys()]
    config = config_of_run(Path(run))
    if not lines or config is None:
        return None
    times = {}
    for line in lines:
        times.setdefault(line["runtime"], []).append(line["time"])
    hours = sum(max(seconds) - min(seconds) for seconds in times.values()) / 3600
    totals = [line["total"] for line in lines if line.get("event") == "start" and "total" in line]
    last = max(line["step"] for line in lines)
    return Actuals(config, hours, len(times), last, totals[-1] if totals else 0, _step_s(rows))


def _step_s(rows):
    """Median seconds a step, as logged; of older runs, between logged steps that follow one another in one runtime."""
    rows = [row for row in rows if row.get("split") == "train" and {"time", "step", "runtime"} <= row.keys()]
    seconds = [row["ms_per_step"] / 1000 for row in rows if "ms_per_step" in row] or [
        (after["time"] - before["time"]) / (after["step"] - before["step"])
        for before, after in zip(rows, rows[1:])
        if after["runtime"] == before["runtime"] and after["step"] > before["step"]
    ]
    return statistics.median_high(seconds) if seconds else None


if __name__ == "__main__":
    main()

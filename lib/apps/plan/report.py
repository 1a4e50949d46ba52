"""The plan: every preset on every machine, and what a budget buys, as text and as JSON; and lines for notebooks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib import config as configs
from lib.apps.plan import machines
from lib.apps.plan.estimate import estimate, of_preset, step_work
from lib.apps.plan.machines import BUSY, DEVICES, NOTED, PROBED, Logged, Machine
from lib.config import StageConfig
from lib.devices import choose_device
from lib.google_colab_shim import Folders, secret
from lib.progress import progress_bar
from lib.storage.copies import SPARE_BYTES
from lib.training.loop import TrainResult, train

BY_SIZE = ("large", "colab", "laptop", "demo")  # presets for music, the best first
FOR_GPUS = ("colab", "large")
SUMMED = ("hours", "low_hours", "high_hours", "usd", "high_usd", "runtimes", "disk_gb", "drive_gb")
STAGE_COLUMNS = ("stage", "steps", "gflop", "step_s", *SUMMED[:4], "runtimes", "memory_gb", "disk_gb", "drive_gb")
DEVICE_COLUMNS = ("title", "half_tflops", "single_tflops", "reached_tflops", "memory_gb", "source")
FREE_DRIVE_GB = 15  # https://one.google.com/about/plans
DAILY_UPLOAD_GB = 750  # that Drive takes: https://support.google.com/a/answer/172541
FOOT = """\
Often said of an RTX 3090: 10 h for the VQ-VAE, 8 to 10 h for the style encoder, 10 to 15 h for the fine-tuning, $20 in
all; they know no base model of their own. Ours there by stages: --environment runpod-3090 --preset large.

Hours of machines that were not measured may be half or twice as many: run `python -m lib plan` there, it takes a
minute. Everything is counted as if nothing were trained or encoded yet. Prices are options: --price colab-t4=0.2."""


@dataclass
class Plan:
    """What the command plans with."""

    budget_usd: float
    preset: str | None
    machines: dict[str, Machine]  # by the environment's name; "here" is this one
    changes: dict[str, dict]  # stage -> settings other than the preset's
    data_dir: Path
    measured: list[Logged]  # what trainings on this machine have logged, the newest first

    def measure(self, seconds: float, again: bool) -> None:
        """Train each stage here for so many seconds; unless `again`, those alone that were never trained here."""
        here, logged = self.machines["here"], {configs.stage_of(row.config) for row in self.measured}
        suited = "laptop" if not here.half_tflops else "large" if here.memory_gb >= 20 else "colab"
        stages = [stage for stage in PROBED if again or stage not in logged]
        shown = f"measuring, {seconds:g} s a stage (--no-calibrate: not)"
        for stage in progress_bar(stages, desc=shown, unit="stage") if stages else ():
            self.measured.insert(0, machines.probe(stage, self.preset or suited, seconds, here.others))

    def total(self, environment: str, preset: str, changes: dict[str, dict] | None = None) -> dict[str, Any]:
        """All stages of a preset on a machine: each as `estimate` gives it, and their sums."""
        machine, measured, rows = self.machines[environment], self.measured if environment == "here" else (), []
        for stage in configs.STAGES:
            settings = {**self.changes.get(stage, {}), **(changes or {}).get(stage, {})}
            rows.append(estimate(of_preset(stage, preset, **settings), machine, self.data_dir, measured))
        whole = {name: sum(row[name] for row in rows) for name in SUMMED}
        whole |= {"memory_gb": max(row["memory_gb"] for row in rows), "fits": all(row["fits"] for row in rows)}
        return {"environment": environment, "preset": preset, **whole, "stages": rows}

    def advice(self, totals: list[dict]) -> dict[str, Any]:
        """The best preset that the budget buys, where it is cheapest; what to give up for the next larger one.

        Of machines for rent, or where none is among them of the others: there it is what makes the largest one shorter.
        """

        def by_size(row):
            return BY_SIZE.index(row["preset"]), row["usd"]

        rented = [row for row in totals if self.machines[row["environment"]].usd_per_hour] or totals
        rows = sorted((row for row in rented if row["fits"] and row["preset"] in BY_SIZE), key=by_size)
        bought = next((row for row in rows if row["usd"] <= self.budget_usd), None)
        larger = [row for row in rows if bought is None or by_size(row)[0] < by_size(bought)[0]]
        named = next((row for row in rows if row["preset"] == self.preset), bought)
        wanted = min(larger, key=lambda row: (-by_size(row)[0], row["usd"])) if larger else named
        changes, savings, before = {}, [], wanted
        is_of_use = larger or wanted and len(self.machines) == 1
        for words, stage, settings in _savings(wanted["preset"]) if is_of_use else ():
            tried = {**changes, stage: {**changes.get(stage, {}), **settings}}
            row = self.total(wanted["environment"], wanted["preset"], tried)
            if row["hours"] >= before["hours"]:
                continue  # so many epochs would be more than the preset's steps
            changes, before = tried, row
            savings.append({"words": words, "hours": row["hours"], "usd": row["usd"]})
            if larger and row["usd"] <= self.budget_usd:
                break
        return {"budget_usd": self.budget_usd, "bought": bought, "wanted": wanted, "give_up": savings}

    def as_values(self) -> dict[str, Any]:
        """For JSON, and what `text` is made of."""
        presets = [name for name in configs.PRESETS if name in BY_SIZE or name == self.preset]
        plans = [self.total(name, preset) for name in self.machines for preset in presets]
        measured = [{**row._asdict(), "config": configs.as_values(row.config)} for row in self.measured]
        devices = [{**asdict(row), "flops_per_s": row.flops_per_s()} for row in DEVICES.values()]
        values = {"prices_of": NOTED, "devices": devices, "plans": plans, "budget": self.advice(plans)}
        return {**values, "measured": measured}

    def text(self) -> str:
        """For a terminal: all presets and machines; this machine, or the one asked for, and the best buy by stages."""
        values = self.as_values()
        totals = {(row["environment"], row["preset"]): row for row in values["plans"]}
        bought = values["budget"]["bought"]
        shown = {name: self.preset or "laptop" for name in self.machines if name == "here" or len(self.machines) == 1}
        shown |= {bought["environment"]: self.preset or bought["preset"]} if bought and bought["usd"] else {}
        rows = []
        for name, machine in self.machines.items():
            price = f" (${machine.usd_per_hour:g}/h)" if machine.usd_per_hour else ""
            whole = {preset: totals[name, preset] for preset in BY_SIZE[::-1]}
            cells = {preset: _cost(row) if row["fits"] else "too little memory" for preset, row in whole.items()}
            rows.append({"all four stages": f"{name}{price}", **cells})
        busy = busy_text(self.machines["here"].others) if "here" in self.machines else ""
        stages = [self._stages(totals[key]) for key in shown.items()]
        parts = [format_table(rows, rows[0]), busy, *stages, _budget(**values["budget"]), FOOT]
        return "\n\n".join(filter(None, parts))

    def _stages(self, whole):
        machine, stages = self.machines[whole["environment"]], whole["stages"]
        bases = ", ".join(sorted({row["basis"] for row in stages}))
        lines = [f"Preset {whole['preset']} on {whole['environment']}, {machine.title} ({bases}):"]
        lines.append(format_table([*stages, {**whole, "stage": "all"}], STAGE_COLUMNS))
        if not whole["fits"]:
            lines.append("The device has too little memory for that.")
        return "\n".join([*lines, *(_of_drive(whole) if machine.on_colab else [])])


def _of_drive(whole):
    """Lines on what Drive holds and takes."""
    upload_gb = max(row["daily_upload_gb"] for row in whole["stages"])
    held = f"Drive holds up to {format_size(whole['drive_gb'])} in the end, its bin none of it"
    lines = [f"{held}; at most {format_size(upload_gb)} a day are uploaded, of {DAILY_UPLOAD_GB} GB that it takes."]
    if upload_gb > DAILY_UPLOAD_GB:
        lines.append("That is too much for it: a copy every hour is enough, --set mirror_minutes=60.")
    if whole["drive_gb"] + SPARE_BYTES / 1e9 > FREE_DRIVE_GB:
        way = "buy more, or empty it, and its bin, after each stage"
        lines.append(f"Drive has {FREE_DRIVE_GB} GB for free: {way}.")
    return lines


def _savings(preset: str) -> Iterator[tuple[str, str, dict]]:
    """(words, stage, settings): what is missed least comes first."""
    vqvae, diffusion = configs.preset("vqvae", preset), of_preset("diffusion", preset)
    work, fewer, half = step_work(diffusion), max(1, vqvae.epochs // 10), max(1, diffusion.epochs // 2)
    if work.muon_flops > 0.3 * work.flops:
        words = f"Muon's own work is {work.muon_flops / work.flops:.0%} of a step of {diffusion.batch_size} windows"
        yield f"train diffusion --set gradient_accumulation=4: {words}", "diffusion", {"gradient_accumulation": 4}
    yield f"train vqvae --epochs {fewer}: the codec learns early", "vqvae", {"epochs": fewer}
    if len(diffusion.corpora) > 1:
        yield "train diffusion --set corpora=pijama: jazz alone", "diffusion", {"corpora": ("pijama",)}
    for epochs in (half, max(1, half // 2)):
        yield f"train diffusion --epochs {epochs}", "diffusion", {"epochs": epochs}


def estimate_line(settings: StageConfig, folders: Folders) -> str:
    """What a stage will take here, in one line; nothing is measured for it."""
    if configs.stage_of(settings) == "fine_tune":  # the sizes of the model it adapts: the preset's own
        settings = configs.inherit_model(settings, configs.preset("diffusion", settings.preset))
    here = machines.at_hand()
    row = estimate(settings, here, folders.data, machines.measurements(here, folders.runs))
    encode_h = row["parts_s"]["encode"] / 3600
    low, high, encode = map(format_hours, (row["low_hours"], row["high_hours"], encode_h))
    encode = f", {encode} of it to encode the music" if encode_h else ""
    memory, disk, drive = (format_size(row[name]) for name in ("memory_gb", "disk_gb", "drive_gb"))
    colab = f", {row['runtimes']} runtime(s) of 12 h, {drive} on Drive" if here.on_colab else ""
    logged = row["basis"] != "table"
    source = "what was logged here" if logged else "a table of devices (python -m lib plan measures this one)"
    line = f"{row['stage']}, preset {row['preset']}, on {here.title}: {row['steps']:,} steps, about {_cost(row)}"
    sizes = f"{memory} of memory, {disk} on the disk"
    return f"{line} ({low} to {high}{encode}){colab}, {sizes}. From {source}. {busy_text(here.others)}".rstrip()


def train_with_estimate(
    settings: StageConfig, folders: Folders, wandb_project: str = "", take_over: bool = False
) -> TrainResult:
    """Train a stage; print before what it will take here, and after it what it took.

    Parameters
    ----------
    wandb_project : log to Weights & Biases too; the key is the secret WANDB_API_KEY, but for WANDB_MODE=offline
    take_over : as of train
    """
    if settings.preset in FOR_GPUS and choose_device(settings.device) == "cpu":
        way = "On Colab: Runtime > Change runtime type > T4 GPU, then run all again; or preset laptop or demo"
        print(f"Preset {settings.preset} is made for a GPU, and this runtime has none. {way}.", flush=True)
    print(estimate_line(settings, folders))
    if wandb_project and os.environ.get("WANDB_MODE") != "offline":
        os.environ["WANDB_API_KEY"] = secret("WANDB_API_KEY")
    options = {"mirror": folders.mirror, "take_over": take_over, "wandb_project": wandb_project or None}
    result = train(settings, folders.data, folders.runs, **options)
    print(result.message)
    return result


def busy_text(others: float) -> str:
    """What other programs take of the processors; "" where that is little."""
    text = f"Others are computing here: they want {others:.0%} of the processors. Low is without them, high with them."
    return text if others > BUSY else ""


def format_hours(hours: float) -> str:
    """'45 s', '12 min', '3.4 h', '120 h'."""
    if hours < 1:
        return f"{hours * 3600:.0f} s" if hours < 1 / 60 else f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def format_size(gigabytes: float) -> str:
    """'340 MB', '2.1 GB'."""
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:.1f} GB"


def format_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Lines of columns, their names the heading: text to the left, numbers in the units of their names to the right."""
    columns = []
    for name in names:
        cells = [name.removesuffix("_gb").replace("_", " "), *(_cell(name, row.get(name, "")) for row in rows)]
        justify = str.ljust if isinstance(rows[0][name], str) else str.rjust
        columns.append([justify(cell, max(map(len, cells))) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def _cell(name, value):
    if isinstance(value, str):
        return value
    if "hours" in name:
        return format_hours(value)
    if name.endswith("_gb"):
        return format_size(value)
    number = f"${value:,.2f}" if name == "usd" else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return number if value else "-"


def _cost(row):
    return format_hours(row["hours"]) + (f", ${row['usd']:,.2f}" if row["usd"] else "")


def _budget(budget_usd, bought, wanted, give_up):
    lines = [] if bought else [f"${budget_usd:g} buys no preset as it is."]
    if bought and bought["usd"]:
        risk = f" It may become ${bought['high_usd']:.2f}, so watch it." if bought["high_usd"] > budget_usd else ""
        lines = [f"${budget_usd:g} buys preset {bought['preset']} on {bought['environment']}: {_cost(bought)}.{risk}"]
    if give_up:
        lines.append(f"Preset {wanted['preset']} on {wanted['environment']} takes {_cost(wanted)}. Give up first:")
        lines += [f"   - {row['words']} -> {_cost(row)}" for row in give_up]
    return "\n".join(lines)


def devices_text() -> str:
    """The table of devices: peaks, what is reached of them, memory, and where it is from."""
    rows = [{**asdict(row), "reached_tflops": row.flops_per_s() / 1e12} for row in DEVICES.values()]
    title = f"Matrix products in 16 and 32 bit at peak, and what a training is taken to reach (noted {NOTED}):"
    return f"{title}\n{format_table(rows, DEVICE_COLUMNS)}"

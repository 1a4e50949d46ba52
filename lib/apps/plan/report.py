"""The plan: every preset in every environment, and what a budget buys, for a terminal, as JSON, and in notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib import config as configs
from lib.apps.plan import measurements
from lib.apps.plan.estimate import BUSY, BY_SIZE, Advice, Estimate, Total, advise, total
from lib.apps.plan.machines import DEVICES, NOTED, Environment, at_hand, environments
from lib.apps.plan.measurements import Measurement, actuals, best_for, remembered
from lib.apps.plan.work import step_work
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import renamed_settings
from lib.checkpoints.history import read_rows
from lib.config import StageConfig
from lib.google_colab_shim import Folders
from lib.training.loop import TrainResult, train

GPU_PRESETS = ((20, "large"), (0, "colab"))  # from so many GB of memory: what is measured without --preset
# hours of an RTX 3090 that people expect, and dollars in all; they know no base model of their own
EXPECTED = {"vqvae": "10 h", "style_encoder": "8 to 10 h", "fine_tune": "10 to 15 h"}
EXPECTED_USD, EXPECTED_ON = 20, "runpod-3090"
FREE_DRIVE_GB = 15  # https://one.google.com/about/plans
FOOT = """Hours of devices that were not measured may be half or twice as many: run `python -m lib plan` there, it takes
a minute. Everything is counted as if nothing had been trained or encoded yet. Prices are options: --price colab-t4=0.2."""


@dataclass
class Plan:
    """A plan; see `make`.

    Attributes
    ----------
    rows : environments by name
    changes : dict stage -> dict of settings other than the preset's
    measured : dict stage -> Measurement of this machine
    """

    budget_usd: float
    preset: str | None
    rows: dict[str, Environment]
    changes: dict[str, dict]
    data_dir: Path
    runs_dir: Path
    measured: dict[str, Measurement] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        budget_usd: float,
        preset: str | None,
        environment: str | None,
        prices: Sequence[str],
        settings: Sequence[str],
        data_dir: Path | str,
        runs_dir: Path | str,
    ) -> Plan:
        """Of the options of the command line; ConfigError names one that is wrong."""
        rows = {"here": at_hand(), **environments(prices)}
        if preset is not None:
            configs.choose("preset", preset, configs.PRESETS)
        if environment is not None:
            rows = {configs.choose("environment", environment, rows): rows[environment]}
        return cls(budget_usd, preset, rows, _by_stage(settings), Path(data_dir), Path(runs_dir), remembered())

    def wants_measuring(self, requested: bool | None) -> bool:
        """Whether to measure: requested, or never done and this machine is among the environments."""
        return requested or (requested is None and "here" in self.rows and not self.measured)

    def measure(self, seconds: float) -> None:
        """Measure this machine at the plan's preset, or at the one that suits it; so many seconds a stage."""
        device = self.rows["here"].device if "here" in self.rows else at_hand().device
        suited = (
            next(name for least, name in GPU_PRESETS if device.memory_gb >= least) if device.half_tflops else "laptop"
        )
        self.measured |= measurements.measure(self.preset or suited, seconds)

    def totals(self) -> dict[tuple[str, str], Total]:
        """By (environment, preset)."""
        presets = [name for name in configs.PRESETS if name in BY_SIZE or name == self.preset]
        return {(name, preset): self._total(preset, row) for name, row in self.rows.items() for preset in presets}

    def _total(self, preset, row):
        return total(preset, row, self.data_dir, self.measured if row.name == "here" else None, self.changes)

    def advices(self) -> dict[str, Advice]:
        """By environment, of those that cost something."""
        rented = {name: row for name, row in self.rows.items() if row.usd_per_hour}
        return {name: advise(self.budget_usd, row, self.data_dir) for name, row in rented.items()}

    def as_values(self) -> dict:
        """For JSON."""
        plans = [
            {
                "environment": name,
                "preset": preset,
                "hours": round(row.sum("hours"), 3),
                "usd": round(row.sum("usd"), 2),
                "fits": row.fits,
                "stages": [stage.as_values() for stage in row.stages],
            }
            for (name, preset), row in self.totals().items()
        ]
        budget = [
            {
                "environment": name,
                "preset": row.chosen.preset if row.chosen else None,
                "budget_usd": row.budget_usd,
                "usd": round(row.chosen.sum("usd"), 2) if row.chosen else None,
                "give_up": [
                    {"words": words, "hours": cost.sum("hours"), "usd": cost.sum("usd")} for words, cost in row.savings
                ],
            }
            for name, row in self.advices().items()
        ]
        devices = [{**dataclasses.asdict(device), "flops_per_s": device.flops_per_s()} for device in DEVICES.values()]
        measured = {name: measurement.as_values() for name, measurement in self.measured.items()}
        return {"prices_of": NOTED, "devices": devices, "plans": plans, "budget": budget, "measured": measured}

    def text(self) -> str:
        """For a terminal."""
        totals, advices = self.totals(), self.advices()
        parts = [_overview(totals, self.rows)]
        if "here" in self.rows:
            parts += [_measured_text(self.measured)] if self.measured else []
            parts += [text for text in [busy_text(self.rows["here"], self.measured)] if text]
        for name in self._detailed(advices):
            parts.append(_detail(totals[name, self._shown_preset(advices.get(name))], self.rows[name]))
        parts += [_advice_text(advice, self.rows[name]) for name, advice in advices.items()]
        if EXPECTED_ON in self.rows:
            parts.append(_expected_text(*(totals[EXPECTED_ON, name] for name in ("colab", "large"))))
        return "\n\n".join([*parts, *self._runs_text(), FOOT])

    def _detailed(self, advices):
        """Environments to show stage by stage: the one that is asked for, or this machine and the cheapest of the best."""
        if len(self.rows) == 1:
            return list(self.rows)
        costs = {
            name: (BY_SIZE.index(advice.chosen.preset), advice.chosen.sum("usd"))
            for name, advice in advices.items()
            if advice.chosen
        }
        return ["here", *([min(costs, key=costs.get)] if costs else [])]

    def _shown_preset(self, advice):
        """Of a detailed table."""
        affordable = "laptop" if advice is None else advice.chosen.preset if advice.chosen else "demo"
        return self.preset or affordable

    def _runs_text(self):
        """What the runs here took, beside their estimates."""
        runs = [run for stage in configs.STAGES for run in sorted(self.runs_dir.glob(f"**/{stage}")) if read_rows(run)]
        here = at_hand() if runs else None
        lines = [actuals_text(run, here, self.data_dir, best_for(run.name, self.measured)) for run in runs]
        return ["What stages really took:\n" + "\n".join(lines)] if lines else []


def _by_stage(settings):
    """['vqvae.epochs=5'] -> {'vqvae': {'epochs': '5'}}."""
    by_stage = {}
    for key, value in configs.parse_settings(settings).items():
        stage, dot, name = key.partition(".")
        if not dot:
            raise configs.ConfigError(f"--set wants STAGE.key=value, such as vqvae.epochs=5, got {key!r}.")
        by_stage.setdefault(configs.choose("stage", stage, configs.STAGES), {})[name] = value
    return {stage: renamed_settings(stage, values, f"--set {stage}.") for stage, values in by_stage.items()}


# --- Lines of notebooks ------------------------------------------------------------------------------------------


def estimate_line(settings: StageConfig, folders: Folders) -> str:
    """What a stage will take here, in one line; nothing is measured for it."""
    stage = configs.stage_of(settings)
    if stage == "fine_tune":  # the sizes of the model it adapts: the preset's own
        settings = configs.inherit_model(settings, configs.preset("diffusion", settings.preset))
    here, measured = at_hand(), remembered()
    line = format_estimate(Estimate(settings, here, folders.data, best_for(stage, measured)), here)
    return " ".join(filter(None, [line, busy_text(here, measured)]))


def train_with_estimate(settings: StageConfig, folders: Folders) -> TrainResult:
    """Train a stage; print before what it will take here, and after it what it took."""
    print(estimate_line(settings, folders))
    result = train(settings, folders.data, folders.runs, mirror=folders.mirror)
    print(result.message, actuals_line(settings, folders), sep="\n")
    return result


def actuals_line(settings: StageConfig, folders: Folders) -> str:
    """What the stage's run has taken so far, beside the estimate for as many steps: one line."""
    stage = configs.stage_of(settings)
    return actuals_text(Path(folders.runs) / stage, at_hand(), folders.data, best_for(stage, remembered()))


def format_estimate(row: Estimate, environment: Environment) -> str:
    """One line."""
    dollars = f", ${row.usd:.2f}" if environment.usd_per_hour else ""
    runtimes = f", {row.runtimes} runtime{'s' * (row.runtimes != 1)} of 12 h" if row.runtimes else ""
    drive = f", {format_size(row.drive_gb)} on Drive" if environment.drive else ""
    basis = {
        "table": "a table of devices (python -m lib plan measures this one)",
        "measured": "a measurement here",
        "measured, other preset": "a measurement of another preset here",
    }
    return (
        f"{row.stage}, preset {row.preset}, on {environment.title}: {row.steps:,} steps, "
        f"about {format_hours(row.hours)} ({_range(row.low_hours, row.high_hours)}){dollars}{runtimes}, "
        f"{format_size(row.memory_gb)} of memory, {format_size(row.disk_gb)} on the disk{drive}. "
        f"From {basis[row.basis]}."
    )


def actuals_text(
    run: Path, environment: Environment, data_dir: Path | str | None = None, measurement: Measurement | None = None
) -> str:
    """One line: what a run took, and the estimate for as many steps, without starting and encoding."""
    try:
        row = actuals(run)
    except CheckpointError as error:
        return f"{Path(run).name}: {error}"
    if row is None:
        return f"{Path(run).name}: nothing was trained there yet."
    config = row.config
    expected = Estimate(config, environment, data_dir, measurement, steps=row.steps)
    whole_steps = Estimate(config, environment, data_dir, measurement).steps
    parts_s = expected.parts_s
    share = (parts_s["steps"] + parts_s["validate"] + parts_s["save"]) / sum(parts_s.values())  # as events begin there
    low, high = share * expected.low_hours, share * expected.high_hours
    each = f", {row.step_s:.3g} s a step" if row.step_s else ""
    done = f"{format_hours(row.hours)} for {row.steps:,} of {whole_steps:,} steps{each}"
    estimated = f"estimated, without starting and encoding, {_range(low, high)}"
    return f"{configs.stage_of(config)}, preset {config.preset}: took {done}; {estimated}"


def busy_text(here: Environment, measured: dict[str, Measurement]) -> str:
    """What other programs take of the processors; "" where that is little."""
    then = max((measurement.others for measurement in measured.values()), default=0.0)
    lines = []
    if here.others > BUSY:
        lines.append(f"Others are computing here: they take {here.others:.0%} of the processors now.")
    if then > BUSY:
        lines.append(
            f"Others took {then:.0%} of the processors while this machine was measured: "
            "measure again when it is quiet (python -m lib plan --calibrate)."
        )
    return " ".join([*lines, "Low is without them, high with them."]) if lines else ""


def format_hours(hours: float) -> str:
    """'45 s', '12 min', '3.4 h', '120 h'."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def format_size(gigabytes: float) -> str:
    """'340 MB', '2.1 GB'."""
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:.1f} GB"


def _range(low, high):
    return f"{format_hours(low)} to {format_hours(high)}"


def _usd(amount, environment):
    return f"${amount:,.2f}" if environment.usd_per_hour else "-"


# --- Tables of the terminal --------------------------------------------------------------------------------------


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of columns, the first row the heading; all but the first column to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _overview(totals, environments):
    """All stages of each preset in each environment: hours and dollars."""
    presets = tuple(reversed(BY_SIZE))

    def cell(row, environment):
        usd = f", ${row.sum('usd'):,.2f}" if environment.usd_per_hour else ""
        return format_hours(row.sum("hours")) + usd if row.fits else "too little memory"

    rows = [("all four stages", *presets)]
    for name, environment in environments.items():
        price = f" (${environment.usd_per_hour:g}/h)" if environment.usd_per_hour else ""
        rows.append((f"{name}{price}", *(cell(totals[name, preset], environment) for preset in presets)))
    return format_table(rows)


def _detail(whole, environment):
    """A preset's stages in one environment."""
    rows = [
        ("stage", "steps", "GFLOP a step", "hours", "low to high", "dollars", "runtimes", "memory", "disk", "Drive")
    ]

    def line(name, steps, gflop, of: Callable, memory_gb, mark):
        hours, bar = format_hours(of("hours")), _range(of("low_hours"), of("high_hours"))
        room = format_size(memory_gb) + mark, format_size(of("disk_gb")), format_size(of("drive_gb"))
        return name, steps, gflop, hours, bar, _usd(of("usd"), environment), str(of("runtimes") or "-"), *room

    for row in whole.stages:
        of = row.as_values().__getitem__
        rows.append(line(row.stage, f"{row.steps:,}", f"{row.gflop:,.0f}", of, row.memory_gb, "!" * (not row.fits)))
    rows.append(line("all", "", "", whole.sum, max(row.memory_gb for row in whole.stages), ""))
    bases = ", ".join(sorted({row.basis for row in whole.stages}))
    is_full = environment.drive and max(row.drive_gb for row in whole.stages) > FREE_DRIVE_GB
    hint = f"\nDrive has {FREE_DRIVE_GB} GB for free: train with --set keep_checkpoints=1, and empty it between stages."
    return f"Preset {whole.preset} on {environment.title} ({bases}):\n{format_table(rows)}{hint * is_full}"


def _advice_text(advice, environment):
    """What the budget buys in an environment, and what to give up first."""
    head = f"${advice.budget_usd:g} on {environment.title}"
    if advice.chosen is None:
        lines = [f"{head}: no preset fits as it is."]
    else:
        chosen, high_usd = advice.chosen, advice.chosen.sum("high_usd")
        warning = f"; it may become ${high_usd:.2f}, so watch it" if high_usd > advice.budget_usd else ""
        cost = f"${chosen.sum('usd'):.2f}, {format_hours(chosen.sum('hours'))}"
        lines = [f"{head}: preset {chosen.preset}, {cost}{warning}."]
    if advice.wanted is not None:
        wanted = f"{advice.wanted.preset} takes ${advice.wanted.sum('usd'):.2f}"
        lines.append(f"   {wanted}. Give up first, one after another:")
        for words, cost in advice.savings:
            lines.append(f"   - {words} -> ${cost.sum('usd'):.2f}, {format_hours(cost.sum('hours'))}")
        if advice.savings and advice.savings[-1][1].sum("usd") > advice.budget_usd:
            lines.append(f"   Even so it is more than ${advice.budget_usd:g}.")
    return "\n".join(lines)


def _expected_text(*totals):
    """What people expect of an RTX 3090, beside ours there."""
    rows = [("stage", "expected", *(row.preset for row in totals))]
    for number, stage in enumerate(configs.STAGES):
        ours = (format_hours(row.stages[number].hours) for row in totals)
        rows.append((stage, EXPECTED.get(stage, "-"), *ours))
    rows.append(("all", f"${EXPECTED_USD}", *(f"${row.sum('usd'):.2f}" for row in totals)))
    return f"Often said of an RTX 3090, and ours there (prices of {NOTED}):\n{format_table(rows)}"


def _measured_text(measured):
    """What measuring found, a line a stage."""
    rows = [("measured here", "preset", "s a step", "GFLOP/s", "spread", "memory")]
    for stage, row in measured.items():
        speed = step_work(row.config).flops / row.step_s / 1e9
        figures = f"{row.step_s:.3g}", f"{speed:,.0f}", f"{row.spread:.0%}", format_size(row.peak_bytes / 1e9)
        rows.append((stage, row.config.preset, *figures))
    return format_table(rows)


def devices_text() -> str:
    """The table of devices: peaks, what is reached of them, memory, and where it is from."""
    rows = [("device", "16 bit", "32 bit", "reached", "memory", "")]
    for device in DEVICES.values():
        half = f"{device.half_tflops:g}" if device.half_tflops else "-"
        reached = f"{device.flops_per_s() / 1e12:.3g}"
        rows.append((device.name, half, f"{device.single_tflops:g}", reached, f"{device.memory_gb:g} GB", ""))
    sources = ["", *(device.source for device in DEVICES.values())]
    lines = [f"{line}{source}" for line, source in zip(format_table(rows).splitlines(), sources, strict=True)]
    heading = (
        "TFLOP/s of matrix products at peak, and what a training is taken to reach (lib/apps/plan/machines.py says"
    )
    return "\n".join([f"{heading} why; noted {NOTED}):", *lines])

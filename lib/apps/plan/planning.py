"""A plan: every preset in every environment, what this machine was measured at, and what a budget buys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lib import config as configs
from lib.apps.plan import calibration, report
from lib.apps.plan.budget import BY_SIZE, advise, total
from lib.apps.plan.outlook import at_hand, measured_for
from lib.apps.plan.prices import environments
from lib.apps.plan.took import beside
from lib.checkpoints.config_migration import renamed_settings
from lib.checkpoints.history import read_rows

GPU_PRESETS = ((20, "large"), (0, "colab"))  # from so many GB of memory: what is measured without --preset


@dataclass
class Plan:
    """What was asked; see `make`."""

    budget_usd: float
    preset: str | None
    places: dict
    changes: dict
    data_dir: Path
    runs_dir: Path
    chosen: str | None = None
    measured: dict = field(default_factory=dict)

    @classmethod
    def make(cls, budget_usd, preset, environment, prices, settings, data_dir, runs_dir):
        """A plan from the words of the command line; ConfigError names one that is wrong."""
        places = {"here": at_hand(), **environments(prices)}
        if preset is not None:
            configs.choose("preset", preset, configs.PRESETS)
        if environment is not None:
            places = {configs.choose("environment", environment, places): places[environment]}
        made = cls(budget_usd, preset, places, _by_stage(settings), Path(data_dir), Path(runs_dir), environment)
        made.measured = calibration.remembered()
        return made

    # --- This machine ------------------------------------------------------------------------------------------

    def wants_measuring(self, asked):
        """Whether to measure: asked, or never done and this machine is among the environments."""
        return asked or (asked is None and "here" in self.places and not self.measured)

    def measure(self, seconds):
        """Measure this machine at the preset that is asked, or at the one that it is for."""
        self.measured.update(calibration.calibrate(self.preset or self._usual(), seconds))

    def _usual(self):
        device = at_hand().device
        return next(name for least, name in GPU_PRESETS if device.memory_gb >= least) if device.half_tflops else "laptop"

    # --- What comes out ----------------------------------------------------------------------------------------

    def totals(self):
        """dict (environment, preset) -> Total."""
        presets = [name for name in configs.PRESETS if name in BY_SIZE or name == self.preset]
        return {(name, preset): self._total(preset, place) for name, place in self.places.items() for preset in presets}

    def _total(self, preset, place):
        return total(preset, place, self.data_dir, self._measured_at(place), self.changes)

    def _measured_at(self, place):
        return self.measured if place.name == "here" else None

    def advices(self):
        """dict environment -> Advice, of those that cost something."""
        return {name: advise(self.budget_usd, place, self.data_dir) for name, place in self.places.items() if place.usd_per_hour}

    def as_values(self):
        """For JSON."""
        return report.as_values(self.totals(), self.advices(), self.measured)

    def in_words(self):
        """For a terminal."""
        totals, advices = self.totals(), self.advices()
        parts = [report.overview(totals, self.places)]
        parts += [report.measured_here(self.measured)] if self.measured and "here" in self.places else []
        parts += [report.detail(totals[name, self._shown(name, advices)], self.places[name]) for name in self._detailed(advices)]
        parts += [report.advice(found, self.places[name]) for name, found in advices.items()]
        if report.IN_MIND_PLACE in self.places:
            parts.append(report.in_mind({name: totals[report.IN_MIND_PLACE, name] for name in ("colab", "large")}))
        return "\n\n".join(parts + self._histories() + [report.FOOT])

    def _detailed(self, advices):
        """Which environments are shown stage by stage: the one that is asked, or this machine and the cheapest of the best."""
        if len(self.places) == 1:
            return list(self.places)
        fitting = [name for name, found in advices.items() if found.chosen]
        best = min(fitting, default=None,
                   key=lambda name: (BY_SIZE.index(advices[name].chosen.preset), advices[name].chosen.sum("usd")))  # fmt: skip
        return [name for name in ("here", best) if name]

    def _shown(self, name, advices):
        """The preset of a detailed table."""
        found = advices.get(name)
        return self.preset or (found.chosen.preset if found and found.chosen else "laptop" if found is None else "demo")

    def _histories(self):
        """What the runs here took, beside what was foreseen."""
        place = at_hand()
        runs = [run for stage in configs.STAGES for run in sorted(self.runs_dir.glob(f"**/{stage}")) if read_rows(run)]
        lines = [beside(run, place, self.data_dir, measured_for(run.name, self.measured)) for run in runs]
        return ["What stages really took:\n" + "\n".join(lines)] if lines else []


def _by_stage(settings):
    """['vqvae.epochs=5'] -> {'vqvae': {'epochs': '5'}}."""
    found = {}
    for key, value in configs.parse_settings(settings).items():
        stage, dot, name = key.partition(".")
        if not dot:
            raise configs.ConfigError(f"--set wants STAGE.key=value, such as vqvae.epochs=5, got {key!r}.")
        found.setdefault(configs.choose("stage", stage, configs.STAGES), {})[name] = value
    return {stage: renamed_settings(stage, values, f"--set {stage}.") for stage, values in found.items()}

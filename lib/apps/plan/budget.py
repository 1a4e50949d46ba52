"""Which preset fits a budget, and what to give up first where a larger one nearly does."""

from __future__ import annotations

from dataclasses import dataclass

from lib import config as configs
from lib.apps.plan.forecast import forecast
from lib.apps.plan.work import newton_schulz_share, of_preset

BY_SIZE = ("large", "colab", "laptop", "demo")  # presets for music, the best first
ACCUMULATED = 4  # forward passes in a step that Muon's work is spread over
MUCH = 0.3  # of a step


@dataclass(frozen=True)
class Total:
    """All stages of a preset in an environment, one after another.

    Attributes
    ----------
    stages : list of Forecast
    """

    preset: str
    environment: str
    stages: list

    def sum(self, name):
        """Of a field of Forecast over the stages."""
        return sum(getattr(stage, name) for stage in self.stages)

    def most(self, name):
        """The largest value of a field of Forecast."""
        return max(getattr(stage, name) for stage in self.stages)

    @property
    def fits(self):
        """Whether each stage fits into the device's memory."""
        return all(stage.fits for stage in self.stages)

    @property
    def disk_gb(self):
        """Runs add up; note stores are there once."""
        return self.sum("disk_gb")


@dataclass(frozen=True)
class Saving:
    """Something given up: words for people, and what all stages then take."""

    words: str
    hours: float
    usd: float


@dataclass(frozen=True)
class Advice:
    """What a budget buys in one environment.

    Attributes
    ----------
    chosen : Total that fits, None where none does
    wished : the next larger Total, None where the largest fits
    savings : list of Saving for `wished`, each on top of those before, until it fits
    """

    budget_usd: float
    chosen: Total | None
    wished: Total | None
    savings: list


def total(preset, environment, data_dir=None, measured=None, changes=None, stages=tuple(configs.STAGES)):
    """Total of a preset.

    Parameters
    ----------
    measured : dict stage -> calibration.Measured, where the environment is the machine at hand
    changes : dict stage -> dict of settings other than the preset's
    """
    measured, changes = measured or {}, changes or {}
    rows = [forecast(of_preset(stage, preset, **changes.get(stage, {})), environment, data_dir,
                     measured.get("diffusion" if stage == "fine_tune" and stage not in measured else stage))
            for stage in stages]  # fmt: skip
    return Total(preset, environment.name, rows)


def advise(budget_usd, environment, data_dir=None, measured=None):
    """Advice for a budget in dollars."""
    totals = [total(name, environment, data_dir, measured) for name in BY_SIZE]
    affordable = [one for one in totals if one.sum("usd") <= budget_usd and one.fits]
    chosen = affordable[0] if affordable else None
    place = totals.index(chosen) if chosen else len(totals)
    wished = next((one for one in reversed(totals[:place]) if one.fits), None)
    savings = save(wished.preset, budget_usd, environment, data_dir, measured) if wished else []
    return Advice(budget_usd, chosen, wished, savings)


def save(preset, budget_usd, environment, data_dir=None, measured=None):
    """Savings in order, until a preset fits the budget or there is nothing more to give up."""
    changes, found = {}, []
    for words, stage, settings in _ways(preset):
        changes = {**changes, stage: {**changes.get(stage, {}), **settings}}
        changed = total(preset, environment, data_dir, measured, changes)
        found.append(Saving(words, changed.sum("hours"), changed.sum("usd")))
        if found[-1].usd <= budget_usd:
            break
    return found


def _ways(preset):
    """(words, stage, settings): what is missed least comes first."""
    vqvae, diffusion = configs.preset("vqvae", preset), of_preset("diffusion", preset)
    share = newton_schulz_share(diffusion)
    fewer, half = max(1, vqvae.epochs // 10), max(1, diffusion.epochs // 2)
    if share > MUCH:
        yield (f"train diffusion --set gradient_accumulation={ACCUMULATED}: Muon's own work is {share:.0%} of a step of "
               f"{diffusion.batch_size} chunks", "diffusion", {"gradient_accumulation": ACCUMULATED})  # fmt: skip
    yield f"train vqvae --epochs {fewer}: the codec learns early", "vqvae", {"epochs": fewer}
    if len(diffusion.corpora) > 1:
        yield "train diffusion --set corpora=pijama: jazz alone", "diffusion", {"corpora": ("pijama",)}
    yield f"train diffusion --epochs {half}", "diffusion", {"epochs": half}
    yield f"train diffusion --epochs {max(1, half // 2)}", "diffusion", {"epochs": max(1, half // 2)}

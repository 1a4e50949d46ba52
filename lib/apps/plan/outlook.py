"""Lines for notebooks: what a stage will take on this machine, and what it took; instant, nothing is measured."""

from __future__ import annotations

from pathlib import Path

from lib import config as configs
from lib import google_colab_shim as shim
from lib.apps.plan.calibration import remembered
from lib.apps.plan.forecast import forecast
from lib.apps.plan.machines import here
from lib.apps.plan.prices import ENVIRONMENTS, RUNTIME_H, Environment
from lib.apps.plan.took import beside, length


def at_hand():
    """The Environment of this machine: Colab's price for its device there, else your own."""
    found = here()
    if not shim.on_colab():
        return Environment("here", found.name, found.device, 0.0)
    same = (one for one in ENVIRONMENTS.values() if one.drive and one.usd_per_hour and one.device.key == found.device.key)
    price = next((one.usd_per_hour for one in same), 0.0)
    return Environment("here", f"Colab, {found.name}", found.device, price, RUNTIME_H, True)


def measured_for(stage, known):
    """The measurement that says most of a stage; fine-tuning is the diffusion model again."""
    return known.get(stage) or (known.get("diffusion") if stage == "fine_tune" else None)


def outlook(settings, folders):
    """What a stage will take here: one line.

    Parameters
    ----------
    settings : the stage's config
    folders : google_colab_shim.Folders
    """
    if configs.stage_of(settings) == "fine_tune":  # the sizes of the model it adapts: the preset's own
        settings = configs.inherit_model(settings, configs.preset("diffusion", settings.preset))
    place = at_hand()
    return in_words(forecast(settings, place, folders.data, measured_for(configs.stage_of(settings), remembered())), place)


def hindsight(settings, folders):
    """What the stage's run has taken so far, beside what was foreseen for as many steps: one line."""
    stage = configs.stage_of(settings)
    return beside(Path(folders.runs) / stage, at_hand(), folders.data, measured_for(stage, remembered()))


def in_words(coming, place):
    """One line of a Forecast."""
    dollars = f", ${coming.usd:.2f}" if place.usd_per_hour else ""
    runtimes = f", {coming.runtimes} runtime{'s' * (coming.runtimes != 1)} of 12 h" if coming.runtimes else ""
    drive = f", {size(coming.drive_gb)} on Drive" if place.drive else ""
    return (f"{coming.stage}, preset {coming.preset}, on {place.title}: {coming.steps:,} steps, about {length(coming.hours)} "
            f"({length(coming.low_hours)} to {length(coming.high_hours)}){dollars}{runtimes}, {size(coming.memory_gb)} of memory, "
            f"{size(coming.disk_gb)} on the disk{drive}. From {basis(coming)}.")  # fmt: skip


def basis(coming):
    """Where a Forecast's hours come from."""
    return {"table": "a table of devices (python -m lib plan measures this one)", "measured": "a measurement here",
            "measured, other preset": "a measurement of another preset here"}[coming.basis]  # fmt: skip


def size(gigabytes):
    """Text: '340 MB', '2.1 GB'."""
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:.1f} GB"

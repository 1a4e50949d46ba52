"""Where one can train, and what an hour costs there. Prices move: each is a knob (`--price NAME=USD`), with the day it was noted.

Colab bills in compute units ($9.99 for 100, https://colab.research.google.com/signup). How many an hour takes is shown under
*Runtime > View resources* alone; people have noted from 1.1 to 2.0 for a T4, 1.7 to 4.8 for an L4, 3.3 to 5.4 for a V100 and 5.4 to
12.3 for an A100 over the years (https://mccormickml.com/2024/04/23/colab-gpus-features-and-pricing/ keeps a table).
Runpod: https://www.runpod.io/pricing; a volume costs on while the pod is stopped, some $10 a month for 100 GB.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lib import config as configs
from lib.apps.plan.machines import DEVICES, Device

NOTED = "2026-11-26"  # when the prices below were looked at last
USD_A_UNIT = 0.0999  # Colab's compute unit
RUNTIME_H = 12.0  # of a Colab runtime, at most (https://research.google.com/colaboratory/faq.html)


@dataclass(frozen=True)
class Environment:
    """A place to train.

    Attributes
    ----------
    name : key; title : for people; device : Device
    usd_per_hour : while it runs; 0 where it is free or yours
    runtime_h : the longest that it lives at a time, None: as long as you like
    drive : whether checkpoints are copied to Google Drive by default
    note : what else to know
    """

    name: str
    title: str
    device: Device
    usd_per_hour: float
    runtime_h: float | None = None
    drive: bool = False
    note: str = ""


def _colab(name, device, units, note=""):
    title = f"Colab {DEVICES[device].name.split()[1]}"
    return Environment(name, title, DEVICES[device], round(units * USD_A_UNIT, 2), RUNTIME_H, True, note)


def _own(name, device):
    return Environment(name, DEVICES[device].name, DEVICES[device], 0.0)


_ALL = (
    Environment("colab-free", "Colab T4, free", DEVICES["t4"], 0.0, RUNTIME_H, True, "a few hours a day, none promised"),
    _colab("colab-t4", "t4", 1.4),
    _colab("colab-v100", "v100", 5.0, "seldom offered any more"),
    _colab("colab-l4", "l4", 2.4),
    _colab("colab-a100", "a100", 7.5),
    Environment("runpod-3090-spot", "Runpod RTX 3090, spot", DEVICES["rtx3090"], 0.34, note="may be taken away: until-done"),
    Environment("runpod-3090", "Runpod RTX 3090", DEVICES["rtx3090"], 0.44),
    Environment("runpod-4090-spot", "Runpod RTX 4090, spot", DEVICES["rtx4090"], 0.69, note="may be taken away: until-done"),
    Environment("runpod-4090", "Runpod RTX 4090", DEVICES["rtx4090"], 0.79),
    *(_own(name, name) for name in ("rtx3060", "rtx3070", "rtx3080", "rtx3090", "rtx4070", "rtx4090", "m1", "m2", "m2max")),
    _own("cpu", "cpu2"),
    _own("cpu-8", "cpu8"),
)
ENVIRONMENTS = {place.name: place for place in _ALL}


def environments(prices=()):
    """The environments by name, with the user's own prices.

    Parameters
    ----------
    prices : texts "NAME=USD", dollars an hour

    Raises
    ------
    ConfigError : an environment that does not exist, or no price
    """
    found = dict(ENVIRONMENTS)
    for name, value in configs.parse_settings(prices).items():
        place = found[configs.choose("environment", name, found)]
        found[name] = dataclasses.replace(place, usd_per_hour=_price(name, value))
    return found


def _price(name, value):
    try:
        price = float(value)
    except (TypeError, ValueError):
        price = -1.0
    if not 0 <= price < 1000:
        raise configs.ConfigError(f"--price {name}={value}: dollars an hour, such as --price {name}=0.5.")
    return price

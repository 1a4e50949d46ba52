"""The plan as text for a terminal."""

from __future__ import annotations

import dataclasses

from lib import config as configs
from lib.apps.plan.budget import BY_SIZE
from lib.apps.plan.machines import DEVICES
from lib.apps.plan.outlook import size
from lib.apps.plan.prices import NOTED
from lib.apps.plan.took import length

# hours of an RTX 3090 that users have in mind, and dollars in all; they know no base model of its own
IN_MIND = {"vqvae": (10, 10), "style_encoder": (8, 10), "fine_tune": (10, 15)}
IN_MIND_USD, IN_MIND_PLACE = 20, "runpod-3090"
FREE_DRIVE_GB = 15  # https://one.google.com/about/plans
MUCH_WAITING = 0.2  # of a processor that others use
SMALLEST_FIRST = tuple(reversed(BY_SIZE))


def table(rows):
    """Lines of columns, the first row the heading; all but the first column to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def overview(totals, places):
    """All stages of each preset in each environment: hours and dollars.

    Parameters
    ----------
    totals : dict (environment, preset) -> Total
    places : dict name -> Environment
    """
    rows = [("all four stages", *SMALLEST_FIRST)]
    for name, place in places.items():
        rows.append((f"{name}{_price(place)}", *(_cell(totals[name, preset], place) for preset in SMALLEST_FIRST)))
    return table(rows)


def _price(place):
    return f" (${place.usd_per_hour:g}/h)" if place.usd_per_hour else ""


def _cell(found, place):
    if not found.fits:
        return "too little memory"
    usd = f", ${found.sum('usd'):,.2f}" if place.usd_per_hour else ""
    return length(found.sum("hours")) + usd


def detail(found, place):
    """A preset's stages in one environment."""
    rows = [("stage", "steps", "GFLOP a step", "hours", "low to high", "dollars", "runtimes", "memory", "disk", "Drive")]
    for one in found.stages:
        room = size(one.memory_gb) + "!" * (not one.fits), size(one.disk_gb), size(one.drive_gb)
        rows.append((one.stage, f"{one.steps:,}", f"{one.gflop:,.0f}", *_costs(one, place), *room))
    whole = f"{length(found.sum('low_hours'))} to {length(found.sum('high_hours'))}"
    usd = f"${found.sum('usd'):.2f}" if place.usd_per_hour else "-"
    room = size(found.most("memory_gb")), size(found.disk_gb), size(found.sum("drive_gb"))
    rows.append(("all", "", "", length(found.sum("hours")), whole, usd, str(found.sum("runtimes") or "-"), *room))
    bases = ", ".join(sorted({one.basis for one in found.stages}))
    full = place.drive and found.most("drive_gb") > FREE_DRIVE_GB
    room = f"\nDrive has {FREE_DRIVE_GB} GB for free: train with --set keep_checkpoints=1, and empty it between stages."
    return f"Preset {found.preset} on {place.title} ({bases}):\n{table(rows)}{room * full}"


def _costs(one, place):
    low_high = f"{length(one.low_hours)} to {length(one.high_hours)}"
    return length(one.hours), low_high, f"${one.usd:.2f}" if place.usd_per_hour else "-", str(one.runtimes or "-")


def advice(found, place):
    """What the budget buys in an environment, and what to give up first."""
    head = f"${found.budget_usd:g} on {place.title}"
    if found.chosen is None:
        lines = [f"{head}: no preset fits as it is."]
    else:
        usd, hours = found.chosen.sum("usd"), found.chosen.sum("hours")
        bar = found.chosen.sum("high_usd")
        sure = "" if bar <= found.budget_usd else f"; it may become ${bar:.2f}, so watch it"
        lines = [f"{head}: preset {found.chosen.preset}, ${usd:.2f}, {length(hours)}{sure}."]
    if found.wished is not None:
        lines.append(f"   {found.wished.preset} takes ${found.wished.sum('usd'):.2f}. Give up first, one after another:")
        lines += [f"   - {one.words} -> ${one.usd:.2f}, {length(one.hours)}" for one in found.savings]
        if found.savings and found.savings[-1].usd > found.budget_usd:
            lines.append(f"   Even so it is more than ${found.budget_usd:g}.")
    return "\n".join(lines)


def in_mind(totals):
    """What users have in mind for an RTX 3090, beside ours.

    Parameters
    ----------
    totals : dict preset -> Total on IN_MIND_PLACE
    """
    rows = [("stage", "in mind", *totals)]
    for row, stage in enumerate(configs.STAGES):
        low, high = IN_MIND.get(stage, (0, 0))
        wanted = "-" if not high else f"{low} h" if low == high else f"{low} to {high} h"
        rows.append((stage, wanted, *(length(found.stages[row].hours) for found in totals.values())))
    rows.append(("all", f"${IN_MIND_USD}", *(f"${found.sum('usd'):.2f}" for found in totals.values())))
    return f"Often said of an RTX 3090, and ours there (prices of {NOTED}):\n{table(rows)}"


def devices():
    """The table of devices: peaks, what is reached of them, memory, and where it is from."""
    rows = [("device", "16 bit", "32 bit", "reached", "memory", "")]
    for device in DEVICES.values():
        half = f"{device.half_tflops:g}" if device.half_tflops else "-"
        reached = f"{device.flops_per_s() / 1e12:.3g}"
        rows.append((device.name, half, f"{device.single_tflops:g}", reached, f"{device.memory_gb:g} GB", ""))
    lines = table(rows).splitlines()
    sources = ["", *(device.source for device in DEVICES.values())]
    heading = "TFLOP/s of matrix products at peak, and what a training is taken to reach (lib/apps/plan/machines.py says why):"
    return "\n".join([heading, *(f"{line}{source}" for line, source in zip(lines, sources, strict=True))])


def measured_here(measured):
    """What the minute of measuring found, a line a stage."""
    rows = [("measured here", "preset", "s a step", "GFLOP/s", "restless", "memory")]
    for stage, one in measured.items():
        rows.append((stage, one.preset, f"{one.step_s:.3g}", f"{one.flops / one.step_s / 1e9:,.0f}", f"{one.spread_s:.0%}",
                     size(one.peak_bytes / 1e9)))  # fmt: skip
    waited = max(one.waited for one in measured.values())
    busy = f"\nSomething else took {waited:.0%} of the processor meanwhile: measure again when it is quiet (--calibrate)."
    return table(rows) + busy * (waited > MUCH_WAITING)


def as_values(totals, advices, measured):
    """All of it for JSON."""
    plans = [{"environment": place, "preset": preset, "hours": round(one.sum("hours"), 3), "usd": round(one.sum("usd"), 2),
              "fits": one.fits, "stages": [dataclasses.asdict(stage) for stage in one.stages]}
             for (place, preset), one in totals.items()]  # fmt: skip
    budget = [{"environment": place, "preset": one.chosen.preset if one.chosen else None, "budget_usd": one.budget_usd,
               "usd": round(one.chosen.sum("usd"), 2) if one.chosen else None,
               "give_up": [dataclasses.asdict(saving) for saving in one.savings]} for place, one in advices.items()]  # fmt: skip
    table_of_devices = [{**dataclasses.asdict(device), "flops_per_s": device.flops_per_s()} for device in DEVICES.values()]
    return {"prices_of": NOTED, "devices": table_of_devices, "plans": plans, "budget": budget,
            "measured": {name: dataclasses.asdict(one) for name, one in measured.items()}}  # fmt: skip


FOOT = """Hours of devices that were not measured may be half or twice as many: run `python -m lib plan` there, it takes a minute.
Everything is counted as if nothing had been trained or encoded yet. Prices are knobs: --price colab-t4=0.2."""

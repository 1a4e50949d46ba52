"""How two solos, two sets of arrays, or two runs differ: each function gives a list of str, a line a difference."""

from __future__ import annotations

import json
import math

# stage, or stage and variant -> reason: losses to 1e-5 and weights not at all, since arithmetic had to change
ONLY_CLOSE = {}
CLOSE = 1e-5
SHOWN = 3  # differences of a file


def notes_of(path):
    """What a MIDI file plays: sorted tuples a track, and controls."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(str(path))
    notes = [
        (round(float(n.start), 6), n.pitch, n.velocity, round(float(n.end), 6), track)
        for track, i in enumerate(midi.instruments)
        for n in i.notes
    ]
    controls = [
        (round(float(c.time), 6), c.number, c.value, track)
        for track, i in enumerate(midi.instruments)
        for c in i.control_changes
    ]
    return {"notes": sorted(notes), "controls": sorted(controls)}


def compare_solos(what, there, here):
    """Two MIDI files."""
    if there.read_bytes() == here.read_bytes():
        return []
    there, here, found = notes_of(there), notes_of(here), []
    for name in there:
        if there[name] != here[name]:
            first = next((pair for pair in zip(there[name], here[name]) if pair[0] != pair[1]), ("the end", "the end"))
            counts = f"{len(there[name])} {name} there, {len(here[name])} here"
            found.append(f"{what}: {counts}; first {first[0]} there, {first[1]} here")
    return found


def compare_arrays(what, there, here):
    """Two dicts of arrays; of many that differ the first few are named."""
    import numpy as np

    found = [f"{what}: {name} is only {'there' if name in there else 'here'}" for name in there.keys() ^ here.keys()]
    for name in sorted(there.keys() & here.keys()):
        a, b = there[name], here[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            found.append(f"{what}: {name} is {a.shape} {a.dtype} there, {b.shape} {b.dtype} here")
        elif a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
            places = f"{np.count_nonzero(apart)} of {a.size} places"
            found.append(f"{what}: {name} differs in {places}, by up to {apart.max():.3g}")
    more = [f"{what}: {len(found) - SHOWN} others differ too"] if len(found) > SHOWN else []
    return found[:SHOWN] + more


def compare_runs(what, there, here, renamed):
    """The last checkpoints and the losses of two runs.

    Parameters
    ----------
    renamed : part of a tensor's name there -> the same part here
    """
    a, b = (sorted((run / "checkpoints").glob("step-*"))[-1] for run in (there, here))
    if a.name != b.name:
        return [f"{what}: ends at {a.name} there, {b.name} here"]
    weights = []
    for name in sorted({path.name for folder in (a, b) for path in folder.glob("*.safetensors")}):
        weights += compare_arrays(f"{what}: {name}", tensors_of(a / name, renamed), tensors_of(b / name))
    weights += compare_arrays(f"{what}: optimizer.pt", optimizer_of(a), optimizer_of(b))
    losses = compare_losses(what, losses_of(there), losses_of(here), CLOSE if what in ONLY_CLOSE else 0.0)
    return losses if what in ONLY_CLOSE else losses + weights


def tensors_of(path, renamed=None):
    """The arrays of a safetensors file, by the names that this tree gives them; {} where there is no file."""
    from safetensors.torch import load_file

    found = {}
    for name, tensor in (load_file(path) if path.exists() else {}).items():
        name = f".{name}."
        for part, new in (renamed or {}).items():
            name = name.replace(f".{part}.", f".{new}.")
        found[name.strip(".")] = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return found


def optimizer_of(checkpoint):
    """The arrays of an optimizer's state, by position."""
    import torch

    flat = {}

    def walk(value, name):
        if isinstance(value, torch.Tensor):
            flat[name] = value.float().numpy()
        elif isinstance(value, dict | list | tuple):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                walk(part, f"{name}/{key}")

    walk(torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu"), "")
    return flat


def losses_of(run):
    """(step, split) -> loss."""
    rows = map(json.loads, (run / "history.jsonl").read_text(encoding="utf-8").splitlines())
    return {(row["step"], row["split"]): row["loss"] for row in rows}


def compare_losses(what, there, here, close):
    """Of two histories: the same steps, the same losses."""
    found = [
        f"{what}: a loss of {key} is only {'there' if key in there else 'here'}"
        for key in sorted(there.keys() ^ here.keys())
    ]
    wrong = [
        key for key in sorted(there.keys() & here.keys()) if not math.isclose(there[key], here[key], rel_tol=close)
    ]
    return found + [f"{what}: loss of {key} is {there[key]} there, {here[key]} here" for key in wrong[:SHOWN]]

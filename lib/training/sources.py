"""The runs that a stage builds on: where they are, and that they are still what they were.

Codes and styles mean something only together with the very weights that made them: a manifest keeps their hashes.
"""

from __future__ import annotations

from pathlib import Path

from lib.training import checkpoint as checkpoints

SOURCES = {
    "vqvae": (),
    "style_encoder": (),
    "diffusion": ("vqvae", "style_encoder"),
    "fine_tune": ("vqvae", "style_encoder", "diffusion"),
}


def find_sources(stage, runs_dir, given):
    """The runs of a stage's sources.

    Parameters
    ----------
    stage : one of SOURCES
    runs_dir : where they are looked for
    given : dict stage -> a run to take instead, or None

    Returns
    -------
    dict stage -> Path; fine-tuning takes the codec and the ear of its diffusion run where it is not told otherwise

    Raises
    ------
    CheckpointError : one is not there, not trained yet, or not what the diffusion run was trained with
    """
    found, base = {}, None
    for name in sorted(SOURCES[stage], key=lambda name: name != "diffusion"):  # it knows where the others are
        known = resolve_source(base, name) if base is not None else Path(runs_dir) / name
        found[name] = Path(given.get(name) or known)
        checkpoint = checkpoints.require(found[name], name)
        base = checkpoint if name == "diffusion" else base
    if base is not None:
        check_unchanged(base, found)
    return {name: found[name] for name in SOURCES[stage]}


def resolve_source(checkpoint, stage):
    """The folder of the run a checkpoint was trained on, written relative to its own run."""
    return (checkpoint.run / checkpoint.manifest["sources"][stage]).resolve()


def fingerprints(sources):
    """dict stage -> sha256 of the weights that are taken from its run."""
    return {name: _fingerprint(checkpoints.require(run, name)) for name, run in sources.items()}


def _fingerprint(checkpoint):
    files = checkpoint.manifest["sha256"]
    return files.get("ema.safetensors") or files["model.safetensors"]


def check_unchanged(checkpoint, sources):
    """CheckpointError where a run that a checkpoint was trained on has other weights by now."""
    before = checkpoint.manifest["source_sha256"]
    for name, sha256 in fingerprints({name: run for name, run in sources.items() if name in before}).items():
        if sha256 != before[name]:
            raise checkpoints.CheckpointError(
                f"{checkpoint.run} was trained on other weights than {sources[name]} has now. "
                f"Name the {name} run it was trained on, or train anew with another --run."
            )

"""Weights for others: a folder in the Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lib.apps.cli import option
from lib.config import ConfigError


def export(
    run: Annotated[Path, typer.Argument(help="A run of any stage, or a finished improviser such as data/released.")],
    to: Annotated[Path, option("Folder to write: new, or an earlier export.")],
    half: Annotated[bool, option("Weights in half precision.", "--half")] = False,
    base: Annotated[bool, option("Of a fine_tune run: take the base model along.", "--base")] = False,
    figures: Annotated[Path | None, option("JSON of names and numbers for the card; else those of validation.")] = None,
    name: Annotated[str, option("What the card calls it; the folder's name by default.")] = "",
    interim: Annotated[bool, option("One small file to continue training from elsewhere.", "--interim")] = False,
):
    """Write weights, config and card; they load back by folder, or by name from the Hugging Face hub."""
    if interim:
        from lib.checkpoints.checkpoint import find_origin
        from lib.checkpoints.interim_weights import write_interim_weights
        from lib.checkpoints.run_dependencies import require

        checkpoint = find_origin(run, run.parent, None).checkpoint or require(run, "diffusion")
        path, step = write_interim_weights(checkpoint, to), f"step {checkpoint.step:,}"
        return print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {step}; train --from-weights continues there")
    measured = _figures(figures) if figures else None
    from lib.apps.export.export import export as write

    folder = write(run, to, half, base, name, measured)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.relative_to(folder).as_posix():<32} {path.stat().st_size / 1000:>10,.0f} kB")
    print(f"Look at {folder}/README.md, then for example: hf upload OWNER/NAME {folder}")


def _figures(path):
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in values.items()}
    except (ValueError, TypeError, AttributeError):
        example = '{"oa_mehldau": 0.764}'
        raise ConfigError(f"--figures {path}: wants a JSON of names and numbers, such as {example}.") from None

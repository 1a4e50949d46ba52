"""Weights for others: a folder in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib.apps.cli import option


def export(
    run: Annotated[Path, typer.Argument(help="A run of any stage, or a finished improviser such as data/released.")],
    to: Annotated[Path, option("Folder to write: new, or an earlier export.")],
    half: Annotated[bool, option("Weights in half precision.", "--half")] = False,
    base: Annotated[bool, option("Of a fine_tune run: take the base model along.", "--base")] = False,
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
    from lib.apps.export.export import export as write

    folder = write(run, to, half, base)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.relative_to(folder).as_posix():<32} {path.stat().st_size / 1000:>10,.0f} kB")
    print(f"Complete {folder}/README.md as you like, then for example: hf upload OWNER/NAME {folder}")

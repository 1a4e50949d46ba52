"""Weights for others: a folder in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A run of any stage, or a finished improviser: brad_final, data/released.")],
    to: Annotated[Path, typer.Option(help="Folder to write: new, or an earlier export.")],
    half: Annotated[bool, typer.Option("--half", help="Weights in half precision.")] = False,
    base: Annotated[bool, typer.Option("--base", help="Of a fine_tune run: take the base model along.")] = False,
    name: Annotated[str, typer.Option(help="What the card calls it; the folder's name by default.")] = "",
):
    """Write weights as safetensors with config and card; they load back by folder, or by name from the Hugging Face hub."""
    from lib.export import export as write

    folder = write(run, to, half, base, name)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.relative_to(folder).as_posix():<32} {path.stat().st_size / 1000:>10,.0f} kB")
    print(f"Look at {folder}/README.md, then for example: hf upload OWNER/NAME {folder}")

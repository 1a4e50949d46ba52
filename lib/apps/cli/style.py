"""Who is playing, and styles of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, DataDir, option

style_app = typer.Typer(no_args_is_help=True, help="Styles of your own.")


def identify(
    midi: Annotated[Path | None, typer.Argument(help="The performance.")] = None,
    top: Annotated[int, option("How many pianists to name.", min=1)] = 5,
    as_json: Annotated[bool, option("All of it as JSON, evidence by time included.", "--json")] = False,
    run: Annotated[Path | None, option("A run of style_encoder; by default the released weights.")] = None,
    make_library: Annotated[bool, option("First make the gallery of the run: its corpora.", "--make-library")] = False,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Say who may be playing a MIDI file, and what speaks for it."""
    from lib.devices import choose_device
    from lib.music.notes import read_piano, read_tempo
    from lib.style import gallery, identification

    device = choose_device(device)
    if make_library:
        if run is None:
            raise configs.ConfigError("--make-library wants --run RUN: the released weights have their gallery.")
        print(f"{run}: a gallery of {len(gallery.make_gallery(run, data_dir, device)[1].pianists)} recordings")
    if midi is not None:
        performance, left_out = read_piano(midi)
        classifier, beat_s = gallery.load_classifier(run or configs.RELEASED, device), 60 / (read_tempo(midi) or 120)
        answer = identification.identify(*classifier, performance, top, beat_s, left_out)
        print(json.dumps(answer.as_values(), ensure_ascii=False) if as_json else answer.describe())
    elif not make_library:
        raise configs.ConfigError("Which file? python -m lib identify FILE.mid")


@style_app.command("add")
def add_style(
    name: str,
    folder: Annotated[Path, option("Folder of MIDI files, or one file.")],
    run: Annotated[Path | None, option("The improviser it is for; by default the released one.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Make a style of your own MIDI; from then on its name is as good as a pianist's."""
    from lib.generation.generate import load_improviser
    from lib.style.classifier import StyleClassifier
    from lib.style.embeddings import add_style as add

    improviser = load_improviser(run, run is None, device)
    path, left_out = add(StyleClassifier.of_improviser(improviser), name, folder, data_dir / configs.STYLES)
    for line in left_out:
        typer.echo(f"left out {line}", err=True)
    source = "--released" if run is None else f"--run {run}"
    print(
        f"{path}\npython -m lib generate {source} --data-dir {data_dir}"
        f" --style {json.dumps(name.strip(), ensure_ascii=False)}"
    )

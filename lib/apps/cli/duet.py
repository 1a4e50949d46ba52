"""Play together with the model over live MIDI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lib import config as configs
from lib.apps.cli import DATA_DIR, DataDir
from lib.apps.cli.charts import read_chart_options


def duet(
    list_ports: Annotated[bool, typer.Option("--list", help="Show the MIDI ports of this machine.")] = False,
    input_name: Annotated[str | None, typer.Option("--input", help="Your keyboard: a name, or virtual:NAME.")] = None,
    output_name: Annotated[str | None, typer.Option("--output", help="What sounds: a name, or virtual:NAME.")] = None,
    mode: Annotated[str | None, typer.Option(help="call (answers your phrases), fours or comp.")] = None,
    run: Annotated[Path | None, typer.Option(help="brad_final, or a run of diffusion or fine_tune.")] = None,
    released: Annotated[bool, typer.Option("--released", help="Play with the weights of data/released.")] = False,
    style: Annotated[str | None, typer.Option(help="A name, or a mix: 'Brad Mehldau:0.7,Bill Evans:0.3'.")] = None,
    chords: Annotated[str | None, typer.Option(help="As on a lead sheet, a form, 'blues in F', or 'own': the pianist's.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A chart of iReal Pro (irealb:// or its HTML) or MusicXML.")] = None,
    tune: Annotated[str | None, typer.Option(help="Which of the chart's tunes, by its title.")] = None,
    tempo: Annotated[float | None, typer.Option(help="Quarters a minute.")] = None,
    beats_per_bar: Annotated[int | None, typer.Option(help="3 for a waltz.")] = None,
    clock: Annotated[str | None, typer.Option(help="own, in (follow a MIDI clock) or out (send one).")] = None,
    bars: Annotated[int | None, typer.Option(help="Of a turn; in call and response as many as your phrase.")] = None,
    count_in: Annotated[int | None, typer.Option(help="Bars of clicks before fours and comping.")] = None,
    first: Annotated[str | None, typer.Option(help="Who has the first four: you or me.")] = None,
    ends_by: Annotated[str | None, typer.Option(help="What ends your phrase: silence, pedal (soft), cc:NUMBER, key:PITCH.")] = None,
    silence_beats: Annotated[float | None, typer.Option(help="So much of it.")] = None,
    give_way: Annotated[bool, typer.Option("--give-way", help="Stop when played into.")] = False,
    channel: Annotated[int | None, typer.Option(help="MIDI channel to play on.")] = None,
    click_channel: Annotated[int | None, typer.Option(help="MIDI channel to count in on.")] = None,
    density: Annotated[float | None, typer.Option(help="Notes a second.")] = None,
    seed: int | None = None,
    num_steps: Annotated[int | None, typer.Option(help="Fewer are ready sooner.")] = None,
    temperature: float | None = None,
    guidance_scale: Annotated[float | None, typer.Option(help="How closely it keeps to chords and style; 1 is soonest.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Write what happens into a file, as lines of JSON.")] = None,
    data_dir: DataDir = DATA_DIR,
    device: str = "auto",
):
    """Play together over live MIDI: call and response, trading fours, comping (docs/LIVE.md)."""
    from lib.apps.live import ports

    if list_ports:
        for kind, names in zip(("inputs", "outputs"), ports.list_ports()):
            print(f"{kind}:", *(names or ["none"]), sep="\n  ")
        return
    from lib.apps.live.duet_request import DuetRequest

    options, _ = read_chart_options(chords, chart, tune, tempo, beats_per_bar)
    wished = {**options, "mode": mode, "style": style, "clock": clock, "bars": bars,
              "count_in": count_in, "first": first, "ends_by": ends_by, "silence_beats": silence_beats, "give_way": give_way,
              "channel": channel, "click_channel": click_channel, "density": density, "seed": seed, "num_steps": num_steps,
              "temperature": temperature, "guidance_scale": guidance_scale}  # fmt: skip
    request = configs.build(DuetRequest, {name: value for name, value in wished.items() if value is not None})
    if input_name is None or output_name is None:
        raise configs.ConfigError("Which ports? --input NAME --output NAME; python -m lib duet --list shows them.")
    if (run is None) != released:
        raise configs.ConfigError("Give either --run RUN or --released.")
    from lib.apps.live.duet import play_duet

    loading = {"run": run, "released": released, "device": device, "styles_dir": data_dir / configs.STYLES}
    play_duet(request, input_name, output_name, loading, journal=journal)

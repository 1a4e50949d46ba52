"""Play together with the model over live MIDI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lib import config as configs
from lib.apps.cli import DATA_DIR, ChartFile, HiddenDataDir, HiddenDevice, Released, Run, Transpose, Tune, hidden, option
from lib.apps.cli.options import check_source, with_chart, with_request
from lib.apps.live.duet_request import DuetRequest

COMMON = ("mode", "tempo_bpm", "metre", "feel", "clock", "chords", "bars", "ends_by", "style")


@with_request(DuetRequest, COMMON)
def duet(
    list_ports: Annotated[bool, option("Show the MIDI ports of this machine.", "--list")] = False,
    input_name: Annotated[str | None, option("Your keyboard: a name, or virtual:NAME.", "--input")] = None,
    output_name: Annotated[str | None, option("What sounds: a name, or virtual:NAME.", "--output")] = None,
    run: Run = None,
    released: Released = False,
    chart: ChartFile = None,
    tune: Tune = None,
    transpose: Transpose = 0,
    journal: Annotated[Path | None, hidden("Write what happens into a file, as lines of JSON.")] = None,
    data_dir: HiddenDataDir = DATA_DIR,
    device: HiddenDevice = "auto",
    **request,
):
    """Play together over live MIDI: call and response, trading fours, comping (docs/LIVE.md)."""
    from lib.apps.live import ports

    if list_ports:
        return print(ports.describe_ports())
    request = configs.build(DuetRequest, with_chart(request, chart, tune, transpose))
    if input_name is None or output_name is None:
        raise configs.ConfigError("Which ports? --input NAME --output NAME; python -m lib duet --list shows them.")
    check_source(run, released)
    from lib.apps.live.duet import play_duet

    loading = {"run": run, "released": released, "device": device, "styles_dir": data_dir / configs.STYLES}
    play_duet(request, input_name, output_name, loading, journal)

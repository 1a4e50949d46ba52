"""Charts as commands take them: text, or a file of iReal Pro or MusicXML."""

from __future__ import annotations

from lib import config as configs


def read_chart_options(chords, chart, tune, tempo, beats_per_bar):
    """chords, tempo_bpm and beats_per_bar: what is said, else what the chart says; None where neither does.

    Parameters
    ----------
    chart : path of a file, or None
    tune : title of one of its tunes, or None

    Returns
    -------
    (dict, Chart or None) : the Chart of a file

    Raises
    ------
    ConfigError : options that do not go together; ChordError : of the chart
    """
    options = {"chords": chords, "tempo_bpm": tempo, "beats_per_bar": beats_per_bar}
    if chart is None:
        if tune is not None:
            raise configs.ConfigError("--tune wants --chart FILE.")
        return options, None
    if chords is not None:
        raise configs.ConfigError("Give either --chords or --chart, not both.")
    from lib.music.chart_files import read_chart

    read = read_chart(chart, tune)
    text = read.chart.text()
    print(f"{chart}: {read.title}, {read.beats_per_bar} beats a bar: {text}")
    options |= {"chords": text, "tempo_bpm": tempo or read.chart.tempo_bpm}
    if beats_per_bar in (None, read.beats_per_bar):
        return {**options, "beats_per_bar": read.beats_per_bar}, read.chart
    return options, None

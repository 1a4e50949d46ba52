"""Charts as commands take them: text, or a file of iReal Pro or MusicXML."""

from __future__ import annotations

from lib import config as configs


def read_places(chords, chart, tune, tempo, beats_per_bar):
    """chords, tempo_bpm and beats_per_bar: what is said, else what the chart says; None where neither does.

    Parameters
    ----------
    chart : path of a file, or None
    tune : title of one of its tunes, or None

    Raises
    ------
    ConfigError : words that do not go together; ChordError : of the chart
    """
    said = {"chords": chords, "tempo_bpm": tempo, "beats_per_bar": beats_per_bar}
    if chart is None:
        if tune is not None:
            raise configs.ConfigError("--tune wants --chart FILE.")
        return said
    if chords is not None:
        raise configs.ConfigError("Give either --chords or --chart, not both.")
    from lib.music.chart_files import read_chart

    read = read_chart(chart, tune)
    print(f"{chart}: {read.title}, {read.beats_per_bar} beats a bar: {read.chords}")
    return {"chords": read.chords, "tempo_bpm": tempo or read.tempo_bpm, "beats_per_bar": beats_per_bar or read.beats_per_bar}

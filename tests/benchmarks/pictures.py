"""The pictures of README.md and docs/RESULTS.md, made by the released weights.

    python tests/benchmarks/pictures.py [--only solo,arc,styles,bars,bars_before,real_beside,player] [--out docs/pictures]
        [--data-dir data]

solo.png: eight bars on their grid. bars.png: four choruses of eight bars, a chorus a row, on their bar grid; bars_before.png:
the same chart, tempo and seed by the release in seconds, at its last commit. arc.png: a rule that asks for an arc of density, and
what was played. styles.png: one chart, one seed, four pianists. real_beside.png: what the model plays beside real clips of the
same pianist, in figures over time (needs PiJAMA). player.png: the player's page in a browser (needs Chromium). What can't be made
here is left as it is, saying so. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]
from generate import played_earlier  # noqa: E402

from lib.apps.evaluate.clip_sets import real_clips  # noqa: E402
from lib.apps.evaluate.clips import Clip, make_orders  # noqa: E402
from lib.apps.evaluate.measures import ATTRIBUTES, attributes  # noqa: E402
from lib.config import build  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.data.note_store import CorpusError  # noqa: E402
from lib.display.palette import GENERATED, REAL, on_paper  # noqa: E402
from lib.display.player import write_player  # noqa: E402
from lib.display.plots import plot_bars, plot_piano_rolls  # noqa: E402
from lib.display.rule_plots import plot_rules  # noqa: E402
from lib.generation.generate import generate, generate_many, load_improviser  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402
from lib.music.audio import render_audio  # noqa: E402
from lib.music.chart import Chart  # noqa: E402
from lib.music.hands import left_hand  # noqa: E402
from lib.music.tempo_map import Metre, TempoMap  # noqa: E402

CHART = "Cm7 | Fm7 | Bb7 | Ebmaj7 | Abmaj7 | Dm7b5 | G7b9 | Cm6"
PIANISTS = ("Brad Mehldau", "Bill Evans", "Art Tatum", "Thelonious Monk")
SIDE = {"chords": CHART, "tempo_bpm": 132.0}
COUNT = 24  # clips of each kind in real_beside.png
DPI = 80


def solo(improviser, words):
    """Eight bars on their grid, in two rows: chords above, one colour per hand."""
    played = generate(improviser, build(GenerateRequest, {**SIDE, "bars": 8, "feel": "swing", "seed": 3}))
    title = "Eight bars of swing at 132 a minute"
    return plot_bars(played.notes, played.tempo_map, played.chords, title, hands=left_hand(played.notes))


def arc(improviser, words):
    """Density that rises and falls again."""
    wish = {**SIDE, "seconds": 20.48, "seed": 2, "density": "3,12,4", "num_candidates": 8}
    played = generate(improviser, build(GenerateRequest, wish))
    chosen = [rule for rule in played.rules if "density" in rule.name]
    return plot_rules(chosen, played.piano_roll, "--density 3,12,4")


def styles(improviser, words):
    """The base model, told four names."""
    base = load_improviser(released=True, device="cpu", base=True)
    wish = {**SIDE, "seconds": 14.5, "seed": 1}
    return plot_piano_rolls({name: generate(base, build(GenerateRequest, {**wish, "style": name})).notes for name in PIANISTS})


FOUR_CHORUSES = {"chords": CHART, "tempo_bpm": 120.0, "seed": 1}


def bars(improviser, words):
    """Four choruses, a row each."""
    played = generate(improviser, build(GenerateRequest, {**FOUR_CHORUSES, "choruses": 4, "feel": "swing"}))
    title = f"{CHART}, 120 a minute, swing"
    return plot_bars(played.notes, played.tempo_map, played.chords, title, bars_per_row=8)


def bars_before(improviser, words):
    """The same by the release that knew no beats, on the bars that were asked for."""
    tempo_map = TempoMap.constant(FOUR_CHORUSES["tempo_bpm"], Metre.parse("4/4"), 32)
    (notes,) = played_earlier([{**FOUR_CHORUSES, "seconds": float(tempo_map.to_seconds(128.0))}])
    changes = Chart.parse(CHART).changes(Fraction(128))
    chords = [(float(tempo_map.to_seconds(float(beat))), chord.symbol) for beat, chord in changes]
    return plot_bars(notes, tempo_map, chords, "the release before music was coded in beats", bars_per_row=8)


@on_paper
def real_beside(improviser, words):
    """The seven attributes that the overlapping area compares, each as a histogram of real and of generated clips."""
    real = real_clips(open_corpus("pijama", words.data_dir), "Brad Mehldau", "validation", COUNT).clips
    orders = make_orders([{**clip.prompt(), "density": None} for clip in real])
    solos = generate_many(improviser, orders)
    made = [Clip.of_request(order.request, solo.notes) for order, solo in zip(orders, solos, strict=True)]
    rows = [[attributes(clip) for clip in clips] for clips in (real, made)]
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.4), layout="constrained")
    for ax, name in zip(axes.flat, ATTRIBUTES):
        values = [[row[name] for row in kind] for kind in rows]
        ax.hist(values, bins=10, color=[REAL, GENERATED], label=["real", "generated"])
        ax.set_title(name.replace("_", " "))
        ax.set_yticks([])
    axes.flat[-1].set_axis_off()
    axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center")
    return figure


def player(improviser, words):
    """The player's page, a third of the way through: bytes of a PNG."""
    from browser import open_browser

    played = generate(improviser, build(GenerateRequest, {**SIDE, "seconds": 15.0, "seed": 3}))
    with tempfile.TemporaryDirectory() as folder:
        take = played.notes, render_audio(played.notes), CHART, played.chords, played.tempo_map
        path = write_player(Path(folder) / "player.html", *take)
        with open_browser() as browser:
            page = browser.new_page(viewport={"width": 960, "height": 420})
            page.goto(path.as_uri())
            page.wait_for_function("typeof state !== 'undefined' && state.take.ready")
            return page.screenshot()


PICTURES = {
    **{"solo": solo, "arc": arc, "styles": styles, "bars": bars, "bars_before": bars_before},
    **{"real_beside": real_beside, "player": player},
}


def missing(name, data_dir):
    """Why a picture can't be made here; "" where it can."""
    if name == "player":
        from browser import why_no_browser

        return why_no_browser()
    if name == "real_beside":
        try:
            open_corpus("pijama", data_dir)
        except (CorpusError, FileNotFoundError) as error:
            return str(error)
    return ""


def main():
    """Make what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PICTURES))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    words = parser.parse_args()
    improviser, sizes = load_improviser(released=True, device="cpu"), {}
    words.out.mkdir(parents=True, exist_ok=True)
    for name in words.only.split(","):
        if why := missing(name, words.data_dir):
            print(f"{name}: {why}", file=sys.stderr)
            continue
        picture, path = PICTURES[name](improviser, words), words.out / f"{name}.png"
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.savefig(path, dpi=DPI)
        sizes[name] = path.stat().st_size
    print(json.dumps({"benchmark": "pictures", "bytes": sizes}))


if __name__ == "__main__":
    main()

"""Twelve generated clips beside twelve real ones, as a picture to look at.

    python tests/benchmarks/contact_sheet.py --data-dir data [--run RUN] [--out docs/pictures/contact_sheet.png]

Left: what the released weights (or RUN) play in the tempo and metre and over the chords of the clip beside it, seeds 1 to 12.
Right: clips of that pianist's validation albums, evenly spread. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.apps.evaluate.clip_sets import real_clips  # noqa: E402
from lib.apps.evaluate.clips import make_orders  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.display.plots import plot_piano_roll  # noqa: E402
from lib.generation.generate import generate_many, load_improviser  # noqa: E402

ROWS = 12


def main():
    """Play, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "contact_sheet.png")
    words = parser.parse_args()
    improviser = load_improviser(words.run, released=words.run is None, device="cpu")
    real = real_clips(open_corpus("pijama", words.data_dir), "Brad Mehldau", "validation", ROWS)
    orders = make_orders([{**clip.prompt(), "density": None} for clip in real.clips])
    columns = [solo.notes for solo in generate_many(improviser, orders)], real.notes
    figure, axes = plt.subplots(ROWS, 2, figsize=(16, 1.5 * ROWS), layout="constrained", sharex=True, sharey=True)
    for column, clips in enumerate(columns):
        for row, notes in enumerate(clips):
            ax = axes[row, column]
            plot_piano_roll(notes, ax=ax)
            ax.set(xlabel="", ylabel="", xlim=(0, max(clip.seconds for clip in real.clips)), ylim=(21, 108), title="")
    axes[0, 0].set_title("generated, seeds 1 to 12"), axes[0, 1].set_title("real, albums that training has not heard")
    words.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(words.out, dpi=55)
    counts = [[len(notes) for notes in clips] for clips in columns]
    print(json.dumps({"benchmark": "contact_sheet", "out": str(words.out), "notes": counts}))


if __name__ == "__main__":
    main()

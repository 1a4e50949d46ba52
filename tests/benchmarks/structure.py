"""Whether solos have form: what comes back, over a chart with form, beside real solos.

    python tests/benchmarks/structure.py --data-dir data [--run RUN] [--split validation] [--clips 16] [--folder FOLDER]

Solos of 256 beats, 64 bars of 4/4, of the released weights (or of RUN) over CHARTS in turn, told but not ruled, at the
tempos and in the metres of real passages of the pianist's held-out albums; of real ones there may be fewer than clips.
`structure_2_8`, `structure_8_16` and `structure_16` are the structure index of segments of so many bars (see
lib/apps/evaluate/structure.py), the mean over solos over that of real ones, each with its 95 % interval in `intervals`.
Beside them, each over real, too: `without`, the same weights, charts and seeds with `recall` 0, so without a reference;
`codec`, real ones through the codec; `shuffled`, real bars in random order; `loop`, the first two bars again and again,
which must lie outside: `loop_outside` says whether it is above MOST in each range. `by_chart` are the model's own
indices: a short chart that comes round is much of them. `recurrence`: bars that recur, what is similar to and copied
from a solo's own past, of each set as they are. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.apps.evaluate.clip_sets import ClipSets, Size  # noqa: E402
from lib.apps.evaluate.intervals import estimate, weighted_mean  # noqa: E402
from lib.apps.evaluate.structure import RANGES  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.generation.reconstruct import codec_round_trip  # noqa: E402

PIANIST, BEATS = "Brad Mehldau", 256
CHARTS = ("rhythm changes in Bb", "blues in F", "minor blues in C")  # of 32, 12 and 12 bars
MOST = 1.3  # over real: more is no form any more
OTHERS = ("bar_recurrence", "own_likeness", "own_beats")


def over_real(measured, real, key):
    """Figure of a mean over that of real ones, drawn over recordings."""
    known = [~np.isnan(side.values[key]) for side in (measured, real)]
    values, others = (side.values[key][rows] for side, rows in zip((measured, real), known))
    groups = (np.array(side.groups)[rows] for side, rows in zip((measured, real), known))

    def ratio(weights, other_weights):
        return weighted_mean(values, weights) / max(weighted_mean(others, other_weights), 1e-9)

    return estimate(ratio, *groups)


def clip_sets_of(sets, count):
    """name -> ClipSet: the model's with and without a reference, and those that they are compared with."""
    real = sets["real_solos"]
    prompts = [clip.prompt(clip.beats) for clip in real.clips]
    pairs = islice(zip(cycle(prompts), cycle(CHARTS)), count)
    requests = [{**prompt, "chords": chart, "density": None} for prompt, chart in pairs]
    decoded = real.changed(lambda clip, _: codec_round_trip(sets.tuned.vqvae, clip.notes, clip.tempo_map))
    return {
        "real": real,
        "codec": decoded,
        "shuffled": sets["shuffled_solos"],
        "loop": sets["loop_solos"],
        "model": sets.player.play_set("with a reference", requests),
        "without": sets.player.play_set("without a reference", [{**request, "recall": 0.0} for request in requests]),
    }


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path, help="fine-tuned; the released one by default")
    parser.add_argument("--split", choices=("test", "validation"), default="validation")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where solos are kept, so that a second run continues")
    words, began = parser.parse_args(), time.monotonic()
    size = Size(clips=words.clips, solos=words.clips, solo_beats=BEATS)
    names = {"split": words.split, "pianist": PIANIST, "corpus": "pijama"}
    sets = ClipSets(words.run or RELEASED, words.data_dir, words.folder, size, **names)
    measured = {}
    for name, clips in clip_sets_of(sets, words.clips).items():
        measured[name] = sets.measure(clips, is_solo=True)
        means = {key: round(float(np.nanmean(values)), 3) for key, values in measured[name].values.items()}
        print(json.dumps({name: means}), file=sys.stderr, flush=True)
    real, keys = measured.pop("real"), [f"structure_{name}" for name in RANGES]
    figures = {name: {key: over_real(row, real, key) for key in keys} for name, row in measured.items()}
    result = {key: round(figure.value, 4) for key, figure in figures["model"].items()}
    result["intervals"] = {key: [round(row.low, 4), round(row.high, 4)] for key, row in figures["model"].items()}
    for name in ("without", "codec", "shuffled", "loop"):
        result[name] = {key: round(figure.value, 4) for key, figure in figures[name].items()}
    own = measured["model"].values
    result["by_chart"] = {
        chart: {key: round(float(np.nanmean(own[key][row :: len(CHARTS)])), 4) for key in keys}
        for row, chart in enumerate(CHARTS[: words.clips])
    }
    result["loop_outside"] = min(result["loop"].values()) > MOST
    result["real"] = {key: round(float(np.nanmean(real.values[key])), 4) for key in keys}
    result["recurrence"] = {name: {key: round(float(np.nanmean(row.values[key])), 4) for key in OTHERS}
                            for name, row in {"real": real, **measured}.items()}  # fmt: skip
    result |= {"real_solos": len(real.groups), "recordings": len(set(real.groups)), "split": words.split}
    print(json.dumps({"benchmark": "structure", "clips": words.clips, **result, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()

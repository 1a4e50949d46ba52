"""Where candidates pay: ways to steer by rules, on clips of Mehldau's validation albums.

    python tests/benchmarks/candidates.py --data-dir data [--clips 24] [--only "told alone;60 revisions alone"]

Each clip is told a real one's tempo, chords and density, and rules ask for both. A variant says how many candidates compete in
a step, from which share of the steps on, how many revisions follow and how many ways are tried in each. Rule losses,
share of beats with the right chord, overlapping area and judge, median seconds of one core. Prints one JSON line
last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]
import generate as whole  # noqa: E402

from lib.apps.evaluate.clip_sets import ClipSets, Size  # noqa: E402
from lib.apps.evaluate.clips import Clip, make_orders  # noqa: E402
from lib.config import RELEASED  # noqa: E402
from lib.generation.generate import generate  # noqa: E402

VARIANTS = {  # candidates in a step, from this share of the steps on, revisions, ways in each
    "2 from the middle on, 60 revisions": (2, 0.5, 60, 8),  # as it is
    "told alone": (0, 1.0, 0, 1),
    "8 in every step": (8, 0.0, 0, 8),
    "60 revisions alone": (0, 1.0, 60, 8),
    "120 revisions alone": (0, 1.0, 120, 8),
    "2 in every step, 60 revisions": (2, 0.0, 60, 8),
    "2 in the last third, 80 revisions": (2, 0.7, 80, 8),
}


def steered(bench, variant, count):
    """Figures of one variant over so many clips."""
    requests, seconds, clips = bench.requests(count), [], []
    in_step, first, revisions, ways = variant
    with whole.steering(in_step / ways, first, revisions):
        for order in make_orders([{**request, "num_candidates": ways} for request in requests]):
            began = time.process_time()
            solo = generate(bench.tuned, order.request)
            seconds.append(time.process_time() - began)
            clips.append(Clip.of_request(order.request, solo.new_notes))
    alone = {"density_loss": {"chords": "N.C."}, "chord_loss": {"density": None}}  # also of what is told alone
    losses = {name: whole.losses_of([{**r, **less} for r in requests], clips).mean() for name, less in alone.items()}
    return {
        **losses,
        "agreement": whole.agreement(bench.charts[:count], clips),
        "oa": whole.overlap(clips, bench["real"].clips)["oa"],
        "judge": whole.judge_mean(bench.reference_classifier, clips),
        "core_seconds": float(np.median(seconds)),
    }


def main():
    """All variants, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--only", default=";".join(VARIANTS), help="names, with ; between them")
    words = parser.parse_args()
    torch.set_num_threads(1)
    bench, figures = ClipSets(RELEASED, words.data_dir, size=Size(clips=words.clips), pianist=whole.PIANIST, corpus="pijama"), {}
    for name in words.only.split(";"):
        figures[name] = {key: round(value, 4) for key, value in steered(bench, VARIANTS[name], words.clips).items()}
        print(json.dumps({name: figures[name]}), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "candidates", "clips": words.clips, "variants": figures}))


if __name__ == "__main__":
    main()

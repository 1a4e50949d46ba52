"""Which chart and tempo to play by default: those that the released weights follow best, over 20 seeds.

    python tests/benchmarks/default_chart.py --data-dir data [--seeds 20]

First a 12-bar blues in KEYS at TEMPOS, then, at the tempo chosen there, the AABA form of notebook 06 in KEYS; one chorus
each, seeds 1 to 20, default settings. Of each the median over seeds of

chord_loss     loss of the rule of chords: 0 where only tones of the chord sound
in_time_ratio  phase lock R of a solo's onsets, the better of triplets and sixteenths, over the median R of the pianist's
               training passages (eight bars, felt tempo within 15 %, through the codec); null with fewer than FEWEST

Chosen is the lowest chord_loss among those whose in_time_ratio is at least NEARLY that of the best. Neither the reference
classifier nor a test split takes part. Prints a line each, and one JSON line last: the rows, and `chosen`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

from listen_page import TAKES, play  # noqa: E402

from lib.apps.evaluate.clip_sets import real_clips  # noqa: E402
from lib.checkpoints.load import Improviser  # noqa: E402
from lib.config import build  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.generation.generate import Solo, load_improviser  # noqa: E402
from lib.generation.reconstruct import codec_round_trip  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402
from lib.music.chart import Chart  # noqa: E402
from lib.music.metrics import phase_lock  # noqa: E402
from lib.music.rules import chord_progression  # noqa: E402
from lib.music.tempo_map import in_beats  # noqa: E402

KEYS, TEMPOS = {"F": 0, "Bb": 5, "C": 7}, (100.0, 120.0, 140.0)  # semitones above F; quarters a minute
CLIPS, FEWEST, NEAR_TEMPO, NEARLY = 400, 20, 0.15, 0.9
AABA = "AABA, medium swing"


def lock(notes, tempo_map) -> float:
    """R of the onsets, the better of triplets and sixteenths."""
    onset = in_beats(notes, tempo_map).onset
    return max(phase_lock(onset, parts) for parts in (3, 4))


def real_locks(improviser: Improviser, data_dir: Path) -> np.ndarray:
    """(N, 2): felt beats a minute and R of training passages."""
    clips = real_clips(open_corpus("pijama", data_dir), improviser.pianist, "train", CLIPS).clips
    decoded = ((clip, codec_round_trip(improviser.vqvae, clip.notes, clip.tempo_map)) for clip in clips)
    return np.array([(clip.felt_bpm, lock(notes, clip.tempo_map)) for clip, notes in decoded])


def chord_loss(solo: Solo) -> float:
    """Of the rule of chords, over the whole solo."""
    timing, chart = solo.request.timing, solo.request.parsed_chart()
    chords, _ = chart.frames(round(solo.request.quarters(chart) * timing.latents_per_quarter), timing.latents_per_quarter)
    return float(chord_progression(chords).loss(solo.piano_roll)[0])


def measure(improviser: Improviser, name: str, fields: dict, seeds: int, real: np.ndarray) -> dict:
    """The row of a chart and tempo."""
    asked = [build(GenerateRequest, {**fields, "choruses": 1, "seed": seed}) for seed in range(1, seeds + 1)]
    solos = play(asked, improviser)
    alike = real[np.abs(np.log(real[:, 0] / asked[0].timing.felt_bpm)) < NEAR_TEMPO, 1]
    own = float(np.median([lock(solo.notes, solo.tempo_map) for solo in solos]))
    ratio = round(own / float(np.median(alike)), 3) if len(alike) >= FEWEST else None
    loss = round(float(np.median([chord_loss(solo) for solo in solos])), 4)
    row = {"name": name, "tempo_bpm": fields["tempo_bpm"], "chord_loss": loss, "in_time_ratio": ratio}
    print(row, flush=True)
    return {**row, "real_passages": len(alike), "chords": fields["chords"]}


def choose(rows: list[dict]) -> dict:
    """The row to play by default."""
    best = max(row["in_time_ratio"] or 0.0 for row in rows)
    return min((row for row in rows if (row["in_time_ratio"] or 0.0) >= NEARLY * best), key=lambda row: row["chord_loss"])


def main():
    """Measure, choose, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--seeds", type=int, default=20)
    words = parser.parse_args()
    improviser = load_improviser(released=True, device="cpu")
    real = real_locks(improviser, words.data_dir)

    def row(name, chords, tempo_bpm):
        return measure(improviser, name, {"chords": chords, "tempo_bpm": tempo_bpm}, words.seeds, real)

    blues = [row(f"blues in {key}", f"blues in {key}", tempo_bpm) for key in KEYS for tempo_bpm in TEMPOS]
    tempo_bpm, form = choose(blues)["tempo_bpm"], Chart.parse(TAKES[AABA]["chords"])
    forms = [row(f"AABA in {key}", form.transposed(up).text(), tempo_bpm) for key, up in KEYS.items()]
    chosen = {"blues": choose(blues), "form": choose(forms)}
    print(json.dumps({"benchmark": "default_chart", "seeds": words.seeds, "rows": blues + forms, "chosen": chosen}))


if __name__ == "__main__":
    main()

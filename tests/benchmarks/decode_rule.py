"""From which probability a cell should count as an onset, and how short a note may be: tuned on validation pieces.

    python tests/benchmarks/decode_rule.py --data-dir data (--released | --run RUN)

Takes 20 seeded validation pieces of each corpus. Prints F1 by threshold and by shortest length; one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.data.notes import Notes  # noqa: E402
from lib.generate import load_codec  # noqa: E402
from lib.music.metrics import note_f1  # noqa: E402
from lib.music.piano_roll import FRAME_RATE_HZ, decide, notes_to_piano_roll, piano_roll_to_notes  # noqa: E402
from tests.benchmarks.codec import choose  # noqa: E402

THRESHOLDS, LENGTHS = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8), (0.5, 1.0, 1.5, 2.0, 3.0)


def scores(pairs):
    """Mean F1 figures over (original, decoded)."""
    rows = [note_f1(*pair) for pair in pairs]
    return {name: round(float(np.mean([getattr(row, name) for row in rows])), 4) for name in vars(rows[0])}


def longer(notes, frames):
    """No note shorter than so many frames."""
    lengths = notes.duration_s.clip(frames / FRAME_RATE_HZ)
    return Notes(notes.onset_s, lengths, notes.pitch, notes.velocity, notes.pedal_s)


def main():
    """Decode once, decide often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--released", action="store_true")
    words = parser.parse_args()
    if (words.run is None) != words.released:
        parser.error("give either --run RUN or --released")
    vqvae, music = load_codec(RELEASED if words.released else words.run), []
    with torch.inference_mode():
        for corpus in ("maestro", "pijama"):
            store = open_corpus(corpus, words.data_dir)
            for index in choose(store, "validation", quick=True):
                notes = store.piece_notes(index)
                codes = vqvae.encode(notes_to_piano_roll(notes)).indices
                music.append((notes, vqvae.decode_latents(vqvae.latents(codes))))
    figures = {"threshold": {}, "shortest_frames": {}}
    for threshold in THRESHOLDS:
        decoded = [(notes, piano_roll_to_notes(decide(roll, threshold))[0]) for notes, roll in music]
        figures["threshold"][threshold] = scores(decoded)
        print(f"threshold {threshold}: {figures['threshold'][threshold]}", flush=True)
    decoded = [(notes, piano_roll_to_notes(decide(roll))[0]) for notes, roll in music]
    for frames in LENGTHS:
        figures["shortest_frames"][frames] = scores([(notes, longer(estimate, frames)) for notes, estimate in decoded])
        print(f"shortest {frames} frames: {figures['shortest_frames'][frames]}", flush=True)
    print(json.dumps({"benchmark": "decode_rule", "pieces": len(music), **figures}))


if __name__ == "__main__":
    main()

"""Solos of an improviser next to real excerpts of the pianist it plays like, in figures and as a picture.

    python tests/benchmarks/solos.py --run runs/brad_final --data-dir data [--count 4] [--seconds 30] [--out FOLDER]

The excerpts come from the validation split, one a piece. Writes solos.png, MIDI and WAV of each into FOLDER; prints a
table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import GUIDED_CANDIDATES, build  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.display.plots import plot_piano_rolls  # noqa: E402
from lib.generation.generate import generate, load_improviser  # noqa: E402
from lib.generation.request import GenerateRequest  # noqa: E402
from lib.music.audio import render_audio, write_wav  # noqa: E402
from lib.music.metrics import describe  # noqa: E402

SHOWN = ("notes", "pitch_low", "pitch_high", "notes_per_s", "velocity_mean", "velocity_std", "longest_silence_s",
         "sounding_notes", "pedal_share", "left_hand_share")  # fmt: skip
CHARTS = ("Cmaj7 | Dm7 G7 | Em7 A7", "Cm7 | Fm7 | Bb7 | Ebmaj7 | Abmaj7 | Dm7b5 | G7b9 | Cm6",
          "Dm7 | % | Em7b5 | A7b9", "Fmaj7 | Bbmaj7 | Am7 D7 | Gm7 C7")  # fmt: skip


def main():
    """Play, excerpt, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--corpus", default="pijama")
    parser.add_argument("--pianist", help="the improviser's own by default")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--density", type=float, help="steer by this rule too")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "solos")
    words = parser.parse_args()
    improviser = load_improviser(words.run)
    performances, figures = {}, {}
    for seed in range(1, words.count + 1):
        guided = {"density": words.density, "num_candidates": GUIDED_CANDIDATES} if words.density else {}
        wishes = {"chords": CHARTS[(seed - 1) % len(CHARTS)], "seconds": words.seconds, "seed": seed, **guided}
        solo = generate(improviser, build(GenerateRequest, wishes))
        performances[f"solo {seed}: {wishes['chords']}"] = solo.notes
        solo.write(words.out / f"solo_{seed}.mid")
        write_wav(render_audio(solo.notes), words.out / f"solo_{seed}.wav")
    store = open_corpus(words.corpus, words.data_dir)
    pieces = store.select(pianist=words.pianist or improviser.pianist, split="validation", duets=False)
    for index in pieces[: words.count]:
        piece = store.pieces[index]
        middle_s = piece.start_s + max(0.0, piece.seconds - words.seconds) / 2
        excerpt = store.piece_notes(index, middle_s, middle_s + words.seconds)
        performances[f"real: {piece.title}"[:60]] = excerpt
    for name, notes in performances.items():
        figures[name] = {key: describe(notes, words.seconds)[key] for key in SHOWN}
        print(f"{name:60} " + " ".join(f"{key} {figures[name][key]}" for key in SHOWN))
    plot_piano_rolls(performances).savefig(words.out / "solos.png", dpi=80)
    print(json.dumps({"benchmark": "solos", "seconds": words.seconds, "figures": figures}))


if __name__ == "__main__":
    main()

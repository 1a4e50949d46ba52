"""Write the demo corpus anew: python tests/data/demo_corpus --out data/demo_corpus.zip [--seed 0]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3])]

from demo_corpus.generator import write_archive  # noqa: E402


def main():
    """Write the zip, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    path = write_archive(words.out, words.seed)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""How long it takes to ingest both corpora, unpacking included, and how much memory it needs.

    python tests/benchmarks/ingest.py [--data FOLDER] [--repeats 3]

FOLDER holds maestro-v3.0.0-midi.zip, midi_kong.zip and PiJAMA's tables. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.data.corpora import ingest, pack, unpack  # noqa: E402

ARCHIVES = {"maestro": "maestro-v3.0.0-midi.zip", "pijama": "midi_kong.zip"}


def main():
    """Ingest a few times into fresh folders; then pack, and read the packed file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("REAL_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--repeats", type=int, default=3)
    words = parser.parse_args()
    if not all((words.data / name).exists() for name in ARCHIVES.values()):
        print(json.dumps({"benchmark": "ingest", "skipped": f"the archives are not in {words.data}"}))
        return
    seconds = []
    for _ in range(words.repeats):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            reports = [ingest(name, folder, archive=words.data / archive) for name, archive in ARCHIVES.items()]
            seconds.append(time.perf_counter() - started)
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    with tempfile.TemporaryDirectory() as folder:
        for name, archive in ARCHIVES.items():
            ingest(name, folder, archive=words.data / archive)
        packed, pack_s = timed(pack, list(ARCHIVES), folder, Path(folder) / "packed.npz.xz")
        size_mib = packed.stat().st_size / 2**20
        _, unpack_s = timed(unpack, packed, Path(folder) / "again")
    figures = {"median_s": statistics.median(seconds), "all_s": seconds, "pack_s": pack_s, "unpack_s": unpack_s}
    rounded = {key: [round(v, 2) for v in value] if isinstance(value, list) else round(value, 2) for key, value in figures.items()}
    print(json.dumps({"benchmark": "ingest", "cores": os.cpu_count(), "pieces": sum(r.pieces for r in reports),
                      "notes": sum(r.notes for r in reports), **rounded, "peak_mib": round(peak_mib),
                      "packed_mib": round(size_mib, 1)}))  # fmt: skip


def timed(work, *arguments):
    """(result, seconds)"""
    started = time.perf_counter()
    return work(*arguments), time.perf_counter() - started


if __name__ == "__main__":
    main()

"""How long it takes to ingest both corpora, and how much memory it needs.

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

from lib.data.ingest import ingest  # noqa: E402

ARCHIVES = {"maestro": "maestro-v3.0.0-midi.zip", "pijama": "midi_kong.zip"}


def main():
    """Ingest a few times into fresh folders."""
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
    figures = {
        "benchmark": "ingest",
        "cores": os.cpu_count(),
        "pieces": sum(report.pieces for report in reports),
        "notes": sum(report.notes for report in reports),
        "median_s": round(statistics.median(seconds), 2),
        "all_s": [round(value, 2) for value in seconds],
        "peak_mib": round(peak_mib),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

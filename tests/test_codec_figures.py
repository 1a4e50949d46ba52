"""The codec's benchmark on real music, in small: the released codec keeps what its card promises, at its price."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_released_codec_on_real_music(real_data, tmp_path):
    archives = {"maestro": "maestro-v3.0.0-midi.zip", "pijama": "midi_kong.zip"}
    ingests = [
        ["-m", "lib", "data", "ingest", corpus, "--archive", real_data / archive, "--data-dir", tmp_path]
        for corpus, archive in archives.items()
    ]
    beats = [["-m", "lib", "data", "beats", corpus, "--data-dir", tmp_path] for corpus in archives]
    measure = ["tests/benchmarks/codec.py", "--data-dir", tmp_path, "--released", "--quick", "--split", "validation"]
    for words in (*ingests, *beats, measure):
        done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["maestro_pieces"] == figures["pijama_pieces"] == 20
    assert figures["maestro_onset_f1"] > 0.99 and figures["pijama_onset_f1"] > 0.99
    assert figures["noise20_onset_f1"] > 0.9
    assert figures["decode_gflop"] < 0.15 and 0.4 < figures["codebook_use"] <= 1
    near, elsewhere = figures["maestro_onset_f1_near_border_and_elsewhere"]
    assert near > elsewhere - 0.005  # one pass: no seams

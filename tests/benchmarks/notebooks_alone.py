"""Each notebook on a runtime of its own: executed alone in empty folders, from a mirror that the others have filled.

    python tests/benchmarks/notebooks_alone.py [--notebooks 00-08] [--preset tiny] [--folder F]

Notebooks 00 to 05 first train on the demo corpus, with a mirror. Then each notebook is executed in folders that hold
nothing, with a network that reaches this machine alone. With --folder what is done is kept there, and the same command
continues. The last line is JSON: `notebooks_alone`, those that succeed without an optimizer step, and without a piece
encoded or ingested; `own_model`, those of 04 to 08 that name the run from the mirror; `rows`, the same for each notebook.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.apps.headless import headless  # noqa: E402
from lib.apps.headless.headless import select  # noqa: E402
from lib.checkpoints.history import read_events  # noqa: E402
from lib.storage.atomic_write import write_text  # noqa: E402

OWN = {"04_diffusion": "diffusion", "05_fine_tune": "fine_tune",
       **dict.fromkeys(("06_listen", "07_evaluate", "08_serve"), "brad_final")}  # fmt: skip
# so long that the tiny model plays a note
TRAINED = {"02_vqvae.steps": 250, "02_vqvae.lr": 3e-3, "04_diffusion.steps": 150, "04_diffusion.lr": 3e-3}
SHORT = {"06_listen.bars": 4, "08_serve.bars": 4}
# read by every Python that starts with its folder on PYTHONPATH
NO_NETWORK = '''
import socket
connect = socket.socket.connect
def connect_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
        raise OSError(101, f"no network: {address}")
    return connect(self, address)
socket.socket.connect = connect_here
'''


@contextmanager
def no_network(folder: Path):
    """Processes that are started within reach this machine alone."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def words_for(notebooks: str, overrides: dict) -> dict:
    """Those of the overrides that are for these notebooks."""
    stems = {path.stem for path in select(notebooks)}
    return {name: value for name, value in overrides.items() if name.split(".")[0] in stems}


def run_alone(notebook: str, preset: str, mirror: Path, folder: Path) -> dict:
    """Execute a notebook in an empty folder: a row of the result."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a try that was cut short
    places = {"data_dir": folder / "data", "runs_dir": folder / "runs", "output_dir": folder / "out"}
    began = time.monotonic()
    overrides = words_for(notebook, TRAINED | SHORT)
    (result,) = headless.run(notebook, preset, overrides, mirror=str(mirror), **places)
    copy = (places["output_dir"] / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8")
    return {
        "notebook": notebook,
        "status": result.status,
        "steps": sum(steps_of(run) for run in places["runs_dir"].iterdir() if run.is_dir()),
        "encoded": sum(1 for _ in (places["data_dir"] / "codes").rglob("*.npy")),
        "ingested": copy.count(" files skipped"),  # as prepare prints each report
        "own_model": f"from the mirror, {mirror}/runs/{preset}/{OWN[notebook]}" in copy if notebook in OWN else None,
        "seconds": round(time.monotonic() - began, 1),
    }


def steps_of(run: Path) -> int:
    """Optimizer steps that were done here: from each start to the end that follows it, since the run was restored."""
    steps, start = 0, None
    events = read_events(run)
    restored = max((index for index, event in enumerate(events) if event["event"] == "restored"), default=-1)
    for event in events[restored + 1 :]:
        if event["event"] == "start":
            start = event["step"]
        elif event["event"] in ("stopped", "finished") and start is not None:
            steps, start = steps + event["step"] - start, None
    return steps


def run_each_alone(names: list[str], preset: str, scratch: Path) -> list[dict]:
    """A row for each notebook; a row that a call before has written is kept."""
    rows = []
    for name in names:
        kept = scratch / f"{name}.json"
        if not kept.exists():
            write_text(kept, json.dumps(run_alone(name, preset, scratch / "mirror", scratch / name)))
        rows.append(json.loads(kept.read_text(encoding="utf-8")))
    return rows


def figures_of(rows: list[dict]) -> dict:
    """What the last line says."""
    alone = [row for row in rows if not (row["steps"] or row["encoded"] or row["ingested"])]
    return {"notebooks_alone": len(alone), "own_model": sum(bool(row["own_model"]) for row in rows), "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", default="00-08", help="those that are executed alone")
    parser.add_argument("--preset", default="tiny", choices=("tiny", "demo"))
    parser.add_argument("--folder", type=Path, help="keep what is done here, and continue from it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = (asked.folder or Path(scratch)).absolute()
        scratch.mkdir(parents=True, exist_ok=True)
        with no_network(scratch):
            places = {f"{name}_dir": scratch / "first" / name for name in ("data", "runs", "output")}
            headless.run("00-05", asked.preset, TRAINED, mirror=str(scratch / "mirror"), **places)
            rows = run_each_alone([path.stem for path in select(asked.notebooks)], asked.preset, scratch)
    print(json.dumps(figures_of(rows)))


if __name__ == "__main__":
    main()

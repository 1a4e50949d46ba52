"""Runs of an earlier version: they load, continue, export, and their logs are read.

tests/fixtures/old_runs.tar.xz holds runs of commit config.LAST_COMMIT_OF_OLD_LAYOUT on the demo corpus: each stage of
preset tiny, made smaller still, as it was after 4 of 8 steps (that commit's own checkpoint, optimizer state included),
and `eventful`: the logs of a run in which everything happened that a run can report.
"""

import math
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from lib.apps.cli.runs_table import overview
from lib.apps.export.export import export
from lib.apps.plan.measurements import actuals
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.config_migration import config_from
from lib.checkpoints.history import read_events, read_history
from lib.checkpoints.load import load_improviser, load_style_encoder, load_vqvae
from lib.config import STAGES
from lib.training.loop import train

ARCHIVE = Path(__file__).resolve().parent.parent / "fixtures" / "old_runs.tar.xz"
# losses of training steps 5 to 8 and of the validation after them, as that commit logged them without interruption
UNINTERRUPTED = {
    "vqvae": [2.86221, 3.27764, 2.76102, 3.30988, 3.00058],
    "style_encoder": [5.40512, 4.74874, 6.39544, 4.68671, 5.25527],
    "diffusion": [43.1352, 43.9968, 43.0494, 42.7426, 42.5013],
    "fine_tune": [42.4064, 42.3946, 41.1361, 41.2388, 40.4777],
}
LOADERS = {
    "vqvae": load_vqvae,
    "style_encoder": load_style_encoder,
    "diffusion": load_improviser,
    "fine_tune": load_improviser,
}
EVENTS = {
    "start",
    "restored",
    "saved",
    "save_failed",
    "mirrored",
    "mirror_failed",
    "out_of_memory",
    "skipped",
    "went_back",
    "stopped",
    "finished",
}


@pytest.fixture
def old_runs(tmp_path):
    """A folder with the old runs."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "runs"


@pytest.mark.parametrize("stage", STAGES)
def test_an_old_checkpoint_loads_and_exports(stage, old_runs, tmp_path):
    before = LOADERS[stage](old_runs / stage)
    folder = export(old_runs / stage, tmp_path / "exported")
    after = LOADERS[stage](folder)
    for one, other in zip(_models(before), _models(after), strict=True):
        one, other = one.state_dict(), other.state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _models(loaded):
    """The networks of what a loader returned."""
    parts = loaded if isinstance(loaded, tuple) else vars(loaded).values()
    models = [part for part in parts if isinstance(part, torch.nn.Module)]
    assert models
    return models


@pytest.mark.parametrize("stage", STAGES)
def test_an_old_run_continues_as_if_nothing_had_happened(stage, old_runs, demo_data):
    manifest = checkpoints.find(old_runs / stage).manifest
    config = config_from(stage, manifest["config"], "the fixture")
    result = train(config, demo_data, old_runs)
    assert (result.resumed_from_step, result.step, result.finished) == (4, 8, True)
    rows = read_history(old_runs / stage)
    losses = [
        row["loss"] for split in ("train", "validation") for row in rows if row["split"] == split and row["step"] > 4
    ]
    assert losses == pytest.approx(UNINTERRUPTED[stage], rel=1e-5)
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 9))
    if stage == "fine_tune":
        assert load_improviser(old_runs / "brad_final").pianist == "Cora Canonby"


def test_old_logs_are_read(old_runs):
    run = old_runs / "eventful"
    assert {event["event"] for event in read_events(run)} == EVENTS
    found = actuals(run)
    assert (found.config.preset, found.steps, found.total) == ("tiny", 40, 40)
    assert all(math.isfinite(row["loss"]) for row in read_history(run))
    shutil.copytree(old_runs / "vqvae" / "checkpoints", run / "checkpoints")
    (summary,) = [summary for summary in overview(old_runs) if summary.name == "eventful"]
    assert (summary.stage, summary.step, summary.total_steps, summary.mirror) == ("vqvae", 4, 8, "step 40")
    failed = [event["reason"] for event in read_events(run) if event["event"] in ("save_failed", "mirror_failed")]
    assert failed == ["[Errno 28] No space left on device: 'checkpoints'", "File exists"]

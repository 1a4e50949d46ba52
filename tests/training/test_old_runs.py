"""Runs and mirrors of an earlier version: codec and style encoder load, continue and export, and their logs are read;
generators of music in seconds are refused by name, with the way out.

tests/fixtures/old_runs.tar.xz holds runs of commit config.LAST_COMMIT_OF_OLD_LAYOUT on the demo corpus: each stage of
preset tiny, made smaller still, as it was after 4 of 8 steps (that commit's own checkpoint, optimizer state included),
and `eventful`: the logs of a run in which everything happened that a run can report. tests/fixtures/old_mirror.tar.xz holds a
mirror of that commit, a folder a checkpoint: the demo corpus, a style encoder after 4 of 8 steps, and a codec and a diffusion
model of 2; the oldest checkpoints are left out.
"""

import math
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from lib.apps.cli.runs_table import overview
from lib.apps.export.export import export
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.config_migration import config_from, config_of_run
from lib.checkpoints.history import read_events, read_history
from lib.checkpoints.load import load_improviser, load_style_encoder, load_vqvae
from lib.config import LAST_COMMIT_IN_SECONDS, preset
from lib.training.loop import train

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
ARCHIVE, MIRROR = FIXTURES / "old_runs.tar.xz", FIXTURES / "old_mirror.tar.xz"
# losses of training steps 5 to 8 and of the validation after them, as that commit logged them without interruption
UNINTERRUPTED = [5.40512, 4.74874, 6.39544, 4.68671, 5.25527]  # of the style encoder
UNINTERRUPTED_MIRRORED = [3.76078, 2.74621, 2.32795, 3.60004, 2.55724]  # of that in the mirror
IN_THE_MIRROR = {"steps": 8, "channels": 8, "style_dim": 8, "lags": 2, "decay": "constant"}  # its settings
LOADERS = {"vqvae": load_vqvae, "style_encoder": load_style_encoder}
GENERATORS = ("diffusion", "fine_tune")
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


@pytest.fixture
def old_mirror(tmp_path):
    """An old mirror."""
    with tarfile.open(MIRROR) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "mirror"


@pytest.mark.parametrize("stage", LOADERS)
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


def test_an_old_run_continues_as_if_nothing_had_happened(old_runs, demo_data):
    run = old_runs / "style_encoder"
    config = config_from("style_encoder", checkpoints.find(run).manifest["config"], "the fixture")
    result = train(config, demo_data, old_runs)
    assert (result.resumed_from_step, result.step, result.finished) == (4, 8, True)
    assert losses_after(4, run) == pytest.approx(UNINTERRUPTED, rel=1e-5)
    assert [row["step"] for row in read_history(run) if row["split"] == "train"] == list(range(1, 9))


def losses_after(step, run):
    """Of training, then of validation."""
    rows = [row for row in read_history(run) if row["step"] > step]
    return [row["loss"] for split in ("train", "validation") for row in rows if row["split"] == split]


def test_an_old_mirror_continues_with_the_same_preset_on_a_new_machine(old_mirror, tmp_path, capsys):
    """Its note store is read too; then it has this version's layout."""
    config = preset("style_encoder", "tiny", **IN_THE_MIRROR)
    result = train(config, tmp_path / "data", tmp_path / "runs", mirror=old_mirror)
    assert (result.resumed_from_step, result.step, result.finished) == (4, 8, True)
    assert losses_after(4, result.run) == pytest.approx(UNINTERRUPTED_MIRRORED, rel=1e-5)
    assert "style_encoder keeps what preset tiny was when it was begun: reads='notes'" in capsys.readouterr().out
    there = old_mirror / "runs" / "tiny" / "style_encoder"
    assert not list((there / "checkpoints").iterdir())
    again = train(config, tmp_path / "data", tmp_path / "again", mirror=old_mirror)
    assert again.resumed_from_step == 8 and load_style_encoder(again.run)


def test_a_generator_in_seconds_is_refused_in_a_mirror_and_its_codec_is_not(old_mirror, demo_data, tmp_path):
    runs = tmp_path / "runs"
    refusal = f"runs/diffusion/.* was made in seconds.*rename its folder, in the mirror too.*{LAST_COMMIT_IN_SECONDS}"
    with pytest.raises(CheckpointError, match=refusal):
        train(preset("diffusion", "tiny", steps=2), demo_data, runs, mirror=old_mirror)
    for folder in (runs, old_mirror / "runs" / "tiny"):
        (folder / "diffusion").rename(folder / "in seconds")
    shutil.rmtree(runs / "vqvae")
    assert train(preset("diffusion", "tiny", steps=2), demo_data, runs, mirror=old_mirror).finished
    assert not (runs / "in seconds" / "slots").exists() and load_vqvae(runs / "vqvae")


def test_an_old_codec_continues_with_music_in_beats_and_can_be_built_on(old_runs, demo_data):
    """Its network is the same: a latent frame is coded by itself, however long it lasts."""
    config = config_from("vqvae", checkpoints.find(old_runs / "vqvae").manifest["config"], "the fixture")
    before, _ = load_vqvae(old_runs / "vqvae")
    result = train(config, demo_data, old_runs)
    assert (result.resumed_from_step, result.step, result.finished) == (4, 8, True)
    after, _ = load_vqvae(old_runs / "vqvae")
    assert torch.equal(after.patterns, before.patterns), "its dictionary stays"
    result = train(preset("diffusion", "tiny", steps=2), demo_data, old_runs, "in_beats")
    assert result.finished and load_improviser(old_runs / "in_beats").styles.names


@pytest.mark.parametrize("stage", GENERATORS)
def test_a_generator_in_seconds_is_refused_wherever_it_is_used(stage, old_runs, demo_data, tmp_path):
    reason = "was made in seconds, before music was coded in beats. Train it again.*commit "
    refusal = f"/(diffusion|{stage}).* {reason}{LAST_COMMIT_IN_SECONDS}"  # or what it builds on, which is so too
    config = preset(stage, "tiny", steps=8)
    uses = [
        lambda: load_improviser(old_runs / stage),
        lambda: export(old_runs / stage, tmp_path / "exported"),
        lambda: train(config, demo_data, old_runs),  # to continue it
        lambda: config_of_run(old_runs / stage),
    ]
    if stage == "diffusion":  # to build on it
        uses.append(lambda: train(preset("fine_tune", "tiny", steps=2), demo_data, old_runs, "tuned"))
        uses.append(lambda: train(config, demo_data, old_runs, "begun", diffusion_run=old_runs / "diffusion"))
    for use in uses:
        with pytest.raises(CheckpointError, match=refusal):
            use()
    assert not any((old_runs / name).exists() for name in ("tuned", "begun")), "nothing is left behind"


def test_runs_in_seconds_are_still_listed(old_runs):
    rows = {row["name"]: (row["stage"], row["step"], row["total_steps"]) for row in overview(old_runs)}
    assert rows["diffusion"] == ("diffusion", 4, 8) and rows["fine_tune"] == ("fine_tune", 4, 8)


def test_old_logs_are_read(old_runs):
    run = old_runs / "eventful"
    assert {event["event"] for event in read_events(run)} == EVENTS
    assert config_of_run(run).preset == "tiny"
    totals = [event["total"] for event in read_events(run) if event["event"] == "start"]
    assert totals[-1] == read_history(run)[-1]["step"] == 40
    assert all(math.isfinite(row["loss"]) for row in read_history(run))
    shutil.copytree(old_runs / "vqvae" / "checkpoints", run / "checkpoints")
    (row,) = [row for row in overview(old_runs) if row["name"] == "eventful"]
    assert [row[name] for name in ("stage", "step", "total_steps", "mirror")] == ["vqvae", 4, 8, "step 40"]
    failed = [event["reason"] for event in read_events(run) if event["event"] in ("save_failed", "mirror_failed")]
    assert failed == ["[Errno 28] No space left on device: 'checkpoints'", "File exists"]

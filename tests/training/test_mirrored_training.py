"""A real training with a mirror that fails, and a new machine that goes on from one."""

import dataclasses
import shutil
import subprocess

import pytest
import torch
from mounting import mounted

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_events, read_history
from lib.checkpoints.mirror import bring_runs
from lib.config import preset
from lib.storage.backends import MARKER, open_storage
from lib.training.loop import train

CONFIG = preset("vqvae", "tiny", steps=12, save_every=4, decay="constant")


def losses_of(run):
    return [(row["step"], row["split"], row["loss"]) for row in read_history(run)]


@pytest.fixture(scope="module")
def undisturbed(demo_data, tmp_path_factory):
    """Losses of a run without a mirror."""
    return losses_of(train(CONFIG, demo_data, tmp_path_factory.mktemp("undisturbed")).run)


@pytest.mark.parametrize("fault", ["full", "read only", "unmounted"])
def test_a_really_faulty_disk_changes_nothing(fault, undisturbed, demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.training.run.FLUSH_S", {None: 2.0})
    monkeypatch.setattr("lib.checkpoints.mirror.SPARE_BYTES", 0)
    size = "64k" if fault == "full" else "64m"
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as disk:
        if fault != "full":
            open_storage(disk / "drive").open()
        if fault == "read only":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        if fault == "unmounted":
            subprocess.run(["umount", disk], check=True)
            (disk / "drive").mkdir()
        result = train(CONFIG, demo_data, tmp_path / "runs", mirror=disk / "drive")
    said = [event["text"] for event in read_events(result.run) if event["event"] == "mirror_failed"]
    words = {"full": "GB are free there", "read only": "read-only", "unmounted": "vanished"}
    if fault == "unmounted":  # nothing has ever been there: a new mirror is made, as for a new user
        assert result.finished and (disk / "drive" / MARKER).exists()
    else:
        assert result.finished and said and words[fault] in said[0]
    assert losses_of(result.run) == undisturbed


def test_a_mount_that_dies_in_the_middle_changes_nothing(undisturbed, demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.training.run.FLUSH_S", {None: 2.0})
    (tmp_path / "real").mkdir()
    with mounted(tmp_path / "mount", "--bind", tmp_path / "real") as mount:
        train(dataclasses.replace(CONFIG, steps=6), demo_data, tmp_path / "runs", mirror=mount / "drive")
        saved = checkpoints.save

        def unmount_first(*words, **named):
            subprocess.run(["umount", "-l", mount], capture_output=True)
            return saved(*words, **named)

        monkeypatch.setattr(checkpoints, "save", unmount_first)
        result = train(CONFIG, demo_data, tmp_path / "runs", mirror=mount / "drive")
        assert not list(mount.iterdir())
    assert "vanished" in next(event["text"] for event in read_events(result.run) if event["event"] == "mirror_failed")
    assert [row for row in losses_of(result.run) if row[:2] != (6, "validation")] == undisturbed  # 6: of the first half's end


@pytest.mark.slow
def test_a_new_machine_goes_on_from_the_mirror(demo_data, tmp_path):
    drive = tmp_path / "drive"
    for stage in ("vqvae", "style_encoder"):
        train(preset(stage, "tiny"), demo_data, tmp_path / "old", mirror=drive)
    first = preset("diffusion", "tiny", decay="constant", steps=2)
    train(first, demo_data, tmp_path / "old", mirror=drive)
    whole = preset("diffusion", "tiny", decay="constant")
    result = train(whole, tmp_path / "data", tmp_path / "new", mirror=drive)  # the note store comes from there too
    assert result.resumed_from_step == 2 and result.finished
    stays = train(whole, demo_data, tmp_path / "old", run="diffusion")
    a, b = (checkpoints.find(r.run).weights() for r in (result, stays))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [event["event"] for event in read_events(result.run)][-1] in ("finished", "mirrored")
    assert any(event["event"] == "restored" for event in read_events(result.run))


def test_the_finished_improviser_comes_back_too(tiny_runs, demo_data, tmp_path):
    shutil.copytree(tiny_runs, tmp_path / "old")
    drive = tmp_path / "drive"
    (tmp_path / "old" / "fine_tune" / "finished").unlink()
    train(preset("fine_tune", "tiny"), demo_data, tmp_path / "old", mirror=drive)
    bring_runs(drive, "tiny", tmp_path / "new", ["brad_final", "fine_tune", "vqvae"])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["brad_final", "fine_tune"]


def test_notebooks_say_when_the_mirror_is_away(tmp_path, capsys):
    bring_runs(tmp_path / "not" / "mounted", "tiny", tmp_path / "new", ["vqvae"])
    assert "is the drive mounted" in capsys.readouterr().out and not (tmp_path / "new").exists()
    bring_runs(None, "tiny", tmp_path / "new", ["vqvae"])


def test_a_mirror_of_another_run_is_refused(demo_data, tmp_path):
    train(preset("vqvae", "tiny"), demo_data, tmp_path / "one", mirror=tmp_path / "drive")
    train(preset("vqvae", "tiny"), demo_data, tmp_path / "two")
    with pytest.raises(checkpoints.CheckpointError, match="holds another run named 'vqvae'"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path / "two", mirror=tmp_path / "drive")


def test_a_mirror_that_is_not_there(demo_data, tmp_path, capsys):
    away = tmp_path / "not" / "mounted" / "brad"
    with pytest.raises(checkpoints.CheckpointError, match="It may hold vqvae, which is not here"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path / "runs", mirror=away)
    assert not (tmp_path / "runs").exists()
    train(preset("vqvae", "tiny", steps=2), demo_data, tmp_path / "runs")
    assert train(preset("vqvae", "tiny"), demo_data, tmp_path / "runs", mirror=away).finished
    assert "Continuing from step 2" in capsys.readouterr().out

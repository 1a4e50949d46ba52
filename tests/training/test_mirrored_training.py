"""A real training with a mirror that fails, and a new machine that goes on from one."""

import dataclasses
import shutil
import subprocess

import pytest
import torch
from mounting import mounted

from lib import config as configs
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_events, read_history
from lib.checkpoints.load import load_improviser
from lib.checkpoints.own_runs import bring_runs, own_model
from lib.config import STAGES, preset
from lib.google_colab_shim import Folders
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


@pytest.fixture(scope="module")
def mirrored(tiny_runs, demo_data, tmp_path_factory):
    """A mirror that all four stages of tiny were trained with."""
    root = tmp_path_factory.mktemp("mirrored")
    shutil.copytree(tiny_runs, root / "runs")
    (root / "runs" / "fine_tune" / "finished").unlink()
    for stage in STAGES:
        train(preset(stage, "tiny"), demo_data, root / "runs", mirror=root / "drive")
    return root / "drive"


def folders_of(root, mirror):
    return Folders(root / "data", root / "runs", root / "out", root / "styles", mirror and str(mirror))


def test_ones_own_model_comes_from_the_mirror_the_tuned_one_first(mirrored, tmp_path, capsys):
    folders = folders_of(tmp_path, mirrored)
    assert own_model(folders, "tiny") == tmp_path / "runs" / "brad_final"
    where = f"from the mirror, {mirrored}/runs/tiny"
    assert capsys.readouterr().out == f"brad_final: finished, step 4, {where}/brad_final\n"
    assert load_improviser(tmp_path / "runs" / "brad_final").pianist == "Cora Canonby"
    own_model(folders, "tiny")
    assert capsys.readouterr().out == "brad_final: finished, step 4, which is here\n"
    names = ["vqvae", "diffusion"]
    assert bring_runs(folders, "tiny", names) == [tmp_path / "runs" / name for name in names]


def test_before_the_fine_tuning_is_done_the_newest_stage_plays(mirrored, tmp_path, capsys):
    drive = shutil.copytree(mirrored, tmp_path / "drive")
    (drive / "runs" / "tiny" / "brad_final" / "manifest.json").write_text("")  # the copy was cut off
    run = own_model(folders_of(tmp_path / "a", drive), "tiny")
    assert run.name == "fine_tune" and load_improviser(run).pianist == "Cora Canonby"
    assert "Left out: " in capsys.readouterr().out
    for name in ("brad_final", "fine_tune"):
        shutil.rmtree(drive / "runs" / "tiny" / name)
    run = own_model(folders_of(tmp_path / "b", drive), "tiny")
    assert run.name == "diffusion" and load_improviser(run).pianist is None
    shutil.rmtree(drive / "runs" / "tiny" / "vqvae")
    assert own_model(folders_of(tmp_path / "c", drive), "tiny") is None


def test_the_released_weights_play_only_where_that_is_said(mirrored, tmp_path, capsys):
    assert own_model(folders_of(tmp_path, mirrored), "demo") is None
    said = capsys.readouterr().out
    assert f"The released weights play: no run of preset demo is in {tmp_path / 'runs'} and {mirrored}. " in said
    assert said.endswith("The mirror has runs of tiny: choose that preset for your own.\n")
    assert own_model(folders_of(tmp_path, None), "tiny") is None and "released" in capsys.readouterr().out
    with pytest.raises(checkpoints.CheckpointError, match="is the drive mounted.*It may hold brad_final"):
        own_model(folders_of(tmp_path, tmp_path / "not" / "mounted"), "tiny")


def test_a_finished_run_on_a_new_machine_encodes_nothing(mirrored, tmp_path, capsys):
    result = train(preset("diffusion", "tiny"), tmp_path / "data", tmp_path / "runs", mirror=mirrored)
    assert result.finished and "already done" in result.message and not (tmp_path / "data" / "codes").exists()
    assert f"diffusion: step 4, from the mirror, {mirrored}/runs/tiny/diffusion" in capsys.readouterr().out
    assert load_improviser(result.run).changes


def test_a_run_that_was_begun_at_another_commit_names_it(demo_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configs, "commit", lambda: "a" * 40)
    train(preset("vqvae", "tiny", steps=2), demo_data, tmp_path)
    train(preset("vqvae", "tiny", steps=3), demo_data, tmp_path)
    assert "began at commit" not in capsys.readouterr().out
    monkeypatch.setattr(configs, "commit", lambda: "b" * 40)
    train(preset("vqvae", "tiny"), demo_data, tmp_path)
    assert f"began at commit {'a' * 40}, and this is {'b' * 12}" in capsys.readouterr().out


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

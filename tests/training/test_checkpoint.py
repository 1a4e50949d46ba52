"""Checkpoints: what is written is what is read, and damage is seen."""

import json

import pytest
import torch

from lib.training import checkpoint as checkpoints


def write(run, step, value=1.0, best=False, keep=5):
    model = {"weight": torch.full((3, 2), value)}
    optimizer = {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": []}
    facts = {"stage": "vqvae", "step": step}
    return checkpoints.save(run, facts, model, optimizer, {"weight": model["weight"] * 2}, keep, best)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, 5, 3.0)
    found = checkpoints.find(tmp_path)
    assert found.step == 5 and found.weights(averaged=False)["weight"].eq(3).all()
    assert found.weights()["weight"].eq(6).all()  # the moving average
    assert found.optimizer()["state"][0]["step"] == 5


def test_newest_and_best_stay(tmp_path):
    for step in range(1, 7):
        write(tmp_path, step, best=step == 2, keep=3)
    assert [folder.name[-1] for folder in checkpoints.step_folders(tmp_path)] == ["6", "5", "4", "2"]
    assert checkpoints.find(tmp_path).step == 6 and checkpoints.find(tmp_path, "best").step == 2


@pytest.mark.parametrize("damage", ["zeros", "truncated", "missing", "no manifest", "half a manifest", "swapped"])
def test_a_damaged_checkpoint_is_skipped(tmp_path, damage, caplog):
    write(tmp_path, 1), write(tmp_path, 2)
    folder = tmp_path / "checkpoints" / "step-00000002"
    model, manifest = folder / "model.safetensors", folder / "manifest.json"
    content = model.read_bytes()
    if damage == "zeros":
        model.write_bytes(content[:-8] + bytes(8))
    elif damage == "truncated":
        model.write_bytes(content[:-3])
    elif damage == "missing":
        model.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        (folder / "ema.safetensors").replace(model)
    assert checkpoints.find(tmp_path).step == 1
    assert "step-00000002" in caplog.text


def test_all_damaged_is_an_error(tmp_path):
    (write(tmp_path, 1) / "optimizer.pt").write_bytes(b"")
    with pytest.raises(checkpoints.CheckpointError, match="All 1 checkpoints"):
        checkpoints.find(tmp_path)


def test_a_half_written_save_is_not_a_checkpoint(tmp_path):
    write(tmp_path, 1)
    (tmp_path / "checkpoints" / "step-00000002.part").mkdir()
    assert checkpoints.find(tmp_path).step == 1
    write(tmp_path, 2)  # and the next save is not hindered by it
    assert checkpoints.find(tmp_path).step == 2


def test_a_missing_run_names_the_nearest(tmp_path):
    write(tmp_path / "vqvae", 1)
    with pytest.raises(checkpoints.CheckpointError, match="Did you mean 'vqvae'"):
        checkpoints.find(tmp_path / "vqvea")


def test_the_wrong_stage_is_refused(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(checkpoints.CheckpointError, match="'vqvae', but a 'diffusion' run is needed"):
        checkpoints.require(tmp_path, "diffusion")


def test_manifest_lists_a_hash_for_every_file(tmp_path):
    folder = write(tmp_path, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {p.name for p in folder.iterdir()} - {"manifest.json"}

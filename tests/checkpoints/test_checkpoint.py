"""Checkpoints: what is written is what is read, and damage is seen."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.run_dependencies import require
from lib.storage.manifest import DamageError

ROOT = Path(__file__).resolve().parent.parent.parent


def write(run, step, value=1.0, best=None, keep=5):
    model = {"weight": torch.full((3, 2), value)}
    optimizer = {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": []}
    facts = {"stage": "vqvae", "step": step, "best_step": best}
    files = checkpoints.serialised({"model": model, "ema": {"weight": model["weight"] * 2}}, optimizer, {"scale": 8.0})
    return checkpoints.save(Path(run), facts, files, keep)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, 5, 3.0)
    found = checkpoints.find(tmp_path)
    assert found.step == 5 and found.weights(averaged=False)["weight"].eq(3).all()
    assert found.weights()["weight"].eq(6).all()  # the moving average
    assert found.optimizer()["state"][0]["step"] == 5 and found.scaler() == {"scale": 8.0}


def test_newest_and_best_stay(tmp_path):
    for step in range(1, 7):
        write(tmp_path, step, best=2 if step >= 2 else None, keep=3)
    assert [folder.name[-1] for folder in checkpoints.step_folders(tmp_path)] == ["6", "5", "4", "2"]
    assert checkpoints.find(tmp_path).step == 6 and checkpoints.find(tmp_path, "best").step == 2


DAMAGES = [
    "zeros",
    "truncated",
    "missing",
    "no manifest",
    "half a manifest",
    "swapped",
    "another step",
    "a flipped number",
]


@pytest.mark.parametrize("damage", DAMAGES)
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
    elif damage == "another step":
        shutil.rmtree(folder)
        shutil.copytree(folder.with_name("step-00000001"), folder)
    elif damage == "a flipped number":
        manifest.write_text(manifest.read_text().replace('"step": 2', '"step": 3'))
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
        require(tmp_path, "diffusion")


def test_manifest_lists_a_hash_for_every_file(tmp_path):
    folder = write(tmp_path, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {p.name for p in folder.iterdir()} - {"manifest.json"}


def test_latest_best_and_a_step_are_names(tmp_path):
    run = tmp_path / "vqvae"
    for step in (1, 2, 3):
        write(run, step, best=2)
    steps = {
        name: checkpoints.find(run / name).step
        for name in ("latest", "best", "step-00000001", "checkpoints/step-00000003")
    }
    assert steps == {"latest": 3, "best": 2, "step-00000001": 1, "checkpoints/step-00000003": 3}
    with pytest.raises(DamageError, match="no manifest"):
        checkpoints.find(run / "step-00000009")


def test_a_damaged_best_falls_back_to_the_newest(tmp_path, caplog):
    for step in (1, 2):
        write(tmp_path, step, best=1)
    (tmp_path / "checkpoints" / "step-00000001" / "model.safetensors").write_bytes(b"")
    assert checkpoints.find(tmp_path, "best").step == 2 and "skipped the best" in caplog.text


def test_a_valid_checkpoint_of_the_same_step_is_left_alone(tmp_path):
    before = (write(tmp_path, 1) / "manifest.json").stat().st_mtime_ns
    assert (write(tmp_path, 1, value=5.0) / "manifest.json").stat().st_mtime_ns == before
    (tmp_path / "checkpoints" / "step-00000001" / "model.safetensors").write_bytes(b"")
    write(tmp_path, 1, value=5.0)
    assert checkpoints.find(tmp_path).weights(averaged=False)["weight"].eq(5).all()


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    for step in range(1, 5):
        write(tmp_path, step, best=2)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(OSError, match="MB are needed") as error:
        write(tmp_path, 5)
    assert error.value.errno == errno.ENOSPC and not list(tmp_path.rglob("*.part"))
    assert checkpoints.find(tmp_path).step == 4  # the older ones made room, the newest and the best never do
    assert {checkpoints.step_of(folder) for folder in checkpoints.step_folders(tmp_path)} >= {4}


def test_the_last_valid_checkpoint_is_never_pruned(tmp_path):
    write(tmp_path, 1)
    for step in (2, 3):
        (write(tmp_path, step) / "model.safetensors").write_bytes(b"damaged")
    checkpoints._prune(tmp_path, 2, None)  # keeps 3 and 2, neither of them valid: then 1 must stay
    assert checkpoints.find(tmp_path).step == 1


@pytest.mark.slow
@pytest.mark.parametrize("point", ["save.begin", "save.files 2", "save.manifest", "save.rename", "save.prune"])
def test_death_in_a_save_leaves_the_one_before(tmp_path, point):
    code = (
        "import os, sys; from tests.checkpoints.test_checkpoint import write\n"
        "run = sys.argv[1]; at = os.environ.pop('LIB_KILL_AT')\n"
        "write(run, 1), write(run, 2, 7.0)\n"
        "os.environ['LIB_KILL_AT'] = at\n"
        "write(run, 3, 9.0, keep=1)"
    )
    environment = {**os.environ, "LIB_KILL_AT": point, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    found = checkpoints.find(tmp_path)
    expected = (3, 9.0) if point == "save.prune" else (2, 7.0)
    assert (found.step, float(found.weights(averaged=False)["weight"][0, 0])) == expected
    write(tmp_path, 3, 9.0, keep=1)  # and the next save clears up
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]

"""The mirror under every fault that a Drive has had: nothing raises, it says what is wrong, and it catches up."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mounting import mounted

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.mirror import Mirror, remote_steps, restore_run
from lib.storage.backends import FolderStorage

ROOT = Path(__file__).resolve().parent.parent.parent
REMOTE = "runs/tiny/vqvae"


def write(run, step, best=None, value=1.0, size=100):
    model = {"weight": torch.full((size,), value)}
    facts = {"stage": "vqvae", "step": step, "best_step": best, "run_id": "x"}
    return checkpoints.save(Path(run), facts, checkpoints.serialised({"model": model}, {}, {}), keep=5)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def said():
    return []


@pytest.fixture
def mirror(tmp_path, run, said):
    made = Mirror(
        FolderStorage(tmp_path / "drive"), REMOTE, run, keep=3, report=lambda *event, **fields: said.append(event)
    )
    made.first_wait_s, made.longest_wait_s = 0.05, 0.2
    yield made
    made.close()


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def steps_there(tmp_path):
    return [checkpoints.step_of(name) for name in remote_steps(FolderStorage(tmp_path / "drive"), REMOTE)]


def test_checkpoints_are_copied_and_read_back(mirror, run, said, tmp_path):
    write(run, 1)
    mirror.start()
    until(lambda: said)
    write(run, 2)
    mirror.notify()
    until(lambda: len(said) == 2)
    assert said[1] == ("mirrored", 2, "copied and read back") and mirror.state == "step 2"
    assert restore_run(mirror.storage, REMOTE, tmp_path / "new") == [2]
    new, old = (checkpoints.find(folder) for folder in (tmp_path / "new", run))
    assert new.manifest == old.manifest and torch.equal(new.tensors("model")["weight"], old.tensors("model")["weight"])


def test_the_newest_and_the_best_stay(mirror, run, tmp_path):
    for step in range(1, 8):
        write(run, step, best=min(step, 2))
        assert mirror.flush(10)
    assert steps_there(tmp_path) == [7, 6, 5, 2]
    assert sorted(restore_run(mirror.storage, REMOTE, tmp_path / "new")) == [2, 7]
    assert checkpoints.find(tmp_path / "new", "best").step == 2


def test_what_is_damaged_there_is_skipped_and_made_again(mirror, run, said, tmp_path, caplog):
    for step in (1, 2):
        write(run, step)
    assert mirror.flush(10)
    newest = tmp_path / "drive" / REMOTE / "checkpoints" / "step-00000002" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8] + bytes(8))
    assert restore_run(mirror.storage, REMOTE, tmp_path / "new") == [1] and "skipped a damaged" in caplog.text
    # the next runtime reads it back
    again = Mirror(mirror.storage, REMOTE, run, report=lambda *event, **fields: said.append(event))
    assert again.flush(10) and any("made again" in text for _, _, text in said)
    assert restore_run(mirror.storage, REMOTE, tmp_path / "new", newest_here=1) == [2]


def test_a_storage_that_loses_writes_is_found_out(mirror, run, said, monkeypatch, tmp_path):
    original = FolderStorage.put

    def lossy(self, local, path, halfway=None):
        original(self, local, path, halfway)
        (self.root / path).write_bytes(bytes(os.path.getsize(local)))

    monkeypatch.setattr(FolderStorage, "put", lossy)
    write(run, 1)
    mirror.start()
    until(lambda: said)
    assert said[0][0] == "mirror_failed" and "Errno 5" in said[0][2]
    until(lambda: "waiting" in mirror.state)  # it may have begun its next try
    assert not (tmp_path / "drive" / REMOTE / "checkpoints" / "step-00000001" / "manifest.json").exists()
    monkeypatch.undo()
    until(lambda: said[-1][0] == "mirrored")
    assert "caught up" in said[-1][2]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ENOTCONN, errno.EDQUOT])
def test_faults_are_said_once_and_made_up_for(code, mirror, run, said, monkeypatch):
    tries = []

    def broken(self, local, path, halfway=None):
        tries.append(path)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FolderStorage, "put", broken)
    write(run, 1)
    mirror.start()
    until(lambda: len(tries) > 3)
    assert len(said) == 1 and said[0][0] == "mirror_failed" and "training goes on here" in said[0][2]
    monkeypatch.undo()
    until(lambda: said[-1][0] == "mirrored")


def test_a_new_checkpoint_does_not_cut_the_waiting_short(mirror, run, monkeypatch):
    tries = []

    def broken(self, local, path, halfway=None):
        tries.append(path)
        raise OSError(errno.EDQUOT, "quota")

    monkeypatch.setattr(FolderStorage, "put", broken)
    mirror.first_wait_s = mirror.longest_wait_s = 30.0
    write(run, 1)
    mirror.start()
    until(lambda: tries)
    for step in range(2, 5):
        write(run, step), mirror.notify()
    time.sleep(0.2)
    assert len(tries) == 1 and not mirror.flush(0.2) and len(tries) == 2  # the end of a training tries once more


def test_a_vanished_mount_gets_no_files(mirror, run, said, tmp_path):
    write(run, 1)
    assert mirror.flush(10)
    (tmp_path / "drive").rename(tmp_path / "away")
    (tmp_path / "drive").mkdir()
    write(run, 2)
    mirror.start()
    until(lambda: said[-1][0] == "mirror_failed")
    assert "vanished" in said[-1][2] and not list((tmp_path / "drive").iterdir())
    (tmp_path / "drive").rmdir()
    (tmp_path / "away").rename(tmp_path / "drive")
    until(lambda: said[-1][0] == "mirrored")
    assert steps_there(tmp_path) == [2, 1]


def test_pruned_while_it_was_copied_is_no_failure(mirror, run, said, monkeypatch):
    folder = write(run, 1)
    monkeypatch.setattr(FolderStorage, "put", lambda *words: (shutil.rmtree(folder), (folder / "none").read_bytes()))
    assert mirror.flush(10) and not said


def test_rclone_is_read_back_every_now_and_then(run, said, tmp_path, monkeypatch):
    reads = []
    original = FolderStorage.sha256
    monkeypatch.setattr(FolderStorage, "sha256", lambda self, path: reads.append(path) or original(self, path))
    mirror = Mirror(
        FolderStorage(tmp_path / "drive"), REMOTE, run, 5, 3600.0, lambda *event, **fields: said.append(event)
    )
    for step in (1, 2, 3):
        write(run, step)
        assert mirror.flush(10)
    assert [text for _, _, text in said] == [
        "copied and read back",
        "copied, not read back yet",
        "copied, not read back yet",
    ]
    assert {path.split("/")[-2] for path in reads} == {"step-00000001"}
    mirror._last_verified_s = -1e9  # an hour later
    reads.clear()
    assert mirror.flush(10) and "step-00000003" in {path.split("/")[-2] for path in reads}


@pytest.mark.slow
def test_death_in_the_middle_of_a_copy(run, tmp_path):
    write(run, 1)
    code = (
        "import sys; from pathlib import Path\n"
        "from lib.storage.backends import FolderStorage; from lib.checkpoints.mirror import Mirror\n"
        "print(Mirror(FolderStorage(Path(sys.argv[1])), sys.argv[2], sys.argv[3]).flush(30))"
    )
    for point in ("mirror.file 2", "mirror.manifest"):
        environment = {**os.environ, "LIB_KILL_AT": point}
        command = [sys.executable, "-c", code, tmp_path / "drive", REMOTE, run]
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert restore_run(FolderStorage(tmp_path / "drive"), REMOTE, tmp_path / "new") == []
    assert Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run).flush(10)
    assert restore_run(FolderStorage(tmp_path / "drive"), REMOTE, tmp_path / "new") == [1]


def test_a_full_disk_keeps_the_newest_and_the_best(run, said, tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        mirror = Mirror(
            FolderStorage(disk / "drive"), REMOTE, run, 5, report=lambda *event, **fields: said.append(event)
        )
        for step in range(1, 6):  # 280 kB each: three fit
            write(run, step, best=2, size=70_000, value=float(step))
            for _ in range(2):  # the round after the one that found it full
                done = mirror.flush(10)
            assert done, mirror.state
        storage = FolderStorage(disk / "drive")
        assert [checkpoints.step_of(name) for name in remote_steps(storage, REMOTE)] == [5, 2]
        assert restore_run(storage, REMOTE, tmp_path / "new") == [5, 2]
    assert [text for event, _, text in said if event == "mirror_failed"][0].startswith("no space left (Errno 28)")

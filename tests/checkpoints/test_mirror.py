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
from lib.checkpoints.mirror import Mirror, restore_run
from lib.storage.backends import FolderStorage
from lib.storage.slots import stored_checkpoints

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
        FolderStorage(tmp_path / "drive"), REMOTE, run, report=lambda *event, **fields: said.append(event), spare_bytes=0
    )
    made.first_wait_s, made.longest_wait_s = 0.05, 0.2
    yield made
    made.close()


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def steps_there(tmp_path, storage=None):
    """{slot: step} of what is whole in the mirror."""
    there, _ = stored_checkpoints(storage or FolderStorage(tmp_path / "drive"), REMOTE)
    return {one.path.rpartition("/")[2]: one.step for one in there}


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


def test_two_newest_and_the_weights_of_the_best_stay(mirror, run, tmp_path):
    for step in range(1, 8):
        write(run, step, best=min(step, 2))
        assert mirror.flush(10)
    assert sorted(steps_there(tmp_path).items()) == [("a", 7), ("b", 6), ("best", 2)]
    best = tmp_path / "drive" / REMOTE / "slots" / "best"
    assert sorted(path.name for path in best.iterdir()) == ["manifest.json", "model.safetensors"]
    assert sorted(restore_run(mirror.storage, REMOTE, tmp_path / "new")) == [2, 7]
    assert checkpoints.find(tmp_path / "new", "best").step == 2 and checkpoints.find(tmp_path / "new").step == 7
    shutil.rmtree(checkpoints.step_folder(tmp_path / "new", 7))
    assert checkpoints.find(tmp_path / "new") is None and checkpoints.newest_step(tmp_path / "new") == 0
    with pytest.raises(checkpoints.CheckpointError, match="holds only the best weights"):
        checkpoints.resumed_checkpoint(tmp_path, "new/step-00000002")


def test_nothing_is_deleted_or_replaced_there(mirror, run, tmp_path, monkeypatch):
    write(run, 1)
    assert mirror.flush(10)
    for name in ("unlink", "rename", "replace", "remove"):
        monkeypatch.setattr(os, name, lambda *paths, **options: pytest.fail(f"{paths} there") if "drive" in str(paths) else None)
    original = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, target: original(self, target) if "drive" not in str(self) else pytest.fail())
    inodes = {path: path.stat().st_ino for path in (tmp_path / "drive").rglob("*") if path.is_file()}
    for _ in range(3):
        assert mirror.storage.write_text("runs/note", "x" * 9) is None
    monkeypatch.undo()
    for step in (2, 3, 4):
        write(run, step)
        assert mirror.flush(10)
    assert sorted(steps_there(tmp_path).values()) == [3, 4]
    assert all(path.stat().st_ino == inode for path, inode in inodes.items())


def test_copies_are_made_every_so_often_and_at_the_end(run, said, tmp_path):
    now = [0.0]
    report = lambda *event, **fields: said.append(event)  # noqa: E731
    mirror = Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run, 1200.0, None, report, spare_bytes=0, clock=lambda: now[0])
    write(run, 1)
    mirror.start()
    until(lambda: said)
    write(run, 2)
    mirror.notify()
    time.sleep(0.3)
    assert len(said) == 1 and steps_there(tmp_path) == {"a": 1}
    assert mirror.flush(10) and sorted(steps_there(tmp_path).values()) == [1, 2]
    mirror.close()


def test_a_gigabyte_stays_free(run, said, tmp_path, monkeypatch):
    monkeypatch.setattr(FolderStorage, "free", lambda self: 10**9 + 100)
    mirror = Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run, report=lambda *event, **fields: said.append(event))
    write(run, 1)
    assert not mirror.flush(10) and "1.0 GB are free there, and 1 GB stay so: empty it, and its bin" in mirror.state
    assert "takes up to 1.2 GB" in mirror.announce(500 * 10**6, 200 * 10**6)
    assert "Usable: 0.0 GB" in mirror.announce(1, 10**9)


def test_a_gigabyte_stays_free_of_music_and_improvisers_too(run, said, tmp_path, monkeypatch, demo_data):
    monkeypatch.setattr(FolderStorage, "free", lambda self: 10**9 + 10_000)
    report = lambda *event, **fields: said.append(event)  # noqa: E731
    mirror = Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run, report=report, data=(demo_data, ["demo"]))
    write(run, 1)
    assert mirror.flush(10) and steps_there(tmp_path) == {"a": 1}
    assert "note stores are not copied: 1.0 GB are free there" in said[-1][2]
    assert not (tmp_path / "drive" / "stores").exists()
    mirror._finished = write(tmp_path / "brad_final", 2, size=10_000)
    assert not mirror.flush(10) and "1 GB stay so" in mirror.state


def test_a_mirror_of_an_earlier_version_is_read_then_brought_up_to_date(mirror, run, tmp_path):
    for step in (1, 2):
        folder = write(run, step, best=1)
        shutil.copytree(folder, tmp_path / "drive" / REMOTE / "checkpoints" / folder.name)
    assert sorted(restore_run(mirror.storage, REMOTE, tmp_path / "new")) == [1, 2]
    write(run, 3, best=1)
    assert mirror.flush(10)
    assert steps_there(tmp_path) == {"a": 3, "best": 1}
    assert not list((tmp_path / "drive" / REMOTE / "checkpoints").iterdir())


def test_what_is_damaged_there_is_skipped_and_made_again(mirror, run, said, tmp_path, caplog):
    for step in (1, 2):
        write(run, step)
        assert mirror.flush(10)
    newest = tmp_path / "drive" / REMOTE / "slots" / "b" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8] + bytes(8))
    assert restore_run(mirror.storage, REMOTE, tmp_path / "new") == [1] and "skipped a damaged" in caplog.text
    # the next runtime reads it back
    again = Mirror(mirror.storage, REMOTE, run, report=lambda *event, **fields: said.append(event), spare_bytes=0)
    assert again.flush(10) and any("copying again" in text for _, _, text in said)
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
    assert not steps_there(tmp_path)
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
    assert len(said) == 1 and said[0][0] == "mirror_failed" and "training continues here" in said[0][2]
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
    assert sorted(steps_there(tmp_path).values()) == [1, 2]


def test_pruned_while_it_was_copied_is_no_failure(mirror, run, said, monkeypatch):
    folder = write(run, 1)
    monkeypatch.setattr(FolderStorage, "put", lambda *words: (shutil.rmtree(folder), (folder / "none").read_bytes()))
    assert mirror.flush(10) and not said


def test_rclone_is_read_back_every_now_and_then(run, said, tmp_path, monkeypatch):
    reads = []
    original = FolderStorage.sha256
    monkeypatch.setattr(FolderStorage, "sha256", lambda self, path: reads.append(path) or original(self, path))
    report = lambda *event, **fields: said.append(event)  # noqa: E731
    mirror = Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run, 0.0, 3600.0, report, spare_bytes=0)
    for step in (1, 2, 3):
        write(run, step)
        assert mirror.flush(10)
    assert [text for _, _, text in said] == [
        "copied and read back",
        "copied, not read back yet",
        "copied, not read back yet",
    ]
    assert {path.split("/")[-2] for path in reads} == {"a"}
    mirror._last_verified_s = -1e9  # an hour later
    reads.clear()
    assert mirror.flush(10) and {path.split("/")[-2] for path in reads} == {"a"}  # which holds step 3 by now


@pytest.mark.slow
def test_death_in_the_middle_of_a_copy(run, tmp_path):
    write(run, 1)
    code = (
        "import sys; from pathlib import Path\n"
        "from lib.storage.backends import FolderStorage; from lib.checkpoints.mirror import Mirror\n"
        "print(Mirror(FolderStorage(Path(sys.argv[1])), sys.argv[2], sys.argv[3], spare_bytes=0).flush(30))"
    )
    for point in ("mirror.file 2", "mirror.manifest"):
        environment = {**os.environ, "LIB_KILL_AT": point}
        command = [sys.executable, "-c", code, tmp_path / "drive", REMOTE, run]
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert restore_run(FolderStorage(tmp_path / "drive"), REMOTE, tmp_path / "new") == []
    assert Mirror(FolderStorage(tmp_path / "drive"), REMOTE, run, spare_bytes=0).flush(10)
    assert restore_run(FolderStorage(tmp_path / "drive"), REMOTE, tmp_path / "new") == [1]


def test_a_full_disk_keeps_the_newest_and_the_best(run, said, tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        report = lambda *event, **fields: said.append(event)  # noqa: E731
        mirror = Mirror(FolderStorage(disk / "drive"), REMOTE, run, report=report, spare_bytes=0)
        for step in range(1, 6):  # 420 kB each: two fit, and no best one beside
            write(run, step, best=2, size=105_000, value=float(step))
            for _ in range(2):  # the round after the one that found it full
                done = mirror.flush(10)
            assert done, mirror.state
        storage = FolderStorage(disk / "drive")
        assert restore_run(storage, REMOTE, tmp_path / "new")[0] == 5
    assert "the best one is kept only here" in [text for event, _, text in said if event == "mirror_failed"][0]

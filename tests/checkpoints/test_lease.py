"""The lease: one runtime trains a run, a dead one never stands in the way."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.checkpoints.history import read_events
from lib.checkpoints.lease import BEAT_S, NAME, Lease, LeaseError
from lib.config import preset
from lib.storage.backends import FolderStorage, StorageError
from lib.training import loop
from lib.training.loop import train

ROOT = Path(__file__).resolve().parent.parent.parent
HOLD = (
    "import sys, time; from lib.storage.backends import FolderStorage; from lib.checkpoints.lease import Lease\n"
    "lease = Lease([(FolderStorage(sys.argv[1], marked=False), 'lease.json')], beat_s=0.05)\n"
    "lease.acquire(); lease.start(); print('held', flush=True); time.sleep(60)"
)


def make(folder, **words):
    return Lease([(FolderStorage(folder, marked=False), NAME)], **{"beat_s": 0.05, **words})


def other(**words):
    """A lease of another machine."""
    return json.dumps(
        {"owner": "o", "host": "colab-7", "boot": "b", "pid": 3, "counter": 5, "time": time.time(), **words}
    )


@pytest.fixture
def holder(tmp_path):
    """Another process of this machine that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_the_way_out(holder, tmp_path):
    with pytest.raises(LeaseError, match=rf"process {holder.pid}, last heartbeat \d s ago .* --take-over"):
        make(tmp_path).acquire()


def test_a_killed_process_is_succeeded_at_once(holder, tmp_path):
    holder.kill()
    began = time.monotonic()
    while True:  # the child may take a moment to die
        try:
            make(tmp_path).acquire()
            break
        except LeaseError:
            assert time.monotonic() - began < 5


def test_take_over_and_the_first_one_notices(tmp_path):
    first, second = make(tmp_path), make(tmp_path)
    first.acquire(), first.start()
    second.acquire(take_over=True), second.start()
    end = time.monotonic() + 5
    while first.lost is None and time.monotonic() < end:
        time.sleep(0.01)
    assert "taken over by" in first.lost and second.lost is None
    first.release()  # is no longer its own to remove
    assert (tmp_path / NAME).exists()
    second.release()
    assert not (tmp_path / NAME).exists()


def test_another_machine_is_watched_not_believed(tmp_path, capsys):
    path = tmp_path / NAME
    for stamp in (time.time(), time.time() + 1e6):  # a clock ahead of ours changes nothing
        path.write_text(other(time=stamp))
        make(tmp_path, sleep=lambda seconds: None).acquire()  # its counter stands still
        said = capsys.readouterr().out
        assert "colab-7 was training this run" in said and "--take-over" in said and "waiting for 0 s more" in said

    path.write_text(other())
    counters = iter(range(6, 100))
    with pytest.raises(LeaseError, match="colab-7"):
        make(tmp_path, sleep=lambda seconds: path.write_text(other(counter=next(counters)))).acquire()
    assert json.loads(path.read_text())["owner"] == "o"


def test_an_old_lease_is_dead_without_watching(tmp_path):
    (tmp_path / NAME).write_text(other(time=time.time() - 3600))
    slept = []
    make(tmp_path, sleep=slept.append).acquire()
    assert sum(slept) < 1


GARBAGE = {
    "empty": "",
    "object": "{}",
    "list": "[]",
    "null": "null",
    "number": '{"owner": 3}',
    "bytes": "\x00\x01",
    "deep": "[" * 9999,
    "text": other(pid="x"),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_lease(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    make(tmp_path).acquire()


def test_two_that_grab_at_once(tmp_path):
    one = make(tmp_path, sleep=lambda seconds: make(tmp_path).acquire(take_over=True))
    with pytest.raises(LeaseError, match="taken over by"):
        one.acquire()


def test_a_mirror_that_cannot_be_reached_is_left_out(tmp_path):
    class Gone(FolderStorage):
        def read_text(self, path):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    lease = Lease([(FolderStorage(tmp_path, marked=False), NAME), (Gone(tmp_path / "away"), NAME)], beat_s=0.02)
    lease.acquire(), lease.start()
    time.sleep(0.2)
    assert lease.lost is None and lease.counter > 1
    lease.release()


def test_a_lease_that_can_be_written_nowhere_is_announced(tmp_path, capsys):
    lease = Lease([(FolderStorage(tmp_path / "away"), NAME)], beat_s=0.02)  # it has no marker: it counts as gone
    lease.acquire()
    assert f"No lease could be written ({tmp_path / 'away'}: " in capsys.readouterr().out and lease.lost is None
    lease.start(), lease.release()


def test_a_training_whose_run_is_taken_over_stops_without_saving(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.checkpoints.lease.BEAT_S", 0.02)
    original = loop.optimizer_step

    def slow(trainer, step):
        if step >= 3:  # again and again: it may be overwritten once by a beat that had just looked
            (tmp_path / "vqvae" / NAME).write_text(other())
        time.sleep(0.02)
        return original(trainer, step)

    monkeypatch.setattr(loop, "optimizer_step", slow)
    with pytest.raises(LeaseError, match="taken over by colab-7.* without saving"):
        train(preset("vqvae", "tiny", steps=100, save_every=1000, validate_every=1000), demo_data, tmp_path)
    assert not (tmp_path / "vqvae" / "checkpoints").exists() and (tmp_path / "vqvae" / NAME).read_text()


def test_a_second_training_of_the_same_run_is_refused(holder, demo_data, tmp_path):
    (tmp_path / "vqvae").mkdir()
    (tmp_path / NAME).replace(tmp_path / "vqvae" / NAME)
    with pytest.raises(LeaseError, match="--take-over"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path)
    assert [path.name for path in (tmp_path / "vqvae").iterdir()] == [NAME]
    assert train(preset("vqvae", "tiny"), demo_data, tmp_path, take_over=True).finished


class MemoryStorage:
    """A third kind of storage, as a bucket would be: it satisfies backends.Storage, and nothing else knows it."""

    kind = "memory"
    where = "memory:bucket"

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.is_there = True

    def open(self):
        self.check()

    def check(self):
        if not self.is_there:
            raise StorageError("the bucket has vanished")

    def names(self, path):
        prefix = f"{path}/" if path else ""
        return sorted({name.removeprefix(prefix).split("/")[0] for name in self.files if name.startswith(prefix)})

    def _content(self, path):
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        return self.files[path]

    def read_text(self, path):
        return self._content(path).decode()

    def write_text(self, path, text):
        self.files[path] = text.encode()

    def sha256(self, path):
        return hashlib.sha256(self._content(path)).hexdigest()

    def put(self, local, path, halfway=None):
        content = Path(local).read_bytes()
        if halfway is not None:
            halfway()
        self.files[path] = content

    def get(self, path, local):
        Path(local).parent.mkdir(parents=True, exist_ok=True)
        Path(local).write_bytes(self._content(path))

    def size(self, path):
        return sum(len(content) for name, content in self.files.items() if name.startswith(f"{path}/"))

    def free(self):
        return None

    def delete(self, path):
        for name in [name for name in self.files if name == path or name.startswith(f"{path}/")]:
            del self.files[name]


def test_a_storage_of_a_third_kind_holds_leases():
    storage = MemoryStorage()
    assert Lease([(storage, NAME)]).files[0].beat_s == BEAT_S
    first, second = (Lease([(storage, NAME)], beat_s=0.02) for _ in range(2))
    first.acquire(), first.start()
    with pytest.raises(LeaseError, match="memory:bucket/lease.json.*--take-over"):
        second.acquire()
    second.acquire(take_over=True), second.start()
    end = time.monotonic() + 5
    while first.lost is None and time.monotonic() < end:
        time.sleep(0.01)
    assert "taken over by" in first.lost and second.lost is None
    first.release()
    assert list(storage.files) == [NAME]
    second.release()
    assert storage.files == {}


def test_a_storage_of_a_third_kind_is_a_mirror(demo_data, tmp_path, monkeypatch):
    """Trained here with it, trained on elsewhere from it: only `open_storage`, which tells kinds apart, is replaced."""
    storage = MemoryStorage()
    monkeypatch.setattr(loop, "open_storage", lambda where: storage)
    config = preset("vqvae", "tiny", decay="constant")
    alone = train(config, demo_data, tmp_path / "alone")
    first = train(dataclasses.replace(config, steps=2), demo_data, tmp_path / "here", mirror="memory:bucket")
    run = "runs/tiny/vqvae"
    assert "a" in storage.names(f"{run}/slots") and NAME not in storage.names(run)
    shutil.rmtree(first.run)
    resumed = train(config, demo_data, tmp_path / "there", mirror="memory:bucket")
    assert resumed.resumed_from_step == 2 and resumed.losses == alone.losses
    assert storage.names(f"{run}/slots") == ["a", "b"]

    storage.is_there = False
    again = train(dataclasses.replace(config, steps=6), demo_data, tmp_path / "there", mirror="memory:bucket")
    assert again.finished and [event["reason"] for event in read_events(again.run) if event["event"] == "mirror_failed"]

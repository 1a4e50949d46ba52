"""Both kinds of second storage, for real: a folder, and rclone's own binary on a remote that it was told of."""

import errno
import os
import shutil
import subprocess

import pytest

from lib.data.note_store import NoteStore
from lib.data.prepare import copy_store, fetch_store
from lib.storage import atomic_write
from lib.storage.backends import MARKER, FolderStorage, RcloneStorage, StorageError, describe_error, open_storage
from lib.storage.copies import copy_folder, fetch_folder
from lib.storage.manifest import MANIFEST, DamageError, write_manifest


@pytest.fixture(params=["folder", "rclone"])
def storage(request, tmp_path, monkeypatch):
    """A storage that is open, and empty but for its marker."""
    if request.param == "folder":
        found = open_storage(tmp_path / "drive")
    else:
        if not shutil.which("rclone"):
            pytest.skip("rclone is not installed (apt install rclone)")
        (tmp_path / "remote").mkdir()
        config = tmp_path / "rclone.conf"
        config.write_text(f"[testdrive]\ntype = alias\nremote = {tmp_path / 'remote'}\n")
        monkeypatch.setenv("RCLONE_CONFIG", str(config))
        found = open_storage("testdrive:brad-mehldau-ai")
    assert found.kind == request.param
    found.open()
    return found


def test_on_colabs_drive_a_file_is_written_over_where_it_stands(tmp_path, monkeypatch):
    """A rename would put what was there into the bin."""
    monkeypatch.setattr(atomic_write, "DRIVE", tmp_path / "drive")
    there, here = tmp_path / "drive" / "MyDrive" / "solo.mid", tmp_path / "solo.mid"
    inodes = {}
    for text in ("a long one", "short"):
        for path in (there, here):
            atomic_write.write_text(path, text)
            assert path.read_text() == text and [file.name for file in path.parent.glob("solo*")] == ["solo.mid"]
            inodes.setdefault(path, []).append(path.stat().st_ino)
    assert len(set(inodes[there])) == 1 and len(set(inodes[here])) == 2
    with pytest.raises(RuntimeError), atomic_write.atomic_write(there) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert there.read_text() == "short"


def make_folder(folder, value=b"music" * 1000):
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(value)
    (folder / "b.bin").write_bytes(b"")
    write_manifest(folder, {"step": 3})
    return folder


def test_files_go_there_and_come_back(storage, tmp_path):
    local = tmp_path / "file"
    local.write_bytes(os.urandom(70_000))
    halves = []
    storage.put(local, "runs/x/file", lambda: halves.append(1))
    assert halves == [1] and storage.names("runs/x") == ["file"] and storage.names("runs/none") == []
    storage.get("runs/x/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    import hashlib

    assert storage.sha256("runs/x/file") == hashlib.sha256(local.read_bytes()).hexdigest()
    storage.write_text("runs/x/note", "one")
    storage.write_text("runs/x/note", "two")
    assert storage.read_text("runs/x/note") == "two"
    with pytest.raises(FileNotFoundError):
        storage.read_text("runs/x/none")
    storage.delete("runs/x/note"), storage.delete("runs/x/note")
    assert storage.names("runs/x") == ["file"]
    storage.delete("runs"), storage.delete("runs")
    assert storage.names("") == [MARKER]


def test_folders_go_there_whole_and_come_back_whole(storage, tmp_path):
    folder = make_folder(tmp_path / "one")
    text = (folder / MANIFEST).read_text()
    assert copy_folder(storage, folder, "runs/one", text)
    fetch_folder(storage, "runs/one", tmp_path / "back")
    assert {p.name: p.read_bytes() for p in (tmp_path / "back").iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }
    (tmp_path / "bad").write_bytes(b"music" * 999 + b"musik")
    storage.put(tmp_path / "bad", "runs/one/a.bin")
    with pytest.raises(DamageError, match="a.bin is damaged"):
        fetch_folder(storage, "runs/one", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_note_store_goes_there_once_and_comes_back(storage, demo_data, tmp_path, monkeypatch):
    copy_store(storage, "demo", demo_data)
    monkeypatch.setattr(type(storage), "put", lambda *words: pytest.fail("copied again"))
    copy_store(storage, "demo", demo_data)
    assert fetch_store(storage, "demo", tmp_path / "new")
    there, here = (NoteStore.open(data / "demo" / "notes.store") for data in (demo_data, tmp_path / "new"))
    assert len(there.pieces) == len(here.pieces) and (there.notes == here.notes).all()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["demo"]
    assert not fetch_store(storage, "maestro", tmp_path / "new") and not (tmp_path / "new" / "maestro").exists()


def test_what_is_a_remote_and_what_a_folder(tmp_path):
    assert isinstance(open_storage("gdrive:brad-mehldau-ai"), RcloneStorage)
    assert isinstance(open_storage("gdrive:"), RcloneStorage)
    assert all(
        isinstance(open_storage(where), FolderStorage)
        for where in ("runs", "/content/drive/MyDrive", "C:/runs", "a/b:c")
    )


def test_a_folder_whose_disk_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="is the drive mounted"):
        open_storage(tmp_path / "drive" / "MyDrive" / "brad").open()
    assert not list(tmp_path.iterdir())


def test_a_vanished_mount_is_noticed(storage, tmp_path):
    storage.check()
    storage.delete(MARKER)
    with pytest.raises(StorageError):
        storage.check()


def test_rclone_that_is_not_set_up_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "none.conf"))
    if shutil.which("rclone"):
        with pytest.raises(StorageError, match="create one with rclone config"):
            open_storage("gdrive:there").open()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("RCLONE", raising=False)
    with pytest.raises(StorageError, match="apt install rclone"):
        open_storage("gdrive:there").open()


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (
            "googleapi: Error 403: The user's Drive storage quota has been exceeded., storageQuotaExceeded",
            errno.EDQUOT,
            "quota",
        ),
        ("write /x: no space left on device", errno.ENOSPC, "Errno 28"),
        ("read /x: input/output error", errno.EIO, "Errno 5"),
        ("googleapi: Error 403: User Rate Limit Exceeded", errno.EAGAIN, "too many"),
        (
            'Get "https://www.googleapis.com": dial tcp: lookup www.googleapis.com: no such host',
            errno.ENETUNREACH,
            "no network",
        ),
        ("couldn't do it", None, "couldn't do it"),
    ],
)
def test_what_rclone_says_is_understood(message, code, words):
    done = subprocess.CompletedProcess([], 1, b"", f"2026/11/24 Failed to copy: {message}\n".encode())
    error = RcloneStorage("gdrive:x")._error("copyto", done)
    assert error.errno == code and words in describe_error(error)


def test_reasons_in_plain_words():
    assert (
        describe_error(OSError(errno.ENOTCONN, "Transport endpoint is not connected"))
        == "the mount has died (Errno 107)"
    )
    assert describe_error(OSError(errno.EACCES, "Permission denied")) == "Permission denied"
    assert describe_error(StorageError("it has vanished")) == "it has vanished"

"""Storage for a second copy of files: a folder (Drive, a network disk) or an rclone remote, behind one interface.

Nothing that such a storage reports is trusted: the caller reads back what was written and hashes it. A marker file
tells a storage that is there from an empty mount point whose mount has gone.

On Drive a deleted file goes to the bin, and counts for as long as it lies there; so does what a rename replaces. Files
are therefore overwritten where they stand, and what must go is emptied first. A manifest that is written last says what
is whole (copies.py).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from lib.storage.atomic_write import atomic_write, overwritten
from lib.storage.manifest import file_sha256

MARKER = "brad-mehldau-mirror.txt"
MARKER_TEXT = "Checkpoints are copied here while training runs. Without this file the copy stops.\n"
BLOCK = 4 * 2**20
RCLONE_OPTIONS = (
    *("--contimeout", "15s", "--timeout", "60s", "--retries", "1", "--low-level-retries", "2"),
    "--drive-use-trash=false",  # on Google Drive: what lies in its bin counts
)
RCLONE_CALL_S, RCLONE_COPY_S = 120.0, 1800.0
NOT_FOUND_CODES = (3, 4)  # exit codes of rclone: no such folder, no such file
# what rclone's messages contain -> the errno that a disk would give: it has no exit codes for these
RCLONE_ERRORS = {
    "quota": errno.EDQUOT,
    "no space": errno.ENOSPC,
    "input/output error": errno.EIO,
    "rate limit": errno.EAGAIN,
    "too many requests": errno.EAGAIN,
    "no such host": errno.ENETUNREACH,
    "network is unreachable": errno.ENETUNREACH,
    "dial tcp": errno.ENETUNREACH,
    "transport endpoint": errno.ENOTCONN,
}
DESCRIPTIONS = {
    errno.EDQUOT: "the storage quota is used up",
    errno.EIO: "input/output error (Errno 5)",
    errno.ENOSPC: "no space left (Errno 28)",
    errno.ENOTCONN: "the mount has died (Errno 107)",
    errno.EROFS: "it is read-only",
    errno.EAGAIN: "too many requests",
    errno.ENETUNREACH: "no network",
}


class StorageError(OSError):
    """A storage that can't be used now; `errno` says why where a disk has such an error, else the text does."""


class Storage(Protocol):
    """Files by paths with slashes. Every call may raise OSError with the errno that a disk would give.

    Attributes
    ----------
    kind : "folder", "rclone"; copies on any kind but a folder are read back hourly, not each time
    where : what messages call it
    """

    kind: str
    where: str

    def open(self) -> None:
        """Make the storage's folder and its marker; StorageError where its disk or remote is not there."""

    def check(self) -> None:
        """StorageError where the storage has gone, as an unmounted drive has."""

    def names(self, path: str) -> list[str]:
        """Names of files and folders directly in a folder; [] where it is not there."""

    def read_text(self, path: str) -> str:
        """Contents of a small file; FileNotFoundError where there is none."""

    def write_text(self, path: str, text: str) -> None:
        """Write a small file; one that is there is overwritten."""

    def sha256(self, path: str) -> str:
        """Hex sha256 of what can be read there now."""

    def put(self, local: Path | str, path: str, halfway: Callable[[], None] | None = None) -> None:
        """Copy a local file there; `halfway` is called once while the copy is on its way."""

    def get(self, path: str, local: Path | str) -> None:
        """Copy a file from there."""

    def delete(self, path: str) -> None:
        """Remove a file or a folder, if it is there."""

    def size(self, path: str) -> int:
        """Bytes of all files below a folder; 0 where it is not there."""

    def free(self) -> int | None:
        """Bytes that are free; None where the storage does not say."""


def open_storage(where: Path | str) -> Storage:
    """RcloneStorage for "REMOTE:PATH" such as "gdrive:brad-mehldau-ai", else FolderStorage; still closed."""
    text = str(where)
    remote, colon, _ = text.partition(":")
    if colon and len(remote) > 1 and "/" not in remote and not Path(text).is_dir():
        return RcloneStorage(text)
    return FolderStorage(Path(text).expanduser().absolute())


def describe_error(error: OSError) -> str:
    """An OSError in a few words."""
    if isinstance(error, StorageError) and error.errno is None:
        return str(error)
    return DESCRIPTIONS.get(error.errno) or error.strerror or str(error)


class FolderStorage:
    """A folder: Drive's mount, a network disk, another disk.

    Parameters
    ----------
    root : the folder
    marked : whether it counts as gone without its marker; a run's own folder on this machine has none
    """

    kind = "folder"

    def __init__(self, root: Path | str, marked: bool = True):
        self.root, self.marked = Path(root), marked
        self.where = str(root)

    def open(self):
        if not self.root.parent.is_dir():
            raise StorageError(f"there is no {self.root.parent} (is the drive mounted?)")
        self.root.mkdir(exist_ok=True)
        if not (self.root / MARKER).exists():
            self.write_text(MARKER, MARKER_TEXT)

    def check(self):
        if self.marked and not (self.root / MARKER).exists():
            raise StorageError(f"{self.where} has vanished (is the drive mounted?)")

    def names(self, path):
        try:
            return sorted(os.listdir(self.root / path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read_text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def write_text(self, path, text):
        with self._overwritten(path) as file:
            file.write(text.encode())

    def _overwritten(self, path):
        return overwritten(self.root / path)

    def sha256(self, path):
        with open(self.root / path, "rb") as file, contextlib.suppress(AttributeError, OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not every system can drop its cache
        return file_sha256(self.root / path)

    def put(self, local, path, halfway=None):
        middle = os.path.getsize(local) // 2
        with open(local, "rb") as source, self._overwritten(path) as target:
            target.write(source.read(middle))
            if halfway is not None:
                halfway()
            shutil.copyfileobj(source, target, BLOCK)

    def get(self, path, local):
        with atomic_write(local) as partial:
            shutil.copyfile(self.root / path, partial)

    def delete(self, path):
        target = self.root / path
        for file in [target] if target.is_file() else [part for part in target.rglob("*") if part.is_file()]:
            os.truncate(file, 0)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def size(self, path):
        return sum(file.stat().st_size for file in (self.root / path).rglob("*") if file.is_file())

    def free(self):
        return shutil.disk_usage(self.root).free


class RcloneStorage:
    """A remote of rclone (https://rclone.org), through the user's own binary and its configuration.

    Parameters
    ----------
    where : "REMOTE:PATH"
    """

    kind = "rclone"

    def __init__(self, where: str):
        self.where = where.rstrip("/")
        self.binary = os.environ.get("RCLONE") or shutil.which("rclone")

    def _path(self, path):
        return f"{self.where}{'' if self.where.endswith(':') else '/'}{path}"

    def _call(self, *arguments, text=None, limit_s=RCLONE_CALL_S):
        if not self.binary:
            raise StorageError("rclone is not installed (sudo apt install rclone, then rclone config)")
        command, verb = [self.binary, *arguments, *RCLONE_OPTIONS], arguments[0]
        try:
            done = subprocess.run(command, input=text, capture_output=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise StorageError(errno.ETIMEDOUT, f"rclone {verb} took longer than {limit_s:.0f} s", self.where) from None
        except OSError as error:
            raise StorageError(f"{self.binary} does not run ({error})") from None
        if done.returncode:
            raise self._error(verb, done)
        return done.stdout

    def _error(self, verb, done):
        """The OSError of a call that failed."""
        text = done.stderr.decode(errors="replace").strip()
        if done.returncode in NOT_FOUND_CODES or "not found" in text.lower() and "config" not in text.lower():
            return FileNotFoundError(errno.ENOENT, "not there", self.where)
        last_line = text.splitlines()[-1] if text else f"exit code {done.returncode}"
        code = next((code for words, code in RCLONE_ERRORS.items() if words in text.lower()), None)
        message = f"rclone {verb}: {last_line}"
        return StorageError(message) if code is None else StorageError(code, message, self.where)

    def open(self):
        remote = self.where.partition(":")[0] + ":"
        if remote not in self._call("listremotes").decode().split():
            raise StorageError(f"rclone has no remote {remote} (create one with rclone config)")
        if MARKER not in self.names(""):
            self._call("mkdir", self.where)
            self.write_text(MARKER, MARKER_TEXT)

    def check(self):
        if MARKER not in self.names(""):
            raise StorageError(f"{self.where} has no {MARKER} any more")

    def names(self, path):
        try:
            listing = self._call("lsf", self._path(path))
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/") for name in listing.decode().splitlines())

    def read_text(self, path):
        return self._call("cat", self._path(path)).decode(errors="replace")

    def write_text(self, path, text):
        self._call("rcat", self._path(path), text=text.encode())

    def sha256(self, path):
        with tempfile.TemporaryDirectory() as folder:  # rclone's own hashes are of what it meant to write: downloaded
            self.get(path, Path(folder) / "copy")
            return file_sha256(Path(folder) / "copy")

    def put(self, local, path, halfway=None):
        if halfway is not None:
            halfway()
        self._call("copyto", "--ignore-times", str(local), self._path(path), limit_s=RCLONE_COPY_S)

    def get(self, path, local):
        with atomic_write(local) as partial:
            self._call("copyto", self._path(path), str(partial), limit_s=RCLONE_COPY_S)

    def delete(self, path):
        for verb, ignored in (("deletefile", OSError), ("purge", FileNotFoundError)):  # a file, or else a folder
            with contextlib.suppress(ignored):
                self._call(verb, self._path(path))

    def size(self, path):
        try:
            return json.loads(self._call("size", "--json", self._path(path)))["bytes"]
        except (FileNotFoundError, ValueError, KeyError):
            return 0

    def free(self):
        try:
            return json.loads(self._call("about", "--json", self.where.partition(":")[0] + ":")).get("free")
        except (OSError, ValueError):  # many remotes don't know
            return None

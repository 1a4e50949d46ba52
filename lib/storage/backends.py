"""A second place for files: a folder (Drive, a network disk) or an rclone remote, behind one set of calls.

Nothing that such a place says is believed: what was written is read back and hashed by the caller. A marker file tells a
place that is there from an empty mount point whose mount has gone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lib.storage.manifest import sync, write_text

MARKER = "brad-mehldau-mirror.txt"
MARKER_TEXT = "Checkpoints are copied here while training runs. Without this file the copy stops.\n"
BLOCK = 4 * 2**20
RCLONE_OPTIONS = ("--contimeout", "15s", "--timeout", "60s", "--retries", "1", "--low-level-retries", "2")
RCLONE_CALL_S, RCLONE_COPY_S = 120.0, 1800.0
# words of rclone's messages -> the errno that a disk would give
WORDS = {"quota": errno.EDQUOT, "no space": errno.ENOSPC, "input/output error": errno.EIO, "rate limit": errno.EAGAIN,
         "too many requests": errno.EAGAIN, "no such host": errno.ENETUNREACH, "network is unreachable": errno.ENETUNREACH,
         "dial tcp": errno.ENETUNREACH, "transport endpoint": errno.ENOTCONN}  # fmt: skip
REASONS = {errno.EDQUOT: "the storage quota is used up", errno.EIO: "input/output error (Errno 5)",
           errno.ENOSPC: "no space left (Errno 28)", errno.ENOTCONN: "the mount has died (Errno 107)",
           errno.EROFS: "it can only be read", errno.EAGAIN: "too many requests", errno.ENETUNREACH: "no network"}  # fmt: skip


class PlaceError(OSError):
    """A place that can't be used now; the message says why."""


def open_place(where):
    """FolderPlace, or RclonePlace for "REMOTE:PATH" such as "gdrive:brad-mehldau-checkpoints"; nothing is touched yet."""
    text = str(where)
    remote, colon, _ = text.partition(":")
    if colon and len(remote) > 1 and "/" not in remote and not Path(text).is_dir():
        return RclonePlace(text)
    return FolderPlace(Path(text).expanduser().absolute())


def reason(error):
    """An OSError in a few words for people."""
    if isinstance(error, PlaceError) and error.errno is None:
        return str(error)
    return REASONS.get(error.errno) or error.strerror or str(error)


class FolderPlace:
    """A folder: Drive's mount, a network disk, another disk. Errors are OSErrors with their errno.

    Parameters
    ----------
    root : the folder
    marked : whether it counts as gone without its marker; a run's own folder on this machine has none
    """

    kind = "folder"

    def __init__(self, root, marked=True):
        self.root, self.marked = Path(root), marked
        self.where = str(root)

    def open(self):
        """Make the folder and its marker; PlaceError where the disk that it is on is not there."""
        if not self.root.parent.is_dir():
            raise PlaceError(f"there is no {self.root.parent} (is the drive mounted?)")
        self.root.mkdir(exist_ok=True)
        if not (self.root / MARKER).exists():
            write_text(self.root / MARKER, MARKER_TEXT)

    def check(self):
        """PlaceError where the place has gone, as an unmounted drive has."""
        if self.marked and not (self.root / MARKER).exists():
            raise PlaceError(f"{self.where} has vanished (is the drive mounted?)")

    def names(self, path):
        """Names of files and folders directly in a folder; [] where it is not there."""
        try:
            return sorted(os.listdir(self.root / path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read_text(self, path):
        """A small file; FileNotFoundError where there is none."""
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def write_text(self, path, text):
        """Write a small file whole or not at all."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_text(self.root / path, text)

    def sha256(self, path):
        """Hex sha256 of what can be read there now."""
        with open(self.root / path, "rb") as file:
            with contextlib.suppress(AttributeError, OSError):  # not every system can forget what it has cached
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def put(self, local, path, halfway=None):
        """Copy a local file there; `halfway` is called once in the middle."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        middle = os.path.getsize(local) // 2
        with open(local, "rb") as source, open(partial, "wb") as file:
            file.write(source.read(middle))
            if halfway is not None:
                halfway()
            shutil.copyfileobj(source, file, BLOCK)
        sync(partial)
        partial.replace(target)

    def get(self, path, local):
        """Copy a file from there."""
        partial = Path(local).with_name(Path(local).name + ".part")
        shutil.copyfile(self.root / path, partial)
        partial.replace(local)

    def delete(self, path):
        """Remove a file or a folder, if it is there."""
        target = self.root / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


class RclonePlace:
    """A remote of rclone (https://rclone.org), by the user's own binary and its configuration."""

    kind = "rclone"

    def __init__(self, where):
        self.where = where.rstrip("/")
        self.binary = os.environ.get("RCLONE") or shutil.which("rclone")

    def _path(self, path):
        return f"{self.where}{'' if self.where.endswith(':') else '/'}{path}"

    def _call(self, *words, text=None, limit_s=RCLONE_CALL_S):
        if not self.binary:
            raise PlaceError("rclone is not installed (sudo apt install rclone, then rclone config)")
        command = [self.binary, *words, *RCLONE_OPTIONS]
        try:
            done = subprocess.run(command, input=text, capture_output=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise PlaceError(errno.ETIMEDOUT, f"rclone {words[0]} took longer than {limit_s:.0f} s", self.where) from None
        except OSError as error:
            raise PlaceError(f"{self.binary} does not run ({error})") from None
        if done.returncode:
            raise self._error(words[0], done)
        return done.stdout

    def _error(self, verb, done):
        text = done.stderr.decode(errors="replace").strip()
        if done.returncode in (3, 4) or "not found" in text.lower() and "config" not in text.lower():
            return FileNotFoundError(errno.ENOENT, "not there", self.where)
        last = text.splitlines()[-1] if text else f"exit code {done.returncode}"
        found = next((code for word, code in WORDS.items() if word in text.lower()), None)
        said = f"rclone {verb}: {last}"
        return PlaceError(said) if found is None else PlaceError(found, said, self.where)

    def open(self):
        """Make the folder and its marker; PlaceError where rclone or the remote is not set up."""
        remote = self.where.partition(":")[0] + ":"
        if remote not in self._call("listremotes").decode().split():
            raise PlaceError(f"rclone knows no remote {remote} (rclone config makes one)")
        if MARKER not in self.names(""):
            self._call("mkdir", self.where)
            self.write_text(MARKER, MARKER_TEXT)

    def check(self):
        """PlaceError where the place has gone."""
        if MARKER not in self.names(""):
            raise PlaceError(f"{self.where} has no {MARKER} any more")

    def names(self, path):
        """Names of files and folders directly in a folder; [] where it is not there."""
        try:
            listing = self._call("lsf", self._path(path))
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/") for name in listing.decode().splitlines())

    def read_text(self, path):
        """A small file; FileNotFoundError where there is none."""
        return self._call("cat", self._path(path)).decode(errors="replace")

    def write_text(self, path, text):
        """Write a small file whole or not at all."""
        self._call("rcat", self._path(path), text=text.encode())

    def sha256(self, path):
        """Hex sha256 of what can be read there now: it is downloaded."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            self.get(path, copy)
            with open(copy, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def put(self, local, path, halfway=None):
        """Copy a local file there; `halfway` is called while the copy is on its way."""
        if halfway is not None:
            halfway()
        self._call("copyto", "--ignore-times", str(local), self._path(path), limit_s=RCLONE_COPY_S)

    def get(self, path, local):
        """Copy a file from there."""
        partial = Path(local).with_name(Path(local).name + ".part")
        self._call("copyto", self._path(path), str(partial), limit_s=RCLONE_COPY_S)
        partial.replace(local)

    def delete(self, path):
        """Remove a file or a folder, if it is there."""
        for verb in ("deletefile", "purge"):
            with contextlib.suppress(FileNotFoundError):
                try:
                    self._call(verb, self._path(path))
                except PlaceError:
                    if verb == "purge":
                        raise

"""Atomic writes: after a crash there is either the old file or the new one, never a partial one.

But on Colab's Drive, where what a rename replaces lies in the bin, and counts: there files are written over in place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

DRIVE = Path("/content/drive")  # where Colab mounts Google Drive
PARTIAL = ".part"  # suffix of what is being written
CAN_NOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # folders of some mounted clouds


@contextmanager
def atomic_write(path: Path | str, unique: bool = False) -> Iterator[Path]:
    """Let the caller write a file beside `path`, then flush it to the disk and rename it to `path`; the folder is made.

    Below DRIVE the caller writes it to the runtime's own disk, from where it is copied over `path`.

    Parameters
    ----------
    path : of the file
    unique : the file beside is this process's own, for several that may write the same file at once

    Yields
    ------
    Path of the file beside; if the caller raises it is removed, and `path` stays as it was

    Raises
    ------
    OSError : it could not be written
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if DRIVE in path.absolute().parents:
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / f"{path.name}{PARTIAL}"
            yield partial
            with open(partial, "rb") as source, overwritten(path) as target:
                shutil.copyfileobj(source, target)
        return
    partial = path.with_name(f"{path.name}{f'.{os.getpid()}' if unique else ''}{PARTIAL}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def overwritten(path: Path | str) -> Iterator[BinaryIO]:
    """A file to write over what is at `path`, where it stands; then it is cut to what was written, and flushed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
        yield file
        file.truncate()
    sync(path)


def write_bytes(path: Path | str, content: bytes, unique: bool = False) -> Path:
    """Replace a file whole, see `atomic_write`: its Path."""
    with atomic_write(path, unique) as partial:
        partial.write_bytes(content)
    return Path(path)


def write_text(path: Path | str, text: str, unique: bool = False) -> None:
    """Replace a text file (UTF-8) whole; see `atomic_write`."""
    write_bytes(path, text.encode(), unique)


def sync(path: Path | str) -> None:
    """Force a file or folder to the disk, as far as its file system can."""
    on_windows = os.name == "nt"
    if on_windows and Path(path).is_dir():
        return  # folders can't be opened there
    handle = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CAN_NOT_SYNC:
            raise
    finally:
        os.close(handle)

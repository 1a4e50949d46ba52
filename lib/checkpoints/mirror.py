"""The mirror: a thread that copies finished checkpoints to a second storage, and never stops the training.

    MIRROR/runs/PRESET/RUN/checkpoints/step-00000250/...     as in the run; the manifest is written last
    MIRROR/runs/PRESET/RUN/{config,adjustments}.json ...     the run's small files
    MIRROR/stores/CORPUS/notes.store                         so that a new runtime need not download and ingest

It keeps no list of what it has to do: each round compares what is here with what is there, so that a round that was
missed, for whatever reason, is made up for by the next.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from pathlib import Path

from lib.checkpoints import checkpoint as checkpoints
from lib.data.prepare import copy_store
from lib.storage.backends import describe_error
from lib.storage.copies import copy_folder, matches
from lib.storage.kill_points import kill_point
from lib.storage.manifest import MANIFEST, DamageError, checked, read_manifest, unsealed

SMALL_FILES = ("config.json", "adjustments.json", "history.jsonl", "events.jsonl", "train.log")
FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_WAIT_S, LONGEST_WAIT_S, REMIND_S = 5.0, 300.0, 600.0
log = logging.getLogger("lib.training")


def remote_steps(storage, remote_run):
    """Names of the checkpoint folders in the mirror, newest first."""
    names = storage.names(f"{remote_run}/checkpoints")
    return sorted((name for name in names if checkpoints.step_of(name) is not None), reverse=True)


def remote_manifest(storage, remote_run, name):
    """The manifest of a checkpoint in the mirror, itself unharmed; DamageError otherwise."""
    path = f"{remote_run}/checkpoints/{name}/{MANIFEST}"
    try:
        manifest = checked(unsealed(storage.read_text(path), path), path)
    except FileNotFoundError:
        raise DamageError(f"{path} is not there.") from None
    if manifest.get("step") != checkpoints.step_of(name):
        raise DamageError(f"{path} is another step's.")
    return manifest


class Mirror:
    """Copies one run's checkpoints.

    Parameters
    ----------
    storage : of lib.storage.backends
    remote_run : the run's folder there
    run : the run's folder here
    keep : how many of the newest checkpoints stay there; the best stays besides
    verify_every_s : read back at most so often; None: each checkpoint
    report : callable(event, step, text)
    data : (data_dir, corpora): note stores to copy once; None: none

    Attributes
    ----------
    state : str for the progress line
    seconds : how long the last round that copied something took
    """

    def __init__(self, storage, remote_run, run, keep=5, verify_every_s=None, report=None, data=None):
        self.storage, self.remote_run, self.run, self.keep = storage, remote_run, Path(run), keep  # keep: 1 once it is full
        self.verify_every_s, self.report, self.data = verify_every_s, report or (lambda *event: None), data
        self.state, self.seconds = "nothing yet", 0.0
        self.first_wait_s, self.longest_wait_s = FIRST_WAIT_S, LONGEST_WAIT_S
        self._wake, self._closed, self._rounds = threading.Event(), threading.Event(), threading.Lock()
        self._copied, self._verified, self._last_verified_s = set(), set(), -1e9
        self._wait_s, self._said, self._said_at = 0.0, None, -1e9
        self._finished, self._opened = None, False
        self._thread = threading.Thread(target=self._go, name="mirror", daemon=True)  # a dead mount may block it for ever

    def start(self):
        """Begin; what is here and not there is copied at once."""
        self._thread.start()
        self._wake.set()

    def notify(self):
        """There is a new checkpoint."""
        self._wake.set()

    def finish(self, folder):
        """Copy a finished folder (brad_final) too."""
        self._finished = Path(folder)
        self._wake.set()

    def close(self):
        """Stop; a copy on its way is left half (the next one replaces it)."""
        self._closed.set(), self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def flush(self, timeout_s):
        """Copy what is missing now, however long the thread would still wait: True where all is there in time."""
        ended, succeeded = threading.Event(), []

        def work():
            succeeded.append(self._round(everything=True))
            ended.set()

        threading.Thread(target=work, name="mirror flush", daemon=True).start()
        return ended.wait(timeout_s) and succeeded[0]

    # --- Rounds ------------------------------------------------------------------------------------------------

    def _go(self):
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            while not self._closed.is_set() and not self._round():
                self._closed.wait(self._wait_s)  # nothing cuts the waiting short: a quota is not hammered on

    def _round(self, everything=False):
        """One try to bring the mirror up to date, `everything`: the logs too; whether it succeeded; never raises."""
        with self._rounds:
            began = time.monotonic()
            try:
                copied = self._catch_up(everything)
            except Exception as error:  # training goes on whatever a mirror does
                self._failed(error)
                return False
            self.seconds = time.monotonic() - began if copied else self.seconds
            self._wait_s, self._said = 0.0, None
            return True

    def _failed(self, error):
        text = describe_error(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        self._wait_s = min(self.longest_wait_s, self._wait_s * 2 or self.first_wait_s)
        self.state = f"waiting {self._wait_s:.0f} s: {text}"
        if text != self._said or time.monotonic() - self._said_at > REMIND_S:
            self._said, self._said_at = text, time.monotonic()
            self.report("mirror_failed", self._newest(), f"{text}; training goes on here, and the copy is made later")

    def _newest(self):
        folders = checkpoints.step_folders(self.run)
        return checkpoints.step_of(folders[0]) if folders else 0

    def _catch_up(self, everything):
        if not self._opened:
            self.storage.open()
            self._opened = True
        self.storage.check()
        due = self.verify_every_s is None or time.monotonic() - self._last_verified_s >= self.verify_every_s
        copied = False
        for folder in self._wanted():
            copied |= self._copy(folder, due)
        if copied or everything or self._finished:
            self._copy_rest()
        return copied

    def _wanted(self):
        """Checkpoint folders that belong into the mirror, oldest first."""
        folders = checkpoints.step_folders(self.run)
        best = None
        for folder in folders:
            try:
                best = read_manifest(folder).get("best_step")
                break
            except DamageError:
                continue
        newest = folders[: self.keep]
        return sorted({*newest, *(folder for folder in folders if checkpoints.step_of(folder) == best)})

    def _copy(self, folder, due):
        """Bring one checkpoint there, unless it is there, and read it back if that is due; whether anything was copied."""
        step, name = checkpoints.step_of(folder), folder.name
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except OSError:
            return False  # pruned meanwhile
        if self._is_there(name, text) and (name in self._verified or not due or self._look(name, text)):
            self._copied.add(name)
            return False
        self.state = f"copying {step}"
        try:
            if not due:
                checkpoints.check(folder)
            if not self._put(folder, name, text, due):
                checkpoints.check(folder)
                raise OSError(errno.EIO, "it gave back other bytes than were written")
        except DamageError:
            return False  # damaged, or pruned meanwhile: nothing to pass on
        except FileNotFoundError:
            if folder.is_dir():
                raise
            return False
        self._note(name, step, due)
        return True

    def _is_there(self, name, text):
        if name in self._copied:
            return True
        try:
            return self.storage.read_text(f"{self.remote_run}/checkpoints/{name}/{MANIFEST}") == text
        except FileNotFoundError:
            return False

    def _look(self, name, text):
        """Read a checkpoint back that was copied earlier: whether it is still what it was."""
        good = matches(self.storage, f"{self.remote_run}/checkpoints/{name}", unsealed(text, name))
        if good:
            self._verified.add(name)
            self._last_verified_s = time.monotonic()
        else:
            self.report("mirror_failed", checkpoints.step_of(name), "the copy there is damaged: it is made again")
        return good

    def _put(self, folder, name, text, verify):
        """Copy; where the mirror is full keep less there from now on, and let the next round try again."""
        try:
            return copy_folder(self.storage, folder, f"{self.remote_run}/checkpoints/{name}", text, verify)
        except OSError as error:
            if error.errno in FULL and self.keep > 1:
                self.keep = 1
                self._prune()
            raise

    def _note(self, name, step, verified):
        self._copied.add(name)
        if verified:
            self._verified.add(name)
            self._last_verified_s = time.monotonic()
        self._prune()
        self.state = f"step {step}"
        text = "copied and read back" if verified else "copied, not read back yet"
        self.report("mirrored", step, text + (", caught up" if self._said else ""))
        self._said = None

    def _prune(self):
        """Remove older checkpoints there, the newest verified one never; whether anything was removed."""
        wanted = {folder.name for folder in self._wanted()}
        names = remote_steps(self.storage, self.remote_run)
        good = [name for name in names if name in self._verified]
        if not good:
            return False
        spared = {*wanted, *names[: self.keep], self._best_there(good[0])}
        old = [name for name in names if name < good[0] and name not in spared]
        for name in old:
            kill_point("mirror.prune")
            self.storage.delete(f"{self.remote_run}/checkpoints/{name}/{MANIFEST}")  # first: half a folder is none
            self.storage.delete(f"{self.remote_run}/checkpoints/{name}")
            self._copied.discard(name), self._verified.discard(name)
        return bool(old)

    def _best_there(self, name):
        try:
            return f"step-{remote_manifest(self.storage, self.remote_run, name)['best_step']:08d}"
        except (DamageError, TypeError, KeyError):
            return None

    # --- What else is copied -----------------------------------------------------------------------------------

    def _copy_rest(self):
        for name in SMALL_FILES:
            if (self.run / name).exists():
                self.storage.put(self.run / name, f"{self.remote_run}/{name}")
        if self._finished is not None:
            folder = self._finished
            path = f"{self.remote_run.rpartition('/')[0]}/{folder.name}"
            if copy_folder(self.storage, folder, path, (folder / MANIFEST).read_text(encoding="utf-8")):
                self._finished = None
        if self.data is not None:
            data_dir, names = self.data
            for name in names:
                copy_store(self.storage, name, data_dir)
            self.data = None

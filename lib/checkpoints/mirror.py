"""The mirror: a thread copies finished checkpoints to a second storage and never stops the training; and the way back.

    MIRROR/runs/PRESET/RUN/checkpoints/step-00000250/...     as in the run; the manifest is written last
    MIRROR/runs/PRESET/RUN/{config,adjustments}.json ...     the run's small files
    MIRROR/stores/CORPUS/notes.store                         so that a new runtime need not download and ingest

The thread keeps no list of work: each round compares the run with its copy, so that the next makes up for a missed one.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.checkpoints import checkpoint as checkpoints
from lib.data.prepare import copy_store
from lib.storage.backends import Storage, describe_error, open_storage
from lib.storage.copies import copy_folder, fetch_folder, matches
from lib.storage.kill_points import kill_point
from lib.storage.manifest import MANIFEST, DamageError, parse_manifest, unsealed

SMALL_FILES = ("config.json", "adjustments.json", "history.jsonl", "events.jsonl", "train.log")
FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0  # between tries
REMIND_S = 600.0  # an error that stays is reported again so often
log = logging.getLogger("lib.training")


def remote_steps(storage: Storage, remote_run: str) -> list[str]:
    """Names of a run's checkpoint folders in the mirror, newest first."""
    names = storage.names(f"{remote_run}/checkpoints")
    return sorted((name for name in names if checkpoints.step_of(name) is not None), reverse=True)


def remote_manifest(storage: Storage, remote_run: str, name: str) -> dict:
    """The manifest of a checkpoint in the mirror, itself undamaged; DamageError otherwise."""
    path = f"{remote_run}/checkpoints/{name}/{MANIFEST}"
    try:
        manifest = parse_manifest(storage.read_text(path), path)
    except FileNotFoundError:
        raise DamageError(f"{path} is not there.") from None
    if manifest.get("step") != checkpoints.step_of(name):
        raise DamageError(f"{path} is another step's.")
    return manifest


class Mirror:
    """Copies one run's checkpoints.

    Parameters
    ----------
    storage : where to
    remote_run : the run's folder there
    run : the run's folder here
    keep : how many of the newest checkpoints stay there; the best stays besides
    verify_every_s : least seconds between two checkpoints that are read back; None: each is
    report : callable(event, step, text, **fields), see history.append_event
    data : (data_dir, corpora): note stores to copy once

    Attributes
    ----------
    state : str for the progress line
    seconds : how long the last round that copied something took
    """

    def __init__(
        self,
        storage: Storage,
        remote_run: str,
        run: Path | str,
        keep: int = 5,
        verify_every_s: float | None = None,
        report: Callable[..., None] | None = None,
        data: tuple[Path | str, Sequence[str]] | None = None,
    ):
        self.storage, self.remote_run, self.run = storage, remote_run, Path(run)
        self.keep = keep  # 1 once the mirror is full
        self.verify_every_s, self.report, self.data = verify_every_s, report or (lambda *event, **fields: None), data
        self.state, self.seconds = "nothing yet", 0.0
        self.first_wait_s, self.longest_wait_s = FIRST_WAIT_S, LONGEST_WAIT_S
        self._wake, self._closed, self._rounds = threading.Event(), threading.Event(), threading.Lock()
        self._copied, self._verified, self._last_verified_s = set(), set(), -1e9
        self._wait_s, self._reported, self._reported_at = 0.0, None, -1e9  # the error that was reported last, and when
        self._finished, self._opened = None, False
        # a daemon: a dead mount may block it for ever
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Start the thread; what the mirror lacks is copied at once."""
        self._thread.start()
        self._wake.set()

    def notify(self) -> None:
        """Wake the thread: there is a new checkpoint."""
        self._wake.set()

    def finish(self, folder: Path | str) -> None:
        """Copy a finished folder (brad_final) too."""
        self._finished = Path(folder)
        self._wake.set()

    def close(self) -> None:
        """Stop the thread; a copy on its way is left half (the next one replaces it)."""
        self._closed.set(), self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def flush(self, timeout_s: float) -> bool:
        """Copy what is missing now, however long the thread would still wait: whether it took at most `timeout_s` s."""
        ended, succeeded = threading.Event(), []

        def work():
            succeeded.append(self._round(everything=True))
            ended.set()

        threading.Thread(target=work, name="mirror flush", daemon=True).start()
        return ended.wait(timeout_s) and succeeded[0]

    # --- Rounds ------------------------------------------------------------------------------------------------

    def _run(self):
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            while not self._closed.is_set() and not self._round():
                self._closed.wait(self._wait_s)  # not cut short by `notify`: a quota needs its pause

    def _round(self, everything=False):
        """Try once to bring the mirror up to date (`everything`: the logs too): whether it succeeded; never raises."""
        with self._rounds:
            began = time.monotonic()
            try:
                copied = self._catch_up(everything)
            except Exception as error:  # training continues whatever a mirror does
                self._failed(error)
                return False
            self.seconds = time.monotonic() - began if copied else self.seconds
            self._wait_s, self._reported = 0.0, None
            return True

    def _failed(self, error):
        text = describe_error(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        self._wait_s = min(self.longest_wait_s, self._wait_s * 2 or self.first_wait_s)
        self.state = f"waiting {self._wait_s:.0f} s: {text}"
        if text != self._reported or time.monotonic() - self._reported_at > REMIND_S:
            self._reported, self._reported_at = text, time.monotonic()
            message = f"{text}; training goes on here, and the copy is made later"
            newest = next(iter(checkpoints.step_folders(self.run)), None)
            self.report("mirror_failed", checkpoints.step_of(newest) if newest else 0, message, reason=text)

    def _catch_up(self, everything):
        if not self._opened:
            self.storage.open()
            self._opened = True
        self.storage.check()
        due = self.verify_every_s is None or time.monotonic() - self._last_verified_s >= self.verify_every_s
        copied = False
        for folder in self._kept_folders():
            copied |= self._copy(folder, due)
        if copied or everything or self._finished:
            self._copy_rest()
        return copied

    def _kept_folders(self):
        """Checkpoint folders of the run that belong into the mirror, oldest first."""
        folders, best = checkpoints.step_folders(self.run), checkpoints.best_step(self.run)
        return sorted({*folders[: self.keep], *(folder for folder in folders if checkpoints.step_of(folder) == best)})

    def _copy(self, folder, due):
        """Copy a checkpoint unless it is there already, and read it back if that is `due`: whether it was copied."""
        step, name = checkpoints.step_of(folder), folder.name
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except OSError:
            return False  # pruned meanwhile
        if self._has_copy(name, text) and (name in self._verified or not due or self._verify(name, text)):
            self._copied.add(name)
            return False
        self.state = f"copying {step}"
        try:
            if not due:
                checkpoints.check(folder)
            if not copy_folder(self.storage, folder, f"{self.remote_run}/checkpoints/{name}", text, due):
                checkpoints.check(folder)
                raise OSError(errno.EIO, "it gave back other bytes than were written")
        except DamageError:
            return False  # damaged, or pruned meanwhile: nothing to copy
        except FileNotFoundError:
            if folder.is_dir():
                raise
            return False
        except OSError as error:
            if error.errno in FULL and self.keep > 1:
                self.keep = 1  # less is kept there from now on: the next round has room
                self._prune()
            raise
        self._note(name, step, due)
        return True

    def _has_copy(self, name, text):
        if name in self._copied:
            return True
        try:
            return self.storage.read_text(f"{self.remote_run}/checkpoints/{name}/{MANIFEST}") == text
        except FileNotFoundError:
            return False

    def _verify(self, name, text):
        """Read back a checkpoint that was copied earlier: whether it is intact."""
        if matches(self.storage, f"{self.remote_run}/checkpoints/{name}", unsealed(text, name)):
            self._verified.add(name)
            self._last_verified_s = time.monotonic()
            return True
        problem = "the copy there is damaged: it is made again"
        self.report("mirror_failed", checkpoints.step_of(name), problem, reason=problem)
        return False

    def _note(self, name, step, verified):
        self._copied.add(name)
        if verified:
            self._verified.add(name)
            self._last_verified_s = time.monotonic()
        self._prune()
        self.state = f"step {step}"
        text = "copied and read back" if verified else "copied, not read back yet"
        self.report("mirrored", step, text + (", caught up" if self._reported else ""))
        self._reported = None

    def _prune(self):
        """Remove older checkpoints there, the newest verified one never."""
        names = remote_steps(self.storage, self.remote_run)
        newest_verified = next((name for name in names if name in self._verified), None)
        if newest_verified is None:
            return
        kept = {*(folder.name for folder in self._kept_folders()), *names[: self.keep]}
        with contextlib.suppress(DamageError):
            best = remote_manifest(self.storage, self.remote_run, newest_verified).get("best_step")
            kept.add(f"step-{best or 0:08d}")
        for name in names:
            if name < newest_verified and name not in kept:
                kill_point("mirror.prune")
                self.storage.delete(f"{self.remote_run}/checkpoints/{name}/{MANIFEST}")  # first: half a folder is none
                self.storage.delete(f"{self.remote_run}/checkpoints/{name}")
                self._copied.discard(name), self._verified.discard(name)

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


# --- The way back --------------------------------------------------------------------------------------------------


def restore_run(storage: Storage, remote_run: str, run: Path | str, newest_here: int = 0) -> list[int]:
    """Fetch a run's newest valid checkpoint where it is newer than `newest_here`, and its best one.

    Parameters
    ----------
    storage : the mirror
    remote_run : the run's folder there
    run : the run's folder here
    newest_here : step of the newest valid checkpoint here

    Returns
    -------
    Steps that were fetched, the newest first

    Raises
    ------
    CheckpointError : there is none here, and all in the mirror are damaged; OSError : the storage can't be reached
    """
    restored, best, names = [], None, remote_steps(storage, remote_run)
    for name in names:
        if restored or checkpoints.step_of(name) <= newest_here:
            break
        manifest = _fetch_checkpoint(storage, remote_run, run, name)
        if manifest:
            restored.append(manifest["step"])
            best = manifest.get("best_step")
    if best is not None and best not in restored and not checkpoints.is_valid(checkpoints.step_folder(run, best)):
        manifest = _fetch_checkpoint(storage, remote_run, run, f"step-{best:08d}")
        restored += [best] if manifest else []
    if restored:
        remote_names = storage.names(remote_run)
        for name in SMALL_FILES:  # those that this machine has are newer, but for the adjustments
            if name in remote_names and (name == "adjustments.json" or not (Path(run) / name).exists()):
                storage.get(f"{remote_run}/{name}", Path(run) / name)
    elif not newest_here and not _only_begun(storage, remote_run, names):
        raise checkpoints.CheckpointError(
            f"All {len(names)} checkpoints of {storage.where}/{remote_run} are damaged, and {run} has none. "
            f"Start afresh with a new --run, or bring an older copy back (Drive keeps versions)."
        )
    return restored


def _only_begun(storage, remote_run, names):
    """Whether there is at most one checkpoint, whose copy was cut off before its manifest: nothing is lost then."""
    return not names or len(names) == 1 and MANIFEST not in storage.names(f"{remote_run}/checkpoints/{names[0]}")


def _fetch_checkpoint(storage, remote_run, run, name):
    """The manifest of the checkpoint that was fetched; None where the mirror's is damaged."""
    try:
        remote_manifest(storage, remote_run, name)  # checks its step
        return fetch_folder(storage, f"{remote_run}/checkpoints/{name}", Path(run) / "checkpoints" / name)
    except (DamageError, FileNotFoundError) as damage:
        log.warning("skipped a damaged checkpoint in the mirror: %s", damage)
        return None


def bring_runs(mirror: Path | str | None, preset: str, runs_dir: Path | str, names: Sequence[str]) -> None:
    """Fetch what a notebook looks for in RUNS and a new machine lacks: runs, or the finished improviser.

    Parameters
    ----------
    mirror : as for train; None: nothing is done
    preset : of the runs
    runs_dir : folder of runs
    names : of folders; those that are here, or not in the mirror, are left out
    """
    missing = [name for name in names if not (Path(runs_dir) / name).exists()]
    if mirror is None or not missing:
        return
    storage = open_storage(mirror)
    try:
        storage.open()
        remote_names = storage.names(f"runs/{preset}")
        for name in missing:
            if name in remote_names:
                finished = MANIFEST in storage.names(f"runs/{preset}/{name}")
                fetch = fetch_folder if finished else restore_run
                fetch(storage, f"runs/{preset}/{name}", Path(runs_dir) / name)
                print(f"{name} is here again, from {storage.where}", flush=True)
    except OSError as error:
        print(f"The mirror {mirror} can't be read: {describe_error(error)}.", flush=True)

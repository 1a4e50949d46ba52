"""The mirror: a thread copies finished checkpoints to a second storage and restores them; training never waits.

    MIRROR/runs/PRESET/RUN/slots/{a,b}/...                   the two newest checkpoints, as in the run
    MIRROR/runs/PRESET/RUN/slots/best/...                    the weights of the best one, without its optimizer
    MIRROR/runs/PRESET/RUN/{config,adjustments}.json ...     the run's small files
    MIRROR/stores/CORPUS/notes.store                         so that a new runtime need not download and ingest

Slots are overwritten where they stand, the older one first, as on Drive what is deleted or replaced still counts; a
manifest that is emptied first and written last says what is whole. Mirrors of earlier versions, a folder a checkpoint,
are read; once a slot is whole, these folders are removed. The thread keeps no list of work: each round compares the run
with its copy, so that the next makes up for a missed one.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.checkpoints import checkpoint as checkpoints
from lib.data.prepare import copy_store
from lib.storage.backends import Storage, describe_error
from lib.storage.copies import SPARE_BYTES, NoRoom, copy_folder, fetch_folder, matches
from lib.storage.kill_points import kill_point
from lib.storage.manifest import MANIFEST, DamageError
from lib.storage.slots import BEST, SLOTS, slot_to_write, stored_checkpoints, weights_manifest

SMALL_FILES = ("config.json", "adjustments.json", "history.jsonl", "events.jsonl", "train.log")
FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0  # between tries
REMIND_S = 600.0  # an error that stays is reported again so often
log = logging.getLogger("lib.training")


class Mirror:
    """Copies one run's checkpoints.

    Parameters
    ----------
    storage : where to
    remote_run : the run's folder there
    run : the run's folder here
    every_s : least seconds between two copies; the last one is made whenever training ends
    verify_every_s : least seconds between two checkpoints that are read back; None: each is
    report : callable(event, step, text, **fields), see history.append_event
    data : (data_dir, corpora): note stores to copy once
    spare_bytes : left free there; None: SPARE_BYTES
    clock : of the time module

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
        every_s: float = 0.0,
        verify_every_s: float | None = None,
        report: Callable[..., None] | None = None,
        data: tuple[Path | str, Sequence[str]] | None = None,
        spare_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.storage, self.remote_run, self.run, self.every_s = storage, remote_run, Path(run), every_s
        self.verify_every_s, self.report, self.data = verify_every_s, report or (lambda *event, **fields: None), data
        self.spare_bytes, self.clock = SPARE_BYTES if spare_bytes is None else spare_bytes, clock
        self.state, self.seconds = "nothing yet", 0.0
        self.first_wait_s, self.longest_wait_s = FIRST_WAIT_S, LONGEST_WAIT_S
        self._wake, self._closed, self._rounds = threading.Event(), threading.Event(), threading.Lock()
        self._verified, self._last_verified_s, self._last_copy_s = set(), -1e9, -1e9
        self._wait_s, self._reported, self._reported_at = 0.0, None, -1e9  # the error that was reported last, and when
        self._finished, self._opened, self._lacks_best = None, False, False
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

    def announce(self, checkpoint_bytes: int, weights_bytes: int) -> str:
        """What the mirror will take, in words for people; and whether it has room for that."""
        needed = len(SLOTS) * checkpoint_bytes + weights_bytes
        text = f"The mirror {self.storage.where} takes up to {needed / 1e9:.1f} GB for this run"
        try:
            free = self.storage.free()
            taken = self.storage.size(f"{self.remote_run}/slots")
        except OSError:
            return f"{text}."
        if free is None:
            return f"{text}; it does not say how much is free there."
        room = free + taken - self.spare_bytes
        lacks = f" Usable: {max(0, room) / 1e9:.1f} GB. Make room, and empty its bin." if room < needed else ""
        return f"{text}; {free / 1e9:.1f} GB are free.{lacks}"

    # --- Rounds ------------------------------------------------------------------------------------------------

    def _run(self):
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closed.wait(max(0.0, self._last_copy_s + self.every_s - self.clock()))
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
            message = f"{text}; training continues here, and the copy is made later"
            newest = next(iter(checkpoints.step_folders(self.run)), None)
            self.report("mirror_failed", checkpoints.step_of(newest) if newest else 0, message, reason=text)

    def _catch_up(self, everything):
        if not self._opened:
            self.storage.open()
            self._opened = True
        self.storage.check()
        copied = False
        for folder, best in self._wanted():
            copied |= self._copy(folder, best)
        if copied:
            self._last_copy_s = self.clock()
        if copied or everything or self._finished:
            self._copy_rest()
        return copied

    def _wanted(self):
        """[(checkpoint folder of the run, whether as the best)] that belong into the mirror.

        The best comes first: the slot that the newest is written to may hold it. In the newest slot it stays anyway.
        """
        folders, best = checkpoints.step_folders(self.run), checkpoints.best_step(self.run)
        newest = [folder for folder in folders if not checkpoints.has_weights_alone(folder)][:1]
        there, _ = stored_checkpoints(self.storage, self.remote_run)
        slots = {f"{self.remote_run}/slots/{name}" for name in SLOTS} - {slot_to_write(self.remote_run, there)}
        stays = {checkpoints.step_of(folder) for folder in newest} | {one.step for one in there if one.path in slots}
        kept = [folder for folder in folders if checkpoints.step_of(folder) == best and best not in stays]
        return [(folder, True) for folder in kept] + [(folder, False) for folder in newest]

    def _copy(self, folder, best):
        """Copy a checkpoint, or the weights of the best, unless it is there: whether copied; it is read back if due."""
        step = checkpoints.step_of(folder)
        try:
            text = (folder / MANIFEST).read_text(encoding="utf-8")
            text = weights_manifest(text) if best else text
        except (OSError, DamageError):
            return False  # pruned meanwhile
        there, _ = stored_checkpoints(self.storage, self.remote_run)
        due = self.verify_every_s is None or self.clock() - self._last_verified_s >= self.verify_every_s
        copy = next((one for one in there if one.text == text), None)
        if copy and (text in self._verified or not due or self._verify(copy)):
            return False
        path = copy.path if copy else slot_to_write(self.remote_run, there)
        path = f"{self.remote_run}/slots/{BEST}" if best else path
        self.state = f"copying {step}"
        try:
            if not due:
                checkpoints.check(folder)
            if not copy_folder(self.storage, folder, path, text, due, self.spare_bytes):
                checkpoints.check(folder)
                raise OSError(errno.EIO, "it returned different bytes from those written")
        except DamageError:
            return False  # damaged, or pruned meanwhile: nothing to copy
        except FileNotFoundError:
            if folder.is_dir():
                raise
            return False
        except OSError as error:
            if not isinstance(error, NoRoom) and error.errno not in FULL:
                raise
            self.storage.delete(f"{self.remote_run}/slots/{BEST}")  # the newest is worth more
            if not best:
                raise
            self._say_no_room_for_best(step, error)
            return False
        self._note(step, text, due, best)
        return True

    def _say_no_room_for_best(self, step, error):
        if not self._lacks_best:
            text = f"{describe_error(error)}; the newest checkpoints are copied; the best one is kept only here"
            self.report("mirror_failed", step, text, reason=describe_error(error))
        self._lacks_best = True

    def _verify(self, copy):
        """Read back a checkpoint that was copied earlier: whether it is intact."""
        if matches(self.storage, copy.path, copy.manifest):
            self._verified.add(copy.text)
            self._last_verified_s = self.clock()
            return True
        problem = "the copy there is damaged; copying again"
        self.report("mirror_failed", copy.step, problem, reason=problem)
        return False

    def _note(self, step, text, verified, best):
        if verified:
            self._verified.add(text)
            self._last_verified_s = self.clock()
            self._remove_earlier_layout()
        if best:
            return
        self.state = f"step {step}"
        words = "copied and read back" if verified else "copied, not read back yet"
        self.report("mirrored", step, words + (", caught up" if self._reported else ""))
        self._reported = None

    def _remove_earlier_layout(self):
        """The folders of an earlier version's checkpoints, once one in a slot is whole."""
        for name in self.storage.names(f"{self.remote_run}/checkpoints"):
            kill_point("mirror.prune")
            self.storage.delete(f"{self.remote_run}/checkpoints/{name}/{MANIFEST}")  # first: half a folder is none
            self.storage.delete(f"{self.remote_run}/checkpoints/{name}")

    # --- What else is copied -----------------------------------------------------------------------------------

    def _copy_rest(self):
        for name in SMALL_FILES:
            if (self.run / name).exists():
                self.storage.put(self.run / name, f"{self.remote_run}/{name}")
        if self._finished is not None:
            folder = self._finished
            path = f"{self.remote_run.rpartition('/')[0]}/{folder.name}"
            text = (folder / MANIFEST).read_text(encoding="utf-8")
            if copy_folder(self.storage, folder, path, text, spare_bytes=self.spare_bytes):
                self._finished = None
        if self.data is not None:
            data_dir, names = self.data
            try:
                for name in names:
                    copy_store(self.storage, name, data_dir, self.spare_bytes)
            except NoRoom as error:  # another machine can make them anew
                self.report("mirror_failed", 0, f"note stores are not copied: {error}", reason=str(error))
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
    there, broken = stored_checkpoints(storage, remote_run)
    restored, manifest = [], None
    for checkpoint in there:
        if restored or checkpoint.step <= newest_here or checkpoint.has_weights_alone:
            continue
        if _fetch_checkpoint(storage, run, checkpoint):
            restored.append(checkpoint.step)
            manifest = checkpoint.manifest
        else:
            broken.append(checkpoint.path)
    best = manifest["best_step"] if manifest else None
    if best is not None and best not in restored and not checkpoints.is_valid(checkpoints.step_folder(run, best)):
        copies = (one for one in there if one.step == best and _fetch_checkpoint(storage, run, one))
        restored += [one.step for one in copies][:1]
    if restored:
        remote_names = storage.names(remote_run)
        for name in SMALL_FILES:  # those that this machine has are newer, but for the adjustments
            if name in remote_names and (name == "adjustments.json" or not (Path(run) / name).exists()):
                storage.get(f"{remote_run}/{name}", Path(run) / name)
    elif not newest_here and not _only_begun(storage, broken):
        raise checkpoints.CheckpointError(
            f"All {len(broken)} checkpoints of {storage.where}/{remote_run} are damaged, and {run} has none. "
            f"Start again with a new --run, or restore an older copy (Drive keeps versions)."
        )
    return restored


def _only_begun(storage, broken):
    """Whether there is at most one checkpoint, whose copy was cut off before its manifest: nothing is lost then."""
    if len(broken) != 1:
        return not broken
    try:
        return not storage.read_text(f"{broken[0]}/{MANIFEST}")
    except FileNotFoundError:
        return True


def _fetch_checkpoint(storage, run, checkpoint):
    """Whether a checkpoint was fetched; the mirror's may be damaged."""
    try:
        fetch_folder(storage, checkpoint.path, checkpoints.step_folder(run, checkpoint.step))
    except (DamageError, FileNotFoundError) as damage:
        log.warning("skipped a damaged checkpoint in the mirror: %s", damage)
        return False
    return True

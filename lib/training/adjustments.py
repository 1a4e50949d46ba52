"""What a run had to change on its way, kept in the run so that going on repeats it: RUN/adjustments.json.

Smaller micro-batches since a step (memory ran out there), and detours: where the loss stopped being a number, training
went back to a checkpoint and took other music from there on (as Chowdhery et al. 2022, PaLM, section 5.1).
"""

from __future__ import annotations

from pathlib import Path

from lib.storage.atomic_write import write_text
from lib.storage.manifest import DamageError, sealed, unsealed

NAME = "adjustments.json"
MOST_DETOURS = 3  # from the same checkpoint


class Adjustments:
    """The adjustments of one run.

    Parameters
    ----------
    run : the run's folder
    batch_size : of the config: the micro-batch where nothing was changed
    values : dict of lists as `values` returns it, for where the run's file is lost; None: nothing was changed
    writes : whether to write the file: one of several processes does
    """

    def __init__(self, run, batch_size, values=None, writes=True):
        self.path, self.batch_size, self.writes = Path(run) / NAME, batch_size, writes
        values = self._read() or values or {}
        self.micro_batches = [list(row) for row in values.get("micro_batches", [])]  # [from step, size]
        self.detours = [list(row) for row in values.get("detours", [])]  # [from step, steps of music left out]

    def _read(self):
        try:
            return unsealed(self.path.read_text(encoding="utf-8"), self.path)
        except (OSError, UnicodeDecodeError, DamageError):
            return None

    def values(self):
        """As plain lists, for a manifest."""
        return {"micro_batches": [list(row) for row in self.micro_batches], "detours": [list(row) for row in self.detours]}

    def micro_batch(self, step):
        """Chunks in one forward pass at a step."""
        return min([self.batch_size, *(size for first, size in self.micro_batches if first <= step)])

    def data_step(self, step):
        """The step whose music, noise and dropout a step gets."""
        return step + sum(left_out for first, left_out in self.detours if first <= step)

    def halve(self, step):
        """From this step on half the micro-batch; returns its size, 0 where it was 1 already."""
        size = self.micro_batch(step) // 2
        if size:
            self.micro_batches.append([step, size])
            self._write()
        return size

    def leave_out(self, step, failed_at):
        """Go on from `step` with the music that comes after `failed_at`; False where that was tried often enough."""
        if sum(first == step for first, _ in self.detours) >= MOST_DETOURS:
            return False
        self.detours.append([step, failed_at + 1 - step])
        self._write()
        return True

    def _write(self):
        if self.writes:
            write_text(self.path, sealed(self.values()))

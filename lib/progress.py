"""Progress bars that fit where they are shown: a terminal, a notebook, a log, or nowhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import auto, tqdm

LINES_EVERY_S = 5.0


def progress_bar(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """tqdm, shown on terminals and in notebooks; in files and pipes it is left out, for train.log is there to follow.

    Parameters
    ----------
    iterable, options : of tqdm
    LIB_PROGRESS=lines (environment) : plain text every few seconds, as the headless runner streams it
    LIB_QUIET=1 (environment) : none at all
    """
    if os.environ.get("LIB_QUIET"):
        return tqdm(iterable, disable=True, **options)
    if os.environ.get("LIB_PROGRESS") == "lines":
        return tqdm(iterable, disable=False, mininterval=LINES_EVERY_S, file=sys.stderr, ncols=110, **options)
    in_notebook = "ipykernel" in sys.modules  # its output is no terminal, but shows bars
    return auto.tqdm(iterable, disable=False if in_notebook else None, **options)

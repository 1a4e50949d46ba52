"""Runs by name: a folder here, or a repository of the Hugging Face hub, downloaded once and kept in its cache.

`hf://OWNER/NAME`, or OWNER/NAME where no such folder is here; `@REVISION` behind it takes a branch, tag or commit. Only weights
(safetensors), configs and cards are fetched, nothing that could run.
"""

from __future__ import annotations

import re
from pathlib import Path

from lib.checkpoints.checkpoint import CheckpointError

SCHEME = "hf:"
NAME = re.compile(r"(?:hf:/{1,2})?([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")
OURS = ("data", "runs", "outputs")  # what begins so is a folder of this suite, though it may be missing
KINDS = ("*.json", "*.safetensors", "*.md")


def locate(run):
    """The folder of a run.

    Parameters
    ----------
    run : a folder, or a name as above; one slash of hf:// may have been lost, as pathlib does

    Returns
    -------
    Path; a folder that is neither here nor a name of the hub is given back as it is

    Raises
    ------
    CheckpointError : it is a name, and nothing can be had by it; the message says why
    """
    path, text = Path(run), str(run).replace("\\", "/")
    found = NAME.fullmatch(text)
    if text.startswith(SCHEME):
        if found is None:
            raise CheckpointError(f"{text} is no name of the Hugging Face hub: hf://OWNER/NAME or hf://OWNER/NAME@REVISION.")
    elif found is None or path.exists() or Path(found[1]).exists() or found[1] in OURS:
        return path
    return _download(f"{found[1]}/{found[2]}", found[3], text)


def _download(name, revision, text):
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        way = "pip install huggingface_hub"
        raise CheckpointError(f"There is no folder {text}, and to fetch it from the Hugging Face hub wants {way}.") from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(KINDS)))
    except Exception as error:  # the hub raises several unrelated types
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"There is no folder {text}, and the Hugging Face hub does not give {name}: {why[0]}") from None

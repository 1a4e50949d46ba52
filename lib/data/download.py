"""Archives and tables of the corpora, from their official addresses.

A download continues where it was cut (HTTP ranges), is verified by its checksum, and appears under its name only
when it is whole. Where a server says no, the message says how to do it by hand.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.config import nearest
from lib.data.corpora import CORPORA, Source
from lib.data.note_store import CorpusError
from lib.progress import progress_bar

BLOCK = 1 << 18
ATTEMPTS, PAUSE_S, TIMEOUT_S = 4, 2.0, 30.0
AGENT = {"User-Agent": "brad-mehldau-ai (python urllib)"}  # some servers refuse urllib's own name


def download(
    name: str, data_dir: Any, url: str | None = None, sha256: str | None = None, metadata_url: str | None = None
) -> Path:
    """Fetch a corpus (and its tables) from its official source into DIR/NAME.

    Parameters
    ----------
    name : a key of CORPORA
    data_dir : folder
    url, sha256 : another address of the archive, and its checksum
    metadata_url : another folder of the tables

    Returns
    -------
    Path of the archive

    Raises
    ------
    CorpusError : an unknown name, a server that refuses, a file that is not what was published
    """
    if name not in CORPORA:
        raise CorpusError(f"Nothing to download for {name!r}.{nearest(name, CORPORA)} Your own MIDI: ingest --folder.")
    archive, *tables = CORPORA[name].sources
    if url is not None:
        archive = replace(archive, url=url, checksum=f"sha256:{sha256}" if sha256 else "", record="")
    if metadata_url is not None:
        tables = [replace(table, url=f"{metadata_url.rstrip('/')}/{table.name}") for table in tables]
    return [fetch(source, Path(data_dir) / name) for source in (archive, *tables)][0]


def fetch(source: Source, folder: Any) -> Path:
    """The file in the folder, whole and verified: fetched if it is not there yet.

    Returns
    -------
    Path

    Raises
    ------
    CorpusError : the server refuses, or what came is not what was published
    """
    path = Path(folder) / source.name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = replace(source, checksum=source.checksum or _published_checksum(source, path))
    if path.exists() and _is_intact(path, source.checksum):
        return path
    partial = path.with_name(path.name + ".part")
    for _ in range(2):  # a part of another file spoils what is added to it: once more from the beginning
        fresh = not partial.exists()
        _complete(source, partial, path)
        if _is_intact(partial, source.checksum):
            partial.replace(path)
            return path
        partial.unlink()
        if fresh:
            break
    wrong = f"{source.url} does not have the published checksum ({source.checksum}): nothing was kept."
    raise CorpusError(f"{wrong} {_by_hand(source, path)}")


def _is_intact(path: Path, checksum: str) -> bool:
    """Whether a file has this checksum; any file has an unknown one ("")."""
    if not checksum:
        return True
    kind, _, wanted = checksum.partition(":")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == wanted.lower()


def _published_checksum(source, path):
    """What the record says of the file, or "" where there is no record to ask."""
    if not source.record:
        return ""
    try:
        with urllib.request.urlopen(_request(source.record), timeout=TIMEOUT_S) as answer:
            files = json.loads(answer.read())["files"]
        return next(file["checksum"] for file in files if file["key"] == source.name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise CorpusError(
            f"no checksum for {source.name} from {source.record} ({error}). {_by_hand(source, path)}"
        ) from error


def _complete(source, partial, path):
    """Bring the partial file to its full length, trying again where the connection breaks."""
    for attempt in range(ATTEMPTS):
        try:
            if _continue(source, partial):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is missing, or the part is longer than the file: the checksum decides
                return
            if error.code < 500 and error.code not in (408, 429):
                said = f"{source.url} answers {error.code} {error.reason}."
                raise CorpusError(f"{said} {_by_hand(source, path)}") from error
            problem = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", error))
        if attempt < ATTEMPTS - 1:
            time.sleep(PAUSE_S * 2**attempt)
    way = f"Run the same command again and it continues. {_by_hand(source, path)}"
    raise CorpusError(f"{source.url} can't be fetched: {problem}. {way}")


def _continue(source, partial):
    """Fetch what is missing; whether the file is then as long as the server says."""
    have = partial.stat().st_size if partial.exists() else 0
    request = _request(source.url, {"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        if have and answer.status != 206:  # the server sends all of it
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = progress_bar(total=total, initial=have, desc=source.name, unit="B", unit_scale=True, leave=False)
        with bar, open(partial, "ab" if have else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            return total is None or file.tell() == total


def _request(url, headers=()):
    return urllib.request.Request(url, headers={**AGENT, **dict(headers)})


def _by_hand(source, path):
    return f"By hand: open {source.url} in a browser, save the file as {path}, and run the command again."

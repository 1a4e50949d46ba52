"""Archives and tables of the public corpora, from their official addresses.

A download goes on where it was cut (HTTP ranges), is verified by its checksum, and appears under its name only
when it is whole. Where a server says no, the message says how to do it by hand.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.note_store import CorpusError
from lib.progress import progress_bar

PIJAMA_COMMIT = "8498db56dc1dc69eaa58ec7807c5806ed5f06ed3"
PIJAMA_TABLES = f"https://raw.githubusercontent.com/almostimplemented/PiJAMA/{PIJAMA_COMMIT}"
BLOCK = 1 << 18
ATTEMPTS, PAUSE_S, TIMEOUT_S = 4, 2.0, 30.0
AGENT = {"User-Agent": "brad-mehldau-ai (python urllib)"}  # some servers refuse urllib's own name


@dataclass(frozen=True)
class Source:
    """One file of a corpus: its name here, its address, its checksum ("sha256:...", "md5:...").

    `record` is the address of a JSON record that knows the checksum, for files whose checksum is not known before.
    """

    name: str
    url: str
    checksum: str = ""
    record: str = ""


SOURCES = {
    "maestro": (
        Source(
            "maestro-v3.0.0-midi.zip",
            "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip",
            "sha256:70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
        ),
    ),
    "pijama": (
        Source(
            "midi_kong.zip",
            "https://zenodo.org/records/8354955/files/midi_kong.zip?download=1",
            record="https://zenodo.org/api/records/8354955",
        ),
        Source(
            "pijama.csv",
            f"{PIJAMA_TABLES}/pijama.csv",
            "sha256:bbd3f5ae19c146c9f3e255781e400077b1a56f6459cf4245b1b349ee405fa55d",
        ),
        Source(
            "pijama_30.csv",
            f"{PIJAMA_TABLES}/pijama_30.csv",
            "sha256:ed110756598741b2e718c1e8ab1c4453171ba41fb6f811aaee926d7f84ede6dd",
        ),
    ),
}


def sources_of(name, url=None, sha256=None, metadata_url=None):
    """The files of a corpus; the archive (the first) from another address, the tables from another folder, if given."""
    archive, *tables = SOURCES[name]
    if url is not None:
        archive = replace(archive, url=url, checksum=f"sha256:{sha256}" if sha256 else "", record="")
    if metadata_url is not None:
        tables = [replace(table, url=f"{metadata_url.rstrip('/')}/{table.name}") for table in tables]
    return archive, *tables


def fetch(source, folder):
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
    if path.exists() and is_intact(path, source.checksum):
        return path
    partial = path.with_name(path.name + ".part")
    for _ in range(2):  # a part of another file spoils what is added to it: once more from the beginning
        fresh = not partial.exists()
        _complete(source, partial, path)
        if is_intact(partial, source.checksum):
            partial.replace(path)
            return path
        partial.unlink()
        if fresh:
            break
    wrong = f"{source.url} does not have the published checksum ({source.checksum}): nothing was kept."
    raise CorpusError(f"{wrong} {_by_hand(source, path)}")


def is_intact(path, checksum):
    """Whether a file has this checksum; any file has an unknown one ("")."""
    if not checksum:
        return True
    kind, _, wanted = checksum.partition(":")
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == wanted.lower()


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
    raise CorpusError(
        f"{source.url} can't be fetched: {problem}. Run the same command again and it goes on. {_by_hand(source, path)}"
    )


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

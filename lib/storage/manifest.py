"""Folders with a readable manifest of the sha256 of every file, written last.

The manifest holds a hash of itself too, so that a flipped bit in a step number is noticed like one in a weight: a
tensor full of zeros loads without complaint, only a hash tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lib.config import ConfigError
from lib.storage.atomic_write import write_text

MANIFEST = "manifest.json"
SEAL = "manifest_sha256"


class DamageError(ConfigError):
    """A file or folder that is not what was written; the message says which, and how."""


def file_sha256(path: Path | str) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(facts: Mapping) -> str:
    """JSON text of a dict with a hash of its own contents."""
    return json.dumps({**facts, SEAL: _seal(facts)}, indent=1, ensure_ascii=False)


def unsealed(text: str, what: object) -> dict:
    """The dict that `sealed` wrote; DamageError, naming `what`, where a byte differs."""
    try:
        facts = json.loads(text)
        seal = facts.pop(SEAL)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamageError(f"{what} is not whole.") from None
    if seal != _seal(facts):
        raise DamageError(f"{what} is damaged (its own sha256 differs).")
    return facts


def _seal(facts):
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_manifest(folder: Path, facts: Mapping, hashes: Mapping[str, str] | None = None) -> None:
    """The manifest of a folder's files, last of all: `facts` and the sha256 of each; a card (.md) may change later.

    Parameters
    ----------
    hashes : dict name -> sha256 of what was meant to be written; None: of what is there
    """
    if hashes is None:
        paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST]
        hashes = {path.name: file_sha256(path) for path in paths if path.suffix != ".md"}
    write_text(folder / MANIFEST, sealed({**facts, "sha256": hashes}))


def read_manifest(folder: Path | str) -> dict:
    """The manifest of a folder, itself undamaged (DamageError otherwise); the files are not read."""
    path = Path(folder) / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DamageError(f"{folder} has no manifest.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DamageError(f"{path} can't be read ({error}).") from None
    return parse_manifest(text, path)


def parse_manifest(text: str, what: object) -> dict:
    """A manifest from its text: undamaged, naming plain files with their hashes; else DamageError, naming `what`."""
    manifest = unsealed(text, what)
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict) or not all(Path(name).name == name for name in hashes):
        raise DamageError(f"{what} names no files.")
    return manifest


def verify(folder: Path | str) -> dict:
    """The manifest of a folder whose every file fits its hash.

    Raises
    ------
    DamageError : says what is wrong with it
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, sha256 in manifest["sha256"].items():
        try:
            actual = file_sha256(folder / name)
        except FileNotFoundError:
            raise DamageError(f"{folder}: {name} is missing.") from None
        except OSError as error:
            raise DamageError(f"{folder}: {name} can't be read ({error}).") from None
        if actual != sha256:
            raise DamageError(f"{folder}: {name} is damaged (its sha256 differs).")
    return manifest

"""Finds the folder of FL Studio's scripts, and writes and removes ours there, and nothing else.

FL Studio keeps its user data in `Documents/Image-Line/FL Studio` by default (Options > File settings > User
data folder). It remembers the folder as "Shared data": on Windows in the registry, on macOS in an XML file of the same
shape.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from xml.etree import ElementTree

from lib.apps.fl_studio.script import SIGNATURE
from lib.config import ConfigError
from lib.storage.atomic_write import atomic_write

SCRIPTS = Path("Settings", "Piano roll scripts")
SUFFIX = ".pyscript"
# (key, name) in the registry: FL Studio's own, and Windows' Documents, which OneDrive moves
FL_PATHS = (r"Software\Image-Line\Shared\Paths", "Shared data")
DOCUMENTS = (r"Software\Microsoft\Windows\CurrentVersion\Explorer\User Shell Folders", "Personal")
MAC_REGISTRY = Path("Library", "Preferences", "Image-Line", "reg.xml")
HINT = 'Look it up in FL Studio (Options > File settings > User data folder) and give it: --user-data "FOLDER".'


def user_data(given: Path | None = None) -> Path:
    """The folder `FL Studio` of the user's data, or in the folder `Image-Line` that is given (None: found); ConfigError
    where it isn't there: says how to give it."""
    if given is not None:
        folder = given / "FL Studio" if (given / "FL Studio").is_dir() else given
        if not (folder / "Settings").is_dir():
            why = "has no folder Settings: it is not FL Studio's user data folder"
            raise ConfigError(f"--user-data {folder} {why}. {HINT}")
        return folder
    read = {"Windows": _read_registry, "Darwin": _read_mac_registry}.get(platform.system())
    if read is None:
        raise ConfigError(f"FL Studio runs on Windows and macOS, this is {platform.system()}. {HINT}")
    usual = Path.home() / "Documents"
    shared, documents = read(*FL_PATHS), os.path.expandvars(read(*DOCUMENTS) or usual)
    for folder in (*([Path(shared)] if shared else ()), Path(documents, "Image-Line"), usual / "Image-Line"):
        if (folder / "FL Studio").is_dir():
            return folder / "FL Studio"
    raise ConfigError(f"There is no folder {usual / 'Image-Line/FL Studio'}: has FL Studio run once? {HINT}")


def _read_registry(key, name):
    import winreg  # of Windows alone

    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None


def _read_mac_registry(key, name):
    keys = "/".join(f"Key[@Name='{part}']" for part in ("HKEY_CURRENT_USER", *key.split("\\")))
    try:
        return ElementTree.parse(Path.home() / MAC_REGISTRY).findtext(f".//{keys}/Value[@Name='{name}']")
    except (OSError, ElementTree.ParseError):
        return None


def script_path(folder: Path, name: str) -> Path:
    """Where a script of that name lies in a user data folder. ConfigError : the name can't be a file's."""
    if not name.strip() or not name.isascii() or any(sign in name for sign in '<>:"/\\|?*') or not name.isprintable():
        raise ConfigError(f"--name {name!r} can't be a file's name: plain letters, digits, spaces and dashes can.")
    return Path(folder) / SCRIPTS / (name.strip() + SUFFIX)


def install(text: str, path: Path | str) -> Path:
    """Write a script, whole or not at all; ConfigError where one not ours has that name, or it can't be written."""
    path = Path(path)
    if path.exists() and not is_ours(path):
        raise ConfigError(f"{path} is there already and is not ours: it stays. Give ours another name.")
    try:
        with atomic_write(path, unique=True) as partial:
            partial.write_text(text, encoding="ascii", newline="\n")
    except OSError as error:
        way = "Is the folder yours, the disk full, or the file open?"
        raise ConfigError(f"{path} can't be written: {error.strerror}. {way}") from None
    return path


def is_ours(path: Path) -> bool:
    """Whether a path is a script of ours."""
    return path.is_file() and path.read_bytes().startswith(SIGNATURE.encode())


def uninstall(folder: Path) -> list[Path]:
    """Remove our scripts from a user data folder: those that were removed."""
    ours = [path for path in sorted((Path(folder) / SCRIPTS).glob(f"*{SUFFIX}")) if is_ours(path)]
    for path in ours:
        path.unlink()
    return ours

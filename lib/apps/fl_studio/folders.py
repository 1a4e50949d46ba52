"""Where FL Studio keeps the user's scripts, and putting ours there: nothing else is written, changed or removed.

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
FL_PATHS = (r"Software\Image-Line\Shared\Paths", "Shared data")
DOCUMENTS = (r"Software\Microsoft\Windows\CurrentVersion\Explorer\User Shell Folders", "Personal")
MAC_REGISTRY = Path("Library", "Preferences", "Image-Line", "reg.xml")
# where Documents lie if nobody says; OneDrive moves them, and names them in the user's language
USUAL = ("Documents", "OneDrive*/*", "Library/CloudStorage/OneDrive*/*")
HINT = 'Look it up in FL Studio (Options > File settings > User data folder) and give it: --user-data "FOLDER".'


def user_data(given=None, system=None, home=None, registry=None):
    """The folder `FL Studio` of the user's data.

    Parameters
    ----------
    given : the folder, or the folder `Image-Line` around it; None: find it
    system : Windows, Darwin or another; None: this one
    home : the user's folder; None: this user's
    registry : callable((key, name)) -> str or None, of Windows' HKEY_CURRENT_USER; None: this machine's

    Raises
    ------
    ConfigError : it isn't there, or there are several; says how to give it
    """
    if given is not None:
        return _given(Path(given))
    system, home = system or platform.system(), Path(home or Path.home())
    if system not in ("Windows", "Darwin"):
        raise ConfigError(f"FL Studio runs on Windows and macOS, this is {system}. {HINT}")
    for folder in _remembered(registry or (_mac_registry(home) if system == "Darwin" else _read_registry)):
        if folder.is_dir():
            return folder
    usual = [home.glob(f"{documents}/Image-Line/FL Studio") for documents in USUAL]
    found = sorted({folder.resolve() for folders in usual for folder in folders if folder.is_dir()})
    if not found:
        raise ConfigError(
            f"There is no folder Documents/Image-Line/FL Studio in {home}: has FL Studio run once? {HINT}"
        )
    if len(found) > 1:
        raise ConfigError(f"Several folders could be FL Studio's: {', '.join(map(str, found))}. {HINT}")
    return found[0]


def _given(folder):
    within = folder / "FL Studio"
    folder = within if within.is_dir() else folder
    if not (folder / "Settings").is_dir():
        raise ConfigError(
            f"--user-data {folder} has no folder Settings: it is not FL Studio's user data folder. {HINT}"
        )
    return folder


def _remembered(read):
    """What FL Studio remembers, then Windows' own Documents."""
    shared, documents = read(FL_PATHS), read(DOCUMENTS)
    if shared:
        yield Path(shared) / "FL Studio"
    if documents:
        yield Path(os.path.expandvars(documents)) / "Image-Line" / "FL Studio"


def _read_registry(entry):
    import winreg  # of Windows alone

    key, name = entry
    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
            return winreg.QueryValueEx(opened, name)[0]
    except OSError:
        return None


def _mac_registry(home):
    """As _read_registry, from FL Studio's file on macOS."""

    def read(entry):
        key, name = entry
        try:
            found = ElementTree.parse(home / MAC_REGISTRY).getroot()
        except (OSError, ElementTree.ParseError):
            return None
        for part in ("HKEY_CURRENT_USER", *key.split("\\")):
            found = found.find(f".//Key[@Name='{part}']") if found is not None else None
        value = found.find(f"Value[@Name='{name}']") if found is not None else None
        return value.text if value is not None else None

    return read


def script_path(folder, name):
    """Where a script of that name lies in a user data folder. ConfigError : the name can't be a file's."""
    if not name.strip() or not name.isascii() or any(sign in name for sign in '<>:"/\\|?*') or not name.isprintable():
        raise ConfigError(f"--name {name!r} can't be a file's name: plain letters, digits, spaces and dashes can.")
    return Path(folder) / SCRIPTS / (name.strip() + SUFFIX)


def install(text, path):
    """Write a script, whole or not at all; one that is not ours is never replaced.

    Raises
    ------
    ConfigError : another script has that name, or the folder can't be written
    """
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


def is_ours(path):
    """Whether a path is a script of ours."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE.encode()


def uninstall(folder):
    """Remove our scripts from a user data folder; list of what was removed."""
    ours = [path for path in sorted((Path(folder) / SCRIPTS).glob(f"*{SUFFIX}")) if is_ours(path)]
    for path in ours:
        path.unlink()
    return ours

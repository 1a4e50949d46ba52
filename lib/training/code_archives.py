"""Codes in a mirror, so that a new runtime need not encode the music again: one zip a corpus and encoding.

    MIRROR/codes/CODEC/CORPUS.ENCODING.zip      the files DATA/codes/CODEC/CORPUS/PIECE.ENCODING.npy
    MIRROR/codes/frames-LAYOUT/CORPUS.zip       what is known of the pieces in any key; styles likewise

They are a tenth of what lies here (PiJAMA: 33 MB an encoding, 51 MB of frames), fetched and unpacked in seconds instead
of minutes of encoding. A zip's own checksums tell whether it is whole; what is not is encoded, and written over.
"""

from __future__ import annotations

import logging
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from lib.storage.atomic_write import write_bytes
from lib.storage.backends import Storage, describe_error
from lib.storage.copies import SPARE_BYTES

Kind = tuple[str, str, str]  # folder, corpus, encoding ("" for what is the same in any key)
# what zipfile raises where bytes differ
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
log = logging.getLogger("lib.training")


class CodeArchives:
    """The archives of a folder of codes in a storage. If the storage fails, training continues and a line says so.

    Parameters
    ----------
    storage : the mirror
    codes : DATA/codes
    """

    def __init__(self, storage: Storage, codes: Path):
        self.storage, self.codes = storage, codes

    def fetch(self, missing: Iterable[Path]) -> None:
        """Unpack the archives that these files would be in; they may hold fewer, or more."""
        try:
            self.storage.check()
            for kind in sorted(set(map(self._kind, missing))):
                self._unpack(kind)
        except OSError as error:
            print(f"The codes can't be fetched from the mirror ({describe_error(error)}); encoding here.", flush=True)

    def store(self, made: Iterable[Path]) -> None:
        """Write the archives that these new files belong into, with all files of the kind that there are here."""
        try:
            self.storage.check()
            kept_bytes = sum(map(self._pack, sorted(set(map(self._kind, made)))))
            print(f"The mirror stores the codes, {kept_bytes / 1e6:.0f} MB, for other machines.", flush=True)
        except OSError as error:
            print(f"The codes can't be stored in the mirror: {describe_error(error)}.", flush=True)

    def _kind(self, path: Path) -> Kind:
        folder, corpus, name = path.relative_to(self.codes).parts
        return folder, corpus, name.removesuffix(".npy").partition(".")[2]

    def _unpack(self, kind: Kind):
        archive = _archive(kind)
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "codes.zip"
            try:
                self.storage.get(archive, local)
                with zipfile.ZipFile(local) as file:
                    for name in file.namelist():
                        path = self.codes / kind[0] / kind[1] / Path(name).name
                        if not path.exists():
                            write_bytes(path, file.read(name), unique=True)
            except FileNotFoundError:
                return
            except DAMAGE as error:
                log.warning("left out %s/%s, which is damaged: %s", self.storage.where, archive, error)

    def _pack(self, kind: Kind) -> int:
        paths = [path for path in sorted((self.codes / kind[0] / kind[1]).glob("*.npy")) if self._kind(path) == kind]
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "codes.zip"
            with zipfile.ZipFile(local, "w") as file:
                for path in paths:  # without their times: the same codes are the same archive
                    file.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
            free, size = self.storage.free(), local.stat().st_size
            if free is not None and free + self.storage.size(_archive(kind)) - size < SPARE_BYTES:
                raise OSError(f"{size / 1e6:.0f} MB are too much: one gigabyte must stay free")
            self.storage.put(local, _archive(kind))
            return size


def _archive(kind: Kind) -> str:
    folder, corpus, encoding = kind
    return f"codes/{folder}/{corpus}{'.' if encoding else ''}{encoding}.zip"

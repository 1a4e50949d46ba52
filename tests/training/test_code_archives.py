"""Codes in a mirror: a new machine encodes nothing that another has encoded, and no mirror stops a training."""

import shutil

import numpy as np
import pytest

from lib.checkpoints import load
from lib.config import preset
from lib.data.corpora import gather_pieces
from lib.data.tempo_maps import tempo_maps_of
from lib.storage.backends import FolderStorage
from lib.training import code_archives, code_store
from lib.training.code_store import CodeStore
from lib.training.coded_stream import CodedStream


@pytest.fixture
def storage(tmp_path):
    storage = FolderStorage(tmp_path / "drive")
    storage.open()
    return storage


@pytest.fixture
def encode(demo_data, tiny_runs, tmp_path, monkeypatch):
    """A function: encode pieces in a data folder; the files that were encoded, not fetched."""
    vqvae, _ = load.load_vqvae(tiny_runs / "vqvae")
    style_encoder, style_config, _ = load.load_style_encoder(tiny_runs / "style_encoder")
    pieces, written = gather_pieces(preset("diffusion", "tiny"), demo_data, "train")[:3], []
    write = code_store._write
    monkeypatch.setattr(code_store, "_write", lambda path, rows: (written.append(path.name), write(path, rows)))

    def encode(machine, storage, first=0, last=3, encodings=2):
        written.clear()
        chosen = pieces[first:last]
        stream = CodedStream(chosen, tempo_maps_of(chosen), preset("diffusion", "tiny"), encodings, augment=False)
        CodeStore(tmp_path / machine, vqvae, style_encoder, style_config, storage).encode(stream)
        return sorted(written)

    return encode


def files_of(folder):
    return {path.relative_to(folder): np.load(path).tobytes() for path in folder.rglob("*.npy")}


def test_a_new_machine_encodes_nothing(encode, storage, tmp_path):
    assert len(encode("old", storage)) == 12 and encode("new", storage) == []
    assert files_of(tmp_path / "new") == files_of(tmp_path / "old")
    archives = sorted(path.relative_to(storage.root).as_posix() for path in storage.root.rglob("*.zip"))
    assert len(archives) == 4 and all(name.startswith("codes/") for name in archives), "two encodings, frames, styles"
    assert len([name for name in archives if "frames" in name]) == 1


def test_an_archive_grows_with_what_another_machine_encodes(encode, storage, tmp_path):
    assert len(encode("one", storage, last=1)) == 4
    assert len(encode("two", storage, first=1)) == 8, "what is there does not help with other pieces"
    assert encode("three", storage) == [], "nor was it lost"
    assert len(encode("three", storage, encodings=3)) == 3


def test_a_damaged_archive_is_encoded_and_written_over(encode, storage, tmp_path, caplog):
    encode("old", storage)
    archive = next(path for path in storage.root.rglob("*.zip") if "frames" in str(path))
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\0" * 50 + whole[250:]):
        archive.write_bytes(damaged)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        assert len(encode("new", storage)) == 3 and archive.read_bytes() == whole
        assert files_of(tmp_path / "new") == files_of(tmp_path / "old")


def test_a_mirror_that_fails_is_said_and_stops_nothing(encode, storage, monkeypatch, capsys):
    (storage.root / "brad-mehldau-mirror.txt").unlink()  # the mount has gone
    assert len(encode("one", storage)) == 12
    assert "codes can't be fetched" in (said := capsys.readouterr().out) and "vanished" in said and "can't be stored" in said
    storage.open()
    monkeypatch.setattr(code_archives, "SPARE_BYTES", 10**18)
    assert len(encode("two", storage)) == 12 and "one gigabyte must stay free" in capsys.readouterr().out
    assert not list(storage.root.rglob("*.zip"))

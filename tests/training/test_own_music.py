"""A folder of the user's own MIDI in a stage's config."""

import shutil

import pytest

from lib.config import preset
from lib.data.corpora import open_corpus
from lib.data.note_store import CorpusError
from lib.data.tempo_maps import open_tempo_maps
from lib.training.own_music import with_own_music


@pytest.fixture
def folder(demo_midi, tmp_path):
    """PIANIST/ALBUM/TITLE.mid of two pianists."""
    for pianist in ("Cora Canonby", "Bea Blockford"):
        shutil.copytree(demo_midi / pianist, tmp_path / "my tunes" / pianist)
    return tmp_path / "my tunes"


def test_a_stage_learns_from_it_besides_its_corpora(folder, tmp_path):
    config = with_own_music(preset("vqvae", "tiny"), folder, tmp_path)
    assert config.corpora == ("demo", "own-my tunes")
    assert with_own_music(config, folder, tmp_path) == config, "a cell may run twice"
    store = open_corpus("own-my tunes", tmp_path)
    assert {piece.pianist for piece in store.pieces} == {"Cora Canonby", "Bea Blockford"}
    assert len(open_tempo_maps(store)) == len(store.pieces)


def test_fine_tuning_is_on_that_alone_as_played_by_one(folder, tmp_path):
    config = with_own_music(preset("fine_tune", "tiny"), str(folder), tmp_path, "Me")
    assert (config.corpora, config.pianist) == (("own-my tunes",), "Me")
    assert {piece.pianist for piece in open_corpus("own-my tunes", tmp_path).pieces} == {"Me"}
    assert with_own_music(preset("fine_tune", "tiny"), folder, tmp_path).pianist == "my tunes"


def test_no_folder_changes_nothing_and_a_missing_one_is_named(tmp_path):
    config = preset("vqvae", "tiny")
    assert with_own_music(config, "", tmp_path) is config
    with pytest.raises(CorpusError, match="no folder at .*nowhere"):
        with_own_music(config, tmp_path / "nowhere", tmp_path)

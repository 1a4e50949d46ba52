"""A tiny model that plays noise, evaluated on the demo corpus: fast without what takes long, and whole for the slow tests."""

import os
from pathlib import Path

import pytest
from evaluation_sizes import ALL, FEW, PIANIST

from lib.apps.evaluate import intervals

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """A finished folder with a tiny transformer that nobody trained."""
    from tiny import save_tiny_improviser

    return save_tiny_improviser(tmp_path_factory.mktemp("tiny") / "noise")


@pytest.fixture(scope="session")
def few_draws():
    """Intervals from few draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "DRAWS", 40)
        yield


@pytest.fixture(scope="session")
def likeness(noise, demo_data, tmp_path_factory, few_draws):
    """(the likeness of the noise, the folder with its clips)."""
    from lib.apps.evaluate.clip_sets import ClipSets
    from lib.apps.evaluate.evaluation import gather

    folder = tmp_path_factory.mktemp("likeness")
    material = ClipSets(noise, demo_data, folder, FEW, pianist=PIANIST)
    return gather(material, ("likeness", "means", "in_time", "copying"), say=str), folder


@pytest.fixture(scope="session")
def evaluated(noise, demo_data, tmp_path_factory, few_draws):
    """(the evaluation, its folder, what it said) of the noise, as a user gets it."""
    from lib.apps.evaluate.evaluation import evaluate

    folder, said = tmp_path_factory.mktemp("evaluation"), []
    return evaluate(noise, demo_data, folder, ALL, sounding=1, say=said.append, pianist=PIANIST), folder, said


@pytest.fixture(scope="session")
def pijama():
    """The note store of PiJAMA in data/, or in the folder that DATA_DIR names."""
    from lib.data.corpora import open_corpus
    from lib.data.note_store import CorpusError
    from lib.data.tempo_maps import open_tempo_maps

    try:
        store = open_corpus("pijama", Path(os.environ.get("DATA_DIR", ROOT / "data")))
        open_tempo_maps(store)
    except CorpusError as error:
        pytest.skip(f"real recordings are not here: {error}")
    return store

"""The released improviser: whole, small, with a card, and it plays."""

import numpy as np
import pytest

from lib.config import RELEASED
from lib.data.corpora import open_corpus
from lib.data.tempo_maps import read_tempo_maps
from lib.generation.generate import generate, generate_many, load_improviser
from lib.generation.request import GenerateRequest, Order
from lib.models.beat_tracker import BeatTracker
from lib.music.tempo_map import BEATS_ONLY, IN_BARS
from lib.storage.manifest import verify
from lib.style.gallery import load_classifier
from lib.style.identification import identify


def test_every_file_is_what_the_manifest_says_and_small():
    manifest = verify(RELEASED)
    names = ("vqvae", "style_encoder", "diffusion", "fine_tune", "styles", "changes", "beat_tracker")
    assert set(manifest["sha256"]) >= {f"{name}.safetensors" for name in names}
    assert all((RELEASED / f"{name}.safetensors").stat().st_size <= 26 * 2**20 for name in names)
    for name in ("README.md", "codec.md", "style.md", "judge.md", "improviser.md"):
        card = (RELEASED / name).read_text(encoding="utf-8")
        assert "PiJAMA" in card and "non-commercial" in card


def test_it_plays_like_somebody():
    improviser = load_improviser(released=True, device="cpu")
    solo = generate(improviser, GenerateRequest(seconds=5.0, num_steps=12))
    assert improviser.pianist == "Brad Mehldau" and len(improviser.styles.names) == 110
    assert 5 < len(solo.notes) < 200


@pytest.mark.slow
def test_it_plays_in_company_as_it_does_alone():
    improviser = load_improviser(released=True, device="cpu")
    requests = [GenerateRequest(seconds=5.0, num_steps=8, seed=seed) for seed in range(4)]
    alone = [generate(improviser, request).notes for request in requests]
    together = [solo.notes for solo in generate_many(improviser, [Order(request) for request in requests])]
    for one, other in zip(alone, together):
        assert len(one) > 5 and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("onset_s", "pitch"))


def test_its_changes_are_the_pianists_own():
    improviser = load_improviser(released=True, device="cpu")
    assert tuple(improviser.changes) == improviser.styles.names and len(improviser.changes["Brad Mehldau"]) > 10_000
    solo = generate(improviser, GenerateRequest(chords="own", seconds=5.0, num_steps=12))
    assert solo.request.chords != "own" and solo.chords and len(solo.notes) > 5


def test_the_base_model_plays_too():
    base = load_improviser(released=True, device="cpu", base=True)
    solo = generate(base, GenerateRequest(seconds=5.0, num_steps=12, style="Bill Evans"))
    assert base.pianist is None and 5 < len(solo.notes) < 200


def test_it_says_who_may_be_playing(demo_data):
    classifier, gallery = load_classifier(RELEASED)
    assert len(classifier.names) == 30 and "Brad Mehldau" in classifier.names and len(gallery.pianists) > 2000
    found = identify(classifier, gallery, open_corpus("demo", demo_data).piece_notes(0), top=30)
    assert sum(p for _, p in found.pianists) + found.unknown == pytest.approx(1)
    assert found.unknown > 0.2  # a program, none of the thirty


def test_the_beat_tracker_is_small_and_taps_along(demo_data):
    path = RELEASED / "beat_tracker.safetensors"
    assert path.stat().st_size <= 1_000_000 and "non-commercial" in (RELEASED / "beat_tracker.md").read_text(encoding="utf-8")
    store = open_corpus("demo", demo_data)
    tempo_map = BeatTracker.load(path).track(store.piece_notes(0))
    assert tempo_map.seconds_of(BEATS_ONLY, IN_BARS) > 0.5 * store.pieces[0].seconds


def test_released_tempo_maps_are_whole():
    for name, count in (("maestro", 1276), ("pijama", 2777)):
        path = RELEASED / f"tempo_maps_{name}.npz"
        with np.load(path) as file:
            fingerprint = str(file["fingerprint"])
        maps = read_tempo_maps(path, fingerprint)
        assert len(maps) == count and path.stat().st_size <= 4 * 2**20
        assert all(75 <= np.median(tempo_map.bpm) < 172 for tempo_map in maps)

"""Who is playing: from a trained classifier to words, and styles of one's own."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.checkpoints.load import Styles, parse_mix
from lib.config import ConfigError, preset
from lib.data.corpora import open_corpus
from lib.music.midi_writer import write_midi
from lib.music.style_features import STYLE_DESCRIPTORS, style_descriptors
from lib.music.time_grid import put_on_grid
from lib.storage.manifest import DamageError, read_manifest, write_manifest
from lib.style import gallery as galleries
from lib.style.classifier import StyleClassifier, TooShort
from lib.style.embeddings import add_style, with_own
from lib.style.gallery import GALLERY, Boundary, load_classifier, make_gallery
from lib.style.identification import identify
from lib.training.loop import train


@pytest.fixture(scope="module")
def heard(demo_data, tmp_path_factory):
    """(run folder with a gallery, the demo corpus)"""
    folder = tmp_path_factory.mktemp("identify")
    config = preset("style_encoder", "demo", steps=100, validate_every=100, save_every=100, tracker="none")
    run = train(config, demo_data, folder).run
    make_gallery(run, demo_data)
    return run, open_corpus("demo", demo_data)


def test_players_are_named_on_pieces_never_heard(heard):
    classifier, shelf = load_classifier(heard[0])
    store, right = heard[1], []
    for i in store.select(split="test") + store.select(split="validation"):
        found = identify(classifier, shelf, store.piece_notes(i))
        right.append(found.pianists[0][0] == store.pieces[i].pianist)
        assert sum(p for _, p in identify(classifier, shelf, store.piece_notes(i), top=9).pianists) == pytest.approx(1)
        assert all(-1.01 <= similarity <= 1.01 for *_, similarity in found.nearest) and len(found.nearest) == 3
    assert np.mean(right) > 0.6  # of six
    assert found.unknown is None and "?  none of the players" in found.describe()  # the demo corpus has no strangers
    known = replace(shelf, known=(Boundary(30, 0.999, 50.0, 0.7, 0.8),))
    found = identify(classifier, known, store.piece_notes(i), top=9)
    assert found.unknown > 0.1 and sum(p for _, p in found.pianists) + found.unknown == pytest.approx(1)
    assert "70% of the players it knows, 80% of others" in found.describe()


def test_a_recording_of_the_library_is_nearest_to_itself(heard):
    classifier, shelf = load_classifier(heard[0])
    store = heard[1]
    for i in store.select(split="train")[:4]:
        (pianist, _, title, similarity), *others = identify(classifier, shelf, store.piece_notes(i)).nearest
        assert (pianist, title) == (store.pieces[i].pianist, store.pieces[i].title) and similarity == pytest.approx(1, abs=0.01)
        assert max(other for *_, other in others) < 0.99


def test_evidence_along_the_piece_and_words(heard):
    classifier, shelf = load_classifier(heard[0])
    notes = heard[1].piece_notes(heard[1].select(split="validation")[0])
    found = identify(classifier, shelf, notes)
    assert len(found.times_s) == len(found.evidence) > 2 and np.isfinite(found.evidence).all()
    typical, atypical = found.extremes()
    assert 0 <= typical <= notes.end_s and typical != atypical
    words = found.describe()
    assert found.pianists[0][0] in words and "none of the players" in words and "most typical" in words
    values = json.loads(json.dumps(found.as_values()))
    assert values["most_typical_s"] == typical and len(values["pianists"]) == 5
    for habit in found.habits:  # on the same side of the middle as the pianist it speaks for
        assert (habit.percentile - 50) * (habit.pianists_percentile - 50) > 0


def test_too_little_music_is_refused(heard):
    classifier, shelf = load_classifier(heard[0])
    notes = heard[1].piece_notes(0)
    for short in (notes.between(0, 2), notes.between(0, 0)):
        with pytest.raises(TooShort, match=r"5 s and 10 notes"):
            identify(classifier, shelf, short)


def test_a_library_that_is_not_there_damaged_or_of_other_weights(heard, tiny_runs, tmp_path):
    with pytest.raises(ConfigError, match="--make-library"):
        load_classifier(tiny_runs / "style_encoder")
    run = shutil.copytree(heard[0], tmp_path / "run")
    tensors = run / GALLERY / "library.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamageError):
        load_classifier(run)
    tensors.write_bytes(content)
    save_file({name: value for name, value in load_file(tensors).items() if name != "vectors"}, tensors)
    facts = {name: value for name, value in read_manifest(run / GALLERY).items() if name != "sha256"}
    write_manifest(run / GALLERY, facts)
    with pytest.raises(ConfigError, match="earlier version.*--make-library"):
        load_classifier(run)
    shutil.rmtree(run / GALLERY)
    shutil.copytree(heard[0] / GALLERY, run / GALLERY)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tiny_runs / "style_encoder" / "checkpoints", run / "checkpoints")
    with pytest.raises(ConfigError, match="other weights"):
        load_classifier(run)


def test_who_is_known_is_learnt_from_two_samples_that_differ():
    generator = np.random.default_rng(0)
    boundary = Boundary.between(generator.normal(0.8, 0.05, 200), generator.normal(0.6, 0.05, 300), 30)
    assert 0.68 < boundary.threshold < 0.72 and boundary.steepness > 10 and boundary.seconds == 30
    assert boundary.known_rate == pytest.approx(boundary.unknown_rate, abs=0.01) and boundary.known_rate > 0.95
    same = np.full(20, 0.7)
    assert Boundary.between(same, same, 30) is None and Boundary.between(same - 0.1, same, 30) is None


def test_boundaries_between_lengths_and_an_older_gallery(heard, tmp_path, caplog):
    _, shelf = load_classifier(heard[0])
    assert shelf.boundary(30) is None and shelf.probability_of_known(shelf.vectors[0], shelf.pianists, 30) is None
    shelf = replace(shelf, known=(Boundary(10, 0.2, 10, 0.6, 0.6), Boundary(40, 0.4, 30, 0.8, 0.9)))
    assert shelf.boundary(20).threshold == pytest.approx(0.3) and shelf.boundary(20).known_rate == pytest.approx(0.7)
    assert shelf.boundary(5).threshold == 0.2 and shelf.boundary(300).steepness == 30
    run = shutil.copytree(heard[0], tmp_path / "run")
    facts = {name: value for name, value in read_manifest(run / GALLERY).items() if name != "sha256"}
    write_manifest(run / GALLERY, {**facts, "known": [0.26, 29.5]})
    assert load_classifier(run)[1].known == () and "--make-library" in caplog.text


def test_the_same_name_on_every_time_grid(heard):
    """As tests/benchmarks/style_grids.py measures it on real recordings."""
    classifier, store = StyleClassifier.of_run(heard[0]), heard[1]
    clips = [store.piece_notes(i).between(5, 35) for i in store.select(split="validation") + store.select(split="test")]
    grids_s = (0.0, 0.001, 0.005, 0.01, 0.02, 60 / 120 / 24, 60 / 75 / 24)
    names = [[classifier.predict(put_on_grid(clip, step_s)).log_probability.argmax() for step_s in grids_s] for clip in clips]
    assert len(clips) >= 6 and np.mean([len(set(row)) == 1 for row in names]) >= 0.8


def test_a_file_of_a_sequencer_tells_little(heard):
    classifier, shelf = load_classifier(heard[0])
    notes = heard[1].piece_notes(0)
    assert not any("little" in remark for remark in identify(classifier, shelf, notes).remarks)
    dull = replace(notes, onset_s=np.rint(notes.onset_s * 8) / 8, velocity=np.full_like(notes.velocity, 80))
    words = identify(classifier, shelf, dull, beat_s=0.5, left_out=["drums (96 notes)"]).describe()
    assert "Left out of the file: drums (96 notes)." in words and "Times in steps of 125 ms." in words
    assert "tells little" in words and "every note is as loud" in words and "grid of a sequencer" in words


def test_strangers_say_from_where_on_a_player_is_known(heard, demo_data, monkeypatch):
    classifier, _ = load_classifier(heard[0])
    stranger, store = classifier.names[0], heard[1]
    piece = store.pieces[next(i for i in range(len(store)) if store.pieces[i].pianist == stranger)]
    once = [replace(piece, album="Only"), *(replace(piece, pianist="Other", album=album) for album in ("One", "Two"))]
    shown = [(one, None, None) for one in (*once, replace(piece, pianist=classifier.names[1]))]
    classifier = replace(classifier, names=("Nobody", *classifier.names[1:]))
    assert list(galleries._single_album(classifier, shown)) == [True, False, False, False]
    by_stranger = lambda _, shown: np.array([row[0].pianist == stranger for row in shown])  # noqa: E731
    monkeypatch.setattr(galleries, "_single_album", by_stranger)
    _, found = galleries.enrol_corpora(classifier, preset("style_encoder", "demo"), demo_data)
    assert stranger in found.pianists and [boundary.seconds for boundary in found.known][:3] == [10, 30, 60]
    probability = [found.probability_of_known(vector, classifier.names, 100) for vector in found.vectors]
    strange = np.array(found.pianists) == stranger
    assert np.mean(np.array(probability)[strange]) < 0.4 < np.mean(np.array(probability)[~strange])


def test_silence_at_the_beginning_is_no_music(heard):
    classifier, shelf = load_classifier(heard[0])
    notes = heard[1].piece_notes(0)
    late = replace(notes.between(0, 3), onset_s=notes.between(0, 3).onset_s + 100)
    with pytest.raises(TooShort):
        identify(classifier, shelf, late)
    late = replace(notes, onset_s=notes.onset_s + 100, pedal_s=notes.pedal_s + 100)
    one, other = (identify(classifier, shelf, performance) for performance in (late, notes))
    assert dict(one.pianists) == pytest.approx(dict(other.pianists))
    assert [row[-1] for row in one.nearest] == pytest.approx([row[-1] for row in other.nearest], abs=1e-3)


def test_calibration_makes_confidence_fit():
    generator, names = np.random.default_rng(0), tuple("abcd")
    truth = generator.integers(0, 4, 400)
    logits = generator.normal(size=(400, 4)) + 2 * np.eye(4)[truth]
    sure = torch.from_numpy(10 * logits).log_softmax(-1).numpy()  # ten times too sure
    classifier = StyleClassifier(None, names).calibrated(sure, [names[t] for t in truth])
    probability = torch.from_numpy(sure / classifier.temperature).softmax(-1).numpy()
    assert classifier.temperature > 3
    assert abs(probability.max(1).mean() - (probability.argmax(1) == truth).mean()) < 0.05


def test_habits_have_a_value_each(heard):
    for i in range(0, len(heard[1]), 7):
        values = style_descriptors(heard[1].piece_notes(i))
        assert list(values) == [habit.name for habit in STYLE_DESCRIPTORS] and np.isfinite(list(values.values())).all()


@pytest.mark.parametrize(("text", "parts"), [
    ("Brad Mehldau", [("Brad Mehldau", 1.0)]),
    ("Brad Mehldau:0.7, Bill Evans:0.3", [("Brad Mehldau", 0.7), ("Bill Evans", 0.3)]),
])  # fmt: skip
def test_mixes(text, parts):
    assert parse_mix(text) == parts


@pytest.mark.parametrize("text", ["", "A:x", "A:-1", "A:0,B:0", ":1", "A:nan", "A:inf"])
def test_bad_mixes(text):
    with pytest.raises(ConfigError, match="style"):
        parse_mix(text)


def test_a_mix_lies_between():
    styles = Styles(("Ann", "Bob"), torch.eye(2))
    assert torch.allclose(styles.vector("Ann:3,Bob:4"), torch.tensor([0.6, 0.8]))
    with pytest.raises(ConfigError, match="'Ann'"):
        styles.vector("Anne:1,Bob:1")


def test_a_style_of_ones_own(heard, tmp_path):
    classifier, notes = StyleClassifier.of_run(heard[0]), heard[1].piece_notes(0)
    (tmp_path / "mine").mkdir()
    for folder in ("a", "b"):
        (tmp_path / "mine" / folder).mkdir()
        write_midi(notes, tmp_path / "mine" / folder / "one.mid")
    (tmp_path / "mine" / "two.MID").write_bytes(b"nothing")
    path, left_out = add_style(classifier, "Ich selbst", tmp_path / "mine", tmp_path / "styles")
    assert json.loads(path.read_text())["files"] == ["a/one.mid", "b/one.mid"] and len(left_out) == 1 and "two.MID" in left_out[0]
    known = Styles(("Ann",), torch.nn.functional.normalize(torch.ones(1, len(classifier.predict(notes).style)), dim=-1))
    (tmp_path / "styles" / "broken.json").write_text("{")
    styles = with_own(known, classifier, tmp_path / "styles")
    assert styles.names == ("Ann", "Ich selbst")
    assert float(styles.vector("Ich selbst") @ torch.from_numpy(classifier.predict(notes).style)) > 0.99
    turned = replace(known, projection=-torch.eye(known.vectors.shape[1]))
    moved = with_own(turned, classifier, tmp_path / "styles")
    assert torch.allclose(moved.vector("Ich selbst"), -styles.vector("Ich selbst"))
    assert torch.equal(moved.vector("Ann"), known.vectors[0])
    for name, folder in (("a/b", "mine"), ("a:1", "mine"), ("fine", "styles")):
        with pytest.raises(ConfigError):
            add_style(classifier, name, tmp_path / folder, tmp_path / "styles")


def test_a_style_of_another_encoder_is_made_anew_or_refused(heard, tmp_path, caplog):
    classifier, other = (StyleClassifier.of_run(heard[0]) for _ in range(2))
    torch.nn.init.zeros_(other.style_encoder.pianists)  # an encoder like any other, by another fingerprint
    write_midi(heard[1].piece_notes(0), tmp_path / "mine" / "one.mid")
    older, _ = add_style(other, "Ich selbst", tmp_path / "mine", tmp_path / "styles")
    known = Styles(("Ann",), torch.nn.functional.normalize(torch.ones(1, classifier.style_encoder.project.out_features)))
    assert with_own(known, classifier, tmp_path / "styles").names == ("Ann", "Ich selbst")
    assert len(list((tmp_path / "styles").iterdir())) == 2  # the other encoder keeps its own
    for path in set((tmp_path / "styles").iterdir()) - {older}:
        path.unlink()
    shutil.rmtree(tmp_path / "mine")
    styles = with_own(known, classifier, tmp_path / "styles")
    assert styles.names == ("Ann",) and "Ich selbst" in caplog.text
    for text in ("Ich selbst", "Ann:0.5,Ich selbst:0.5"):
        with pytest.raises(ConfigError, match='earlier style encoder.*style add "Ich selbst" --folder'):
            styles.vector(text)


def test_an_ear_that_reads_rolls(demo_data, tmp_path):
    run = train(preset("style_encoder", "tiny", reads="roll"), demo_data, tmp_path).run
    classifier, notes = StyleClassifier.of_run(run), open_corpus("demo", demo_data).piece_notes(0)
    assert classifier.reads == "roll"
    heard = classifier.predict(notes)
    assert np.exp(heard.log_probability).sum() == pytest.approx(1, abs=1e-4)
    times_s, evidence = classifier.evidence(notes)
    assert evidence.shape == (len(times_s), len(classifier.names))
    assert np.allclose(heard.style, classifier.predict(notes.between(0, 1e6)).style)

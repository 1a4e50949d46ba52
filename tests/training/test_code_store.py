"""Codes on disk are what the codec makes of the music, once, in other keys; a window is where it should be."""

import numpy as np
import pytest
import torch

from lib.checkpoints import load
from lib.config import ConfigError, preset
from lib.data.corpora import gather_pieces
from lib.data.tempo_maps import tempo_maps_of
from lib.models.vqvae import VQVAE
from lib.music.chart import chord_features
from lib.music.chord_recognition import recognise_chords
from lib.music.piano_roll import LATENT_STRIDE, LATENTS_PER_BEAT, WINDOW, notes_to_piano_roll, sounding_roll
from lib.music.tempo_map import NO_BEAT, BeatNotes, Metre, TempoMap, bar_table, clock_frames, in_beats, tempo_frames, window_starts
from lib.training.code_store import CodeStore, latent_frames, most_alike
from lib.training.coded_stream import AS_PLAYED, FRAME, NEVER, CodedStream, Excerpt
from lib.training.stream import Batch


@pytest.fixture
def pieces(demo_data):
    return gather_pieces(preset("diffusion", "tiny"), demo_data, "train")[:3]


@pytest.fixture(scope="module")
def frozen(tiny_runs):
    vqvae, _ = load.load_vqvae(tiny_runs / "vqvae")
    style_encoder, style_config, _ = load.load_style_encoder(tiny_runs / "style_encoder")
    return vqvae, style_encoder, style_config


@pytest.fixture
def encoded(pieces, frozen, tmp_path):
    """A function: a stream of the pieces, encoded so many times."""

    def encode(num_encodings=2, seed=0, models=frozen, maps=None, augment=False):
        config = preset("diffusion", "tiny", seed=seed)
        stream = CodedStream(pieces, maps or tempo_maps_of(pieces), config, num_encodings, augment)
        CodeStore(tmp_path, *models).encode(stream)
        return stream

    return encode


def read(stream, *windows, step=0):
    """The windows as a batch of a step reads them."""
    return stream.read(Batch(stream, list(windows), step, list(range(len(windows))), "cpu"))


def of_epoch(stream, epoch):
    """A step of an epoch."""
    step = -(-epoch * stream.num_chunks // stream.global_batch)
    assert stream.epoch(step) == epoch
    return step


def beat_notes(stream, item):
    store, index = stream.pieces[item]
    return in_beats(store.piece_notes(index), stream.tempo_maps[item])


def test_as_played_the_codes_are_those_of_the_notes(encoded, frozen):
    stream = encoded(0)
    notes, length = beat_notes(stream, 1), stream.lengths[1]
    first = int(window_starts(clock_frames(stream.tempo_maps[1], length), WINDOW)[5])
    coded = read(stream, Excerpt(1, first), step=5)
    whole = frozen[0].encode(notes_to_piano_roll(notes, length * LATENT_STRIDE))
    assert torch.equal(coded.codes, whole[:, first : first + WINDOW])
    part = notes.between(first / LATENTS_PER_BEAT - 0.02, (first + WINDOW) / LATENTS_PER_BEAT - 0.02)
    assert coded.onsets.shape == (1, WINDOW, LATENT_STRIDE) and coded.onsets.sum() == pytest.approx(len(part), abs=1)
    assert coded.keys.sum() / coded.onsets.sum() + 21 == pytest.approx(part.pitch.mean(), abs=0.5)
    assert coded.chords.shape[:2] == (1, WINDOW) and list(stream.encodings) == [AS_PLAYED]
    tempo_map = stream.tempo_maps[1]
    assert np.array_equal(coded.clock[0].numpy(), clock_frames(tempo_map, length)[first : first + WINDOW])
    bpm = tempo_frames(tempo_map, length)[first : first + WINDOW]
    assert np.allclose(coded.tempo[0].numpy(), bpm, rtol=1e-3, equal_nan=True)


def test_each_encoding_is_in_another_key_and_they_take_turns(encoded):
    stream = encoded(2)
    ways = [stream.whole_piece(item, encoding) for item in range(3) for encoding in range(12)]
    assert [{way.transpose for way in ways[first : first + 12]} for first in (0, 12, 24)] == [set(range(-5, 7))] * 3
    assert len({way.loudness for way in ways}) == 36 and all(0.85 <= way.loudness <= 1.15 for way in ways)
    one, two, again = (read(stream, Excerpt(0, 0), step=of_epoch(stream, epoch)) for epoch in (0, 1, 2))
    assert not torch.equal(one.codes, two.codes) and torch.equal(one.codes, again.codes)
    shift = stream.whole_piece(0, 1).transpose - stream.whole_piece(0, 0).transpose
    assert torch.equal(two.keys, one.keys + shift * one.onsets.sum(-1)) and torch.equal(two.onsets, one.onsets)
    roots, others = (coded.chords[0, :, :12] for coded in (one, two))
    assert torch.equal(roots.roll(shift, -1), others), "chords go with the key"


def test_the_density_is_notes_a_beat_and_the_register_follows_the_key(encoded):
    stream = encoded(0)
    coded = read(stream, Excerpt(0, 0))
    density, register = coded.density_and_register()
    middle = coded.onsets.sum(-1)[0, 45:76].sum() / 31 * LATENTS_PER_BEAT  # 31 frames around the 60th
    assert density[0, 60] == pytest.approx(float(middle), rel=1e-4)
    mean = coded.keys[0, 45:76].sum() / coded.onsets[0, 45:76].sum() + 21
    assert register[0, 60] == pytest.approx(float(mean), rel=1e-4)


def test_nothing_is_made_twice_and_other_weights_seeds_or_maps_have_their_own(encoded, frozen, tmp_path):
    stream = encoded()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(before) == 12  # two encodings, the frames and the styles of three pieces
    encoded()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert encoded(seed=1).code_paths[0, 0] != stream.code_paths[0, 0]
    moved = [tempo_map.covering(-1.0, 0.0) for tempo_map in stream.tempo_maps]
    other = encoded(maps=moved)
    assert not set(other.code_paths.values()) & set(stream.code_paths.values())
    assert not set(other.frame_paths) & set(stream.frame_paths) and other.style_paths == stream.style_paths
    with torch.no_grad():
        changed = load.frozen(VQVAE.from_config(preset("vqvae", "tiny", seed=3)), frozen[0].state_dict())
        changed.encoder.last.bias += 1
    again = encoded(models=(changed, *frozen[1:]))
    assert not set(again.code_paths.values()) & set(stream.code_paths.values())
    assert again.frame_paths == stream.frame_paths, "what is known of the music needs no codec"


def test_a_piece_that_is_shorter_than_a_window_ends_in_silence(encoded, pieces, monkeypatch):
    monkeypatch.setattr(CodedStream, "notes", lambda self, window: few)
    few = BeatNotes(np.arange(4.0), np.arange(4) + 0.5, np.full(4, 60), np.full(4, 64), np.zeros((0, 2)))
    short = TempoMap.constant(75, Metre(4, 4), 2)
    stream = encoded(0, maps=[short.covering(0, 1)] * 3)
    stream.lengths = [WINDOW] * 3
    coded = read(stream, Excerpt(2, 0))
    density, register = coded.density_and_register()
    assert density[0, 100] == 0 and register[0, 100].isnan() and (density[0, :10] > 0).all()
    assert coded.clock[0, -1].tolist() == [6, 48, 0] and coded.tempo[0, -1].isnan()
    assert not coded.referred.any() and not coded.reference.any()


def test_styles_are_those_of_passages(encoded):
    vectors = encoded().styles([0, 0, 1], [0.0, 0.999, 0.0])
    assert vectors.shape == (3, 16) and torch.allclose(vectors.norm(dim=-1), torch.ones(3), atol=1e-2)
    assert not torch.equal(vectors[0], vectors[1])


def test_pianists_have_their_own_vector_and_the_unknown_none(encoded):
    stream = encoded()
    stream.pianists = ["Ann", "", "Ben"]
    stream.set_pianist_styles(("Ben", "Ann"), torch.eye(2))
    vectors, is_known = stream.pianist_styles([2, 1, 0])
    assert vectors.tolist() == [[1, 0], [0, 0], [0, 1]] and is_known.tolist() == [True, False, True]
    stream.set_pianist_styles((), torch.zeros(0, 2))
    assert stream.pianist_styles([0, 1])[1].tolist() == [False, False]


@pytest.mark.parametrize("kind", ["codes", "frames"])
def test_damage_names_the_file(kind, encoded):
    stream = encoded(0)
    path = stream.code_paths[0, AS_PLAYED] if kind == "codes" else stream.frame_paths[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{path.name}.*Delete it"):
        read(encoded(0), Excerpt(0, 0))
    path.unlink()
    assert read(encoded(0), Excerpt(0, 0)).codes.shape[1] == WINDOW


def test_chords_are_those_of_the_moment_and_the_next_ones_come_when_it_says(encoded):
    stream = encoded(0)
    coded, length = read(stream, Excerpt(0, 0)), stream.lengths[0]
    roll = notes_to_piano_roll(beat_notes(stream, 0), length * LATENT_STRIDE)
    clock = torch.from_numpy(clock_frames(stream.tempo_maps[0], length).astype(np.int64))
    frames = recognise_chords(sounding_roll(roll), clock[None])[0]
    assert torch.equal(coded.chords[0], chord_features(frames)[:WINDOW]) and len(coded.chords[0].unique(dim=0)) > 2
    assert np.array_equal(stream.chords(0), frames.numpy())
    until = coded.beats_until[0]
    for at in range(0, WINDOW, 7):
        if until[at].isinf():
            assert (frames[at:] == frames[at]).all() and not coded.next_chords[0, at].any()
            continue
        change = at + round(float(until[at]) * LATENTS_PER_BEAT)
        assert (frames[at:change] == frames[at]).all() and (frames[change] != frames[at]).any()
        assert torch.equal(coded.next_chords[0, at], chord_features(frames)[change])
    assert (until < 20).any() and float(until[until.isfinite()].min()) == pytest.approx(1 / LATENTS_PER_BEAT)


def test_a_chord_that_stays_to_the_end_has_no_next_one():
    held = BeatNotes(np.zeros(4), np.full(4, 40.0), np.array([48, 64, 67, 71]), np.full(4, 90), np.zeros((0, 2)))
    clock = clock_frames(TempoMap.constant(120, Metre(4, 4), 10), 240)
    rows = latent_frames(notes_to_piano_roll(held, 960), clock, np.full(240, 120.0))
    assert rows.dtype == FRAME and (rows["until"] == NEVER).all() and (rows["next"] == -1).all()
    assert rows["onsets"].sum() == 4 and rows["keys"].sum() == 48 + 64 + 67 + 71 - 4 * 21


# --- The passage that is most like a window --------------------------------------------------------------------------


def begun(bars, keys_of):
    """(88, N) of bars of 4/4: each has one note a beat on a key that keys_of(bar, beat) gives."""
    rows = np.zeros((88, 24 * bars))
    for bar in range(bars):
        for beat in range(4):
            rows[keys_of(bar, beat) - 21, 24 * bar + 6 * beat] = 1
    return rows


def test_the_passage_most_like_a_window_is_its_repetition():
    """Thirty bars: eight, eight others, the first eight with every other bar changed, and six more of their own."""
    themes = np.random.default_rng(0).integers(0, 36, (3, 8, 4))

    def key(bar, beat):
        theme = (0, 1, 0, 2)[bar // 8]
        return int(40 + 20 * (theme == 2) + themes[theme, bar % 8, beat] + (bar // 8 == 2 and bar % 2))

    clock = clock_frames(TempoMap.constant(120, Metre(4, 4), 30), 720)
    alike = most_alike(begun(30, key), clock)
    assert alike[0] == 16 * 24 and alike[16 * 24] == 0
    starts = window_starts(clock, WINDOW)
    assert set(np.flatnonzero(alike >= 0)) <= set(starts.tolist()) and (alike[1:24] == -1).all()


def test_a_reference_never_overlaps_and_has_the_same_phase_of_a_like_bar():
    random = np.random.default_rng(1)
    fours = bar_table(4.0 * np.arange(30), [4.0] * 30, 2, 1.0, Metre(4, 4))
    threes = bar_table(120 + 3.0 * np.arange(40), [3.0] * 40, 2, 1.0, Metre(3, 4))
    table = np.concatenate([fours, threes, bar_table([240], [60], NO_BEAT, 0.0)])
    clock = clock_frames(TempoMap(np.arange(301) * 0.5, table), 1800)
    phrases = (np.tile((random.uniform(size=(88, length)) < 0.02), 4)[:, :720] for length in (192, 198))
    notes = np.concatenate([*phrases, random.uniform(size=(88, 360)) < 0.02], 1)
    alike = most_alike(notes, clock)
    at = np.flatnonzero(alike >= 0)
    assert len(at) > 20 and (np.abs(alike[at] - at) >= WINDOW).all()
    assert (clock[at] == clock[alike[at]]).all() and (at % LATENTS_PER_BEAT == alike[at] % LATENTS_PER_BEAT).all()
    assert (alike[at] + WINDOW <= len(clock)).all()
    assert {tuple(row) for row in clock[at]} >= {(0, 0, 24), (0, 0, 18)}, "bars of both metres have references"
    assert at.max() < 1440, "where nothing comes back there is no reference"
    assert (most_alike(notes[:, : 2 * WINDOW - 1], clock[: 2 * WINDOW - 1]) == -1).all(), "too short for two"


def test_references_are_read_in_the_key_of_their_window(encoded):
    stream = encoded(2)
    item = int(np.argmax([(np.load(path)["alike"] >= 0).any() for path in stream.frame_paths]))
    alike = np.load(stream.frame_paths[item])["alike"]
    first = int(np.flatnonzero(alike >= 0)[0])
    for epoch in (0, 1):
        coded = read(stream, Excerpt(item, first), step=of_epoch(stream, epoch))
        there = read(stream, Excerpt(item, int(alike[first])), step=of_epoch(stream, epoch))
        assert coded.referred.tolist() == [True] and torch.equal(coded.reference, there.codes)

"""Changes read off chords, and charts that move likewise."""

import numpy as np
import pytest

from lib.config import ConfigError
from lib.music.chords import QUALITY_NAMES, parse_chord
from lib.music.harmony import NOTHING, changes_by, invent_chart, join_pieces, read_changes
from lib.music.piano_roll import LATENTS_PER_BEAT
from lib.music.tempo_map import Metre

COMMON = Metre.parse("4/4")
MINOR, SEVENTH, MAJOR = (QUALITY_NAMES.index(name) for name in ("m7", "7", "maj7"))


def latent_frames(*chords):
    """Chords of so many beats each."""
    return np.concatenate(
        [np.tile([root, quality, root], (LATENTS_PER_BEAT * beats, 1)) for root, quality, beats in chords]
    )


def turnaround(root, times=4):
    """II V I in a key, again and again, four beats a chord."""
    one = [((root + 2) % 12, MINOR, 4), ((root + 7) % 12, SEVENTH, 4), (root, MAJOR, 4)]
    return read_changes(latent_frames(*one * times))


def test_changes_are_read_beat_by_beat():
    frames = latent_frames((2, MINOR, 2), (-1, -1, 1), (7, SEVENTH, 1), (0, MAJOR, 40))
    frames[3] = 5, MAJOR, 5  # a slip
    assert read_changes(frames[: -LATENTS_PER_BEAT // 2]).tolist() == [
        [2, MINOR, 2, 3],
        [7, SEVENTH, 7, 1],
        [0, MAJOR, 0, 16],
    ]
    assert read_changes(latent_frames((-1, -1, 3))).shape == (0, 4)
    as_many = latent_frames((9, MAJOR, 1), (2, MINOR, 1))[LATENTS_PER_BEAT // 2 : -LATENTS_PER_BEAT // 2]
    assert read_changes(as_many).tolist() == [[2, MINOR, 2, 1]], "the lower of two"


@pytest.mark.parametrize("text", ["4/4", "3/4", "5/4", "12/8", "7/8", "2/2"])
def test_a_chart_moves_as_what_it_was_read_from(text):
    rows, metre = join_pieces(turnaround(root) for root in (0, 5, 10)), Metre.parse(text)
    bars = invent_chart(rows, 30, metre, seed=3).bars
    assert {bar.metre for bar in bars} == {(metre.numerator, metre.denominator)} and len(bars) == 30
    chords = [chord for bar in bars for _, chord in bar.chords]
    moves = {(a.quality, (b.root - a.root) % 12, b.quality) for a, b in zip(chords, chords[1:]) if a != b}
    assert moves == {("m7", 5, "7"), ("7", 5, "maj7"), ("maj7", 2, "m7")}, "II V I and nothing else, in one key"
    for bar in bars:
        offsets = [offset for offset, _ in bar.chords]
        assert offsets[0] == 0 and offsets[-1] < bar.quarters, "chords change within the bar"
        assert all(offset % (4 * metre.felt) == 0 for offset in offsets), "on felt beats"


def test_a_chord_lasts_as_long_as_in_the_recording():
    rows = join_pieces([turnaround(0)])
    bars = invent_chart(rows, 12, COMMON, 1, after=read_changes(latent_frames((7, SEVENTH, 4)))).bars
    assert [len(bar.chords) for bar in bars] == [1] * 12 and bars[0].chords[0][1].symbol == "Cmaj7"
    assert [offset for offset, _ in invent_chart(rows, 4, Metre.parse("3/4"), 1).bars[1].chords] == [0, 1]


def test_the_seed_decides():
    rows = join_pieces(turnaround(root) for root in range(12))
    charts = [invent_chart(rows, 10, COMMON, seed) for seed in (1, 1, 2, 3)]
    assert charts[0] == charts[1] and len(set(charts)) == 3


def test_it_goes_on_from_what_was_heard():
    rows = join_pieces([turnaround(0), turnaround(5)])
    heard = read_changes(latent_frames((4, MINOR, 2), (9, SEVENTH, 2)))
    first = invent_chart(rows, 5, COMMON, 1, heard).bars[0].chords[0]
    assert first == (0, parse_chord("Dmaj7"))


def test_a_bass_moves_with_its_root():
    frames = latent_frames((0, MAJOR, 4), (7, SEVENTH, 4))
    frames[frames[:, 0] == 7, 2] = 11  # in first inversion
    chart = invent_chart(join_pieces([read_changes(np.tile(frames, (3, 1)))]), 10, COMMON, 5)
    sevenths = [chord for bar in chart.bars for _, chord in bar.chords if chord.quality == "7"]
    assert sevenths and all((chord.bass - chord.root) % 12 == 4 for chord in sevenths)


def test_a_pianist_has_their_own_changes_and_others_those_of_all():
    changes = {"A": join_pieces([turnaround(0)]), "B": join_pieces([turnaround(3), turnaround(4)]), "C": NOTHING}
    assert len(changes["B"]) == 2 * len(changes["A"]) and changes_by(changes, "B") is changes["B"]
    everything = np.concatenate([changes["A"], changes["B"]])
    assert all((changes_by(changes, name) == everything).all() for name in ("nobody", "C"))
    assert changes_by({}, "A").shape == (0, 4)


def test_nothing_known_is_said():
    with pytest.raises(ConfigError, match="Write --chords instead"):
        invent_chart(NOTHING, 5, COMMON, 1)
    alone = join_pieces([read_changes(latent_frames((0, MAJOR, 4)))])  # one chord, and nowhere to go on to
    assert len(invent_chart(alone, 5, COMMON, 1).bars) == 5

"""Hands: what is far apart is parted, what one hand can reach stays together, and the border follows the music."""

import numpy as np

from lib.music.hands import left_hand
from lib.music.notes import Notes


def play(left, right, step_s=0.5):
    """Notes of two hands, a chord of each every step, and who plays them."""
    rows = [(i * step_s, p, hand) for hand, line in ((True, left), (False, right)) for i, chord in enumerate(line) for p in chord]
    rows.sort()
    onset_s, pitch, hands = (np.array(column) for column in zip(*rows, strict=True))
    return Notes.from_arrays(onset_s, np.full(len(rows), 0.4), pitch, np.full(len(rows), 70)), hands


def test_two_hands_far_apart():
    notes, hands = play([(36, 43, 48)] * 8, [(72, 76), (74,), (79, 83)] * 3)
    assert np.array_equal(left_hand(notes), hands)


def test_the_border_follows_the_hands():
    low = play([(30 + i, 37 + i) for i in range(20)], [(55 + i, 60 + i) for i in range(20)])
    high = play([(52, 57, 60)] * 12, [(69, 72, 76)] * 12)  # the left hand plays middle C
    for notes, hands in (low, high):
        assert (left_hand(notes) == hands).mean() > 0.95


def test_no_hand_reaches_too_far():
    notes, _ = play([(40, 47)] * 4, [(58, 64, 70)] * 4)
    left = left_hand(notes)
    for time_s in np.unique(notes.onset_s):
        together = notes.onset_s == time_s
        for hand in (left, ~left):
            if (chosen := notes.pitch[together & hand]).size:
                assert np.ptp(chosen.astype(int)) <= 14


def test_a_single_line_and_silence():
    notes, _ = play([], [(60 + i % 12,) for i in range(30)])
    assert not left_hand(notes).any() or not (~left_hand(notes)).any()  # one hand plays all of it
    assert len(left_hand(Notes.from_arrays([], [], [], []))) == 0

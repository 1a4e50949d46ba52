"""A performance through the codec and back."""

import dataclasses

from lib.generation.reconstruct import reconstruct
from lib.music.notes import Notes


def test_reconstruct(tiny_runs):
    notes = Notes.from_arrays([0.0, 1.0], [0.5, 0.5], [60, 64], [80, 80])
    decoded, score = reconstruct(tiny_runs / "vqvae", notes, "cpu")
    assert isinstance(decoded, Notes) and set(dataclasses.asdict(score)) == {"onset", "onset_offset", "onset_velocity"}
    assert all(0 <= value <= 1 for value in dataclasses.asdict(score).values())

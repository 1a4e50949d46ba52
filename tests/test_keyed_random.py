"""Random numbers depend on their key alone."""

import numpy as np
import torch

from lib.keyed_random import keyed_generator, permute, uniform, uniforms


def test_permutation_is_one():
    for size in (1, 2, 7, 64, 1000):
        assert sorted(permute(i, size, 3, "epoch 0") for i in range(size)) == list(range(size))


def test_permutations_of_two_epochs_differ():
    first, second = ([permute(i, 1000, 3, f"epoch {e}") for i in range(1000)] for e in (0, 1))
    assert first != second
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_keyed_numbers_depend_on_each_part_of_the_key():
    base = keyed_generator(1, "noise", 2, 3).random()
    assert base == keyed_generator(1, "noise", 2, 3).random()
    others = [(2, "noise", 2, 3), (1, "drop", 2, 3), (1, "noise", 3, 3), (1, "noise", 2, 4)]
    assert len({base, *(keyed_generator(*key).random() for key in others)}) == 5


def test_uniform_numbers_are_independent_of_the_batch():
    whole = uniform(0, "noise", 5, range(100))
    assert torch.equal(whole[3:6], uniform(0, "noise", 5, range(3, 6)))
    assert whole.min() >= 0 and whole.max() < 1
    rows = uniforms(0, "noise", range(8), (50, 40))
    assert torch.equal(rows[3:6], uniforms(0, "noise", range(3, 6), (50, 40)))
    assert rows.min() >= 0 and rows.max() < 1 and abs(rows.mean() - 0.5) < 0.01


def test_the_numbers_of_a_key_are_data():
    """Runs are resumed and solos repeated from their keys, so these may not change."""
    assert keyed_generator(1, "noise", 2, 3).integers(2**32, size=2).tolist() == [601392907, 59619328]
    assert [permute(i, 10, 3, "epoch 0") for i in range(10)] == [3, 9, 6, 7, 8, 0, 1, 5, 4, 2]

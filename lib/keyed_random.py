"""Random numbers as a function of their key: nothing to save, nothing to restore.

A key is (seed, purpose, step, index). The purpose names what the numbers are for. Its text is data: another text gives
other numbers, so that a run could no longer be resumed nor a solo repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

FEISTEL_ROUNDS = 4


def keyed_generator(seed: int, purpose: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """A numpy Generator that depends on its arguments alone.

    Parameters
    ----------
    seed : int
    purpose : str, what the numbers are for; streams of different purposes are independent
    step, index : int >= 0, for example the optimizer step and the example's index in the global batch
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, index]))


def uniforms(seed: int, purpose: str, indices: Iterable[int], shape: tuple[int, ...], device="cpu") -> Tensor:
    """Numbers in [0, 1), (len(indices), *shape), each row from its own key at step 0."""
    rows = [keyed_generator(seed, purpose, 0, i).random(shape, np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows)).to(device)


def uniform(seed: int, purpose: str, step: int, indices: Iterable[int], device="cpu") -> Tensor:
    """Numbers in [0, 1), (len(indices),), each from its own key."""
    rows = [keyed_generator(seed, purpose, step, i).random(dtype=np.float32) for i in indices]
    return torch.tensor(rows, device=device)


def permute(position: int, size: int, seed: int, purpose: str) -> int:
    """Where `position` goes in a keyed permutation of range(size): a Feistel network, walked until inside."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for round_index in range(FEISTEL_ROUNDS):
            word = f"{seed}/{purpose}/{round_index}/{right}".encode()
            digest = hashlib.blake2b(word, digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        position = left << half | right
        if position < size:
            return position

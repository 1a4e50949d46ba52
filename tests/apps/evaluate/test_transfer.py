"""Synthetic transfer: a classifier that learns from one kind of clips and is tested on another."""

import numpy as np
import pytest

from lib.apps.evaluate.clip_sets import Missing
from lib.apps.evaluate.transfer import accuracies, pianists_of, real_windows, train
from lib.data.corpora import open_corpus
from lib.generation.generate import load_improviser


def test_players_of_the_demo_corpus_are_learnt_from_training_windows(demo_data):
    store = open_corpus("demo", demo_data)
    names = store.pianists
    learnt, held = real_windows(store, names, "train", 3), real_windows(store, names, "validation", 3)
    by_window, by_recording, recordings = accuracies(train(*learnt[:2]), *held)
    assert len(by_window) == len(held[1]) and len(by_recording) == len(recordings) == len(set(held[2]))
    assert by_recording.mean() > 0.6 and by_window.mean() > 0.5  # chance is a sixth


def test_wrong_labels_teach_nothing(demo_data):
    store = open_corpus("demo", demo_data)
    learnt, held = (real_windows(store, store.pianists, split, 3) for split in ("train", "validation"))
    wrong = np.random.default_rng(0).permutation(learnt[1])
    assert accuracies(train(learnt[0], wrong), *held)[0].mean() < 0.45


def test_whom_it_can_be_asked_of(demo_data, noise, tiny_runs):
    store = open_corpus("demo", demo_data)
    assert len(pianists_of(load_improviser(tiny_runs / "diffusion", device="cpu"), store)) == 6
    with pytest.raises(Missing, match="two pianists"):
        pianists_of(load_improviser(noise, device="cpu"), store)
    with pytest.raises(Missing, match="Too few"):
        train(np.zeros((3, 2)), np.array(["A"] * 3))

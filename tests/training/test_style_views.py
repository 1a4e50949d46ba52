"""Training a style encoder on augmented views of passages."""

from __future__ import annotations

import pytest
import torch
from test_loop import identical, weights

from lib.config import preset
from lib.keyed_random import keyed_generator
from lib.style.classifier import StyleClassifier
from lib.training.loop import train
from lib.training.stages.style_encoder import StyleEncoderStage, augmented_windows

VIEWS = {"reads": "chords", "views": 2, "consistency": 1.0}


def test_training_goes_on_exactly(demo_data, tmp_path):
    knobs = {**VIEWS, "decay": "constant", "ema_decay": 0.9}
    train(preset("style_encoder", "tiny", **knobs, steps=6), demo_data, tmp_path, run="whole")
    for steps in (1, 4, 6):
        train(preset("style_encoder", "tiny", **knobs, steps=steps), demo_data, tmp_path, run="parts")
    assert identical(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert StyleClassifier.of_run(tmp_path / "whole").reads == "chords"


def test_micro_batches_add_up(demo_data):
    """Half a batch and the other half are the batch."""
    stage = StyleEncoderStage(preset("style_encoder", "tiny", **VIEWS), demo_data, None, {})
    losses = [stage.losses(stage.model, stage.stream.batch(3, *part)) for part in ((0, 4), (0, 2), (2, 4))]
    assert set(losses[0]) == {"loss", "accuracy", "divergence"}
    for name in losses[0]:
        whole, *parts = (float(row[name].detach()) for row in losses)
        assert whole == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_views_differ_and_follow_from_their_keys(demo_data):
    """The same keys, the same windows."""
    stage = StyleEncoderStage(preset("style_encoder", "tiny", **VIEWS), demo_data, None, {})
    notes = stage.stream.long_windows(stage.stream.batch(0).examples)

    def values(purpose):
        return augmented_windows(notes, [[keyed_generator(0, purpose, 0, i) for i in range(len(notes))]], 1.0).values

    assert torch.equal(values("view 0"), values("view 0")) and not torch.equal(values("view 0"), values("view 1"))


def test_the_second_view_is_the_first_on_another_grid(demo_data):
    """The first is what it would be alone; times differ by no more than two grids, pitches and velocities hardly."""
    stage = StyleEncoderStage(preset("style_encoder", "tiny", **VIEWS), demo_data, None, {})
    notes = stage.stream.long_windows(stage.stream.batch(0).examples)

    def generators(views):
        return [[keyed_generator(0, f"view {view}", 0, i) for i in range(len(notes))] for view in range(views)]

    one, both = augmented_windows(notes, generators(1), 1.0), augmented_windows(notes, generators(2), 1.0)
    first, second = both.values.chunk(2)
    assert torch.equal(one.values, first) and not torch.equal(first, second)
    assert float((first[:, 3] == second[:, 3]).float().mean()) > 0.4


def test_consistency_counts(demo_data):
    """What two views are told apart by adds to the loss; alike, it is nothing."""
    configs = [preset("style_encoder", "tiny", **{**VIEWS, "consistency": weight}) for weight in (0, 200)]
    stages = [StyleEncoderStage(config, demo_data, None, {}) for config in configs]
    stages[1].model.load_state_dict(stages[0].model.state_dict())
    without, with_it = (stage.losses(stage.model, stage.stream.batch(0)) for stage in stages)
    more = (with_it["loss"] - without["loss"]).detach()
    assert float(more) == pytest.approx(200 * float(with_it["divergence"]), rel=1e-3)
    assert float(with_it["divergence"]) > 0

"""Real training of every stage on the demo corpus: it learns, stops, goes on, and refuses what does not fit."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_history
from lib.checkpoints.load import load_improviser
from lib.config import STAGES, ConfigError, preset
from lib.data.corpora import open_corpus
from lib.data.ingest import ingest
from lib.data.note_store import CorpusError
from lib.data.tempo_maps import MAPS_NAME, store_fingerprint, write_tempo_maps
from lib.generation.generate import generate
from lib.generation.request import GenerateRequest
from lib.music.tempo_map import map_without_beat
from lib.training.budget import StopReason
from lib.training.loop import train
from lib.training.trainer import lr_share, total_steps

ROOT = Path(__file__).resolve().parent.parent.parent


def weights(run):
    found = checkpoints.find(run)
    return {**found.weights(averaged=False), **{f"ema {k}": v for k, v in found.weights().items()}}


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_each_stage_leaves_a_complete_run(tiny_runs):
    for stage in STAGES:
        run = tiny_runs / stage
        assert {"config.json", "train.log", "history.jsonl", "events.jsonl"} <= {p.name for p in run.iterdir()}
        assert checkpoints.find(run).step == 4 and not (run / "lease.json").exists()
        history = read_history(run)
        assert [row["step"] for row in history if row["split"] == "train"] == [1, 2, 3, 4]
        assert all(row["loss"] > 0 for row in history)
    assert {"duration", "velocity", "commitment", "perplexity"} <= read_history(tiny_runs / "vqvae")[0].keys()


def test_fine_tuning_writes_the_finished_improviser(tiny_runs):
    improviser = load_improviser(tiny_runs / "brad_final")
    from_runs = load_improviser(tiny_runs / "fine_tune")
    assert improviser.pianist == from_runs.pianist == "Cora Canonby"
    assert identical(improviser.dit.state_dict(), from_runs.dit.state_dict())
    assert improviser.styles.names == from_runs.styles.names
    assert torch.allclose(improviser.styles.vector("Cora Canonby").norm(), torch.tensor(1.0))


def test_a_finished_run_is_left_alone(tiny_runs, demo_data):
    before = weights(tiny_runs / "vqvae")
    result = train(preset("vqvae", "tiny"), demo_data, tiny_runs)
    assert result.finished and result.resumed_from_step == 4 and "already done" in result.message
    assert identical(before, weights(tiny_runs / "vqvae"))


@pytest.mark.parametrize("stage", ["vqvae", "diffusion"])
def test_going_on_equals_never_having_stopped(stage, tiny_runs, demo_data, tmp_path):
    sources = {f"{s}_run": tiny_runs / s for s in ("vqvae", "style_encoder")}
    config = preset(stage, "tiny", decay="constant")
    train(config, demo_data, tmp_path, run="whole", **sources)
    train(preset(stage, "tiny", decay="constant", steps=2), demo_data, tmp_path, run="parts", **sources)
    result = train(config, demo_data, tmp_path, run="parts", **sources)
    assert result.resumed_from_step == 2 and result.step == 4
    assert identical(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_accumulation_gives_the_same_step(demo_data, tmp_path):
    for name, size, parts in (("whole", 4, 1), ("parts", 2, 2)):
        config = preset("style_encoder", "tiny", batch_size=size, gradient_accumulation=parts, steps=2)
        train(config, demo_data, tmp_path, run=name)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.allclose(whole[name], parts[name], atol=2e-4) for name in whole)


def test_time_budget_stops_saves_and_goes_on(demo_data, tmp_path):
    config = preset("vqvae", "tiny", steps=6)
    first = train(config, demo_data, tmp_path, time_budget_s=0)
    assert (first.step, first.finished, first.reason) == (1, False, StopReason.TIME_BUDGET)
    assert train(config, demo_data, tmp_path).resumed_from_step == 1


@pytest.mark.parametrize("stage", ["vqvae", "style_encoder"])
def test_a_stage_learns(stage, demo_data, tmp_path):
    result = train(preset(stage, "tiny", steps=120, lr=3e-3, validate_every=120, save_every=120), demo_data, tmp_path)
    rows = [row["loss"] for row in read_history(tmp_path / stage) if row["split"] == "train"]
    assert sum(rows[-10:]) / 10 < 0.95 * rows[0]
    assert result.losses["validation/loss"] < rows[0]


def test_diffusion_learns(tiny_runs, demo_data, tmp_path):
    sources = {f"{s}_run": tiny_runs / s for s in ("vqvae", "style_encoder")}
    config = preset("diffusion", "tiny", steps=80, validate_every=80, save_every=80, lr=3e-3, log_every=5)
    train(config, demo_data, tmp_path, **sources)
    rows = [row["loss"] for row in read_history(tmp_path / "diffusion") if row["split"] == "train"]
    assert sum(rows[-4:]) / 4 < 0.95 * rows[0]


def test_another_config_is_refused_and_named(tiny_runs, demo_data):
    before = sorted(p.name for p in (tiny_runs / "vqvae").rglob("*"))
    with pytest.raises(checkpoints.CheckpointError, match="channels: 64 in the run, 48 requested"):
        train(preset("vqvae", "tiny", channels=48), demo_data, tiny_runs)
    assert before == sorted(p.name for p in (tiny_runs / "vqvae").rglob("*"))


def test_a_missing_source_is_named(demo_data, tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="vqvae"):
        train(preset("diffusion", "tiny"), demo_data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_pianist_is_named_with_the_nearest(tiny_runs, demo_data):
    with pytest.raises(ConfigError, match="Did you mean 'Cora Canonby'"):
        train(preset("fine_tune", "tiny", pianist="Cora Canonbi"), demo_data, tiny_runs, run="other")
    assert not (tiny_runs / "other").exists()


def test_learning_rate_rises_and_falls():
    config = preset("vqvae", "laptop", warmup_steps=10)
    assert lr_share(config, 0, 100) == pytest.approx(0.1)
    assert lr_share(config, 10, 100) == pytest.approx(1.0)
    assert lr_share(config, 100, 100) == pytest.approx(0.1)


def test_epochs_and_steps():
    assert total_steps(preset("vqvae", "laptop", epochs=2), 160) == 20
    assert total_steps(preset("vqvae", "laptop", epochs=2, gradient_accumulation=2), 160) == 10
    assert total_steps(preset("vqvae", "laptop", epochs=2, steps=7), 160) == 7


def test_history_forgets_a_half_written_line(tmp_path):
    rows = [{"step": 1, "split": "train", "loss": 2.0}, {"step": 1, "split": "train", "loss": 1.0}]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 2, "spl')
    assert read_history(tmp_path) == rows[1:]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_saves_and_the_same_command_goes_on(demo_data, tmp_path):
    command = [sys.executable, "-m", "lib", "train", "vqvae", "--preset", "tiny", "--data-dir", str(demo_data),
               "--runs-dir", str(tmp_path), "--set", "steps=100000", "--set", "validate_every=100000"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while len(read_history(tmp_path / "vqvae")) < 3 and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 75, output
    step = checkpoints.find(tmp_path / "vqvae").step
    assert step >= 3 and f"to {step} of" in output


def test_tensorboard_and_weights_and_biases_offline(demo_data, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = preset("vqvae", "tiny", steps=2, tracker="tensorboard")
    run = train(config, demo_data, tmp_path, wandb_project="anything").run
    assert list(run.rglob("events.out.tfevents*")) and list((run / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_mixed_precision_and_accumulation_on_every_stage(demo_data, tmp_path):
    for stage in STAGES:
        result = train(preset(stage, "tiny", mixed_precision="bf16", gradient_accumulation=2), demo_data, tmp_path)
        assert result.finished and all(math.isfinite(value) for value in result.losses.values())


@pytest.mark.slow
def test_a_source_that_has_changed_is_noticed(demo_data, tmp_path):
    for stage in ("vqvae", "style_encoder", "diffusion"):
        train(preset(stage, "tiny", steps=2), demo_data, tmp_path)
    train(preset("vqvae", "tiny", seed=5), demo_data, tmp_path, run="other")
    with pytest.raises(checkpoints.CheckpointError, match="weights that .*other no longer has"):
        train(preset("diffusion", "tiny"), demo_data, tmp_path, vqvae_run=tmp_path / "other")
    with pytest.raises(checkpoints.CheckpointError, match="no longer has"):
        train(preset("fine_tune", "tiny"), demo_data, tmp_path, vqvae_run=tmp_path / "other")
    train(preset("vqvae", "tiny", steps=4), demo_data, tmp_path)  # goes on: its best weights are others now
    with pytest.raises(checkpoints.CheckpointError, match="no longer has"):
        load_improviser(tmp_path / "diffusion")


def test_fine_tuning_takes_the_codec_of_its_diffusion_run(demo_data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    train(preset("vqvae", "tiny"), demo_data, one, run="codec")
    train(preset("style_encoder", "tiny"), demo_data, one)
    train(preset("diffusion", "tiny"), demo_data, one, vqvae_run=one / "codec")
    result = train(preset("fine_tune", "tiny"), demo_data, two, diffusion_run=one / "diffusion")
    assert result.finished and load_improviser(two / "brad_final").pianist == "Cora Canonby"


def test_music_without_known_pianists(demo_data, demo_midi, tmp_path):
    anonymous = tmp_path / "data"
    folder = tmp_path / "midi"
    folder.mkdir()
    for number, path in enumerate(sorted(demo_midi.rglob("*.mid"))[:4]):
        (folder / f"{number}.mid").write_bytes(path.read_bytes())
    ingest("mine", anonymous, folder=folder)
    train(preset("vqvae", "tiny"), demo_data, tmp_path)
    with pytest.raises(CorpusError, match="no tempo maps.*python -m lib data beats"):
        train(preset("vqvae", "tiny", corpora=("mine",)), anonymous, tmp_path, run="too_early")
    assert not (tmp_path / "too_early").exists()
    store = open_corpus("mine", anonymous)
    maps = [map_without_beat(piece.seconds + 5.0) for piece in store.pieces]
    write_tempo_maps(anonymous / "mine" / MAPS_NAME, maps, store_fingerprint(store))
    train(preset("style_encoder", "tiny"), demo_data, tmp_path)
    train(preset("diffusion", "tiny", corpora=("mine",), steps=2), anonymous, tmp_path)
    assert train(preset("diffusion", "tiny", corpora=("mine",)), anonymous, tmp_path).resumed_from_step == 2
    improviser = load_improviser(tmp_path / "diffusion")
    assert improviser.pianist is None and generate(improviser, GenerateRequest(seconds=2.0, num_steps=2)).seconds > 0
    assert train(preset("fine_tune", "tiny"), demo_data, tmp_path).finished
    with pytest.raises(ConfigError, match="no piece to train on"):
        train(preset("style_encoder", "tiny", corpora=("mine",)), anonymous, tmp_path, run="nobody")


def test_fewer_steps_than_are_done_is_finished(demo_data, tmp_path):
    train(preset("vqvae", "tiny"), demo_data, tmp_path)
    result = train(preset("vqvae", "tiny", steps=2), demo_data, tmp_path)
    assert result.finished and result.step == 4


def test_low_rank_fine_tuning_leaves_a_plain_improviser(tiny_runs, demo_data, tmp_path):
    sources = {f"{name}_run": tiny_runs / name for name in ("vqvae", "style_encoder", "diffusion")}
    train(preset("fine_tune", "tiny", lora_rank=2), demo_data, tmp_path, **sources)
    tuned, base = (load_improviser(folder) for folder in (tmp_path / "brad_final", tiny_runs / "diffusion"))
    assert tuned.dit.state_dict().keys() == base.dit.state_dict().keys()
    before, after = (improviser.dit.state_dict() for improviser in (base, tuned))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("blocks" in name and name.endswith("weight") for name in moved)
    again = train(preset("fine_tune", "tiny", lora_rank=2, steps=6), demo_data, tmp_path, **sources)
    assert again.resumed_from_step == 4 and again.finished

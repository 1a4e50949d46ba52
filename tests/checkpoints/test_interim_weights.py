"""Weights in 8 bits: small, near what they were, and a new run goes on from them with schedule and music."""

import sys

import pytest

from lib.apps.cli.main import main
from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.checkpoint import CheckpointError
from lib.checkpoints.history import read_history
from lib.checkpoints.interim_weights import read_interim_weights, write_interim_weights
from lib.config import ConfigError, preset
from lib.training.loop import train

QUIET = {"log_every": 1, "validate_every": 100, "save_every": 2, "tracker": "none"}


@pytest.fixture(scope="module")
def trained(demo_data, tmp_path_factory):
    """A finished run of six steps."""
    runs = tmp_path_factory.mktemp("interim")
    return train(preset("vqvae", "tiny", steps=6, ema_decay=0.5, **QUIET), demo_data, runs).run


def newest(run):
    return checkpoints.find(run)


def test_they_are_small_and_near(trained, tmp_path):
    checkpoint = newest(trained)
    path = write_interim_weights(checkpoint, tmp_path / "weights.safetensors")
    interim = read_interim_weights(path, "vqvae")
    weights, step = interim.weights, interim.step
    exact = checkpoint.weights()
    assert step == 6 and weights.keys() == exact.keys()
    assert path.stat().st_size < 0.35 * sum(4 * value.numel() for value in exact.values())
    for name, value in exact.items():
        if value.ndim > 1 and value.is_floating_point():
            error = (weights[name] - value).abs().flatten(0, -2).amax(1)
            assert (error <= value.abs().flatten(0, -2).amax(1) / 127 * 0.51 + 1e-9).all(), name


def test_a_new_run_goes_on_where_they_were_taken(trained, demo_data, tmp_path):
    path = write_interim_weights(newest(trained), tmp_path / "weights.safetensors")
    config = preset("vqvae", "tiny", steps=9, **QUIET)
    result = train(config, demo_data, tmp_path / "runs", from_weights=path)
    rows = [row for row in read_history(result.run) if row["split"] == "train"]
    assert [row["step"] for row in rows] == [7, 8, 9] and result.finished
    fresh = train(config, demo_data, tmp_path / "fresh")
    first, afresh = rows[0], [row for row in read_history(fresh.run) if row["split"] == "train"]
    assert first["loss"] < afresh[0]["loss"] and first["lr"] == pytest.approx(afresh[6]["lr"])
    again = train(preset("vqvae", "tiny", steps=9, **QUIET), demo_data, tmp_path / "runs", from_weights=path)
    assert again.step == 9 and again.resumed_from_step == 9  # its own checkpoint goes before


def test_another_first_step(trained, demo_data, tmp_path):
    path = write_interim_weights(newest(trained), tmp_path / "weights.safetensors")
    config = preset("vqvae", "tiny", steps=12, **QUIET)
    result = train(config, demo_data, tmp_path / "runs", from_weights=path, first_step=10)
    assert [row["step"] for row in read_history(result.run) if row["split"] == "train"] == [11, 12]


def test_a_first_step_alone_is_an_error_and_a_run_that_goes_on_needs_the_file_no_more(trained, demo_data, tmp_path):
    with pytest.raises(ConfigError, match="--from-weights FILE"):
        train(preset("vqvae", "tiny", **QUIET), demo_data, tmp_path / "runs", first_step=3)
    path, config = tmp_path / "weights.safetensors", preset("vqvae", "tiny", steps=8, **QUIET)
    write_interim_weights(newest(trained), path)
    train(config, demo_data, tmp_path / "runs", from_weights=path)
    path.unlink()
    assert train(config, demo_data, tmp_path / "runs", from_weights=path).step == 8


def test_what_is_none_is_refused(trained, demo_data, tmp_path):
    (tmp_path / "noise.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"noise.safetensors.*export --interim"):
        read_interim_weights(tmp_path / "noise.safetensors", "vqvae")
    path = write_interim_weights(newest(trained), tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="weights of vqvae, not of diffusion"):
        read_interim_weights(path, "diffusion")
    other = preset("vqvae", "tiny", channels=32, **QUIET)
    with pytest.raises((ConfigError, CheckpointError), match="weights.safetensors"):
        train(other, demo_data, tmp_path / "runs", from_weights=path)


def test_the_command_writes_them_and_training_takes_them(trained, demo_data, tmp_path, monkeypatch, capsys):
    path = tmp_path / "weights.safetensors"

    def typed(*words):
        monkeypatch.setattr(sys, "argv", ["python -m lib", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0

    assert typed("export", trained, "--to", path, "--interim") == 0 and "step 6" in capsys.readouterr().out
    words = ("train", "vqvae", "--preset", "tiny", "--steps", 8, "--data-dir", demo_data, "--runs-dir", tmp_path / "runs")
    assert typed(*words, "--from-weights", path) == 0
    assert [row["step"] for row in read_history(tmp_path / "runs" / "vqvae") if row["split"] == "train"] == [7, 8]

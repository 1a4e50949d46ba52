"""`python -m lib runs`: what is there, at a glance, damaged or not."""

import shutil

import pytest

from lib.apps.cli.runs_table import overview, table
from lib.checkpoints.checkpoint import step_folders
from lib.config import ConfigError, preset
from lib.training.loop import train


def test_all_runs_of_a_folder(tiny_runs):
    found = {row["name"]: row for row in overview(tiny_runs)}
    assert set(found) == {"vqvae", "style_encoder", "diffusion", "fine_tune", "brad_final"}
    vqvae = found["vqvae"]
    values = (vqvae[name] for name in ("stage", "step", "total_steps", "mirror", "note"))
    assert tuple(values) == ("vqvae", 4, 4, "none", "finished")
    assert vqvae["loss"] > 0 and vqvae["size_bytes"] > 10_000 and found["brad_final"]["stage"] == "improviser"
    text = table(list(found.values()), now_s=vqvae["saved_at"] + 200)
    assert text.splitlines()[0].split() == ["run", "stage", "step", "loss", "last", "save", "mirror", "size"]
    line = next(line for line in text.splitlines() if line.startswith("vqvae"))
    assert "4/4" in line and "3 min ago" in line and "MB" in line and line.endswith("finished")


def test_mirror_presets_and_damage(demo_data, tmp_path):
    config = preset("vqvae", "tiny", steps=2)
    train(config, demo_data, tmp_path / "tiny", mirror=tmp_path / "drive")
    (row,) = overview(tmp_path)
    assert row["name"] == "tiny/vqvae" and row["mirror"] == "step 2"
    shutil.copytree(tmp_path / "tiny", tmp_path / "bad")
    newest, *older = step_folders(tmp_path / "bad" / "vqvae")
    (newest / "manifest.json").write_text("{")
    assert {row["name"]: row["step"] for row in overview(tmp_path)} == {"bad/vqvae": 1, "tiny/vqvae": 2}
    for folder in older:
        (folder / "manifest.json").unlink()
    damaged = next(row for row in overview(tmp_path) if row["name"] == "bad/vqvae")
    assert damaged["note"] == "no valid checkpoint" and "no valid checkpoint" in table([damaged])


def test_nothing_there(tmp_path):
    assert "no run yet" in table(overview(tmp_path))
    with pytest.raises(ConfigError, match="none"):
        overview(tmp_path / "none")

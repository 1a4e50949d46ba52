"""Where a training goes on from: what --run and --resume mean, and what may differ."""

import pytest
import torch

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_events
from lib.config import preset
from lib.training.loop import train

# AdamW: Muon works in bf16, and so makes more of the rounding that another cut of the batch brings
CONSTANT = {"decay": "constant", "validate_every": 2, "optimizer": "adamw"}


def weights(run):
    return checkpoints.find(run).tensors("model")


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(demo_data, tmp_path_factory):
    """A run of six steps."""
    runs = tmp_path_factory.mktemp("trained")
    train(preset("vqvae", "tiny", steps=6, **CONSTANT), demo_data, runs)
    return runs


def test_resume_wants_the_run_to_be_there(demo_data, tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="no run folder"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path, resume="vqvae")
    assert not list(tmp_path.iterdir())
    (tmp_path / "vqvae").mkdir()
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint yet. Leave --resume out"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path, resume="vqvae")


@pytest.mark.parametrize("resume", ["vqvae", "vqvae/latest", "vqvae/checkpoints/step-00000006", "vqvae/step-00000006"])
def test_resume_goes_on_with_the_run(resume, trained, demo_data):
    for name in (resume, str(trained / resume)):
        result = train(preset("vqvae", "tiny", steps=6, **CONSTANT), demo_data, trained, resume=name)
        assert (result.run, result.resumed_from_step) == (trained / "vqvae", 6)


def test_an_older_checkpoint_of_the_same_run_is_refused(trained, demo_data):
    with pytest.raises(checkpoints.CheckpointError, match="name a new run: --run NAME --resume"):
        train(preset("vqvae", "tiny", steps=8, **CONSTANT), demo_data, trained, resume="vqvae/step-00000002")


def test_another_runs_checkpoint_begins_a_new_run(trained, demo_data, tmp_path):
    config = preset("vqvae", "tiny", steps=6, **CONSTANT)
    source = trained / "vqvae" / "checkpoints" / "step-00000004"
    result = train(config, demo_data, tmp_path, run="fork", resume=source)
    assert result.resumed_from_step == 4 and [e["step"] for e in read_events(result.run) if e["event"] == "start"] == [4]
    assert identical(weights(tmp_path / "fork"), weights(trained / "vqvae"))
    assert checkpoints.find(result.run).manifest["run_id"] != checkpoints.find(trained / "vqvae").manifest["run_id"]
    with pytest.raises(checkpoints.CheckpointError, match="is already a run"):
        train(config, demo_data, tmp_path, run="fork", resume=source)


def test_the_same_global_batch_may_be_cut_otherwise(trained, demo_data, tmp_path):
    train(preset("vqvae", "tiny", steps=2, **CONSTANT), demo_data, tmp_path)
    other = preset("vqvae", "tiny", steps=6, batch_size=2, gradient_accumulation=2, **CONSTANT)
    assert train(other, demo_data, tmp_path).resumed_from_step == 2
    a, b = weights(tmp_path / "vqvae"), weights(trained / "vqvae")
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    with pytest.raises(checkpoints.CheckpointError, match="batch_size: 4 in the run, 3 requested"):
        train(preset("vqvae", "tiny", steps=8, batch_size=3, **CONSTANT), demo_data, trained)


def test_a_stop_does_not_change_which_checkpoint_is_best(trained, demo_data, tmp_path):
    for _ in range(3):  # one step each
        train(preset("vqvae", "tiny", steps=6, **CONSTANT), demo_data, tmp_path, time_budget_s=0.0)
    result = train(preset("vqvae", "tiny", steps=6, **CONSTANT), demo_data, tmp_path)
    assert result.finished and result.resumed_from_step == 3
    best = [checkpoints.find(run, "best").step for run in (tmp_path / "vqvae", trained / "vqvae")]
    assert best[0] == best[1] and identical(weights(tmp_path / "vqvae"), weights(trained / "vqvae"))


def test_all_damaged_is_refused_not_begun_anew(demo_data, tmp_path):
    result = train(preset("vqvae", "tiny", steps=2), demo_data, tmp_path)
    for folder in checkpoints.step_folders(result.run):
        (folder / "manifest.json").write_text("{")
    with pytest.raises(checkpoints.CheckpointError, match="damaged. The last one"):
        train(preset("vqvae", "tiny", steps=2), demo_data, tmp_path)


def test_a_constant_rate_may_begin_to_fall(demo_data, tmp_path):
    config = {"validate_every": 2, "optimizer": "adamw"}
    train(preset("vqvae", "tiny", steps=2, decay="constant", **config), demo_data, tmp_path)
    result = train(preset("vqvae", "tiny", steps=4, decay="cosine", **config), demo_data, tmp_path)
    assert (result.resumed_from_step, result.step) == (2, 4)
    with pytest.raises(checkpoints.CheckpointError, match=r"another config \(lr: "):
        train(preset("vqvae", "tiny", steps=6, decay="cosine", lr=1e-4, **config), demo_data, tmp_path)

"""One step, whatever happens to it: memory that runs out, losses that are no numbers, half precision."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_events, read_history
from lib.config import ConfigError, preset
from lib.devices import give_back_memory, make_accelerator
from lib.storage.manifest import unsealed
from lib.training.loop import NotLearning, optimizer_step, train
from lib.training.stages import STAGES
from lib.training.stages.vqvae import VQVAEStage
from lib.training.trainer import Adjustments, MemoryUsedUp, Trainer, is_out_of_memory

ROOT = Path(__file__).resolve().parent.parent.parent


def weights(run):
    found = checkpoints.find(run)
    return {**found.weights(averaged=False), **{f"ema {k}": v for k, v in found.weights().items()}}


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def events(run, kind):
    return [event for event in read_events(run) if event["event"] == kind]


def make_trainer(stage_name, demo_data, folder, sources=None, **knobs):
    folder.mkdir(parents=True, exist_ok=True)
    config = preset(stage_name, "tiny", batch_size=8, **knobs)
    torch.manual_seed(0)
    stage = STAGES[stage_name](config, demo_data, None, sources or {})
    stage.prepare("cpu")
    return Trainer(stage, make_accelerator(config, folder), Adjustments(folder, 8), 4, lambda *event, **fields: None)


def too_much(most, original):
    """`losses` on a device that holds `most` chunks."""

    def losses(self, model, batch, *rest, **words):
        if len(batch) > most and model.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return original(self, model, batch, *rest, **words)

    return losses


@pytest.mark.parametrize("stage_name", ["vqvae", "style_encoder"])
def test_smaller_micro_batches_give_the_same_gradient(stage_name, demo_data, tmp_path, monkeypatch):
    whole = make_trainer(stage_name, demo_data, tmp_path / "whole")
    parts = make_trainer(stage_name, demo_data, tmp_path / "parts")
    whole_losses = whole.forward_backward(0)
    stage = STAGES[stage_name]
    monkeypatch.setattr(stage, "losses", too_much(2, stage.losses))
    parts_losses = parts.forward_backward(0)
    assert parts.adjustments.micro_batch(0) == 2
    assert parts_losses["loss"] == pytest.approx(whole_losses["loss"], rel=1e-6)
    a, b = (torch.cat([p.grad.flatten() for p in trainer.model.parameters()]) for trainer in (whole, parts))
    assert (a - b).abs().max() <= 1e-6 * max(1.0, a.abs().max())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_gradients_lie_one_behind_the_other_and_are_clipped_there(optimizer, demo_data, tmp_path):
    trainer = make_trainer("vqvae", demo_data, tmp_path, optimizer=optimizer, max_grad_norm=0.01)
    trainer.forward_backward(0)
    parameters = list(trainer.model.parameters())
    norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters]))
    assert norm > 0.01 and trainer.clip_gradients() == pytest.approx(float(norm), rel=1e-6)
    assert torch.equal(torch.cat([p.grad.flatten() for p in parameters]), trainer.gradients)
    assert float(torch.linalg.vector_norm(trainer.gradients)) == pytest.approx(0.01, rel=1e-3)
    before = [p.detach().clone() for p in parameters]
    trainer.update(0)
    assert not trainer.gradients.any() and sum(not torch.equal(a, b) for a, b in zip(before, parameters)) == len(before)
    memory = trainer.gradients.untyped_storage().data_ptr()
    trainer.forward_backward(1)
    assert all(p.grad.untyped_storage().data_ptr() == memory for p in parameters) and trainer.gradients.any()


def test_a_working_copy_in_bfloat16_gives_nearly_the_same_gradients(tiny_runs, demo_data, tmp_path):
    sources = {name: tiny_runs / name for name in ("vqvae", "style_encoder")}
    exact = make_trainer("diffusion", demo_data, tmp_path / "exact", sources)
    half = make_trainer("diffusion", demo_data, tmp_path / "half", sources, mixed_precision="bf16")
    assert exact.worker is exact.model and half.worker is not half.model
    assert {p.dtype for p in half.worker.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.model.parameters()} == {torch.float32} == {half.gradients.dtype}
    losses = [trainer.forward_backward(0)["loss"] for trainer in (exact, half)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    a, b = exact.gradients, half.gradients
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.99 and 0.97 < float(a.norm() / b.norm()) < 1.03
    assert all(p.grad is None for p in half.worker.parameters()), "they are collected"
    half.clip_gradients(), half.update(0)
    for own, working in zip(half.model.parameters(), half.worker.parameters(), strict=True):
        assert torch.equal(own.bfloat16(), working), "the copy follows the weights"
    assert all(tensor.dtype == torch.float32 for tensor in half.snapshot()[0]["model"].values())


def test_the_smaller_micro_batch_is_remembered(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr(VQVAEStage, "losses", too_much(2, VQVAEStage.losses))
    train(preset("vqvae", "tiny", steps=3), demo_data, tmp_path)
    run = tmp_path / "vqvae"
    assert [event["step"] for event in events(run, "out_of_memory")] == [0]
    assert unsealed((run / "adjustments.json").read_text(), "it")["micro_batches"] == [[0, 2]]
    (run / "adjustments.json").unlink()  # a new machine has it from the checkpoint
    train(preset("vqvae", "tiny", steps=4), demo_data, tmp_path)
    assert len(events(run, "out_of_memory")) == 1


def test_one_chunk_that_does_not_fit_is_the_end(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr(VQVAEStage, "losses", too_much(0, VQVAEStage.losses))
    with pytest.raises(MemoryUsedUp, match="smaller --preset"):
        train(preset("vqvae", "tiny"), demo_data, tmp_path)
    assert [event["text"][:30] for event in events(tmp_path / "vqvae", "out_of_memory")] == [
        "4 chunks at a time did not fit",
        "2 chunks at a time did not fit",
    ]


def test_other_errors_are_not_taken_for_memory():
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
    )
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")) and is_out_of_memory(
        MemoryError()
    )
    assert is_out_of_memory(RuntimeError("could not create a primitive"))  # oneDNN's
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.slow
def test_memory_that_really_runs_out(demo_data, tmp_path):
    """A process with so little address space that 512 chunks at once can't fit goes on with fewer."""
    code = ("import resource, sys\nfrom lib.config import preset\nfrom lib.training.loop import train\n"
            "config = preset('vqvae', 'tiny', optimizer='adamw', channels=128, batch_size=512, steps=1)\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + 1200 * 2**20, -1))\n"
            "train(config, sys.argv[1], sys.argv[2])")  # fmt: skip
    assert resource.RLIM_INFINITY == -1
    done = subprocess.run([sys.executable, "-c", code, str(demo_data), str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          timeout=200, env={"OMP_NUM_THREADS": "1", "LIB_QUIET": "1", "PATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert events(tmp_path / "vqvae", "out_of_memory") and checkpoints.find(tmp_path / "vqvae").step == 1


def no_number_at(bad, original):
    """`losses` that are NaN for the music of certain steps."""

    def losses(self, model, batch, *rest, **words):
        found = original(self, model, batch, *rest, **words)
        return {**found, "loss": found["loss"] * float("nan")} if model.training and batch.step in bad else found

    return losses


def test_a_loss_that_is_no_number_is_left_out(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr(VQVAEStage, "losses", no_number_at({2, 3}, VQVAEStage.losses))
    config = preset("vqvae", "tiny", steps=8, validate_every=8, decay="constant", skips_in_a_row=3)
    result = train(config, demo_data, tmp_path)
    run = result.run
    assert result.finished and [event["step"] for event in events(run, "skipped")] == [3, 4]
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert [row["step"] for row in read_history(run) if row["split"] == "train"] == [1, 2, 5, 6, 7, 8]
    for steps in (3, 8):  # and going on in the middle of it changes nothing
        train(
            preset("vqvae", "tiny", **{"steps": steps, "validate_every": 8, "decay": "constant"}),
            demo_data,
            tmp_path,
            "parts",
        )
    assert identical(weights(run), weights(tmp_path / "parts"))


def test_too_many_in_a_row_go_back_and_take_other_music(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr(VQVAEStage, "losses", no_number_at({4, 5, 6}, VQVAEStage.losses))
    config = preset("vqvae", "tiny", steps=8, validate_every=8, skips_in_a_row=3)
    result = train(config, demo_data, tmp_path)
    (back,) = events(result.run, "went_back")
    assert result.finished and back["step"] == 4 and "3 losses in a row" in back["text"]
    assert json.loads((result.run / "adjustments.json").read_text())["detours"] == [[4, 3]]
    assert checkpoints.find(result.run).manifest["adjustments"]["detours"] == [[4, 3]]


def test_a_loss_that_stays_no_number_is_a_clear_error(demo_data, tmp_path, monkeypatch):
    monkeypatch.setattr(VQVAEStage, "losses", no_number_at(range(4, 1000), VQVAEStage.losses))
    config = preset("vqvae", "tiny", steps=40, skips_in_a_row=2, validate_every=100)
    with pytest.raises(NotLearning, match="after 3 tries with other music"):
        train(config, demo_data, tmp_path)
    assert len(events(tmp_path / "vqvae", "went_back")) == 3 and checkpoints.find(tmp_path / "vqvae").step == 4
    monkeypatch.setattr(VQVAEStage, "losses", no_number_at(range(1000), VQVAEStage.losses))
    with pytest.raises(NotLearning, match="from the first steps on"):
        train(config, demo_data, tmp_path, run="never")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_goes_on_exactly(precision, demo_data, tmp_path):
    knobs = {"mixed_precision": precision, "decay": "constant", "gradient_accumulation": 2}
    train(preset("style_encoder", "tiny", **knobs, steps=6), demo_data, tmp_path, run="whole")
    for steps in (1, 4, 6):
        train(preset("style_encoder", "tiny", **knobs, steps=steps), demo_data, tmp_path, run="parts")
    assert identical(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = (checkpoints.find(tmp_path / name) for name in ("whole", "parts"))
    assert whole.scaler() == parts.scaler() and bool(whole.scaler()) == (precision == "fp16")


def test_a_run_moves_to_a_gpu_of_another_precision_and_back(demo_data, tmp_path):
    """From an L4 to a T4: bf16 has no scaler, fp16 has one."""
    for number, precision in enumerate(("bf16", "fp16", "no", "fp16"), 1):
        config = preset("style_encoder", "tiny", steps=number, mixed_precision=precision, decay="constant")
        assert train(config, demo_data, tmp_path).step == number
    assert checkpoints.find(tmp_path / "style_encoder").scaler()


def test_a_working_copy_in_bfloat16_goes_on_exactly(tiny_runs, demo_data, tmp_path):
    sources = {f"{name}_run": tiny_runs / name for name in ("vqvae", "style_encoder")}
    knobs = {"mixed_precision": "bf16", "decay": "constant", "gradient_accumulation": 2}
    train(preset("diffusion", "tiny", **knobs, steps=6), demo_data, tmp_path, run="whole", **sources)
    for steps in (1, 4, 6):
        train(preset("diffusion", "tiny", **knobs, steps=steps), demo_data, tmp_path, run="parts", **sources)
    assert identical(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_too_large_for_half_precision_lowers_the_scale(demo_data, tmp_path, monkeypatch):
    original = VQVAEStage.losses

    def losses(self, model, batch, *rest):
        found = original(self, model, batch, *rest)
        return {**found, "loss": found["loss"] * 1e36}

    monkeypatch.setattr(VQVAEStage, "losses", losses)
    trainer = make_trainer("vqvae", demo_data, tmp_path, mixed_precision="fp16")
    before = trainer.scaler.get_scale()
    outcome = optimizer_step(trainer, 0)
    assert not outcome.updated and not outcome.is_fault and trainer.scaler.get_scale() < before


def test_more_processes_than_chunks_are_refused(demo_data, tmp_path):
    trainer = make_trainer("vqvae", demo_data, tmp_path)
    accelerator = type("Many", (), {"process_index": 0, "num_processes": 9, "device": torch.device("cpu")})()
    with pytest.raises(ConfigError, match="9 processes share a global batch of 8"):
        Trainer(trainer.stage, accelerator, trainer.adjustments, 4, print)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell how much memory is in use")
def test_memory_is_given_back():
    blocks = [bytes(60_000) + bytes([1]) for _ in range(4000)]  # 240 MB in pieces that malloc takes from its heap
    with_all = resident_mb()
    del blocks[:-1]  # the last one keeps the heap's end where it is
    give_back_memory()
    assert with_all - resident_mb() > 150


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

"""What a step has to do, counted without numbers, against the same counter over a real step and the models themselves."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lib import config as configs
from lib.apps.plan.estimate import of_preset
from lib.apps.plan.work import FLOAT_BYTES, WINDOW_SHARE, step_work
from lib.devices import make_accelerator
from lib.training.loop import optimizer_step
from lib.training.stages import STAGES
from lib.training.trainer import Adjustments, Trainer


def make_trainer(stage, demo_data, folder, **settings):
    config = configs.preset(stage, "tiny", **settings)
    sources = dict.fromkeys(("vqvae", "style_encoder"), configs.RELEASED) if stage == "diffusion" else {}
    made = STAGES[stage](config, demo_data, None, sources)
    accelerator, adjustments = make_accelerator(config, folder), Adjustments(folder, config.batch_size, None, False)
    made.prepare(accelerator.device)
    return Trainer(made, accelerator, adjustments, 10, print)


def counted_flops(trainer, step):
    with FlopCounterMode(display=False) as counter:
        optimizer_step(trainer, step)
    return counter.get_total_flops()


CASES = {
    "vqvae": ("vqvae", {"channels": 96, "blocks": 2}),
    "vqvae, adamw": ("vqvae", {"optimizer": "adamw"}),
    "vqvae, accumulated": ("vqvae", {"batch_size": 2, "gradient_accumulation": 3}),
    "style_encoder": ("style_encoder", {"channels": 48, "blocks": 3}),
}
DIFFUSION = {"width": 96, "heads": 2, "depth": 2, "batch_size": 8}
CODES = 1024  # of the released codec


@pytest.mark.parametrize("case", CASES)
def test_flops_and_parameters_of_a_step(case, demo_data, tmp_path):
    stage, settings = CASES[case]
    trainer = make_trainer(stage, demo_data, tmp_path, **settings)
    work = step_work(trainer.config)
    assert work.flops == pytest.approx(counted_flops(trainer, 0), rel=0.02)
    check_parameters(work, trainer)


def check_parameters(work, trainer):
    """After a step. The demo corpus has fewer pianists, and a style is 128 numbers where preset tiny has 16."""
    assert work.parameters == pytest.approx(sum(p.numel() for p in trainer.model.parameters()), rel=0.05)
    is_muon = trainer.config.optimizer == "muon"
    parts = (trainer.optimizer.muon, trainer.optimizer.adamw) if is_muon else (trainer.optimizer,)
    tensors = [tensor for part in parts for state in part.state.values() for tensor in state.values()]
    assert work.optimizer_floats == pytest.approx(sum(t.numel() for t in tensors if torch.is_tensor(t)), rel=0.05)


@pytest.mark.parametrize("stage", ["vqvae", "style_encoder"])
def test_saved_activations(stage, demo_data, tmp_path):
    trainer = make_trainer(stage, demo_data, tmp_path)
    assert step_work(trainer.config).saved_floats * FLOAT_BYTES == pytest.approx(saved_bytes(trainer, 1), rel=0.1)


@pytest.mark.slow
def test_the_work_of_a_diffusion_model(demo_data, tmp_path):
    """Another share is masked at each step, and over real numbers on the CPU the counter leaves out attention."""
    trainer = make_trainer("diffusion", demo_data, tmp_path, **DIFFUSION)
    work, steps = step_work(trainer.config, CODES), range(4)
    assert work.flops == pytest.approx(sum(counted_flops(trainer, step) for step in steps) / 4, rel=0.1)
    check_parameters(work, trainer)
    saved = sum(saved_bytes(trainer, step) for step in steps) / 4
    assert WINDOW_SHARE * work.saved_floats * FLOAT_BYTES == pytest.approx(saved, rel=0.15), "some windows are short"


def saved_bytes(trainer, step):
    """Bytes of different storages that a forward pass keeps, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in [*trainer.model.parameters(), *trainer.model.buffers()]}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # the tensor too, or its address is used again
        return tensor

    batch = trainer.stage.stream.batch(step, 0, trainer.config.batch_size, "cpu")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = trainer.stage.losses(trainer.model, batch)["loss"]
    assert loss.isfinite()
    return sum(size for size, _ in kept.values())


def test_a_larger_model_has_more_of_everything_and_counting_draws_nothing():
    state = torch.random.get_rng_state()
    small, large = (step_work(of_preset("diffusion", name)) for name in ("tiny", "demo"))
    assert all(getattr(small, name) < getattr(large, name) for name in small.__dataclass_fields__)
    step_work(of_preset("vqvae", "tiny", channels=48))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_preset_means():
    work = step_work(of_preset("diffusion", "large"))
    assert 250e6 < work.parameters < 265e6, "README: about 255 M"
    assert of_preset("fine_tune", "large").width == configs.preset("diffusion", "large").width
    assert 0.7 < work.optimizer_flops / work.flops < 0.8, "short batches make Muon the larger part"
    assert step_work(of_preset("diffusion", "tiny", optimizer="adamw")).optimizer_flops == 0

"""Hours, dollars, memory and room: what they are made of, and that they move the right way.

What a step has to do is counted without numbers: here against the same counter over a real step, and the models.
"""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lib import config as configs
from lib.apps.plan.estimate import FLOAT_BYTES, HOURS, MEAN_WINDOW, RANGE, estimate, music_hours, of_preset, step_work
from lib.apps.plan.machines import DEVICES, ENVIRONMENTS, Logged
from lib.config import ROOT, ConfigError
from lib.data.corpora import CORPORA
from lib.devices import make_accelerator
from lib.training.loop import optimizer_step
from lib.training.stages import STAGES
from lib.training.trainer import Adjustments, Trainer

T4, R3090, R4090, CPU = (ENVIRONMENTS[name] for name in ("colab-t4", "runpod-3090", "runpod-4090", "cpu"))
NOWHERE = "nowhere"  # no note stores: hours as they are known


def measured(stage="vqvae", preset="laptop", step_s=0.2, peak_bytes=500_000_000, **sizes):
    return [Logged(of_preset(stage, preset, **sizes), CPU.title, step_s, peak_bytes)]


def of(stage, preset, machine, measured=(), data_dir=NOWHERE, **settings):
    """The estimate of a stage of a preset."""
    return estimate(of_preset(stage, preset, **settings), machine, data_dir, measured)


def checkpoint_bytes(stage, preset):
    """Of one checkpoint."""
    five, four = (of(stage, preset, T4, keep_checkpoints=count)["disk_gb"] for count in (5, 4))
    return (five - four) * 1e9


# --- The work of a step ------------------------------------------------------------------------------------------


def make_trainer(stage, demo_data, folder, preset="tiny", **settings):
    config = configs.preset(stage, preset, **settings)
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
# of the preset that has as many codes as the released codec, which it is trained with
DIFFUSION = {"preset": "laptop", "corpora": "demo", "tracker": "none", "width": 96, "heads": 2, "depth": 2, "batch_size": 8}


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
    work, steps = step_work(trainer.config), range(4)
    assert work.flops == pytest.approx(sum(counted_flops(trainer, step) for step in steps) / 4, rel=0.1)
    check_parameters(work, trainer)
    saved = sum(saved_bytes(trainer, step) for step in steps) / 4
    assert MEAN_WINDOW * work.saved_floats * FLOAT_BYTES == pytest.approx(saved, rel=0.15), "some windows are short"


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
    assert all(getattr(small, name) < getattr(large, name) for name in small._fields)
    step_work(of_preset("vqvae", "tiny", channels=48))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_a_preset_means():
    work = step_work(of_preset("diffusion", "large"))
    assert 250e6 < work.parameters < 265e6, "README: about 255 M"
    assert of_preset("fine_tune", "large").width == configs.preset("diffusion", "large").width
    assert 0.7 < work.muon_flops / work.flops < 0.8, "short batches make Muon the larger part"
    assert step_work(of_preset("diffusion", "tiny", optimizer="adamw")).muon_flops == 0


# --- Time --------------------------------------------------------------------------------------------------------


def test_what_was_logged_takes_what_it_took():
    row = of("vqvae", "laptop", CPU, measured(), steps=1000)
    assert (row["step_s"], row["parts_s"]["steps"], row["basis"]) == pytest.approx((0.2, 200, row["basis"]))
    newer = [*measured(preset="demo"), *measured(step_s=0.3), *measured()]
    assert of("vqvae", "laptop", CPU, newer)["step_s"] == pytest.approx(0.3), "the newest log of the very step"


def test_another_size_is_the_tables_corrected():
    wide = {"width": 512, "heads": 8, "steps": 1000}
    table, corrected = (of("diffusion", "laptop", CPU, log, **wide) for log in ((), measured("diffusion", step_s=2.0)))
    ratio = 2.0 / of("diffusion", "laptop", CPU)["step_s"]
    assert corrected["step_s"] == pytest.approx(ratio * table["step_s"]) and corrected["step_s"] > 2.5 * 2.0
    assert of("fine_tune", "laptop", CPU, measured("diffusion"))["basis"] != "table", "the diffusion model again"


def test_all_that_takes_time_is_counted():
    slow = measured("diffusion", step_s=2.0)
    row = of("diffusion", "laptop", CPU, slow, steps=1000, save_minutes=20)
    parts_s, config = row["parts_s"], of_preset("diffusion", "laptop")
    assert parts_s["start"] == 8.0 and parts_s["steps"] == pytest.approx(2000)
    each_s = config.validation_batches * (config.batch_size * 0.5e-3 + 2 / 3)
    assert parts_s["validate"] == pytest.approx(2 * each_s), "after 500 steps and at the end"
    save_s = 8e-9 * checkpoint_bytes("diffusion", "laptop")
    assert parts_s["save"] == pytest.approx((1000 / 225 + 1) * save_s), "every 225 steps, and the best"
    often = of("diffusion", "laptop", CPU, slow, steps=1000, save_minutes=5)
    assert often["parts_s"]["save"] == pytest.approx((1000 / 150 + 1) * save_s), "every five minutes"
    assert parts_s["encode"] == pytest.approx(1.12 * 175.7 * (3.1 + 1.2)), "chords and styles, then one key"
    assert row["hours"] * 3600 == pytest.approx(sum(parts_s.values()))


@pytest.mark.parametrize(
    ("log", "basis"),
    [
        ((), "table"),
        (measured(), "measured"),
        (measured(preset="demo"), "measured, other preset"),
        (measured("style_encoder"), "table"),
        (measured(batch_size=4), "measured, other preset"),
    ],
)
def test_the_range_says_where_hours_come_from(log, basis):
    row = of("vqvae", "laptop", CPU, log)
    low, high = row["hours"] / row["low_hours"], row["high_hours"] / row["hours"]
    assert row["basis"] == basis and (low, high) == pytest.approx((RANGE[basis], RANGE[basis]))


def test_others_that_compute_make_it_a_range():
    alone = of("vqvae", "laptop", CPU, measured())
    busy = of("vqvae", "laptop", dataclasses.replace(CPU, others=3.0), measured())
    assert busy["low_hours"] <= alone["hours"] and busy["high_hours"] >= 4 * alone["hours"], "they may stop, or not"


def test_dollars_and_runtimes_follow_from_hours():
    row = of("diffusion", "large", T4)
    assert row["usd"] == pytest.approx(row["hours"] * T4.usd_per_hour)
    assert row["runtimes"] == pytest.approx(row["hours"] / (12 - 1 / 6), abs=1) and row["runtimes"] > 1
    assert of("diffusion", "large", R3090)["runtimes"] == 0, "a pod lives as long as you like"


def test_faster_devices_take_less_and_larger_presets_more():
    def hours(preset, name):
        return of("diffusion", preset, ENVIRONMENTS[name])["hours"]

    assert hours("large", "runpod-4090") < hours("large", "runpod-3090") < hours("large", "rtx3060") < hours("large", "cpu")
    assert hours("demo", "rtx3090") < hours("colab", "rtx3090") < hours("large", "rtx3090")


def test_muons_products_are_in_16_bits_in_any_precision():
    work, card = step_work(of_preset("diffusion", "large")), DEVICES["t4"]
    single, half = (of("diffusion", "large", card, mixed_precision=name)["step_s"] for name in ("no", "auto"))
    assert single - half == pytest.approx(work.model_flops * (1 / card.flops_per_s(False) - 1 / card.flops_per_s(True)))


# --- Memory and disk ---------------------------------------------------------------------------------------------


def test_memory_has_its_parts():
    def memory_gb(device, log=(), **settings):
        return of("diffusion", "large", DEVICES[device], log, **settings)["memory_gb"]

    assert of("diffusion", "large", R4090)["fits"] and not of("diffusion", "large", ENVIRONMENTS["m1"])["fits"]
    numbers = step_work(of_preset("diffusion", "large")).parameters
    assert memory_gb("a100") > 5 * 4e-9 * numbers, "weights, gradients, averages, the optimizer's numbers"
    assert memory_gb("cpu-8") > memory_gb("a100") + 3 * 4e-9 * numbers, "the snapshot, wider activations"
    assert memory_gb("a100", batch_size=16) > memory_gb("a100")
    assert memory_gb("a100", measured("diffusion", "large", peak_bytes=9_000_000_000)) == 9.0
    assert memory_gb("a100", measured("diffusion", "laptop")) == memory_gb("a100")


def test_checkpoints_on_the_disk_and_on_drive(tiny_runs):
    for stage in configs.STAGES:
        newest = max((tiny_runs / stage / "checkpoints").iterdir())
        files = [newest / name for name in ("model.safetensors", "optimizer.pt", "ema.safetensors")]
        kept = sum(file.stat().st_size for file in files if file.exists())
        # of tiny tensors names take room too
        assert kept * 0.6 < checkpoint_bytes(stage, "tiny") < kept * 1.4, stage
    row = of("vqvae", "large", T4)
    assert row["disk_gb"] > row["drive_gb"] == of("vqvae", "large", T4, keep_checkpoints=1)["drive_gb"]


def test_codes_take_the_room_that_they_take(tiny_runs, demo_data):
    files = [path for path in (demo_data / "codes").rglob("*.npy") if "-" in path.name or "plain" in path.name]
    written = sum(path.stat().st_size for path in files)
    row = of("diffusion", "tiny", CPU, data_dir=demo_data, keep_checkpoints=1)
    store = (demo_data / "demo" / "notes.store").stat().st_size
    codes = row["disk_gb"] * 1e9 - 3 * checkpoint_bytes("diffusion", "tiny") - store
    assert codes == pytest.approx(written, rel=0.5)


# --- Music -------------------------------------------------------------------------------------------------------


def test_the_demo_corpus_is_known_as_it_is_counted(demo_data):
    for stage in configs.STAGES:
        config = configs.preset(stage, "demo")
        assert music_hours(config, NOWHERE) == pytest.approx(music_hours(config, demo_data), abs=0.01)


@pytest.mark.parametrize("stage", configs.STAGES)
def test_steps_are_about_those_of_the_training(stage, demo_data):
    config = configs.preset(stage, "demo", steps=10**6, **({} if stage in ("vqvae", "style_encoder") else {"encodings": 1}))
    sources = dict.fromkeys(("vqvae", "style_encoder"), configs.RELEASED)
    if stage == "fine_tune":
        pytest.skip("it builds on a run")
    windows = STAGES[stage](config, demo_data, None, sources).stream.num_chunks
    assert estimate(config, CPU, demo_data)["steps"] == pytest.approx(config.epochs * windows / config.batch_size, rel=0.08)


@pytest.mark.parametrize("stage", configs.STAGES)
def test_the_real_corpora_are_known_as_they_are_counted(stage):
    if not all((ROOT / "data" / name / "notes.store").exists() for name in ("maestro", "pijama")):
        pytest.skip("the note stores of the real corpora are not in data/")
    config = configs.preset(stage, "large")
    assert music_hours(config, NOWHERE) == pytest.approx(music_hours(config, ROOT / "data"), abs=0.1)
    for name in config.corpora:
        size = (ROOT / "data" / name / "notes.store").stat().st_size
        assert CORPORA[name].store_bytes == pytest.approx(size, rel=0.01)


def test_a_missing_store_falls_back_and_an_unknown_corpus_is_named(tmp_path):
    config = configs.preset("vqvae", "laptop")
    assert music_hours(config, tmp_path) == HOURS["maestro"]["vqvae"] + HOURS["pijama"]["vqvae"]
    with pytest.raises(ConfigError, match="'mine'.*data ingest mine"):
        music_hours(configs.preset("vqvae", "laptop", corpora="mine"), tmp_path)

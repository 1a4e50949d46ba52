"""Hours, dollars, memory and room: what they are made of, and that they move the right way."""

import dataclasses
import json

import pytest

from lib import config as configs
from lib.apps.plan.budget import BY_SIZE, advise, save, total
from lib.apps.plan.calibration import Measured
from lib.apps.plan.forecast import (
    OTHER,
    SAME,
    checkpoint_bytes,
    codes_bytes,
    forecast,
    measured_rate,
    memory_bytes,
    seconds_of,
    step_seconds,
)
from lib.apps.plan.machines import DEVICES, UNMEASURED, here, like
from lib.apps.plan.music import music_of
from lib.apps.plan.prices import ENVIRONMENTS, environments
from lib.apps.plan.work import of_preset, step_work
from lib.config import ConfigError

T4, R3090, R4090 = (ENVIRONMENTS[name] for name in ("colab-t4", "runpod-3090", "runpod-4090"))


def measured(stage="vqvae", preset="laptop", step_s=0.2, small_step_s=0.02, **more):
    work = step_work(of_preset(stage, preset))
    values = {"stage": stage, "preset": preset, "precision": "no", "chunks": work.chunks, "flops": work.flops, "step_s": step_s,
              "spread_s": 0.01, "small_flops": 0.02 * work.flops, "small_step_s": small_step_s, "validate_s": 3.0, "save_s": 0.1,
              "start_s": 2.0, "setup_s": 1.2, "hours": 0.5, "players": 6, "encode_s": 4.0, "encoded_hours": 0.5,
              "peak_bytes": 500_000_000}  # fmt: skip
    return Measured(**{**values, **more})


def test_a_step_that_was_measured_takes_what_it_took():
    config = of_preset("vqvae", "laptop")
    coming = step_seconds(config, step_work(config), DEVICES["cpu2"], measured())
    assert coming == pytest.approx(0.2)


def test_a_larger_step_costs_the_difference_at_the_measured_rate():
    found = measured("diffusion", step_s=2.0, small_step_s=0.2)
    assert measured_rate(found) == pytest.approx(0.98 * found.flops / 1.8)
    config = of_preset("diffusion", "laptop", width=512, heads=8)
    more = step_work(config).flops - found.flops
    assert step_seconds(config, step_work(config), DEVICES["cpu2"], found) == pytest.approx(2.0 + more / measured_rate(found))


def test_a_measurement_that_says_no_rate_is_not_believed():
    """Where a small model takes as long, starting kernels is all there is: the rate must stay a rate."""
    found = measured(step_s=0.01, small_step_s=0.011)
    config = of_preset("vqvae", "laptop")
    assert 0 < measured_rate(found) <= 10 * found.flops / found.step_s
    assert step_seconds(config, step_work(config), DEVICES["t4"], found) == pytest.approx(0.01)


def test_all_that_takes_time_is_counted():
    config = of_preset("diffusion", "laptop", steps=1000)
    parts = seconds_of(config, step_work(config), music_of(config), 1000, DEVICES["cpu2"], measured("diffusion", step_s=2.0))
    assert parts["start"] == 2.0 and parts["steps"] == pytest.approx(2000)
    assert parts["validate"] == pytest.approx(2 * 3.0), "after 500 steps and at the end"
    assert parts["save"] == pytest.approx((5 + 1) * 0.1), "every 225 steps, and where it was better"
    assert parts["setup"] == pytest.approx(110 * 0.2) and parts["encode"] == pytest.approx((175.69 + 21.66) * 8.0)
    coming = forecast(config, ENVIRONMENTS["cpu"], measured=measured("diffusion", step_s=2.0))
    assert coming.hours * 3600 == pytest.approx(sum(parts.values()))


def test_the_bar_says_where_hours_come_from():
    bars = {}
    for name, found in (("table", None), ("same", measured()), ("other", measured(preset="demo"))):
        coming = forecast(of_preset("vqvae", "laptop"), ENVIRONMENTS["cpu"], measured=found)
        bars[name] = coming.high_hours / coming.hours
        assert coming.low_hours < coming.hours < coming.high_hours
    assert [bars[name] for name in ("table", "same", "other")] == pytest.approx([UNMEASURED, SAME, OTHER])


def test_dollars_and_runtimes_follow_from_hours():
    coming = forecast(of_preset("diffusion", "large"), T4)
    assert coming.usd == pytest.approx(coming.hours * T4.usd_per_hour)
    assert coming.runtimes == pytest.approx(coming.hours / (12 - 1 / 6), abs=1) and coming.runtimes > 1
    assert forecast(of_preset("diffusion", "large"), R3090).runtimes == 0, "a pod lives as long as you like"


def test_faster_devices_take_less_and_larger_presets_more():
    def hours(preset, place):
        return forecast(of_preset("diffusion", preset), ENVIRONMENTS[place]).hours

    assert hours("large", "runpod-4090") < hours("large", "runpod-3090") < hours("large", "rtx3060") < hours("large", "cpu")
    assert hours("demo", "rtx3090") < hours("colab", "rtx3090") < hours("large", "rtx3090")


def test_muon_is_slow_where_there_is_no_bf16():
    work = step_work(of_preset("diffusion", "large"))
    card = DEVICES["t4"]
    newer = dataclasses.replace(card, bf16=True)
    slow, fast = (one.seconds(work.flops, work.optimizer_flops) for one in (card, newer))
    assert slow - fast == pytest.approx(work.optimizer_flops * (1 / card.flops_per_s(False) - 1 / card.flops_per_s(True)))


def test_memory_has_its_parts():
    config = of_preset("diffusion", "large")
    work, music = step_work(config), music_of(config)
    on_gpu, on_cpu = (memory_bytes(config, work, music, DEVICES[name]) for name in ("a100", "cpu8"))
    weights = 4 * work.parameters
    assert on_gpu > 5 * weights, "weights, gradients, averages, and what the optimizer keeps"
    assert on_cpu > on_gpu + checkpoint_bytes(config, work), "the snapshot, wider activations, what is mapped"
    twice = dataclasses.replace(config, batch_size=16)
    assert memory_bytes(twice, step_work(twice), music, DEVICES["a100"]) > on_gpu
    assert not forecast(config, ENVIRONMENTS["m1"]).fits and forecast(config, R4090).fits
    found = measured("diffusion", "large", peak_bytes=9_000_000_000)
    assert memory_bytes(config, work, music, DEVICES["a100"], found) == found.peak_bytes
    assert memory_bytes(config, work, music, DEVICES["a100"], measured("diffusion", "laptop")) == on_gpu


def test_room_on_the_disk_and_on_drive(tiny_runs):
    for stage in configs.STAGES:
        config = of_preset(stage, "tiny")
        newest = max((tiny_runs / stage / "checkpoints").iterdir())
        kept = sum((newest / name).stat().st_size for name in ("model.safetensors", "optimizer.pt", "ema.safetensors")
                   if (newest / name).exists())  # fmt: skip
        assert checkpoint_bytes(config, step_work(config)) == pytest.approx(kept, rel=0.35), "of tiny tensors names take room too"
    big, few = (forecast(of_preset("vqvae", "large", keep_checkpoints=count), T4) for count in (5, 1))
    assert big.disk_gb > few.disk_gb and big.drive_gb > few.drive_gb and big.disk_gb > big.drive_gb


def test_codes_take_the_room_that_they_take(tiny_runs, demo_data):
    config = configs.preset("diffusion", "tiny")
    written = sum(path.stat().st_size for path in (demo_data / "codes").rglob("*.npy") if "-" in path.name or "plain" in path.name)
    manifest = json.loads((max((tiny_runs / "diffusion" / "checkpoints").iterdir()) / "manifest.json").read_text())
    assert manifest["stage"] == "diffusion"
    assert codes_bytes(config, music_of(config, demo_data)) == pytest.approx(written, rel=0.5)


def test_what_a_budget_buys():
    rich, poor = advise(10_000, R3090), advise(0.0, R3090)
    assert rich.chosen.preset == "large" and rich.wished is None and not rich.savings
    assert poor.chosen is None and poor.wished.preset == "demo"
    costs = {name: total(name, R3090).sum("usd") for name in BY_SIZE}
    between = (costs["colab"] + costs["large"]) / 2
    found = advise(between, R3090)
    assert found.chosen.preset == "colab" and found.wished.preset == "large"
    assert found.savings[-1].usd <= between < costs["large"], "given up until it fits, and no more"
    assert all(one.usd > between for one in found.savings[:-1])


def test_what_to_give_up_first_saves_each_time():
    found = save("large", 0.0, R3090)
    costs = [total("large", R3090).sum("usd"), *(one.usd for one in found)]
    assert len(found) >= 4 and all(after < before for before, after in zip(costs, costs[1:], strict=False))
    assert "gradient_accumulation=4" in found[0].words
    assert not any("gradient_accumulation" in one.words for one in save("laptop", 0.0, R3090)), "Muon's share is small there"


def test_prices_are_knobs():
    changed = environments(["runpod-3090=0.2"])
    assert changed["runpod-3090"].usd_per_hour == 0.2 and ENVIRONMENTS["runpod-3090"].usd_per_hour == 0.44
    for wrong, said in ((["runpod-390=0.2"], "runpod-3090"), (["colab-t4=cheap"], "dollars an hour"), (["colab-t4=-1"], "dollars")):
        with pytest.raises(ConfigError, match=said):
            environments(wrong)


def test_every_device_has_a_source_and_every_environment_a_device():
    for name, device in DEVICES.items():
        assert device.source and 0 < device.share <= 0.6 and device.single_tflops > 0, name
        assert "http" in device.source or name.startswith("cpu")
    assert {"colab-free", "colab-t4", "colab-v100", "colab-l4", "colab-a100", "runpod-3090-spot", "runpod-3090", "runpod-4090-spot",
            "runpod-4090", "rtx3060", "m1", "m2", "cpu"} <= set(ENVIRONMENTS)  # fmt: skip
    issue = {"runpod-3090-spot": 0.34, "runpod-3090": 0.44, "runpod-4090-spot": 0.69, "runpod-4090": 0.79}
    assert {name: ENVIRONMENTS[name].usd_per_hour for name in issue} == issue


@pytest.mark.parametrize(("kind", "name", "key"), [
    ("cuda", "Tesla T4", "t4"), ("cuda", "NVIDIA GeForce RTX 3090", "rtx3090"), ("cuda", "NVIDIA A100-SXM4-40GB", "a100"),
    ("cuda", "NVIDIA L4", "l4"), ("cuda", "Tesla V100-SXM2-16GB", "v100"), ("cuda", "Unheard Of 9", "rtx3060"),
    ("cuda", "NVIDIA L40S", "rtx3060"),
    ("mps", "Apple silicon", "m1"),
])  # fmt: skip
def test_the_drivers_names_are_known(kind, name, key):
    assert like(kind, name, 8) == DEVICES[key]


def test_a_cpu_counts_by_its_cores():
    assert like("cpu", "x86_64 CPU", 6).single_tflops == pytest.approx(3 * DEVICES["cpu2"].single_tflops)
    assert here("cpu").kind == "cpu" and here("cpu").cores >= 1 and here("cpu").device.memory_gb > 0.5

"""Hours, dollars, memory and room: what they are made of, and that they move the right way."""

import dataclasses
import json

import pytest

from lib import config as configs
from lib.apps.plan.estimate import (
    BY_SIZE,
    KNOWN,
    OTHER,
    SAME,
    UNMEASURED,
    Estimate,
    advise,
    music_of,
    of_preset,
    save,
    total,
)
from lib.apps.plan.machines import DEVICES, ENVIRONMENTS, at_hand, environments, like, others_since, processor_times
from lib.apps.plan.measurements import Measurement
from lib.apps.plan.work import step_work
from lib.config import ROOT, ConfigError
from lib.data.corpora import CORPORA

T4, R3090, R4090, CPU = (ENVIRONMENTS[name] for name in ("colab-t4", "runpod-3090", "runpod-4090", "cpu"))


def measured(stage="vqvae", preset="laptop", step_s=0.2, others=0.0, peak_bytes=500_000_000, **sizes):
    config = of_preset(stage, preset, **sizes)
    return Measurement(config, 2.0, step_s, 3.0, spread=0.01, own=1.0, others=others, peak_bytes=peak_bytes)


# --- Time --------------------------------------------------------------------------------------------------------


def test_what_was_measured_takes_what_it_took():
    row = Estimate(of_preset("vqvae", "laptop", steps=1000), CPU, measurement=measured())
    assert row.parts_s["steps"] == pytest.approx(200) and row.parts_s["validate"] == pytest.approx(2 * 3.0)


def test_another_size_is_the_tables_corrected():
    wide = of_preset("diffusion", "laptop", width=512, heads=8, steps=1000)
    slower = measured("diffusion", step_s=2.0)
    of_table, corrected = Estimate(wide, CPU), Estimate(wide, CPU, measurement=slower)
    ratio = 2000 / Estimate(of_preset("diffusion", "laptop", steps=1000), CPU).parts_s["steps"]
    assert corrected.parts_s["steps"] == pytest.approx(ratio * of_table.parts_s["steps"])
    assert corrected.parts_s["steps"] > 2.5 * 2000


def test_all_that_takes_time_is_counted():
    config = of_preset("diffusion", "laptop", steps=1000)
    row = Estimate(config, CPU, measurement=measured("diffusion", step_s=2.0))
    assert row.parts_s["start"] == pytest.approx(2.0 + 0.13 * 175.69) and row.parts_s["steps"] == pytest.approx(2000)
    assert row.parts_s["validate"] == pytest.approx(2 * 3.0), "after 500 steps and at the end"
    assert row.parts_s["save"] == pytest.approx((5 + 1) * 8e-9 * row.checkpoint_bytes), "every 225 steps, and the best"
    assert row.parts_s["encode"] == pytest.approx((175.69 + 21.66) * (3.1 + 1.2)), "chords and styles, then one key"
    assert row.hours * 3600 == pytest.approx(sum(row.parts_s.values()))


@pytest.mark.parametrize(
    ("measurement", "bar", "basis"),
    [
        (None, UNMEASURED, "table"),
        (measured(), SAME, "measured"),
        (measured(preset="demo"), OTHER, "measured, other preset"),
        (measured("style_encoder"), OTHER, "measured, other preset"),
        (measured(batch_size=4), OTHER, "measured, other preset"),
    ],
)
def test_the_bar_says_where_hours_come_from(measurement, bar, basis):
    row = Estimate(of_preset("vqvae", "laptop"), CPU, measurement=measurement)
    assert (row.high_hours / row.hours, row.hours / row.low_hours) == pytest.approx((bar, bar)) and row.basis == basis


def test_others_that_compute_make_it_a_range():
    config = of_preset("vqvae", "laptop")
    quiet, busy = measured(), measured(step_s=0.8, others=0.75)
    here = dataclasses.replace(CPU, others=0.75)
    alone = Estimate(config, CPU, measurement=quiet)
    measured_then, measured_now = Estimate(config, CPU, measurement=busy), Estimate(config, here, measurement=quiet)
    assert measured_then.low_hours <= alone.hours <= measured_then.high_hours, "they may stop"
    assert measured_now.low_hours <= alone.hours and measured_now.high_hours >= 4 * alone.hours, "they may not"


def test_the_time_of_others_is_told_from_our_own():
    before = processor_times()
    sum(range(3_000_000))
    assert 0 <= others_since(before) <= 1 and 0 <= at_hand("cpu").others < 1
    total, idle, own = before
    others = others_since((total - 10, idle - 4, own - 3))
    assert others == pytest.approx(0.3, abs=0.25), "10 s, of them 4 idle and 3 our own"


def test_dollars_and_runtimes_follow_from_hours():
    row = Estimate(of_preset("diffusion", "large"), T4)
    assert row.usd == pytest.approx(row.hours * T4.usd_per_hour)
    assert row.runtimes == pytest.approx(row.hours / (12 - 1 / 6), abs=1) and row.runtimes > 1
    assert Estimate(of_preset("diffusion", "large"), R3090).runtimes == 0, "a pod lives as long as you like"


def test_faster_devices_take_less_and_larger_presets_more():
    def hours(preset, name):
        return Estimate(of_preset("diffusion", preset), ENVIRONMENTS[name]).hours

    assert hours("large", "runpod-4090") < hours("large", "runpod-3090") < hours("large", "rtx3060") < hours("large", "cpu")
    assert hours("demo", "rtx3090") < hours("colab", "rtx3090") < hours("large", "rtx3090")


def test_muon_is_slow_where_there_is_no_bf16():
    work, card = step_work(of_preset("diffusion", "large")), DEVICES["t4"]
    newer = dataclasses.replace(card, bf16=True)
    slow, fast = (device.seconds(work.flops, work.optimizer_flops) for device in (card, newer))
    assert slow - fast == pytest.approx(work.optimizer_flops * (1 / card.flops_per_s(False) - 1 / card.flops_per_s(True)))


# --- Room --------------------------------------------------------------------------------------------------------


def test_memory_has_its_parts():
    def memory_gb(device, measurement=None, **settings):
        machine = dataclasses.replace(R3090, device=DEVICES[device])
        return Estimate(of_preset("diffusion", "large", **settings), machine, measurement=measurement).memory_gb

    row = Estimate(of_preset("diffusion", "large"), R4090)
    assert row.fits and not Estimate(of_preset("diffusion", "large"), ENVIRONMENTS["m1"]).fits
    assert memory_gb("a100") > 5 * 4e-9 * row.work.parameters, "weights, gradients, averages, the optimizer's numbers"
    assert memory_gb("cpu8") > memory_gb("a100") + row.checkpoint_bytes / 1e9, "the snapshot, wider activations"
    assert memory_gb("a100", batch_size=16) > memory_gb("a100")
    assert memory_gb("a100", measured("diffusion", "large", peak_bytes=9_000_000_000)) == 9.0
    assert memory_gb("a100", measured("diffusion", "laptop")) == memory_gb("a100")


def test_room_on_the_disk_and_on_drive(tiny_runs):
    for stage in configs.STAGES:
        newest = max((tiny_runs / stage / "checkpoints").iterdir())
        files = [newest / name for name in ("model.safetensors", "optimizer.pt", "ema.safetensors")]
        kept = sum(file.stat().st_size for file in files if file.exists())
        row = Estimate(of_preset(stage, "tiny"), CPU, codes=1024)
        # of tiny tensors names take room too; the diffusion model speaks the released codec's codes or the tiny one's
        assert kept * 0.6 < row.checkpoint_bytes < kept * (1.4 if stage in ("vqvae", "style_encoder") else 4)
    big, few = (Estimate(of_preset("vqvae", "large", keep_checkpoints=count), T4) for count in (5, 1))
    assert big.disk_gb > few.disk_gb and big.drive_gb > few.drive_gb and big.disk_gb > big.drive_gb


def test_codes_take_the_room_that_they_take(tiny_runs, demo_data):
    config = configs.preset("diffusion", "tiny")
    files = [p for p in (demo_data / "codes").rglob("*.npy") if "-" in p.name or "plain" in p.name]
    written = sum(path.stat().st_size for path in files)
    manifest = json.loads((max((tiny_runs / "diffusion" / "checkpoints").iterdir()) / "manifest.json").read_text())
    assert manifest["stage"] == "diffusion"
    assert Estimate(config, CPU, demo_data).codes_bytes == pytest.approx(written, rel=0.5)


# --- Music -------------------------------------------------------------------------------------------------------


def test_the_demo_corpus_is_known_as_it_is_counted(demo_data):
    for stage in configs.STAGES:
        config = configs.preset(stage, "demo")
        known, counted = music_of(config), music_of(config, demo_data)
        assert known.windows == counted.windows, stage
        assert known[1:] == pytest.approx(counted[1:], abs=0.01)


@pytest.mark.parametrize("stage", configs.STAGES)
def test_the_real_corpora_are_known_as_they_are_counted(stage):
    if not all((ROOT / "data" / name / "notes.store").exists() for name in ("maestro", "pijama")):
        pytest.skip("the note stores of the real corpora are not in data/")
    config = configs.preset(stage, "large")
    known, counted = music_of(config), music_of(config, ROOT / "data")
    assert known.windows == counted.windows and known.train_hours == pytest.approx(counted.train_hours, abs=0.02)
    for name in config.corpora:
        size = (ROOT / "data" / name / "notes.store").stat().st_size
        assert CORPORA[name].store_bytes == pytest.approx(size, rel=0.01)


def test_a_missing_store_falls_back_and_an_unknown_corpus_is_named(tmp_path):
    config = configs.preset("vqvae", "laptop")
    assert music_of(config, tmp_path) == music_of(config)
    assert music_of(config).windows == KNOWN["vqvae", "maestro"].windows + KNOWN["vqvae", "pijama"].windows
    with pytest.raises(ConfigError, match="'mine'.*data ingest mine"):
        music_of(configs.preset("vqvae", "laptop", corpora="mine"), tmp_path)


# --- Budget and machines -----------------------------------------------------------------------------------------


def test_what_a_budget_buys():
    rich, poor = advise(10_000, R3090), advise(0.0, R3090)
    assert rich.chosen.preset == "large" and rich.wanted is None and not rich.savings
    assert poor.chosen is None and poor.wanted.preset == "demo"
    costs = {name: total(name, R3090).sum("usd") for name in BY_SIZE}
    between = (costs["colab"] + costs["large"]) / 2
    advice = advise(between, R3090)
    assert advice.chosen.preset == "colab" and advice.wanted.preset == "large"
    usd = [cost.sum("usd") for _, cost in advice.savings]
    assert usd[-1] <= between < costs["large"] and all(x > between for x in usd[:-1]), "until it fits, and no more"


def test_what_to_give_up_first_saves_each_time():
    savings = save("large", 0.0, R3090)
    costs = [total("large", R3090).sum("usd"), *(cost.sum("usd") for _, cost in savings)]
    assert len(savings) >= 4 and all(after < before for before, after in zip(costs, costs[1:], strict=False))
    assert "gradient_accumulation=4" in savings[0][0]
    assert not any("gradient_accumulation" in words for words, _ in save("laptop", 0.0, R3090)), "Muon's share is small"


def test_prices_are_options():
    changed = environments(["runpod-3090=0.2"])
    assert changed["runpod-3090"].usd_per_hour == 0.2 and ENVIRONMENTS["runpod-3090"].usd_per_hour == 0.44
    wrongs = (["runpod-390=0.2"], "runpod-3090"), (["colab-t4=cheap"], "dollars an hour"), (["colab-t4=-1"], "dollars")
    for wrong, message in wrongs:
        with pytest.raises(ConfigError, match=message):
            environments(wrong)


def test_every_device_has_a_source_and_every_environment_a_device():
    for name, device in DEVICES.items():
        assert device.source and 0 < device.share <= 0.6 and device.single_tflops > 0, name
        assert "http" in device.source or name.startswith("cpu")
    named = "colab-free colab-t4 colab-v100 colab-l4 colab-a100 runpod-3090-spot runpod-3090 runpod-4090-spot runpod-4090"
    assert {*named.split(), "rtx3060", "m1", "m2", "cpu"} <= set(ENVIRONMENTS)
    prices = {"runpod-3090-spot": 0.34, "runpod-3090": 0.44, "runpod-4090-spot": 0.69, "runpod-4090": 0.79}
    assert {name: ENVIRONMENTS[name].usd_per_hour for name in prices} == prices


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [
        ("cuda", "Tesla T4", "t4"),
        ("cuda", "NVIDIA GeForce RTX 3090", "rtx3090"),
        ("cuda", "NVIDIA A100-SXM4-40GB", "a100"),
        ("cuda", "NVIDIA L4", "l4"),
        ("cuda", "Tesla V100-SXM2-16GB", "v100"),
        ("cuda", "Unheard Of 9", "rtx3060"),
        ("cuda", "NVIDIA L40S", "rtx3060"),
        ("mps", "Apple silicon", "m1"),
    ],
)
def test_the_drivers_names_are_known(kind, name, key):
    assert like(kind, name, 8) == DEVICES[key]


def test_a_cpu_counts_by_its_cores():
    assert like("cpu", "x86_64 CPU", 6).single_tflops == pytest.approx(3 * DEVICES["cpu2"].single_tflops)
    assert at_hand("cpu").device.half_tflops == 0 and at_hand("cpu").device.memory_gb > 0.5

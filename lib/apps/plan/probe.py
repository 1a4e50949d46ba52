"""Measure one stage on this machine, in a process of its own: python -m lib.apps.plan.probe STAGE PRESET SECONDS [key=value ...]

The music is the demo corpus and codec and ear are the released ones: the cost of a step depends on sizes, not on notes. Prints one
line of JSON, see `probe`. With LIB_CLOCK=processor seconds are the processor's, for a busy machine and one thread.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from lib import config as configs
from lib.apps.plan.work import step_work
from lib.data.corpora import open_corpus
from lib.data.download import download
from lib.data.ingest import ingest
from lib.data.note_store import STORE_NAME, write_note_store

WARM_STEPS, LEAST_STEPS = 2, 3
SMALL = {"vqvae": ("channels", "blocks"), "style_encoder": ("channels", "blocks", "style_dim"),
         "diffusion": ("width", "depth", "heads")}  # fmt: skip
SHARE_OF_SMALL, SHARE_OF_REST = 0.15, 0.25  # of the time: a tiny model's steps; what is no step
RELEASED_CODES = 1024  # patterns of the codec that the probe of a diffusion model speaks
PROCESSOR = os.environ.get("LIB_CLOCK") == "processor"
now = time.process_time if PROCESSOR else time.perf_counter


def since_start():
    """Seconds since this process was asked for."""
    return now() if PROCESSOR else time.time() - float(os.environ.get("LIB_BEGAN", time.time()))


def probe(config, seconds, folder):
    """Measure the stage of a config.

    Parameters
    ----------
    config : of a stage; its corpora are not looked at
    seconds : about how long this may take; three steps are done in any case
    folder : Path, for the demo corpus and a checkpoint

    Returns
    -------
    dict, the fields of calibration.Measured
    """
    began = now()
    from lib.devices import choose_precision, determinism, make_accelerator
    from lib.training import loop  # noqa: F401 - as a training begins

    make_accelerator(config, folder).end_training()
    start_s = since_start()
    write_music(folder / "data")
    stage_name = configs.stage_of(config)
    with determinism(config):
        stage, trainer, built = _build(config, folder)
        wall, processor = time.perf_counter(), time.process_time()
        times = _steps(trainer, began + seconds * (1 - SHARE_OF_SMALL - SHARE_OF_REST))
        used = (time.process_time() - processor) / (time.perf_counter() - wall)
        rest = {"validate_s": _timed(trainer.validate, 1), "save_s": _save(trainer, folder, config)}
        peak = peak_bytes(trainer.device)
        small = _small(config)
        small_times = _steps(_build(small, folder)[1], now() + seconds * SHARE_OF_SMALL)
    work, small_work = (step_work(one, RELEASED_CODES) if stage_name in ("diffusion", "fine_tune") else step_work(one)
                        for one in (config, small))  # fmt: skip
    return {"stage": stage_name, "preset": config.preset, "precision": choose_precision(config), "chunks": work.chunks,
            "flops": work.flops, "step_s": statistics.median(times), "spread_s": _spread(times), "small_flops": small_work.flops,
            "small_step_s": statistics.median(small_times), "peak_bytes": peak, "start_s": start_s,
            "waited": max(0.0, 1 - used) if trainer.device.type == "cpu" else 0.0, **built, **rest}  # fmt: skip


def write_music(data_dir):
    """Some of the demo corpus, a piece an album, as the corpus "demo" of a folder."""
    with tempfile.TemporaryDirectory() as whole:
        ingest("demo", whole, archive=download("demo", whole))
        store = open_corpus("demo", whole)
        first = {(piece.pianist, piece.album): index for index, piece in reversed(list(enumerate(store.pieces)))}
        rows = sorted(first.values())
        path = Path(data_dir) / "demo" / STORE_NAME
        write_note_store(path, [store.pieces[i] for i in rows], [store.rows(i) for i in rows])


def _build(config, folder):
    """(stage, Trainer, seconds that building took) for a config, on the demo corpus."""
    import torch

    from lib.devices import make_accelerator
    from lib.training.stages import STAGES
    from lib.training.trainer import Adjustments, Trainer

    name = configs.stage_of(config)
    config = configs.build(type(config), {**configs.as_values(config), "corpora": ("demo",)})
    sources = dict.fromkeys(("vqvae", "style_encoder"), configs.RELEASED) if name == "diffusion" else {}
    accelerator = make_accelerator(config, folder)
    began = now()
    with torch.random.fork_rng(devices=[]):
        stage = STAGES[name](config, folder / "data", None, sources)
    made = now()
    adjustments = Adjustments(folder, config.batch_size, None, writes=False)
    stage.prepare(accelerator.device)
    trainer = Trainer(stage, accelerator, adjustments, 10**6, _never)
    hours = sum(store.pieces[i].seconds for store, i in stage.stream.pieces) / 3600
    encoded = hours * getattr(config, "encodings", 0)
    players = len({store.pieces[i].pianist for store, i in stage.stream.pieces})
    return stage, trainer, {"setup_s": made - began, "hours": hours, "players": players,
                            "encode_s": now() - made if encoded else 0.0, "encoded_hours": encoded}  # fmt: skip


def _never(event, step, text):
    raise configs.ConfigError(f"The calibration ran into {event} ({text}): nothing was measured. Take a smaller --preset.")


def _steps(trainer, until):
    """Seconds of each step, after some to warm up, until a time of perf_counter."""
    from lib.training.loop import optimizer_step

    times = []
    for step in range(10**6):
        times.append(_timed(optimizer_step, trainer, step))
        if len(times) >= WARM_STEPS + LEAST_STEPS and now() > until:
            return times[WARM_STEPS:]
    return times


def _timed(function, *words):
    began = now()
    function(*words)
    return now() - began


def _save(trainer, folder, config):
    """Seconds of processor that a checkpoint takes, written while a step goes on, as in training."""
    from lib.checkpoints import checkpoint as checkpoints
    from lib.checkpoints.async_saver import AsyncSaver
    from lib.training.loop import optimizer_step

    saver, began = AsyncSaver(), now()
    state = trainer.snapshot()
    facts = {"stage": configs.stage_of(config), "step": 1, "best_step": None}
    saver.start(1, lambda: checkpoints.save(folder / "run", facts, checkpoints.serialised(*state), 1))
    saver.wait()
    took = now() - began
    optimizer_step(trainer, 0)
    return took


def _small(config):
    """The same batch through the smallest model there is: what a step costs besides."""
    tiny = configs.preset(configs.stage_of(config), "tiny")
    names = SMALL[configs.stage_of(config)]
    return configs.build(type(config), {**configs.as_values(config), **{name: getattr(tiny, name) for name in names}})


def _spread(times):
    """Half of what lies between the quartiles, as a share of the median: how restless the machine is."""
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / 2 / middle


def peak_bytes(device):
    """The most that a training has taken: of the GPU's memory there, of the machine's on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return peak_resident_bytes()


def peak_resident_bytes():
    """The most memory that this process has held; 0 on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main():
    """Measure what is asked and print it."""
    stage, preset, seconds, *settings = sys.argv[1:]
    config = configs.preset(stage, preset, **configs.parse_settings(settings))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(probe(config, float(seconds), Path(folder))))


if __name__ == "__main__":
    main()

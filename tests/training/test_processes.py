"""Two processes share a training as one would do it: the same global batch, one writer, and no hanging."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.checkpoints import checkpoint as checkpoints
from lib.checkpoints.history import read_events, read_history
from lib.config import preset
from lib.training.loop import train

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"],
    # --multi_gpu is what starts several processes, on a CPU too; with --cpu accelerate starts one, whatever is asked
    "accelerate": ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
                   "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"],
}  # fmt: skip
LR = 1e-3  # of preset tiny
ADRIFT = {
    "attention.bias"
}  # a softmax over time takes no notice of it: its gradient is rounding error alone, AdamW's steps whole
PORT = iter(range(29611, 29700))


def start(launcher, stage, demo_data, runs, *words):
    """A training by two processes on this machine's CPU (gloo)."""
    command = [sys.executable, *LAUNCHERS[launcher], str(next(PORT)), "-m", "lib", *training(stage, demo_data, runs),
               "--set", "decay=constant", "--set", "optimizer=adamw", *words]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIB_QUIET": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)  # fmt: skip


def training(stage, demo_data, runs):
    return [
        "train",
        stage,
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--data-dir",
        str(demo_data),
        "--runs-dir",
        str(runs),
    ]


def done(process, code=0, seconds=120):
    try:
        output = process.communicate(timeout=seconds)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert code is None or process.returncode == code, output[-3000:]
    return output


def settings(stage, **words):
    return preset(stage, "tiny", decay="constant", optimizer="adamw", **words)


def weights(run):
    return checkpoints.find(run).tensors("model")


def far(a, b):
    """By how much two runs have parted: AdamW turns a rounding error of a tiny gradient into a part of a step of lr."""
    return max(float((a[name] - b[name]).abs().max()) for name in a if name not in ADRIFT)


@pytest.fixture(scope="module")
def alone(demo_data, tmp_path_factory):
    """Both stages, trained by one process. AdamW, as Muon works in bf16 and so makes more of a rounding error."""
    runs = tmp_path_factory.mktemp("alone")
    for stage in ("vqvae", "style_encoder"):
        train(settings(stage, steps=6), demo_data, runs)
    return runs


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_there_are_two_processes(launcher, tmp_path):
    script = tmp_path / "who.py"
    # one write each: `print` may make several, and two processes share what is read here
    script.write_text(
        "import os; os.write(1, f\"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n\".encode())"
    )
    done = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], str(next(PORT)), str(script)], capture_output=True, text=True
    )
    assert sorted(done.stdout.split("\n"))[-2:] == ["rank 0 of 2", "rank 1 of 2"], done.stderr


@pytest.mark.parametrize(("launcher", "stage"), [("torchrun", "vqvae"), ("accelerate", "style_encoder")])
def test_two_processes_do_what_one_does(launcher, stage, alone, demo_data, tmp_path):
    done(start(launcher, stage, demo_data, tmp_path, "--steps", "6"))
    a, b = (read_history(runs / stage) for runs in (alone, tmp_path))
    assert [row["step"] for row in a] == [row["step"] for row in b]
    assert all(abs(x["loss"] - y["loss"]) < 1e-4 * abs(x["loss"]) for x, y in zip(a, b, strict=True))
    assert far(weights(alone / stage), weights(tmp_path / stage)) < LR / 10
    assert len([event for event in read_events(tmp_path / stage) if event["event"] == "start"]) == 1  # one writer


def test_two_then_one_then_two(alone, demo_data, tmp_path):
    done(start("torchrun", "vqvae", demo_data, tmp_path, "--steps", "2"))
    train(settings("vqvae", steps=4), demo_data, tmp_path)
    done(start("torchrun", "vqvae", demo_data, tmp_path, "--steps", "6"))
    assert [event["step"] for event in read_events(tmp_path / "vqvae") if event["event"] == "start"] == [0, 2, 4]
    assert far(weights(alone / "vqvae"), weights(tmp_path / "vqvae")) < LR / 10


def test_an_odd_global_batch_is_shared_too(demo_data, tmp_path):
    train(settings("vqvae", steps=3, batch_size=5), demo_data, tmp_path / "alone")
    done(start("torchrun", "vqvae", demo_data, tmp_path / "two", "--steps", "3", "--batch-size", "5"))
    assert far(weights(tmp_path / "alone" / "vqvae"), weights(tmp_path / "two" / "vqvae")) < LR / 10


def test_muon_learns_the_same_in_two_processes(demo_data, tmp_path):
    train(preset("vqvae", "tiny", decay="constant", steps=6), demo_data, tmp_path / "alone")
    done(start("torchrun", "vqvae", demo_data, tmp_path / "two", "--steps", "6", "--set", "optimizer=muon"))
    a, b = (read_history(tmp_path / runs / "vqvae") for runs in ("alone", "two"))
    assert all(abs(x["loss"] - y["loss"]) < 0.01 * abs(x["loss"]) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("precision", "bound"), [("no", 0.1), ("bf16", 0.5)])
def test_two_processes_share_muon_and_the_working_copy(precision, bound, tiny_runs, demo_data, tmp_path):
    """A generator: each process orthogonalises every other matrix, and both learn what one would.

    Orthogonalising makes more of rounding where a gradient has hardly any, most of all of a bfloat16 copy's.
    """
    sources = {name: tiny_runs / name for name in ("vqvae", "style_encoder")}
    config = preset("diffusion", "tiny", decay="constant", steps=6, mixed_precision=precision, optimizer="muon")
    still = dataclasses.replace(config, steps=1, lr=1e-12)
    for name, each in (("alone", config), ("first", still)):
        train(each, demo_data, tmp_path / name, **{f"{stage}_run": run for stage, run in sources.items()})
    words = ["--vqvae-run", str(sources["vqvae"]), "--style-encoder-run", str(sources["style_encoder"])]
    words += ["--steps", "6", "--set", "optimizer=muon", "--set", f"mixed_precision={precision}"]
    done(start("torchrun", "diffusion", demo_data, tmp_path / "two", *words))
    a, b = (read_history(tmp_path / runs / "diffusion") for runs in ("alone", "two"))
    assert [row["step"] for row in a] == [row["step"] for row in b]
    assert all(abs(x["loss"] - y["loss"]) < 0.01 * abs(x["loss"]) for x, y in zip(a, b, strict=True))
    alone, two = (weights(tmp_path / runs / "diffusion") for runs in ("alone", "two"))
    moved = {name for name in alone if "blocks" in name and name.endswith("weight") and alone[name].ndim == 2}
    first = weights(tmp_path / "first" / "diffusion")
    for name in moved:
        way = float((alone[name] - first[name]).norm())
        assert way > 0 and float((alone[name] - two[name]).norm()) < bound * way, name


def test_when_one_is_killed_the_other_does_not_hang(demo_data, tmp_path):
    words = ("--steps", "100000", "--epochs", "100000", "--set", "validate_every=100000")
    # without torchrun's own care: the two ranks are started as a cluster's scheduler would, each by itself
    port, processes = str(next(PORT)), []
    for rank in ("0", "1"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIB_QUIET": "1", "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2",
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
        command = [sys.executable, "-m", "lib", *training("vqvae", demo_data, tmp_path), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    try:
        end = time.monotonic() + 90
        while len(read_history(tmp_path / "vqvae")) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(read_history(tmp_path / "vqvae")) >= 3
        processes[1].kill()
        began = time.monotonic()
        output = processes[0].communicate(timeout=60)[0]
        assert processes[0].returncode not in (0, None), output[-2000:]
        assert time.monotonic() - began < 60
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert train(preset("vqvae", "tiny", steps=100), demo_data, tmp_path).finished  # and one goes on alone


def test_sigterm_to_the_launcher_saves(demo_data, tmp_path):
    process = start("torchrun", "vqvae", demo_data, tmp_path, "--steps", "100000", "--epochs", "100000",
                    "--set", "validate_every=100000", "--set", "save_every=100000")  # fmt: skip
    end = time.monotonic() + 90
    while len(read_history(tmp_path / "vqvae")) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    done(process, None)
    assert checkpoints.find(tmp_path / "vqvae").step >= 3

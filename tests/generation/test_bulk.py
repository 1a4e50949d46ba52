"""Many solos: the same bytes however they are shared out, killed and gone on with; what is whole is not made again."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import save_tiny_improviser

from lib.config import ConfigError
from lib.generation import bulk as solos
from lib.generation.bulk import Made, Process, SoloStore, make_solos
from lib.generation.generate import generate, load_improviser
from lib.generation.request import GenerateRequest, Order
from lib.music.notes import read_midi
from lib.storage.manifest import unsealed

ROOT = Path(__file__).resolve().parents[2]
ORDER = Order(GenerateRequest(seconds=2.0, num_steps=2, seed=7))
PORT = iter(range(29711, 29799))


@pytest.fixture(scope="module")
def improviser(tmp_path_factory):
    return load_improviser(save_tiny_improviser(tmp_path_factory.mktemp("tiny") / "tiny"), device="cpu")


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.fixture(scope="module")
def alone(improviser, tmp_path_factory):
    """The files of seven solos by one process, two together."""
    folder = tmp_path_factory.mktemp("alone")
    assert make_solos(improviser, ORDER, folder / "solo.mid", 7, 2) == Made(7, 0)
    return files(folder)


def test_there_is_a_solo_a_number_as_its_seed_plays_it(alone, improviser, tmp_path):
    assert len(alone) == 15 and len({content for name, content in alone.items() if name.endswith(".mid")}) == 7
    (tmp_path / "third.mid").write_bytes(alone["solo-000003.mid"])
    played = generate(improviser, GenerateRequest(seconds=2.0, num_steps=2, seed=9)).notes
    assert len(read_midi(tmp_path / "third.mid")) == len(played)
    facts = unsealed(alone["solo-000003.json"].decode(), "facts")
    assert facts["request"]["seed"] == 9 and facts["measures"]["notes"] == len(played)
    store = SoloStore(tmp_path)
    assert store.facts("third") is None, "no facts were written of it"


@pytest.mark.parametrize("world", [2, 3])
def test_the_files_are_the_same_whatever_the_number_of_processes(alone, improviser, tmp_path, world):
    made = [
        make_solos(improviser, ORDER, tmp_path / "solo.mid", 7, 2, share=Process(rank, world)) for rank in range(world)
    ]
    assert sum(one.made for one in made) == 7 and files(tmp_path) == alone


def test_what_is_whole_is_kept_and_what_is_not_is_made_again(alone, improviser, tmp_path, monkeypatch):
    for name, content in alone.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "solo-000001.mid").write_bytes(alone["solo-000001.mid"][:-3])  # cut
    (tmp_path / "solo-000004.mid").write_bytes(alone["solo-000004.mid"].replace(b"MTrk", b"MTrj"))  # a flipped bit
    (tmp_path / "solo-000005.json").unlink()
    (tmp_path / "solo-000007.mid").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert make_solos(improviser, ORDER, tmp_path / "solo.mid", 7) == Made(4, 3) and files(tmp_path) == alone
    assert {path.stat().st_mtime_ns == before[path.name] for path in tmp_path.glob("solo-00000[236].*")} == {True}
    monkeypatch.setattr(solos, "generate_many", lambda *_: pytest.fail("all of it was there"))
    assert make_solos(improviser, ORDER, tmp_path / "solo.mid", 7) == Made(0, 7)


def test_more_of_them_later(alone, improviser, tmp_path):
    assert make_solos(improviser, ORDER, tmp_path / "solo.mid", 3, 2) == Made(3, 0)
    assert len(list(tmp_path.glob("*.mid"))) == 3
    assert make_solos(improviser, ORDER, tmp_path / "solo.mid", 7) == Made(4, 3) and files(tmp_path) == alone


def test_other_solos_are_not_mixed_in(alone, improviser, tmp_path):
    make_solos(improviser, ORDER, tmp_path / "solo.mid", 1, 2)
    with pytest.raises(ConfigError, match="seed: 7 there, 8 asked.*--out"):
        make_solos(improviser, Order(GenerateRequest(seconds=2.0, num_steps=2, seed=8)), tmp_path / "solo.mid", 1)
    with pytest.raises(ConfigError, match="batch: 2 there, 3 asked"):
        make_solos(improviser, ORDER, tmp_path / "solo.mid", 1, 3)
    with pytest.raises(ConfigError, match="before"):
        make_solos(improviser, replace(ORDER, notes=read_midi(alone["solo-000001.mid"])), tmp_path / "solo.mid", 1)


def test_whose_share(monkeypatch):
    assert Process.of_environment() == Process(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Process.of_environment() == Process(2, 3)


def launch(folder, out, processes, count=7, **environment):
    """accelerate launch --num_processes N -m lib generate --count: its exit code and what it said."""
    # --multi_gpu is what starts several processes, on a CPU too; with --cpu accelerate starts one, whatever is asked
    words = ["--multi_gpu", "--num_processes", str(processes)] if processes > 1 else ["--cpu", "--num_processes", "1"]
    words += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    words += [
        "--main_process_port",
        str(next(PORT)),
        "-m",
        "lib",
        "generate",
        "--run",
        str(folder),
        "--count",
        str(count),
    ]
    words += ["--batch", "2", "--seconds", "2", "--num-steps", "2", "--seed", "7", "--device", "cpu"]
    words += ["--out", str(out / "solo.mid")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LIB_QUIET": "1", **environment}
    done = subprocess.run([sys.executable, "-m", "accelerate.commands.launch", *words], cwd=ROOT, env=environment, timeout=240,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
def test_accelerate_launch_killed_in_the_middle_and_gone_on(alone, tmp_path):
    improviser, log = save_tiny_improviser(tmp_path / "tiny"), tmp_path / "killed"
    code, said = launch(improviser, tmp_path / "two", 2, LIB_KILL_AT="solo.facts 2", LIB_KILL_LOG=str(log))
    assert code != 0 and "solo.facts" in log.read_text(), said  # each died with a .mid whose facts are missing
    left = files(tmp_path / "two")
    whole = [number for number in range(1, 8) if SoloStore(tmp_path / "two").facts(f"solo-{number:06d}")]
    assert 1 <= len(whole) < len([name for name in left if name.endswith(".mid")]) < 7
    code, said = launch(improviser, tmp_path / "two", 2)
    shares = [sum(number in numbers for number in whole) for numbers in ((1, 2, 5, 6), (3, 4, 7))]
    for rank, kept in enumerate(shares):
        assert code == 0 and re.search(rf"process {rank + 1} of 2: \d solos made, {kept} were there", said), said
    assert {name: content for name, content in files(tmp_path / "two").items() if not name.endswith(".part")} == alone
    code, said = launch(improviser, tmp_path / "one", 1)
    assert code == 0 and "process 1 of 1: 7 solos made" in said and files(tmp_path / "one") == alone, said


ODD = ["--count 2 --infill a.mid --from 0 --to 1", "--count 2 --wav a.wav", "--count 2 --variations 2", "--batch 2"]


@pytest.mark.parametrize("words", ODD)
def test_what_does_not_go_together(words):
    from typer.testing import CliRunner

    from lib.apps.cli.main import app

    with pytest.raises(ConfigError, match="--count can't be combined"):
        CliRunner().invoke(app, ["generate", "--released", *words.split()], catch_exceptions=False)


def test_the_command_in_one_process(improviser, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from lib.apps.cli.main import app

    monkeypatch.setattr("lib.generation.generate.load_improviser", lambda *_: improviser)
    words = [
        "generate",
        "--released",
        "--count",
        "3",
        "--seconds",
        "2",
        "--num-steps",
        "2",
        "--out",
        str(tmp_path / "solo.mid"),
    ]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "process 1 of 1: 3 solos made, 0 were there" in said
    assert json.loads((tmp_path / "solo.order.json").read_text())["batch"] == 4
    assert SoloStore(tmp_path).facts("solo-000003")["ends_s"] == 2.0

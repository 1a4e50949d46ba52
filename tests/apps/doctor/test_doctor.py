"""What the doctor sees, what it advises, and what it keeps to itself."""

import getpass
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lib.apps import doctor
from lib.apps.cli.main import app
from lib.apps.doctor import (
    Finding,
    as_text,
    as_values,
    cpu_flags,
    look_at_corpora,
    look_at_device,
    look_at_disk,
    look_at_mirror,
    look_at_packages,
    look_at_ports,
    look_at_sound,
    look_at_weights,
    without_names,
)
from lib.config import ROOT


def by_name(found):
    return {one.name: one for one in found}


def fake_torch(cuda=None, version="2.13.0+cu130", mps=False):
    """A torch that sees a card of this capability, or none."""
    properties = SimpleNamespace(total_memory=24e9)
    return SimpleNamespace(
        __version__=version, version=SimpleNamespace(cuda=None if "+cpu" in version else "13.0"), get_num_threads=lambda: 2,
        cuda=SimpleNamespace(is_available=lambda: cuda is not None, get_device_capability=lambda: cuda, device_count=lambda: 1,
                             get_device_name=lambda: "NVIDIA Card", get_device_properties=lambda number: properties),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps),
                                 cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2")),
    )  # fmt: skip


@pytest.fixture
def with_torch(monkeypatch):
    """Put a fake torch and a word of nvidia-smi in place, then look."""

    def look(torch, card=""):
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(doctor, "graphics_card", lambda: card)
        return by_name(look_at_device())

    return look


# --- All of it ---------------------------------------------------------------------------------------------------------


def test_the_command_on_this_machine(tmp_path):
    done = CliRunner().invoke(app, ["doctor", "--json", "--data-dir", str(tmp_path), "--runs-dir", str(tmp_path / "runs")])
    found = json.loads(done.stdout)
    names = [row["name"] for row in found["findings"]]
    assert {"project", "Python", "requirements.txt", "requirements-serve.txt", "device", "bf16", "memory", "disk", "MIDI ports",
            "corpora", "released weights"} <= set(names) and {"fluidsynth", "piano"} & set(names)  # fmt: skip
    assert done.exit_code == bool(found["missing"])
    assert all(row["fix"] for row in found["findings"] if row["state"] == "missing")
    assert str(ROOT) not in done.stdout and str(Path.home()) + "/" not in done.stdout


def test_the_text_ends_with_a_verdict_and_names_fixes():
    found = [Finding("a", "ok", "fine"), Finding("longer", "missing", "gone", "do this"), Finding("b", "note", "so so", "or that")]
    lines = as_text(found).splitlines()
    assert lines[0].split() == ["ok", "a", "fine"] and "fix: do this" in lines[2] and "fix: or that" in lines[4]
    assert lines[-1].startswith("Missing: longer.") and "bug report" in lines[-1]
    assert as_text([Finding("a", "note", "so so")]).endswith("Please add all of this to your bug report.")
    assert as_values([Finding("a", "missing", "gone", "do")])["missing"] == ["a"]


def test_names_and_folders_stay_at_home(monkeypatch):
    monkeypatch.setattr(doctor.Path, "home", lambda: Path("/home/theloniousm"))
    monkeypatch.setattr(getpass, "getuser", lambda: "theloniousm")
    assert without_names("can't read /home/theloniousm/music/x.sf2") == "can't read ~/music/x.sf2"
    assert without_names(r"C:\Users\theloniousm\Documents") == r"C:\Users\USER\Documents"
    assert without_names(f"{ROOT}/data/x") == "./data/x"


# --- Packages ----------------------------------------------------------------------------------------------------------


def test_packages_against_requirements(tmp_path):
    (tmp_path / "requirements.txt").write_text("# words\nnumpy>=1.26,<3  # arrays\ntyper>=0.12,<1\n")
    (tmp_path / "requirements-more.txt").write_text("uvicorn[all]>=999,<1000  # none is so new\nnot-there-at-all>=1,<2  # reason\n")
    found = by_name(look_at_packages(tmp_path))
    assert found["Python"].state == "ok" and found["requirements.txt"].state == "ok" and "numpy" in found["requirements.txt"].says
    more = found["requirements-more.txt"]
    assert more.state == "note" and "2 of 2" in more.says and "not-there-at-all is not installed" in more.says
    assert "wanted <1000,>=999" in more.says or "uvicorn is not installed" in more.says
    assert more.fix.endswith("pip install -r requirements-more.txt")


def test_what_is_needed_is_missing_and_what_tests_want_is_not(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=999,<1000  # none is so new\n")
    assert by_name(look_at_packages(tmp_path))["requirements.txt"].state == "missing"
    path.write_text("playwright>=999,<1000  # tests of pages\n")
    found = by_name(look_at_packages(tmp_path))["requirements.txt"]
    assert found.state == "note" and found.fix


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    found = by_name(look_at_packages())["Python"]
    assert found.state == "missing" and "3.11" in found.fix


# --- The machine -------------------------------------------------------------------------------------------------------


def test_cards_and_their_precision(with_torch):
    ampere = with_torch(fake_torch((8, 6)), "NVIDIA Card, 580.95")
    assert ampere["device"].state == ampere["bf16"].state == "ok" and "driver 580.95" in ampere["device"].says
    turing = with_torch(fake_torch((7, 5)))
    assert turing["bf16"].state == "note" and "fp16" in turing["bf16"].says


def test_a_card_that_torch_does_not_see(with_torch):
    without = with_torch(fake_torch(version="2.13.0+cpu"), "NVIDIA Card, 580.95")
    assert without["device"].state == "missing" and "CUDA build" in without["device"].fix
    old = with_torch(fake_torch(), "NVIDIA Card, 470.10")
    assert old["device"].state == "missing" and "newer driver" in old["device"].fix


def test_apple_and_plain_cpus(with_torch, monkeypatch):
    assert "mps" in with_torch(fake_torch(mps=True))["device"].says
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"avx512_bf16"})
    assert "--mixed-precision bf16" in with_torch(fake_torch(version="2.13.0+cpu"))["bf16"].says
    monkeypatch.setattr(doctor, "cpu_flags", set)
    assert with_torch(fake_torch(version="2.13.0+cpu"))["bf16"].state == "note"


def test_flags_of_a_cpu(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "amx_bf16"} and cpu_flags(tmp_path / "none") == set()


def test_a_nearly_full_disk(monkeypatch, tmp_path):
    assert look_at_disk(tmp_path / "runs" / "that" / "come").state in ("ok", "note")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: SimpleNamespace(free=1e9))
    found = look_at_disk(tmp_path)
    assert found.state == "note" and "1.0 GB" in found.says and "keep_checkpoints" in found.fix
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    assert look_at_disk(tmp_path).state == "missing"


def test_mirrors(monkeypatch, tmp_path):
    monkeypatch.setenv("MIRROR", "gdrive:brad")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert look_at_mirror().state == "missing" and "rclone" in look_at_mirror().fix
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert look_at_mirror().state == "ok"
    monkeypatch.setenv("MIRROR", str(tmp_path))
    assert "folder" in look_at_mirror().says and str(tmp_path) not in look_at_mirror().says
    monkeypatch.delenv("MIRROR")
    assert look_at_mirror().state == "ok"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.setattr(doctor.shim, "DRIVE", tmp_path)
    assert look_at_mirror().state == "note" and "shim.mount()" in look_at_mirror().fix
    (tmp_path / "MyDrive").mkdir()
    assert look_at_mirror().state == "ok"


# --- Music -------------------------------------------------------------------------------------------------------------


def test_sound(monkeypatch):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    found = look_at_sound()
    assert found.state == "note" and found.fix == "brew install fluid-synth"
    monkeypatch.setitem(sys.modules, "fluidsynth", SimpleNamespace())
    assert look_at_sound().state == "ok"


def test_ports_are_counted_not_named(monkeypatch):
    from lib.apps.live import ports

    monkeypatch.setattr(ports, "list_ports", lambda: (["Thelonious' Keyboard"], ["Synth", "Other"]))
    assert look_at_ports() == Finding("MIDI ports", "ok", "1 in, 2 out")
    monkeypatch.setattr(ports, "list_ports", lambda: ([], []))
    assert look_at_ports().state == "note"

    def none():
        raise ports.PortError("Live MIDI needs python-rtmidi")

    monkeypatch.setattr(ports, "list_ports", none)
    assert "python-rtmidi" in look_at_ports().says and look_at_ports().fix


def test_corpora(demo_data, tmp_path, monkeypatch):
    assert look_at_corpora(demo_data) == [Finding("demo", "ok", "60 pieces")]
    (none,) = look_at_corpora(tmp_path)
    assert none.state == "note" and none.fix
    (tmp_path / "demo").mkdir()
    shutil.copy(demo_data / "demo" / "notes.store", tmp_path / "demo")
    monkeypatch.setattr("lib.data.tempo_maps.RELEASED", tmp_path)
    without_maps = Finding("demo", "note", "60 pieces, without tempo maps", "python -m lib data beats demo")
    assert look_at_corpora(tmp_path) == [without_maps]
    (tmp_path / "demo" / "notes.store").write_bytes(b"no store")
    (broken,) = look_at_corpora(tmp_path)
    assert (broken.name, broken.state) == ("demo", "missing") and "ingest demo" in broken.fix


def test_released_weights(tmp_path):
    assert look_at_weights().state == "ok"
    assert look_at_weights(tmp_path).state == "missing" and "git" in look_at_weights(tmp_path).fix

"""The Colab facade, off Colab and with a stand-in for `google.colab` that lives in these tests only."""

import errno
import json
import os
import sys
import types

import pytest

from lib import google_colab_shim as shim
from lib.config import ROOT
from lib.storage.backends import FolderStorage
from lib.storage.manifest import write_manifest
from lib.storage.slots import stored_checkpoints


@pytest.fixture
def off_colab(monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """A stand-in for google.colab that writes down each call; its Drive is a folder of this test."""
    calls = []
    drive_folder = tmp_path / "drive"

    def mount(path, force_remount=False):
        calls.append(("mount", path, *(["again"] if force_remount else [])))
        (drive_folder / "MyDrive").mkdir(parents=True, exist_ok=True)

    def get(name):
        if name != "TOKEN":
            raise KeyError(name)
        return "from the key panel"

    modules = {
        "drive": {"mount": mount, "flush_and_unmount": lambda timeout_ms: calls.append(("flush", timeout_ms))},
        "userdata": {"get": get},
        "files": {
            "upload": lambda: {"../My Tune.mid": b"MThd", "notes.txt": b"x"},
            "download": lambda path: calls.append(("download", path)),
        },
        "output": {"enable_custom_widget_manager": lambda: calls.append(("widgets",))},
        "runtime": {"unassign": lambda: calls.append(("unassign",))},
    }
    package = types.ModuleType("google.colab")
    for name, functions in modules.items():
        module = types.ModuleType(f"google.colab.{name}")
        module.__dict__.update(functions)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    google = types.ModuleType("google")
    google.colab = package
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setattr(shim, "DRIVE", drive_folder)
    return types.SimpleNamespace(calls=calls, drive=drive_folder, package=package)


def test_off_colab_nothing_of_colab_is_needed(off_colab, tmp_path, capsys):
    assert shim.detect() == "local" and not shim.on_colab()
    assert shim.mount() == ROOT
    shim.enable_widgets()
    shim.release()
    assert "Nothing to release" in capsys.readouterr().out
    assert "google.colab" not in sys.modules


def test_environment_alone_tells_colab(off_colab, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260601")
    assert shim.detect() == "colab"


def test_mount_gives_a_folder_on_drive(colab):
    home = shim.mount()
    assert home == colab.drive / "MyDrive" / "brad-mehldau-ai" and home.is_dir()
    assert colab.calls == [("mount", str(colab.drive))]
    assert shim.mount() == home
    assert len(colab.calls) == 1, "a mounted Drive is not mounted again"


def test_a_refused_mount_is_said_and_work_goes_on_locally(colab, monkeypatch, capsys):
    def refuse(path):
        raise ValueError("mount failed")

    monkeypatch.setattr(colab.package.drive, "mount", refuse)
    assert shim.mount() == ROOT
    printed = capsys.readouterr().out
    assert "mount failed" in printed and "lost when it ends" in printed


def test_nobody_is_asked_in_an_unattended_run(colab, tmp_path, monkeypatch, capsys):
    """Its kernels have no browser: Colab's calls would wait for one for ever."""
    monkeypatch.setenv(shim.UNATTENDED, "1")
    assert shim.mount() == ROOT and "mount it in a notebook first" in capsys.readouterr().out
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(shim.SecretError, match="export TOKEN="):
        shim.secret("TOKEN")
    assert shim.upload(tmp_path / "midi") == [] and shim.upload_run(tmp_path / "runs") == []
    assert colab.calls == []
    (colab.drive / "MyDrive").mkdir(parents=True)
    (colab.drive / "MyDrive" / "x").touch()
    assert shim.mount() == colab.drive / "MyDrive" / "brad-mehldau-ai", "what is mounted already is taken"


def test_folders_keep_presets_apart_and_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shim, "ROOT", tmp_path / "repository")
    home = tmp_path / "home"
    demo, tiny = shim.folders(home, "demo"), shim.folders(home, "tiny")
    assert demo.runs == tmp_path / "repository" / "runs" / "demo" and tiny.output == home / "outputs" / "tiny"
    assert demo.data == tiny.data == tmp_path / "repository" / "data"
    named = shim.folders(home, "demo", tmp_path / "d", str(tmp_path / "r"), tmp_path / "o")
    assert [f.name for f in (named.data, named.runs, named.output)] == ["d", "r", "o"]
    assert all(f.is_dir() for f in (demo.data, demo.runs, tiny.output, named.data, named.runs, named.output))


def test_the_mirror_is_drive_or_what_mirror_says(tmp_path, monkeypatch):
    monkeypatch.setattr(shim, "ROOT", tmp_path)
    monkeypatch.delenv("MIRROR", raising=False)
    assert shim.folders(tmp_path, "demo").mirror is None  # the project's own folder needs no copy of itself
    assert shim.folders(tmp_path, "demo", "d").styles == shim.folders(tmp_path, "demo", "d").data / "styles"
    assert shim.folders(tmp_path / "drive", "demo").styles == tmp_path / "drive" / "styles"  # Drive outlives the runtime
    assert shim.folders(tmp_path / "drive", "demo").mirror == str(tmp_path / "drive")
    monkeypatch.setenv("MIRROR", "gdrive:brad-mehldau-ai")
    assert shim.folders(tmp_path, "demo").mirror == "gdrive:brad-mehldau-ai"


def test_relative_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shim.folders(tmp_path, "demo", "d").data == tmp_path / "d"


def test_secret_off_colab_is_an_environment_variable(off_colab, monkeypatch):
    monkeypatch.setenv("TOKEN", "from the environment")
    assert shim.secret("TOKEN") == "from the environment"
    with pytest.raises(shim.SecretError, match="export OTHER_TOKEN="):
        shim.secret("OTHER_TOKEN")


def test_secret_on_colab_comes_from_the_key_panel(colab, monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    assert shim.secret("TOKEN") == "from the key panel"
    with pytest.raises(shim.SecretError, match="OTHER_TOKEN .*key in Colab"):
        shim.secret("OTHER_TOKEN")


def test_upload_off_colab_says_where_to_copy(off_colab, tmp_path, capsys):
    assert shim.upload(tmp_path / "midi") == []
    assert str(tmp_path / "midi") in capsys.readouterr().out
    (tmp_path / "midi" / "a.MID").write_bytes(b"MThd")
    assert shim.upload(tmp_path / "midi") == [tmp_path / "midi" / "a.MID"]


def test_upload_on_colab_stays_inside_the_folder(colab, tmp_path):
    assert shim.upload(tmp_path / "midi") == [tmp_path / "midi" / "My Tune.mid"]
    assert not (tmp_path / "My Tune.mid").exists()


def test_download_prints_the_path_off_colab(off_colab, tmp_path, capsys):
    (tmp_path / "solo.mid").write_bytes(b"MThd")
    assert shim.download(tmp_path / "solo.mid") == tmp_path / "solo.mid"
    assert capsys.readouterr().out.strip() == str(tmp_path / "solo.mid")
    with pytest.raises(FileNotFoundError, match="missing.mid"):
        shim.download(tmp_path / "missing.mid")


def test_download_widgets_and_release_reach_colab(colab, tmp_path):
    (tmp_path / "solo.mid").write_bytes(b"MThd")
    shim.download(tmp_path / "solo.mid")
    shim.enable_widgets()
    shim.release()
    assert colab.calls == [("download", str(tmp_path / "solo.mid")), ("widgets",), ("unassign",)]


def write_run(runs, step):
    run = runs / "vqvae"
    folder = run / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([step]) * 100)
    write_manifest(folder, {"step": step, "best_step": None})
    (run / "config.json").write_text(json.dumps({"preset": "colab"}))


def steps_there(mirror):
    return sorted(one.step for one in stored_checkpoints(FolderStorage(mirror), "runs/colab/vqvae")[0])


def test_a_runtime_is_released_once_its_newest_checkpoints_are_on_drive(colab, tmp_path):
    mirror = shim.mount()
    write_run(tmp_path / "runs", 3)
    assert shim.release(tmp_path / "runs", str(mirror)) and steps_there(mirror) == [3]
    write_run(tmp_path / "runs", 4)
    assert shim.release(tmp_path / "runs", str(mirror)) and steps_there(mirror) == [3, 4]
    assert [call for call in colab.calls if call[0] != "mount"] == [("flush", 600_000), ("unassign",)] * 2


def test_a_runtime_is_kept_while_something_is_not_safe(colab, tmp_path, monkeypatch, capsys):
    mirror, pauses = shim.mount(), []
    write_run(tmp_path / "runs", 3)
    monkeypatch.setattr(FolderStorage, "put", lambda *words: (_ for _ in ()).throw(OSError(errno.EDQUOT, "quota")))
    assert not shim.release(tmp_path / "runs", str(mirror), patience_s=0.0, sleep=pauses.append)
    said = capsys.readouterr().out
    assert "kept: the mirror" in said and "quota is used up" in said and "compute units an hour" in said
    assert ("unassign",) not in colab.calls and shim.release(tmp_path / "runs", str(mirror), force=True)


def test_a_runtime_is_kept_where_a_gigabyte_would_not_stay_free(colab, tmp_path, monkeypatch, capsys):
    mirror = shim.mount()
    write_run(tmp_path / "runs", 3)
    monkeypatch.setattr(FolderStorage, "free", lambda self: 10**9)
    assert not shim.release(tmp_path / "runs", str(mirror), patience_s=0.0, sleep=lambda seconds: None)
    assert "1 GB stay so: empty it" in capsys.readouterr().out and not steps_there(mirror)


def test_a_flush_that_fails_is_tried_again(colab, tmp_path, capsys):
    shim.mount()
    tries = []

    def flush(timeout_ms):
        tries.append(timeout_ms)
        if len(tries) < 3:
            raise ValueError("a background process is busy")

    colab.package.drive.flush_and_unmount = flush
    assert shim.release(sleep=lambda seconds: None) and len(tries) == 3
    assert "Not released yet: Drive has not finished: a background process is busy" in capsys.readouterr().out


def test_a_mount_that_has_died_is_mounted_again(colab, monkeypatch):
    shim.mount()
    original, dead = os.listdir, [True]

    def listdir(path):
        if dead and "MyDrive" in str(path):
            dead.clear()
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return original(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert shim.mount().is_dir() and colab.calls[-1][-1] == "again"


def test_without_a_mirror_what_was_trained_is_not_given_away(colab, tmp_path, capsys):
    write_run(tmp_path / "runs", 3)
    assert not shim.release(tmp_path / "runs", None, sleep=lambda seconds: pytest.fail("nothing to wait for"))
    assert "shim.download_run" in capsys.readouterr().out and ("unassign",) not in colab.calls
    assert shim.release(tmp_path / "nothing trained", None) and shim.release(tmp_path / "runs", None, force=True)


def test_a_run_goes_as_a_zip_and_comes_back(colab, tmp_path, monkeypatch):
    for step in (1, 2, 3):
        write_run(tmp_path / "runs", step)
    path = shim.download_run(tmp_path / "runs" / "vqvae")
    assert colab.calls == [("download", str(tmp_path / "runs" / "vqvae.zip"))]
    monkeypatch.setattr(colab.package.files, "upload", lambda: {"vqvae.zip": path.read_bytes()})
    assert shim.upload_run(tmp_path / "new") == [tmp_path / "new" / "vqvae"]
    assert [folder.name for folder in (tmp_path / "new" / "vqvae" / "checkpoints").iterdir()] == ["step-00000003"]
    assert (tmp_path / "new" / "vqvae" / "config.json").exists()
    (tmp_path / "new" / "vqvae" / "config.json").write_text("mine")
    shim.upload_run(tmp_path / "new")
    assert (tmp_path / "new" / "vqvae" / "config.json").read_text() == "mine", "what is there stays"
    with pytest.raises(FileNotFoundError, match="no run"):
        shim.pack_run(tmp_path / "runs" / "diffusion")


def test_a_run_that_is_kept_elsewhere_is_not_downloaded(off_colab, tmp_path, capsys):
    write_run(tmp_path / "runs", 3)
    assert shim.download_run(tmp_path / "runs" / "vqvae") is None and shim.download_run(tmp_path, "drive") is None
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "half.zip").write_bytes(b"PK")
    assert shim.upload_run(tmp_path / "new") == []
    said = capsys.readouterr().out
    assert f"Copy the zips of your runs into {tmp_path / 'new'}" in said and "half.zip is not a complete zip" in said

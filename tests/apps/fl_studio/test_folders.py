"""Finding FL Studio's folder in homes of all kinds, and leaving alone what is not ours."""

import os
import sys
from pathlib import Path

import pytest
from command_line import lib
from fake_fl_studio import FLStudio

from lib.apps.fl_studio import folders
from lib.apps.fl_studio.folders import SCRIPTS, install, script_path, uninstall, user_data
from lib.apps.fl_studio.script import SIGNATURE
from lib.config import ConfigError

TEXT = f"{SIGNATURE}\nimport flpianoroll as flp\n"


@pytest.fixture
def find(monkeypatch, tmp_path):
    """callable(system, registry) -> user_data there, in a home that is tmp_path; registry: dict, None: this machine's."""

    def user_data_of(system, registry=None):
        monkeypatch.setattr("platform.system", lambda: system)
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        if registry is not None:
            monkeypatch.setattr(folders, "_read_registry", lambda *entry: registry.get(entry))
        return user_data()

    return user_data_of


def make(folder):
    """A user data folder as FL Studio leaves it, with a script of somebody else."""
    scripts = folder / SCRIPTS
    scripts.mkdir(parents=True)
    (scripts / "Theirs.pyscript").write_text("import flpianoroll\n")
    (folder / "Settings" / "Browser.txt").write_text("keep")
    return folder


def tree(folder):
    """Every file below and what is in it."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_it_is_found_in_documents(tmp_path, find, system):
    expected = make(tmp_path / "Documents" / "Image-Line" / "FL Studio")
    assert find(system, {}) == expected


def test_what_fl_studio_remembers_comes_first(tmp_path, find):
    make(tmp_path / "Documents" / "Image-Line" / "FL Studio")
    moved, redirected = make(tmp_path / "Music" / "FL Studio"), make(tmp_path / "Cloud" / "Image-Line" / "FL Studio")
    entries = {folders.FL_PATHS: str(tmp_path / "Music"), folders.DOCUMENTS: str(tmp_path / "Cloud")}
    assert find("Windows", entries) == moved
    assert find("Windows", {**entries, folders.FL_PATHS: str(tmp_path / "gone")}) == redirected
    assert find("Windows", {}) == tmp_path / "Documents" / "Image-Line" / "FL Studio"


def test_windows_registry_is_asked_as_windows_has_it(tmp_path, find, monkeypatch):
    class Registry:
        """winreg, as far as it is used."""

        HKEY_CURRENT_USER = 7
        entries = {folders.FL_PATHS: str(tmp_path / "Moved")}

        class OpenKey:
            def __init__(self, root, key):
                if root != 7 or all(key != known for known, _ in Registry.entries):
                    raise FileNotFoundError(key)
                self.key = key

            def __enter__(self):
                return self

            def __exit__(self, *error):
                return False

        @staticmethod
        def QueryValueEx(opened, name):
            return Registry.entries[opened.key, name], 1

    monkeypatch.setitem(sys.modules, "winreg", Registry)
    expected = make(tmp_path / "Moved" / "FL Studio")
    assert find("Windows") == expected


@pytest.mark.parametrize("content", ["moved", "<Key", "<XMLReg/>", None])
def test_the_file_that_is_macs_registry(tmp_path, find, content):
    usual, moved = make(tmp_path / "Documents" / "Image-Line" / "FL Studio"), make(tmp_path / "Audio" / "FL Studio")
    file = tmp_path / folders.MAC_REGISTRY
    file.parent.mkdir(parents=True)
    keys = ("HKEY_CURRENT_USER", "Software", "Image-Line", "Shared", "Paths")
    if content == "moved":
        content = f'<Value Name="Other" Type="2">no</Value><Value Name="Shared data" Type="2">{tmp_path / "Audio"}</Value>'
        for key in reversed(keys):
            content = f'<Key Name="{key}">{content}</Key>'
        file.write_text(f'<?xml version="1.0" encoding="utf-8"?><XMLReg><Key Name="Key1">{content}</Key></XMLReg>')
        assert find("Darwin") == moved
    else:
        if content is not None:
            file.write_text(content)
        assert find("Darwin") == usual


def test_what_is_not_found_is_said(find):
    with pytest.raises(ConfigError, match=r"no folder .*Documents/Image-Line/FL Studio.*--user-data"):
        find("Windows", {})
    with pytest.raises(ConfigError, match=r"this is Linux.*--user-data"):
        find("Linux")


def test_a_folder_that_is_given(tmp_path):
    folder = make(tmp_path / "Image-Line" / "FL Studio")
    assert user_data(folder) == user_data(tmp_path / "Image-Line") == folder
    for wrong in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="has no folder Settings"):
            user_data(wrong)


def test_installing_and_uninstalling_touch_nothing_else(tmp_path):
    folder = make(tmp_path / "FL Studio")
    before = tree(tmp_path)
    path = install(TEXT, script_path(folder, "Mehldau Solo"))
    assert path == folder / SCRIPTS / "Mehldau Solo.pyscript" and path.read_bytes() == TEXT.encode()
    install(TEXT + "# anew\n", path)
    install(TEXT, script_path(folder, "Another"))
    assert set(tree(tmp_path)) - set(before) == {p.relative_to(tmp_path) for p in (path, path.with_stem("Another"))}
    assert path.read_text().endswith("# anew\n")
    assert [p.name for p in uninstall(folder)] == ["Another.pyscript", "Mehldau Solo.pyscript"]
    assert tree(tmp_path) == before and uninstall(folder) == []


def test_a_first_script_makes_the_folder(tmp_path):
    (tmp_path / "Settings").mkdir()
    assert uninstall(tmp_path) == []
    assert install(TEXT, script_path(tmp_path, "Solo")).parent == tmp_path / SCRIPTS


def test_a_script_of_somebody_else_stays(tmp_path):
    folder = make(tmp_path / "FL Studio")
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=r"Theirs\.pyscript is there already and is not ours"):
        install(TEXT, script_path(folder, "Theirs"))
    (folder / SCRIPTS / "A folder.pyscript").mkdir()
    with pytest.raises(ConfigError, match="not ours"):
        install(TEXT, script_path(folder, "A folder"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["", "  ", "../out", "a/b", "a\\b", "C:", "Solo?", "Sölo", "a\nb"])
def test_a_name_that_is_no_file_name(tmp_path, name):
    with pytest.raises(ConfigError, match="--name"):
        script_path(tmp_path, name)


def test_a_write_that_fails_leaves_the_old_script(tmp_path, monkeypatch):
    path = install(TEXT, tmp_path / "Solo.pyscript")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        install(TEXT + "# anew\n", path)
    assert tree(tmp_path) == {Path("Solo.pyscript"): TEXT.encode()}


def test_the_command_line(solos, tmp_path):
    folder = make(tmp_path / "FL Studio")
    before = tree(tmp_path)
    said = lib("fl-studio", "install", *solos, "--user-data", folder, "--name", "My Solos", check=0).stdout
    script = folder / SCRIPTS / "My Solos.pyscript"
    assert f"{script}: 2 takes" in said and "My Solos" in said.splitlines()[-1]
    studio = FLStudio().open(script.read_text())
    assert studio.form.GetInputValue("Take") == 0 and len(studio.preview(Take=1)) > 10
    written = tmp_path / "out" / "My Solos.pyscript"
    lib("fl-studio", "write", *solos, "--out", written, check=0)
    assert written.read_text() == script.read_text()
    assert str(script) in lib("fl-studio", "uninstall", "--user-data", folder, check=0).stdout
    written.unlink()
    assert tree(tmp_path) == before


def test_the_command_line_says_what_is_wrong(solos, tmp_path):
    assert "--out" in lib("fl-studio", "write", solos[0], "--out", tmp_path / "solo.py", check=2).stderr
    (empty := tmp_path / "empty.mid").write_bytes(b"")
    assert "empty.mid is empty" in lib("fl-studio", "write", empty, "--out", tmp_path / "a.pyscript", check=2).stderr
    assert not (tmp_path / "a.pyscript").exists()

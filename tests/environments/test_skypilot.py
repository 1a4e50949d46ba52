"""docs/skypilot.yaml, read by SkyPilot's own parser in an environment of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib import config as configs

ROOT = Path(__file__).resolve().parent.parent.parent
TASK = ROOT / "docs" / "skypilot.yaml"
# The names of accelerators are usually fetched; those of the file stand in, so that nothing but the parser is asked
PARSE = """
import json, sys
from pathlib import Path
import sky
from sky.catalog import common
names = sys.argv[2].split(",")
path = Path(common.get_catalog_path("common/accelerators.csv"))
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("AcceleratorName,Clouds\\n" + "".join(f"{name},[RunPod]\\n" for name in names))
task = sky.Task.from_yaml(sys.argv[1])
task.validate()
try:
    sky.Task.from_yaml(sys.argv[3])
    refused = ""
except Exception as error:
    refused = str(error)
print(json.dumps({"run": task.run, "mounts": list(task.file_mounts), "refused": refused,
                  "resources": [[sorted(one.accelerators), one.use_spot, one.job_recovery, one.disk_size]
                                for one in task.resources]}))
"""


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A Python with SkyPilot, and a home folder with a remote; or a skip."""
    folder = tmp_path_factory.mktemp("sky")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", folder / "uv", "uv>=0.5"]
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip("no package index can be reached for SkyPilot")
    uv, python = folder / "uv" / "bin" / "uv", folder / "venv" / "bin" / "python"
    for words in (["venv", "-q", folder / "venv", "--python", sys.executable],
                  ["pip", "install", "-q", "--python", python, "skypilot>=0.11,<0.16"]):  # fmt: skip
        done = subprocess.run([uv, *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"SkyPilot can't be installed: {done.stderr.strip()[-300:]}")
    (folder / "home" / ".config" / "rclone").mkdir(parents=True)
    (folder / "home" / ".config" / "rclone" / "rclone.conf").write_text("[gdrive]\n")
    return python, folder / "home"


@pytest.mark.slow
def test_skypilots_parser_takes_it_and_would_have_refused_a_mistake(sky, tmp_path):
    python, home = sky
    text = TASK.read_text(encoding="utf-8")
    (tmp_path / "wrong.yaml").write_text(text.replace("use_spot: true", "use_spots: true"), encoding="utf-8")
    names = re.findall(r"accelerators: (\w+):", text)
    environment = {**os.environ, "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    words = [python, "-c", PARSE, TASK, ",".join(names), tmp_path / "wrong.yaml"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout.splitlines()[-1])
    assert all(spot and recovery["strategy"] and disk >= 50 for _, spot, recovery, disk in task["resources"])
    assert sorted(name for found, *_ in task["resources"] for name in found) == sorted(names)
    assert "until-done train" in task["run"] and task["mounts"] == ["~/.config/rclone/rclone.conf"]
    assert "use_spots" in task["refused"]


def test_its_commands_are_ours():
    """What does not need SkyPilot: shell that parses, a stage and a preset that exist, MIRROR as `train` reads it."""
    text = TASK.read_text(encoding="utf-8")
    envs = dict(re.findall(r"^  ([A-Z]+): (\S+)$", text, re.MULTILINE))
    assert envs["STAGE"] in configs.STAGES and envs["PRESET"] in configs.PRESETS and envs["MIRROR"].startswith("gdrive:")
    for name in ("setup", "run"):
        (block,) = re.findall(rf"^{name}: \|\n((?:  .*\n|\n)+)", text, re.MULTILINE)
        assert subprocess.run(["bash", "-n"], input=block, text=True).returncode == 0
    import lib.apps.cli.main as entry

    assert {"until-done", "doctor"} <= {command.name or command.callback.__name__ for command in entry.app.registered_commands}

"""The server's packages: what is said where they are missing."""

import subprocess
import sys

import pytest
from serving import ROOT


@pytest.mark.parametrize("package", ["fastapi", "httpx"])
def test_the_servers_packages_are_installed(package):
    pytest.importorskip(package, reason=f"{package} is not installed: no test of the server runs (requirements-serve.txt)")


@pytest.mark.parametrize("package, command", [("fastapi", ["serve"]), ("dramatiq", ["worker", "--queue", "redis://localhost"])])
def test_the_command_says_which_are_missing(package, command):
    without = f"import sys; sys.modules[{package!r}] = None; sys.argv[0] = 'lib'; from lib.__main__ import main; main()"
    refused = subprocess.run([sys.executable, "-c", without, *command], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert refused.returncode == 2 and "pip install -r requirements-serve.txt" in refused.stderr

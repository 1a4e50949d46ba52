"""The server's packages: what is said where they are missing."""

import sys

import pytest
from command_line import lib


@pytest.mark.parametrize("package", ["fastapi", "httpx"])
def test_the_servers_packages_are_installed(package):
    pytest.importorskip(package, reason=f"{package} is not installed: no test of the server runs (requirements-serve.txt)")


@pytest.mark.parametrize("package, module, command", [
    ("uvicorn", "background", ["serve"]), ("dramatiq", "redis_queue", ["worker", "--queue", "redis://localhost"]),
])  # fmt: skip
def test_the_command_says_which_are_missing(monkeypatch, package, module, command):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"lib.apps.server.{module}", raising=False)
    assert "pip install -r requirements-serve.txt" in lib(*command, check=2).stderr

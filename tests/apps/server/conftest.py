"""Fixtures of the server's tests: a tiny improviser, a server in this process, a server of its own."""

from importlib.util import find_spec

import pytest

# without the server's packages test_installed.py says so, and these can't even be imported
OF_THE_SERVER = [
    *("test_app.py", "test_background.py", "test_auth.py", "test_job_store.py", "test_page.py"),
    *("test_process.py", "test_redis.py", "test_results.py"),
]
collect_ignore = [] if find_spec("fastapi") and find_spec("httpx") else OF_THE_SERVER


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished folder of an untrained improviser of preset tiny: what it plays is noise, but it plays."""
    from tiny import save_tiny_improviser

    return save_tiny_improviser(tmp_path_factory.mktemp("improviser"))


@pytest.fixture(scope="session")
def make_service(finished):
    """A function that loads a Service for a folder."""
    from lib.apps.server.limits import Limits
    from lib.apps.server.service import Service

    return lambda folder, **limits: Service(folder, finished, device="cpu", limits=Limits(**limits))


@pytest.fixture(scope="module")
def service(make_service, tmp_path_factory):
    """One with small limits."""
    return make_service(tmp_path_factory.mktemp("serve"), queued=6, seconds=60.0, bars=64, performance_s=60.0, notes=2000)


@pytest.fixture(scope="module")
def client(service):
    """An HTTP client of the application, which runs."""
    from starlette.testclient import TestClient

    from lib.apps.server.app import make_app

    with TestClient(make_app(service), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
        yield opened

"""The door: tokens, strangers, other sites' pages, bodies that are too large."""

import asyncio

import pytest
from starlette.testclient import TestClient

from lib.apps.server.app import make_app
from lib.apps.server.auth import check_exposure
from lib.config import ConfigError

TOKEN = "a token of the tests"


@pytest.fixture(scope="module")
def guarded(make_service, tmp_path_factory):
    """A client of a server with a token, and of the same with none said."""
    with TestClient(make_app(make_service(tmp_path_factory.mktemp("guarded")), TOKEN), base_url="http://service.example") as opened:
        yield opened


def test_a_token_is_wanted_for_all_but_the_page_and_health(guarded):
    for path in ("/", "/healthz", "/readyz"):
        assert guarded.get(path).status_code == 200
    for path in ("/v1/styles", "/metrics", "/v1/solos/" + "0" * 32):
        for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}):
            answer = guarded.get(path, headers=headers)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert guarded.get("/v1/styles", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example"}])
def test_a_stranger_is_refused_before_the_body_is_read(guarded, headers):
    messages = []

    async def receive():
        messages.append("read")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        messages.append(message)

    pairs = [(b"host", b"service.example"), *((k.lower().encode(), v.encode()) for k, v in headers.items())]
    scope = {"type": "http", "method": "POST", "path": "/v1/solos", "raw_path": b"/v1/solos", "query_string": b"",
             "headers": pairs, "scheme": "http", "server": ("service.example", 80), "client": ("x", 1),
             "http_version": "1.1"}  # fmt: skip
    asyncio.run(guarded.app(scope, receive, send))
    assert "read" not in messages and messages[0]["status"] == (403 if headers else 401)


def test_beyond_loopback_a_token_is_demanded():
    with pytest.raises(ConfigError, match="--token"):
        check_exposure("0.0.0.0", None)
    with pytest.raises(ConfigError, match="12 characters"):
        check_exposure("0.0.0.0", "short")
    check_exposure("127.0.0.1", None), check_exposure("0.0.0.0", TOKEN)


def test_pages_of_other_sites_get_nothing(client):
    assert client.get("/v1/styles", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Origin": "http://["}):
        answer = client.get("/v1/styles", headers=headers)
        assert answer.status_code in (400, 403) and "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in client.options("/v1/solos").headers


def test_bodies_have_a_limit_announced_or_not(client):
    large = b"x" * (2 * 2**20 + 1)
    assert client.post("/v1/identify", content=large).status_code == 413
    assert client.post("/v1/identify", content=iter([large[:2**20]] * 3)).status_code == 413  # chunked
    assert client.post("/v1/identify", content=large[:-1]).status_code == 422


def test_what_breaks_a_route_is_counted(client, service, monkeypatch):
    monkeypatch.setattr(service.jobs, "find", lambda job_id: 1 / 0)
    assert client.get("/v1/solos/" + "0" * 32).status_code == 500
    assert 'mehldau_answers_total{status="500"} 1.0' in client.get("/metrics").text

"""A server in this process; clients that say nothing, or say it slowly, hold no connection for ever."""

import json
import socket
import threading
import time
from contextlib import closing
from unittest import mock
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install -r requirements-serve.txt)")
from lib.apps.server.auth import Guard  # noqa: E402
from lib.apps.server.background import Connection, server  # noqa: E402
from lib.apps.server.limits import Limits  # noqa: E402

HEAD = b"POST /v1/identify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def address():
    """Of a server behind the limit with limits of a second each."""
    app, protocol = Guard(echo, Limits(body_s=1.0), None, mock.MagicMock()), type("Quick", (Connection,), {"head_s": 1.0})
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", lifespan="off", http=protocol)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()
    running.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def client(address):
    with closing(socket.create_connection(address, timeout=20)) as client:
        yield client


def drip(client, content, every_s=0.1):
    """Send byte by byte until it is all said, or the other end has hung up."""
    try:
        for byte in content:
            client.sendall(bytes([byte]))
            time.sleep(every_s)
    except OSError:
        pass


def read_all(client):
    """All that comes until the other end hangs up."""
    parts = []
    try:
        while part := client.recv(4096):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def read_answer(client):
    """One answer of echo; the connection stays."""
    answer = b""
    while not answer.endswith(b"0123456789"):
        answer += client.recv(4096)
    return answer


def test_who_says_nothing_is_hung_up_on(client):
    began_s = time.monotonic()
    assert read_all(client) == b"" and 0.9 < time.monotonic() - began_s < 10


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(client):
    began_s = time.monotonic()
    drip(client, HEAD[:-4] + b"\r\nX-Long: " + b"x" * 200)
    assert read_all(client) == b"" and time.monotonic() - began_s < 15


def test_nor_is_a_second_one(client):
    client.sendall(HEAD + b"0123456789")
    assert b"200 OK" in read_answer(client)
    began_s = time.monotonic()
    drip(client, HEAD[:-4] + b"\r\nX-Long: " + b"x" * 200)
    assert read_all(client) == b"" and time.monotonic() - began_s < 15


@pytest.mark.parametrize("begun", [b"", b"0123"])
def test_a_body_that_does_not_come_is_a_408_and_the_end(client, begun):
    client.sendall(HEAD + begun)
    head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert b"HTTP/1.1 408" in head and b"connection: close" in head.lower() and b"application/problem+json" in head
    assert json.loads(body)["detail"] == "The body took more than 1 s."


def test_slow_but_in_time_is_answered_and_the_connection_serves_on(client):
    for _ in range(4):  # longer in all than a head may take
        client.sendall(HEAD)
        time.sleep(0.4)
        client.sendall(b"0123456789")
        assert read_answer(client).startswith(b"HTTP/1.1 200")


def test_a_solo_over_http_and_then_nobody_answers(finished, tmp_path):
    order = json.dumps({"seconds": 1, "num_steps": 1}).encode()
    with server(tmp_path, finished, device="cpu") as url:
        asked = Request(urljoin(url, "v1/solos"), order, {"Content-Type": "application/json"})
        links = json.load(urlopen(asked, timeout=30))["links"]
        events = urlopen(urljoin(url, links["events"]), timeout=60).read()
        midi = urlopen(urljoin(url, links["self"]) + ".mid", timeout=30).read()
    assert b"event: done" in events and midi[:4] == b"MThd"
    with pytest.raises(URLError):
        urlopen(url, timeout=5)

"""A server in this process: it plays while the block lasts, and is gone after it."""

import json
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest

from lib.apps.server.background import server


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

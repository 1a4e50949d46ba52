"""A rule is a row of RULES and a field of the request: everything else reads them."""

import inspect

import pytest
from pydantic.dataclasses import dataclass

from lib.apps.cli.options import with_request
from lib.config import STRICT
from lib.display.knobs import make_knobs, request_of
from lib.generation.request import Density, GenerateRequest, rule_target
from lib.music import rules

pytest.importorskip("fastapi", reason="the server's packages are not installed")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Request(GenerateRequest):
    """A request with one rule more."""

    staccato: Density | None = rule_target("How short notes are.", "Staccato", knob=(1.0, 3.0, 0.5))


def test_command_line_page_and_knobs_have_a_new_rule(monkeypatch):
    from lib.apps.server.app import page_html

    monkeypatch.setitem(rules.RULES, "staccato", lambda target, span: rules.note_density(target))
    command = with_request(Request, ("chords",))(lambda **request: request)
    assert "staccato" in inspect.signature(command).parameters
    assert command(staccato=2.0, chords=None) == {"staccato": 2.0}
    page = page_html(Request)
    assert 'id="staccato" name="staccato"' in page and "Staccato" in page and "How short notes are." in page
    knobs = make_knobs(Request)
    assert [value for _, value in knobs["staccato"].options] == [0, 1.0, 1.5, 2.0, 2.5, 3.0]
    knobs["staccato"].value = 2.5
    request = request_of(Request, knobs)
    assert request.staccato == 2.5 and request.num_candidates > 1


def test_the_request_as_it_is_has_no_knob_or_input_without_a_rule():
    fields = {name for name, field in GenerateRequest.__dataclass_fields__.items() if field.metadata}
    assert fields == set(rules.RULES)
    assert set(make_knobs(GenerateRequest)) & fields == {"density", "register"}

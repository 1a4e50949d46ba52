"""Options: one screen of help, the rest behind --help-all; underscores as hyphens; a request's fields as options."""

import pytest
from command_line import lib

from lib.apps.cli.main import COMMANDS
from lib.apps.cli.options import with_request
from lib.config import ConfigError, build
from lib.generation.request import GenerateRequest

NAMES = [[], *([name] for commands in COMMANDS.values() for name in commands if name != "worker")]


@pytest.fixture(autouse=True)
def screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("words", NAMES, ids=lambda words: " ".join(words) or "lib")
def test_help_fits_one_screen(words):
    lines = lib(*words, "--help", check=0).stdout.splitlines()
    assert 8 <= len(lines) <= 40, "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "hidden", "shown"),
    [("generate", "--swing", "--chords"), ("duet", "--give-way", "--mode"), ("train", "--lr", "--mirror")],
)
def test_what_is_rare_is_shown_by_help_all(name, hidden, shown):
    short, whole = lib(name, "--help", check=0).stdout, lib(name, "--help-all", check=0).stdout
    assert shown in short and shown in whole and hidden not in short.split() and hidden in whole.split()
    assert lib(name, "--help", check=0).stdout == short, "what was shown is hidden again"


def test_each_field_of_the_request_is_an_option_with_its_default_and_help():
    text = " ".join(lib("generate", "--help-all", check=0).stdout.replace("│", " ").split())
    for name, field in GenerateRequest.__pydantic_fields__.items():
        if name not in ("own_changes", "condition_model"):
            assert f"--{'tempo' if name == 'tempo_bpm' else name.replace('_', '-')} " in text, name
            assert (field.description or "") in text
    assert "[default: (120)]" in text


def test_underscores_are_hyphens(tmp_path):
    assert "--time-budget needs" in lib("train", "vqvae", "--time_budget", "soon", check=2).stderr
    assert "until-done wants a command" in lib("until_done", check=2).stderr
    assert "There is no folder of runs" in lib("runs", "--runs_dir", tmp_path / "none", check=2).stderr


def test_quarters_a_bar_are_taken_for_a_metre_in_this_release(capsys):
    command = with_request(GenerateRequest, ("chords",))(lambda **request: build(GenerateRequest, request))
    assert command(beats_per_bar=3).metre == "3/4"
    assert "--beats_per_bar is now called metre" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="metre is given twice"):
        command(beats_per_bar=3, metre="7/8")
    assert "--beats-per-bar" in lib("generate", "--help-all", check=0).stdout


def test_one_length_at_most():
    refused = lib("generate", "--released", "--bars", "4", "--seconds", "8", check=2).stderr
    assert "Error: bars and seconds each give the length. Give only one of them" in refused


def test_a_value_out_of_range_names_its_field():
    assert "num_steps" in lib("generate", "--released", "--num-steps", "0", check=2).stderr
    assert "mode" in lib("duet", "--mode", "fourz", check=2).stderr


def test_a_chart_completes_what_is_not_said(tmp_path):
    from urllib.parse import quote

    from lib.apps.cli.options import with_chart

    chart = tmp_path / "waltz.html"
    chart.write_text("irealb://" + quote("Ours=Me=Waltz=C==1r34LbKcu7[T34C^7 |A-7 |D-7 |G7 Z==90=0"), encoding="utf-8")
    request = with_chart({"seed": 3}, chart, None)
    assert (request["seed"], request["tempo_bpm"], request["metre"]) == (3, 90, "3/4")
    assert request["chords"] == "T34 C^7 | A-7 | D-7 | G7"
    assert with_chart({"tempo_bpm": 120.0}, chart, None, 2)["chords"] == "T34 D^7 | B-7 | E-7 | A7"
    assert with_chart({"chords": "C7"}, None, None, -1)["chords"] == "B7"
    for words, message in (
        (({"chords": "C"}, chart, None), "not both"),
        (({"metre": "4/4"}, chart, None), "is in 3/4: leave --metre out"),
        (({}, None, None, 2), "--transpose needs"),
        (({}, None, "Ours"), "--tune needs"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_chart(*words)


def test_a_metre_that_a_chart_begins_with_is_the_metre():
    from lib.apps.live.duet_request import DuetRequest
    from lib.generation.request import GenerateRequest

    for request in (GenerateRequest, DuetRequest):
        assert request(chords="[A] T12/8 C7 | F7").metre == "12/8" and request(chords="C6/9 | F").metre == "4/4"
        assert request(chords="3/4 C | F").metre == "3/4" and request(chords="C | T34 F").metre == "4/4"

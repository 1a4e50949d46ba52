"""`python -m lib charts check`: what is read of charts, for people and as JSON."""

import json

from typer.testing import CliRunner

from lib.apps.cli.main import app

BLUES = "[A] F7 | Bb7 | F7 | Cm7 F7 | T34 Bbmaj7 Bbmaj7 Eb7 | N.C."


def run(*words):
    return CliRunner().invoke(app, ["charts", "check", *words])


def test_bars_as_they_can_be_typed():
    done = run(BLUES)
    title, first, second = done.stdout.rstrip("\n").splitlines()
    assert done.exit_code == 0 and title.endswith(": 6 bars, 4/4")
    assert [cell.strip() for cell in first[4:].split("|")] == ["[A] F7", "Bb7", "F7", "Cm7 F7"]
    assert second.split() == ["5", "T34", "Bbmaj7", "Bbmaj7", "Eb7", "|", "N.C."]
    text = json.loads(run(BLUES, "--json").stdout)["tunes"][0]["text"]
    assert json.loads(run(text, "--json").stdout)["tunes"][0]["bars"] == json.loads(run(BLUES, "--json").stdout)["tunes"][0]["bars"]


def test_all_of_it_as_json():
    (tune,) = json.loads(run(BLUES, "--json").stdout)["tunes"]
    assert [bar["beats"] for bar in tune["bars"]] == [4, 4, 4, 4, 3, 3] and {bar["section"] for bar in tune["bars"]} == {"A"}
    (chord,) = tune["bars"][0]["chords"]
    assert chord == {"symbol": "F7", "beats": 4.0, "root": 5, "bass": 5, "pitch_classes": [0, 3, 5, 9]}
    (rest,) = tune["bars"][-1]["chords"]
    assert rest["symbol"] == "N.C." and rest["root"] is None and rest["pitch_classes"] == []


def test_what_is_refused_is_named(tmp_path):
    done = run("Dm7 | H7", str(tmp_path / "none.html"))
    assert done.exit_code == 2 and "refused" in done.stdout and "H7" in done.stdout and "none.html" in done.stdout
    assert run("Dm7 | H7", "Cmaj7").exit_code == 0, "one of them is read"

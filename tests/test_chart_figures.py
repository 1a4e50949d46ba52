"""The charts' benchmark in small: forms drawn at random are read back, and another program's reading is compared."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def charts():
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    import charts

    yield charts
    sys.path.remove(str(ROOT / "tests" / "benchmarks"))


@pytest.mark.parametrize("name", ["typed", "ireal", "musicxml"])
def test_forms_are_read_back(charts, name):
    assert charts.exact_share(name, 60, seed=3) == 1.0


def test_a_wrong_reading_is_seen(charts, monkeypatch):
    write, read = charts.READERS["typed"]
    monkeypatch.setitem(charts.READERS, "typed", (lambda form, random: write(form, random).replace(" :|", " |"), read))
    assert charts.exact_share("typed", 60, seed=3) < 0.6


def test_tunes_unfolded_by_hand(charts):
    share, count = charts.by_hand()
    assert share == 1.0 and count >= 40


def test_signs_strewn_at_random_are_mostly_refused(charts):
    reasons = charts.strewn(60, seed=3)
    assert reasons["read"] < 20 and reasons.total() == 60


def test_a_playlist_is_compared_with_another_program(charts, tmp_path):
    playlist = ROOT / "tests" / "fixtures" / "charts" / "01b-apostrophe-third.html"
    (tmp_path / "Four.musicxml").write_text(harmonies("C", "F"))
    (tmp_path / "One.musicxml").write_text(harmonies("D", "F"))
    figures, _ = charts.against_reference(playlist, tmp_path)
    assert figures == {"reference_bars": 1.0, "reference_exact": 0.5, "reference_tunes": 2, "reference_refused": 0}


def harmonies(*roots):
    bar = "<measure number='1'><harmony><root><root-step>{}</root-step></root><kind>dominant</kind></harmony></measure>"
    return f"<score-partwise><part id='P1'>{''.join(map(bar.format, roots))}</part></score-partwise>"


def test_the_last_line_is_json(charts, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["charts.py", "--forms", "5"])
    charts.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["benchmark"] == "charts"

"""What is asked, latent frame by latent frame, and which rules follow."""

import numpy as np
import pytest
import torch

from lib.config import ConfigError, as_values, build
from lib.generation.request import RULE_OPTIONS, GenerateRequest
from lib.generation.sliding_window import Conditioning
from lib.music.chart import Chart
from lib.music.rules import CURVES, RULES


def conditioning(seconds=16.0, before=0, after=0, **fields):
    return Conditioning.of(build(GenerateRequest, {"chords": "Cmaj7 | Dm7", **fields}), seconds, before, after)


def names(conditioning):
    return [rule.name for rule in conditioning.rules()]


def test_a_number_is_steady_and_several_are_an_arc():
    steady, arc = conditioning(density=5), conditioning(density="2,8,2", register=(50, 60))
    assert (steady.curves["density"] == 5).all() and steady.curves["register"].shape == (200,)
    assert np.isnan(steady.curves["register"]).all() and (np.diff(arc.curves["register"]) > 0).all()
    assert arc.curves["density"][[0, 100, 199]] == pytest.approx([2, 8, 2], abs=0.1)
    assert names(steady) == ["note_density"] and names(arc) == ["density_contour", "register"]


def test_nothing_is_asked_before_and_after():
    whole = conditioning(seconds=8.0, before=10, after=20, density=5)
    density = whole.curves["density"]
    assert len(whole) == 130 and whole.start_s == pytest.approx(-0.8)
    assert np.isnan(density[:10]).all() and np.isnan(density[110:]).all() and (density[10:110] == 5).all()
    assert whole.chords[:10] == [None] * 10 and whole.chords[10].symbol == "Cmaj7" and whole.chords[-1] is None


def test_a_window_knows_where_it_is():
    whole = conditioning(seconds=16.0, density="2,8", melody=((1.0, 60), (9.0, 64)), swing=0.6)
    window = whole.between(100, 200)
    assert window.start_s == pytest.approx(8.0) and len(window) == 100 and window.curves["density"][0] == pytest.approx(5, abs=0.1)
    tune = next(rule for rule in window.rules() if rule.name == "melody")
    assert tune.target.shape == (1,)
    assert "melody" not in names(whole.between(20, 100)) and "rhythm_grid" in names(window)


def test_chords_are_a_rule_where_there_are_candidates():
    assert "chord_progression" not in names(conditioning()) and names(conditioning(num_candidates=4)) == ["chord_progression"]
    assert names(conditioning(num_candidates=4, chords="N.C.")) == []
    assert names(conditioning(left_density=2, right_density=5, pitch_classes=(1,) * 12, loudness="40,90")) == [
        "velocity_contour", "left_density", "right_density", "pitch_class_histogram"]  # fmt: skip


@pytest.mark.parametrize("fields", [{"density": "2,50"}, {"density": -1}, {"register": "a,b"}, {"swing": 0.9}, {"density": ()}])
def test_what_can_not_be_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        conditioning(**fields)


def test_every_rule_of_a_request_has_a_row_and_every_row_a_field():
    assert set(RULES) == set(RULE_OPTIONS) and set(CURVES) <= set(RULES)


def test_own_changes_are_asked_for_in_one_way():
    for fields in ({"chords": " Own"}, {"own_changes": True}, {"chords": "own", "own_changes": True}):
        request = build(GenerateRequest, fields)
        assert request.own_changes and request.chords == "own"
        assert build(GenerateRequest, as_values(request)) == request
    with pytest.raises(ConfigError, match="own_changes leaves the chords to the pianist, but 'C' is asked for"):
        build(GenerateRequest, {"own_changes": True, "chords": "C"})


def test_a_chart_may_be_given_instead_of_a_text():
    chart = Chart.parse("Fm7 | Bb7")
    assert Conditioning.of(GenerateRequest(chords="Qxy"), 4.0, chart=chart).chords[0].symbol == "Fm7"


def test_the_model_is_conditioned_within_the_music_alone_or_not_at_all():
    style, short = torch.zeros(1, 3), conditioning(seconds=4.0, density=5)
    conditions = short.model_conditions(style, 128)
    assert conditions.chords[0, :50].any(-1).all() and not conditions.chords[0, 50:].any()
    assert conditions.attributes[0, :50, 2].all() and not conditions.attributes[0, 50:].any()
    without = conditioning(seconds=4.0, density=5, condition_model=False).model_conditions(style, 128)
    assert without.equals(conditions.dropped(keep_style=True))

"""What is asked, latent frame by latent frame, and which rules follow."""

import numpy as np
import pytest

from lib.config import ConfigError, GenerateRequest, build
from lib.generation.conditioning import Wishes


def wishes(seconds=16.0, before=0, after=0, **asked):
    return Wishes.over(build(GenerateRequest, {"chords": "Cmaj7 | Dm7", **asked}), seconds, before, after)


def names(asked):
    return [rule.name for rule in asked.rules()]


def test_a_number_is_steady_and_several_are_an_arc():
    steady, arc = wishes(density=5), wishes(density="2,8,2", register=(50, 60))
    assert (steady.density == 5).all() and steady.register.shape == (200,) and np.isnan(steady.register).all()
    assert arc.density[[0, 100, 199]] == pytest.approx([2, 8, 2], abs=0.1) and (np.diff(arc.register) > 0).all()
    assert names(steady) == ["note_density"] and names(arc) == ["density_contour", "register"]


def test_nothing_is_asked_before_and_after():
    asked = wishes(seconds=8.0, before=10, after=20, density=5)
    assert len(asked) == 130 and asked.start_s == pytest.approx(-0.8)
    assert np.isnan(asked.density[:10]).all() and np.isnan(asked.density[110:]).all() and (asked.density[10:110] == 5).all()
    assert asked.chords[:10] == [None] * 10 and asked.chords[10].symbol == "Cmaj7" and asked.chords[-1] is None


def test_a_window_knows_where_it_is():
    asked = wishes(seconds=16.0, density="2,8", melody=((1.0, 60), (9.0, 64)), swing=0.6)
    window = asked.between(100, 200)
    assert window.start_s == pytest.approx(8.0) and len(window) == 100 and window.density[0] == pytest.approx(5, abs=0.1)
    tune = next(rule for rule in window.rules() if rule.name == "melody")
    assert tune.target.shape == (1,)
    assert "melody" not in names(asked.between(20, 100)) and "rhythm_grid" in names(window)


def test_chords_are_a_rule_where_there_are_candidates():
    assert "chord_progression" not in names(wishes()) and names(wishes(num_candidates=4)) == ["chord_progression"]
    assert names(wishes(num_candidates=4, chords="N.C.")) == []
    assert names(wishes(left_density=2, right_density=5, pitch_classes=(1,) * 12, loudness="40,90")) == [
        "velocity_contour", "left_density", "right_density", "pitch_class_histogram"]  # fmt: skip


@pytest.mark.parametrize("asked", [{"density": "2,50"}, {"density": -1}, {"register": "a,b"}, {"swing": 0.9}, {"density": ()}])
def test_what_can_not_be_is_refused(asked):
    with pytest.raises(ConfigError, match=next(iter(asked))):
        wishes(**asked)

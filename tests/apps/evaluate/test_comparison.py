"""Two evaluations: pairs, verdicts, and what can't be compared."""

import copy
import json

import numpy as np
import pytest
from evaluation_sizes import FEW, PIANIST
from typer.testing import CliRunner

from lib.apps.cli.main import app
from lib.apps.evaluate.evaluation import compare, differences_of, format_differences
from lib.apps.evaluate.intervals import mean_of
from lib.apps.evaluate.similarity import widest_directions
from lib.config import ConfigError


@pytest.fixture
def directions():
    styles = np.random.default_rng(0).normal(size=(40, 128))
    return widest_directions(styles)


@pytest.fixture
def found(likeness):
    return copy.deepcopy(likeness[0])


def by_measure(differences):
    return {one.measure: one for one in differences}


def test_an_evaluation_differs_from_itself_in_nothing(found, directions):
    differences = differences_of(found, found, directions)
    assert len(differences) > 25
    assert {one.verdict for one in differences} == {"no difference found"}
    assert all(one.figure.value == one.figure.low == one.figure.high == 0 for one in differences)
    assert "no difference found. By chance" in format_differences(differences)


def test_what_differs_is_found_and_nothing_else(found, directions):
    other = copy.deepcopy(found)
    louder = other["clips"]["generated"]["values"]
    noise = np.random.default_rng(1).normal(0, 0.5, FEW.clips)
    louder["velocity"] = [value + 5 + more for value, more in zip(louder["velocity"], noise)]
    differences = by_measure(differences_of(found, other, directions))
    assert differences["velocity"].verdict == "B is higher" and differences["velocity"].figure.value == pytest.approx(
        5, abs=0.6
    )
    assert differences["note_density"].verdict == differences["swing_ratio"].verdict == "no difference found"
    assert "overlapping_area" in differences and "frechet_style" in differences
    assert format_differences(list(differences.values())).splitlines()[1].split()[1] == "velocity", (
        "what was found comes first"
    )


def test_pairs_see_what_two_means_do_not(found, directions):
    other = copy.deepcopy(found)
    values = other["clips"]["generated"]["values"]
    spread = np.linspace(0, 50, FEW.clips)  # clips differ among themselves far more than the models do
    found["clips"]["generated"]["values"]["velocity"] = spread.tolist()
    values["velocity"] = (spread - 1 + np.linspace(-0.2, 0.2, FEW.clips)).tolist()
    paired = by_measure(differences_of(found, other, directions))["velocity"]
    alone = mean_of(values["velocity"], range(FEW.clips))
    assert paired.verdict == "B is lower" and alone.low < spread.mean() < alone.high


def test_clips_without_a_value_are_left_out_on_both_sides(found, directions):
    other = copy.deepcopy(found)
    other["clips"]["generated"]["values"]["swing_ratio"] = [None] * FEW.clips
    assert "swing_ratio" not in by_measure(differences_of(found, other, directions))


def test_fewer_clips_are_compared_as_far_as_they_go(found, directions):
    other = copy.deepcopy(found)
    part = other["clips"]["generated"]
    for side in (found, other):
        more = side["clips"]["generated"]
        more.update(groups=more["groups"] * 2, styles=more["styles"] * 2)
        more["values"] = {name: values * 2 for name, values in more["values"].items()}
    assert by_measure(differences_of(found, other, directions))["velocity"].figure.count == 2 * FEW.clips
    part["groups"], part["styles"] = part["groups"][:7], part["styles"][:7]
    part["values"] = {name: values[:7] for name, values in part["values"].items()}
    assert by_measure(differences_of(found, other, directions))["velocity"].figure.count == 7
    part["groups"] = part["groups"][:5]
    assert differences_of(found, other, directions) == [] and "Too few clips" in format_differences([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda other: other.update(split="test"), "different splits"),
        (lambda other: other["size"].update(solo_beats=99), "different lengths"),
        (lambda other: other["prompts"].reverse(), "have different prompts"),
        (lambda other: other.update(clips={}), "no clips in common"),
    ],
)
def test_what_was_asked_differently_is_not_compared(found, directions, change, message):
    other = copy.deepcopy(found)
    change(other)
    with pytest.raises(ConfigError, match=message):
        differences_of(found, other, directions)


def test_files_and_runs_from_the_command_line(found, likeness, noise, demo_data, tmp_path):
    path, out = tmp_path / "a.json", tmp_path / "new" / "out.json"
    path.write_text(json.dumps(found))
    done = CliRunner().invoke(app, ["compare", str(path), str(path), "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0 and "no difference found" in done.output
    assert {row["verdict"] for row in json.loads(out.read_text())} == {"no difference found"}
    # a run beside a finished evaluation is played in its size, and as if it were adapted to the same pianist
    (tmp_path / "evaluations").mkdir()
    from lib.apps.evaluate.evaluation import name_of

    (tmp_path / "evaluations" / name_of(noise, "validation")).symlink_to(likeness[1])
    differences = compare(path, noise, demo_data, tmp_path / "evaluations", None)
    assert {one.verdict for one in differences} == {"no difference found"} and found["subject"]["pianist"] == PIANIST

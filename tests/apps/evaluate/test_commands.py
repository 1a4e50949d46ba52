"""evaluate and compare as a user types them."""

import json

import pytest
from evaluation_sizes import PIANIST
from typer.testing import CliRunner

from lib.apps.cli.comparing import size_of
from lib.apps.cli.main import app
from lib.apps.evaluate.clip_sets import QUICK, Size
from lib.config import ConfigError


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "--released"),
        (["evaluate", "somewhere", "--released"], "--released .* or RUN"),
        (["evaluate", "--released", "--split", "tset"], "Did you mean 'test'"),
        (["evaluate", "{folder}/none"], "There is no run folder .*none"),
        (["evaluate", "{folder}"], "is not a finished improviser"),
        (["compare", "{folder}/a.json", "{folder}/a.json"], "there is no evaluation"),
        (["compare", "{folder}/none", "{folder}"], "There is no run folder .*none"),
    ],
)
def test_a_mistake_is_named(words, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(*(word.format(folder=tmp_path) for word in words))
    assert not list(tmp_path.iterdir())


def test_sizes():
    assert size_of() == Size() and size_of(quick=True) == QUICK
    assert size_of(clips=8) == Size(clips=8) and size_of(True, guided=0, each=3, solos=0).each == 3
    assert size_of(True, guided=0).guided == 0


@pytest.mark.slow
def test_an_evaluation_from_the_command_line(noise, demo_data, tmp_path, few_draws):
    words = ["evaluate", noise, "--data-dir", demo_data, "--out", tmp_path / "out", "--pianist", PIANIST, "--clips", 4]
    done = run(*words, "--guided", 0, "--each", 0, "--solos", 0)
    assert done.exit_code == 0 and str(tmp_path / "out" / "evaluation.html") in done.output.splitlines()[-1]
    assert "overlapping area" in done.output and "transfer: not given" in done.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["size"]["clips"] == 4 and "form" in found["missing"]

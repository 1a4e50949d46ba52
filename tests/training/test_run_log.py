"""Every row of a history says how fast the steps were, and how long the rest takes."""

import json

import pytest

from lib.checkpoints.history import EVENTS, SPEEDS, read_events, read_rows, validation_figures
from lib.config import preset
from lib.training.loop import train
from lib.training.run_log import Speed, speed_text


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_speed_counts_steps_alone():
    clock = Clock()
    speed = Speed(tokens_per_step=1000, clock=clock)
    assert speed.figures(10) == {} and speed_text({}) == ""
    for seconds in (0.1, 0.3):
        speed.begin()
        clock.now += seconds
        speed.end()
        clock.now += 60.0  # a validation
    figures = speed.figures(steps_left=50)
    assert figures == {"ms_per_step": 200.0, "tokens_per_s": 5000.0, "seconds_left": 10.0}
    assert speed.figures(steps_left=0) == {**figures, "seconds_left": 0.0}  # none since: those before
    assert speed_text(figures) == "200 ms/step 5,000 tokens/s 0:00:10 left"


@pytest.fixture(scope="module")
def run(demo_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    train(preset("vqvae", "tiny"), demo_data, runs, time_budget_s=0)
    return train(preset("vqvae", "tiny"), demo_data, runs).run


def test_every_row_and_line_has_the_speed(run):
    rows = read_rows(run)
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert all(row["ms_per_step"] > 0 and row["tokens_per_s"] > 0 for row in rows)
    assert [row["seconds_left"] > 0 for row in rows] == [row["step"] < 4 for row in rows]
    lines = [line for line in (run / "train.log").read_text().splitlines() if "/4 " in line]
    assert len(lines) == len(rows) and all("ms/step" in line and "tokens/s" in line for line in lines)
    assert not set(SPEEDS) & set(validation_figures(run, 4))


def test_events_carry_fields(run):
    events = read_events(run)
    assert [event["total"] for event in events if event["event"] == "start"] == [4, 4]
    stopped, finished = ([event for event in events if event["event"] == name] for name in ("stopped", "finished"))
    assert [(event["reason"], event["total"]) for event in stopped] == [("time_budget", 4)]
    assert [event["total"] for event in finished] == [4]


def test_events_of_older_versions_get_fields(tmp_path):
    events = [
        {"event": "start", "step": 0, "text": "of 40"},
        {"event": "start", "step": 0, "text": "again"},
        {"event": "mirror_failed", "step": 1, "text": "no space; training goes on here, and the copy is made later"},
        {"event": "mirrored", "step": 1, "text": "copied"},
    ]
    (tmp_path / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    start, other, failed, mirrored = read_events(tmp_path)
    assert start["total"] == 40 and "total" not in other
    assert failed["reason"] == "no space" and "reason" not in mirrored

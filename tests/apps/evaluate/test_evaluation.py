"""An evaluation from end to end, on a model that plays noise: what is in it, what it says of what can't be given."""

import json
import re

import numpy as np
import pytest
from evaluation_sizes import ALL, FEW, PIANIST

from lib.apps.evaluate.clip_sets import COMPARED, ClipSets, Missing
from lib.apps.evaluate.clips import Clip
from lib.apps.evaluate.evaluation import PAGE_NAME, gather, read_evaluation
from lib.apps.evaluate.measures import clip_measures, solo_measures
from lib.apps.evaluate.metric_descriptions import FORM, IN_TIME, MEANS, SIMILARITY
from lib.apps.evaluate.report import CARD, format_card
from lib.config import ConfigError
from lib.data.corpora import open_corpus
from lib.music.notes import Notes
from lib.music.tempo_map import Metre, TempoMap


def figures_of(value):
    """Every Figure in an evaluation."""
    if isinstance(value, dict):
        if set(value) == {"value", "low", "high", "count"}:
            yield value
        else:
            for one in value.values():
                yield from figures_of(one)


@pytest.mark.slow
def test_every_figure_has_an_interval_around_it(evaluated):
    found, _, _ = evaluated
    figures = [one for one in figures_of(found) if one["value"] is not None]
    assert len(figures) > 250
    for figure in figures:
        assert (
            figure["low"] <= figure["value"] + 1e-6 and figure["value"] <= figure["high"] + 1e-6 and figure["count"] > 0
        )


def test_all_sets_are_there_and_ranked_as_they_must_be(likeness):
    found, _ = likeness
    assert list(found["likeness"]) == list(COMPARED)
    areas = {name: row["overlapping_area"]["value"] for name, row in found["likeness"].items() if name != "real"}
    assert areas["codec"] > areas["training"] > areas["generated"], "the codec above real music, real music above noise"
    assert areas["training"] > areas["markov"] and areas["flattened"] > areas["training"]
    distances = {
        name: row["frechet_style"]["value"] for name, row in found["likeness"].items() if "frechet_style" in row
    }
    assert distances["codec"] < distances["training"] < distances["generated"]
    assert found["likeness"]["generated"]["nearest_attributes"]["value"] > 0.9


@pytest.mark.slow
def test_the_measures_notice_damage(evaluated):
    check = evaluated[0]["selfcheck"]
    assert set(check["control"]) == set(check["doses"][0]["figures"]), "on so few clips it may say anything"
    noticed = check["verdicts"]["overlapping_area"]
    assert noticed["random notes"][0] and noticed["transposed bars"][0] and noticed["random notes"][1] > 0.5
    assert [row["damage"] for row in check["doses"]][:2] == ["none", "jitter"] and len(check["doses"]) == 12


@pytest.mark.slow
def test_what_the_judge_does_not_know_is_said(evaluated):
    found, _, said = evaluated
    assert PIANIST in found["missing"]["judge"] and "judge" not in found["likeness"]["generated"]
    assert "two pianists" in found["missing"]["transfer"]
    assert any(text.startswith("transfer: not given.") for text in said)


@pytest.mark.slow
def test_rules_are_met_better_than_without(evaluated):
    losses = evaluated[0]["obedience"]["rule_losses"]
    assert set(losses) == {"note_density", "chord_progression"}
    assert losses["note_density"]["guided"]["value"] < losses["note_density"]["free"]["value"]
    assert evaluated[0]["obedience"]["chord_agreement"]["codec"]["value"] > 0.7


@pytest.mark.slow
def test_the_json_is_what_was_returned(evaluated):
    found, folder, _ = evaluated
    assert read_evaluation(folder) == found == json.loads((folder / "evaluation.json").read_text())
    assert found["split"] == "validation" and found["subject"]["pianist"] == PIANIST
    assert len(found["clips"]["generated"]["values"]["velocity"]) == ALL.clips


@pytest.mark.slow
def test_the_page_is_one_file_with_every_paragraph(evaluated):
    found, folder, _ = evaluated
    page = (folder / PAGE_NAME).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    for caption in [*SIMILARITY.values(), *FORM.values(), IN_TIME["grid"]]:
        if caption is not SIMILARITY["judge"]:
            assert caption.silent_on.split("'")[0][:60] in page, caption.title
    assert page.count("What it can't tell:") >= 20 and "validation split" in page
    assert page.count("<details class='clip'>") == ALL.clips and page.count("<iframe") >= 2 * ALL.clips
    assert "Look at them once" not in page


def test_every_measure_has_its_words():
    times = np.arange(0, 10, 0.25)
    notes = Notes.from_arrays(times, np.full(40, 0.2), 60 + np.arange(40) % 7, np.full(40, 70))
    clip = Clip(notes, TempoMap.constant(120, Metre(4, 4), 5), 20)
    assert set(clip_measures(clip)) == set(MEANS) and set(solo_measures(clip)) == set(FORM)
    for caption in [*MEANS.values(), *FORM.values(), *SIMILARITY.values(), *IN_TIME.values()]:
        assert caption.title and caption.ideal and caption.means and len(caption.silent_on) > 10


def test_recordings_are_in_time_and_noise_is_not(likeness):
    found = {name: row["grid"]["value"] for name, row in likeness[0]["in_time"].items()}
    assert found["real"] > 0.5 and found["codec"] == pytest.approx(found["real"], abs=0.05)
    assert found["flattened"] == pytest.approx(found["codec"], abs=0.02)
    assert found["training"] > 0.5 and max(found["generated"], found["base_clips"]) < 0.3
    assert found["other_beats"] < found["real"]


@pytest.mark.slow
def test_the_card_has_each_figure_with_its_controls(evaluated):
    text = format_card(evaluated[0])
    titles = [line.split(" (ideal")[0] for line in text.splitlines() if "(ideal" in line]
    absent = {"judge", "transfer, windows"}  # nobody knows a pianist of the demo corpus
    assert titles == [title for title in CARD if title not in absent] and len(CARD) == 10
    assert re.search(r"  the model +0\.\d+ \(0\.\d+ to 0\.\d+\)", text)
    agreement = text.split("chord agreement (ideal: as the codec alone)")[1].split("copying")[0]
    assert agreement.index("the model") < agreement.index("codec alone") < agreement.index("without chords")
    assert "not given, judge" in text


@pytest.mark.slow
def test_the_page_begins_with_the_card(evaluated):
    page = (evaluated[1] / PAGE_NAME).read_text(encoding="utf-8")
    card = page[page.index("<table>") : page.index("</table>")]
    assert page.index("<table>") < page.index("<h2>") and card.count("<tr>") == 1 + 8
    assert "must be worse" in card and "held-out solos, bars shuffled" in card


def test_a_second_evaluation_plays_nothing_anew(noise, demo_data, likeness, monkeypatch):
    found, folder = likeness
    before = {path: path.stat().st_mtime_ns for path in (folder / "clips").iterdir()}
    assert len(before) == 2 * FEW.clips, "notes and facts of each"
    monkeypatch.setattr("lib.apps.evaluate.clips.generate_many", None)  # nobody is to call it
    again = gather(ClipSets(noise, demo_data, folder, FEW, pianist=PIANIST))
    assert again["clips"] == found["clips"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "clips").iterdir()} == before


def test_without_data_it_says_what_is_missing_and_the_way(noise, tmp_path, likeness):
    said, folder = [], likeness[1]  # of clips that are there already
    material = ClipSets(noise, tmp_path, folder, FEW, pianist=PIANIST)
    found = gather(material, ("likeness", "means", "copying"), said.append)
    assert "python -m lib data download demo" in found["missing"]["likeness"] and "likeness" not in found
    assert set(found["means"]) == {"generated", "base_clips"}
    assert any("copying: not given" in text for text in said)


def test_copying_of_real_clips_and_noise(likeness):
    found = likeness[0]["copying"]
    assert len(found["generated"]["nearest"]) == FEW.clips
    assert found["real"]["likeness"]["value"] > found["generated"]["likeness"]["value"], "noise is like nothing"
    assert found["likeness_ratio"]["value"] < 1


def test_somebody_who_is_not_in_the_corpus(noise, demo_data):
    with pytest.raises(ValueError, match="no recording of Brad Mehldau"):
        ClipSets(noise, demo_data, None, FEW, pianist="Brad Mehldau").store  # noqa: B018
    assert "Brad Mehldau" not in open_corpus("demo", demo_data).pianists


def test_a_model_that_was_adapted_to_nobody_is_compared_with_everybody(noise, demo_data):
    material = ClipSets(noise, demo_data, None, FEW, corpus="demo")
    assert material.pianist is None and len({material.store.pieces[i].pianist for i in material["real"].pieces}) > 2
    with pytest.raises(Missing, match="--pianist"):
        material.training_pieces  # noqa: B018
    with pytest.raises(Missing, match="--pianist"):
        material["markov"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "not an evaluation of this"), ("{", "is not an evaluation"), (None, "there is no evaluation")],
)
def test_something_else_is_refused(tmp_path, content, message):
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_evaluation(path)

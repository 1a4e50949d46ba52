"""What listeners said: agreement against published figures, intervals against what was put in, wrong files refused."""

import json

import numpy as np
import pytest

from lib.apps.listening_test.ratings import alpha, drawn_interval, evaluate, read_answers, read_key, wilson
from lib.config import ConfigError
from lib.storage.manifest import DamageError, sealed

# four observers, twelve units: the example of Krippendorff 2011 (https://repository.upenn.edu/asc_papers/43), parts C and D
OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def units_of(observers):
    return [[int(value) for value in column if value != "."] for column in zip(*observers)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("interval", 0.849)])
def test_alpha_is_the_published_one(level, published):
    assert alpha(units_of(OBSERVERS), level) == pytest.approx(published, abs=0.0005)


def test_alpha_is_that_of_its_formula():
    """1 less the mean distance of two answers to one thing over that of any two answers, written out."""
    random = np.random.default_rng(1)
    units = [random.integers(0, 101, random.integers(1, 6)).tolist() for _ in range(30)]
    pairable = [unit for unit in units if len(unit) > 1]
    pooled = np.concatenate(pairable)

    def mean_distance(values):
        squares = np.subtract.outer(values, values) ** 2.0
        return squares.sum() / (len(values) * (len(values) - 1))

    observed = sum(len(unit) * mean_distance(unit) for unit in pairable) / len(pooled)
    assert alpha(units, "interval") == pytest.approx(1 - observed / mean_distance(pooled), abs=1e-12)


def test_alpha_at_its_ends():
    assert alpha([["a", "a"], ["b", "b"]], "nominal") == 1
    assert alpha([["a", "b"], ["b", "a"]], "nominal") == -0.5
    assert (
        alpha([["a"], ["b"]], "nominal") is None
        and alpha([["a", "a"]], "nominal") is None
        and alpha([], "nominal") is None
    )
    random = np.random.default_rng(0)
    assert abs(alpha(random.integers(0, 3, (400, 3)).tolist(), "nominal")) < 0.06


def test_intervals_know_that_answers_of_one_listener_are_not_independent():
    """Ten listeners, each always of one opinion, against as many answers that know nothing of each other."""
    rows = [{"listener": person, "item": item} for person in range(10) for item in range(20)]
    opinion = [float(row["listener"] < 5) for row in rows]
    low, high = drawn_interval(opinion, rows)
    alone = [{"listener": row, "item": row} for row in range(200)]
    low_alone, high_alone = drawn_interval(opinion, alone)
    assert low < 0.3 and high > 0.7 and (high - low) > 2 * (high_alone - low_alone)
    assert wilson(1.0, 10) == pytest.approx((0.722, 1.0), abs=0.001)  # 10 of 10
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=0.0001)


def make_key(items=12):
    """A test of ours against real, with a reference and an anchor for ratings."""
    takes, found = {}, []
    for place in range(items):
        for system in ("ours", "real", "noise"):
            takes[f"{system}{place}"] = {"system": system, "file": f"{system}/{place}.mid"}
        found.append({"id": f"ab{place}", "kind": "ab", "takes": [f"ours{place}", f"real{place}"], "reference": None})
        three = sorted(f"{system}{place}" for system in ("ours", "real", "noise"))
        found.append({"id": f"rate{place}", "kind": "rate", "takes": three, "reference": f"real{place}"})
    return {
        "kind": "listening test key",
        "test": "abc",
        "takes": takes,
        "items": found,
        "reference": "real",
        "anchor": "noise",
    }


def answer(key, listener, likes=0.5, scores=(50, 95, 10)):
    """A listener's answers, who prefers real with this probability."""
    random, found = np.random.default_rng(listener), []
    for item in key["items"]:
        shown = [str(take) for take in random.permutation(item["takes"])]
        if item["kind"] == "ab":
            better = "real" if random.random() < likes else "ours"
            choice = next(take for take in shown if take.startswith(better))
            found.append({"item": item["id"], "kind": "ab", "shown": shown, "choice": choice})
        else:
            by_system = dict(zip(("ours", "real", "noise"), scores))
            noisy = {
                take: int(np.clip(by_system[take.rstrip("0123456789")] + random.integers(-5, 6), 0, 100))
                for take in shown
            }
            found.append({"item": item["id"], "kind": "rate", "shown": shown, "scores": noisy})
    return {"listener": str(listener), "test": "abc", "rater": f"L{listener}", "answers": found}


def test_a_preference_is_found_and_none_is_not():
    key = make_key()
    (pair,) = evaluate(key, [answer(key, n, likes=0.9) for n in range(12)])["pairs"]
    assert (pair["a"], pair["b"]) == ("ours", "real") and pair["wins"] + pair["losses"] == 144
    assert pair["win_rate"] == pytest.approx(0.1, abs=0.06) and pair["verdict"] == "real is better"
    assert pair["interval"][0] < 0.1 < pair["interval"][1] < 0.5
    (even,) = evaluate(key, [answer(key, n) for n in range(12)])["pairs"]
    assert even["verdict"] == "no difference found" and even["interval"][0] < 0.5 < even["interval"][1]


def test_what_could_not_be_heard_does_not_count():
    key = make_key(2)
    ballots = [answer(key, 1, likes=1.0), answer(key, 2, likes=0.0)]
    for one in ballots[1]["answers"]:
        one["broken"] = one["shown"][:1]
    figures = evaluate(key, ballots)
    assert figures["answers"] == 4 and figures["systems"]["real"]["win_rate"] == 1
    with pytest.raises(ConfigError, match="no answers"):
        evaluate(key, ballots[1:])


def test_neither_counts_half():
    key = make_key(1)
    ballots = [answer(key, n, likes=1.0) for n in range(2)]
    ballots[0]["answers"][0]["choice"] = "neither"
    figures = evaluate(key, ballots)
    assert figures["pairs"][0]["ties"] == 1 and figures["pairs"][0]["win_rate"] == 0.25
    assert figures["systems"]["real"]["win_rate"] == 0.75 and figures["first_shown"]["n"] == 1


def test_scores_agreement_and_who_missed_the_reference():
    key = make_key()
    careful, careless = [answer(key, n, 0.9, (50, 97, 10)) for n in range(4)], answer(key, 9, 0.5, (60, 55, 50))
    figures = evaluate(key, [*careful, careless])
    assert figures["scores"]["real"]["mean"] > figures["scores"]["ours"]["mean"] > figures["scores"]["noise"]["mean"]
    assert figures["careless"] == ["L9"]
    verdicts = {(one["a"], one["b"]): one["verdict"] for one in evaluate(key, careful)["score_differences"]}
    assert list(verdicts) == [("noise", "ours"), ("noise", "real"), ("ours", "real")]
    assert list(verdicts.values()) == ["ours is better", "real is better", "real is better"]
    assert evaluate(key, careful)["agreement"]["scores"] > 0.95 > figures["agreement"]["scores"]
    assert json.loads(json.dumps(figures)) == figures


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_wrong_files_are_named(tmp_path):
    key, whole = make_key(2), answer(make_key(2), 1)
    good = write(tmp_path / "good.json", json.dumps(whole))
    less = write(tmp_path / "less.json", json.dumps({**whole, "answers": whole["answers"][:1]}))
    assert read_answers([less, good, less], key) == [whole]  # one listener, as far as they got
    wrong = {
        "none.json": "no answers",
        "other.json": json.dumps({**whole, "test": "xyz"}),
        "item.json": json.dumps({**whole, "answers": [{**whole["answers"][0], "item": "ab9"}]}),
        "choice.json": json.dumps({**whole, "answers": [{**whole["answers"][0], "choice": "real1"}]}),
        "score.json": json.dumps({**whole, "answers": [{**whole["answers"][1], "scores": {"real0": 101}}]}),
    }
    for name, text in wrong.items():
        with pytest.raises(ConfigError, match=name):
            read_answers([write(tmp_path / name, text)], key)
    with pytest.raises(ConfigError, match="no answers"):
        evaluate(key, [{**whole, "answers": []}])


def test_a_key_that_was_changed_is_refused(tmp_path):
    path = write(tmp_path / "test.key.json", sealed(make_key(1)))
    assert read_key(path) == make_key(1)
    write(path, path.read_text(encoding="utf-8").replace('"system": "ours"', '"system": "best"'))
    with pytest.raises(DamageError, match="test.key.json"):
        read_key(path)

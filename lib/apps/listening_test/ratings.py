"""Evaluates the answers of a listening test with its key: win rates, scores and agreement.

Conventions: an interval is (low, high), 95 %. Answers of one listener, and answers on one item, are not independent:
intervals are of a bootstrap that draws listeners and items anew, each by themselves (the pigeonhole bootstrap, Owen
2007, https://doi.org/10.1214/07-AOAS122), and for shares not narrower than Wilson's of as many independent answers.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import krippendorff
import numpy as np

from lib.config import ConfigError
from lib.storage.manifest import unsealed

DRAWS = 2000
Z = 1.96
NEITHER = "neither"
KEY_KIND = "listening test key"
# ITU-R BS.1534-3, 4.1.2: who rates the hidden reference below 90 in more than 15 % of the items is left out as careless
REFERENCE_FROM, REFERENCE_MISSED = 90, 0.15


def read_key(path: Path | str) -> dict:
    """The key of a test, as the page's maker sealed it; ConfigError, DamageError where it is none."""
    key = unsealed(Path(path).read_text(encoding="utf-8"), path)
    if key.get("kind") != KEY_KIND:
        raise ConfigError(f"{path} is no key of a listening test.")
    return key


def read_answers(paths: Iterable[Path | str], key: dict) -> list[dict]:
    """What listeners saved, one dict a listener; of several files of one listener the longest counts.

    ConfigError names the file that holds no answers, answers of another test, or answers to other items.
    """
    items, ballots = {item["id"]: item for item in key["items"]}, {}
    for path in paths:
        try:
            ballot = json.loads(Path(path).read_text(encoding="utf-8"))
            listener, test, answers = ballot["listener"], ballot["test"], ballot["answers"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} holds no answers of a listening test.") from None
        if test != key["test"]:
            raise ConfigError(f"{path} answers another test ({test}) than this key is of ({key['test']}).")
        for answer in answers:
            _check_answer(answer, items.get(answer.get("item")), path)
        if listener not in ballots or len(answers) > len(ballots[listener]["answers"]):
            ballots[listener] = ballot
    return list(ballots.values())


def _check_answer(answer, item, path):
    if item is None or sorted(answer.get("shown", ())) != item["takes"]:
        raise ConfigError(f"{path} answers an item that the test does not have: {answer.get('item')!r}.")
    if item["kind"] == "ab" and answer.get("choice") not in (*item["takes"], NEITHER):
        raise ConfigError(f"{path}: {item['id']} has the choice {answer.get('choice')!r}.")
    scores = [answer.get("scores", {}).get(take) for take in item["takes"]]
    if item["kind"] == "rate" and not all(isinstance(score, int) and 0 <= score <= 100 for score in scores):
        raise ConfigError(f"{path}: {item['id']} needs scores of 0 to 100 and has {answer.get('scores')}.")


def evaluate(key: dict, ballots: list[dict], seed: int = 0) -> dict:
    """All figures of a listening test; answers on a take that the browser could not play are left out.

    Returns
    -------
    dict for JSON : listeners, answers; pairs (a, b, wins, losses, ties, win_rate of a, interval, verdict), systems (win
        rate over all pairs), first_shown (share of choices of A: 0.5 where sides do not matter); scores (mean,
        interval, median), score_differences; agreement (Krippendorff's alpha of choices and of scores), careless
        (listeners, see REFERENCE_FROM)

    Raises
    ------
    ConfigError : there are no answers
    """
    system_of = {take: facts["system"] for take, facts in key["takes"].items()}
    answers = [{**answer, "listener": ballot["listener"]} for ballot in ballots for answer in ballot["answers"]]
    answers = [answer for answer in answers if not answer.get("broken")]
    if not answers:
        raise ConfigError("There are no answers to evaluate.")
    pairs, systems, chosen_by_item, scores_by_take, first = *(defaultdict(list) for _ in range(4)), []
    for answer in (answer for answer in answers if answer["kind"] == "ab"):
        shown, chosen = [system_of[take] for take in answer["shown"]], system_of.get(answer["choice"], NEITHER)
        wins = {name: 0.5 if chosen == NEITHER else float(name == chosen) for name in sorted(shown)}
        pairs[tuple(wins)].append((next(iter(wins.values())), answer))
        for name, win in wins.items():
            systems[name].append((win, answer))
        if chosen != NEITHER:
            first.append((float(answer["choice"] == answer["shown"][0]), answer))
        chosen_by_item[answer["item"]].append(chosen)
    ratings = [answer for answer in answers if answer["kind"] == "rate"]
    for answer in ratings:
        for take, score in answer["scores"].items():
            scores_by_take[answer["item"], take].append(score)
    return {
        "listeners": len(ballots),
        "answers": len(answers),
        "pairs": [_pair(*names, rows, seed) for names, rows in sorted(pairs.items())],
        "systems": {name: _share(rows, seed) for name, rows in sorted(systems.items())},
        "first_shown": _share(first, seed) if first else None,
        **_scores(ratings, system_of, seed),
        "agreement": {
            "choices": alpha(chosen_by_item.values(), "nominal"),
            "scores": alpha(scores_by_take.values(), "interval"),
        },
        "careless": _careless(ratings, system_of, key["reference"], ballots),
    }


def _pair(a, b, rows, seed):
    counts, share = Counter(win for win, _ in rows), _share(rows, seed)
    result = {"a": a, "b": b, "wins": counts[1.0], "losses": counts[0.0], "ties": counts[0.5]}
    return {**result, **share, "verdict": verdict(a, b, share["interval"], 0.5)}


def _share(rows, seed):
    """Of (1 where it was chosen, 0 where the other was, half where neither; answer) rows."""
    wins, answers = zip(*rows)
    rate = float(np.mean(wins))
    (low, high), (wilson_low, wilson_high) = drawn_interval(wins, answers, seed), wilson(rate, len(wins))
    return {"win_rate": rate, "interval": [min(low, wilson_low), max(high, wilson_high)], "n": len(wins)}


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of n independent answers (Wilson 1927, https://doi.org/10.2307/2276774).

    scipy's binomtest has it for whole counts alone; a tie is half a win.
    """
    middle, spread = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float((middle - spread) / (1 + Z**2 / n)), float((middle + spread) / (1 + Z**2 / n))


def drawn_interval(values: Sequence[float], answers: Sequence[dict], seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of values, one for each answer of a `listener` to an `item`."""
    random, values, weights = np.random.default_rng(seed), np.asarray(values, float), 1.0
    for name in ("listener", "item"):
        names, index = np.unique([answer[name] for answer in answers], return_inverse=True)
        weights = weights * random.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)[:, index]
    total = weights.sum(1)
    means = (weights[total > 0] * values).sum(1) / total[total > 0]
    return tuple(float(bound) for bound in np.percentile(means, [2.5, 97.5]))


def verdict(a: str, b: str, bounds: Sequence[float], even: float) -> str:
    """In words, whether an interval leaves a difference."""
    if bounds[0] > even:
        return f"{a} is better"
    return f"{b} is better" if bounds[1] < even else "no difference found"


def _scores(answers, system_of, seed):
    by_system = defaultdict(list)  # each in the order of the answers, one take of every system in each
    for answer in answers:
        for take, score in answer["scores"].items():
            by_system[system_of[take]].append(score)
    scores, differences = {}, []
    for name, values in sorted(by_system.items()):
        interval = list(drawn_interval(values, answers, seed))
        mean, median = float(np.mean(values)), float(np.median(values))
        scores[name] = {"mean": mean, "interval": interval, "median": median, "n": len(values)}
    for a, b in itertools.combinations(sorted(by_system), 2):
        values = np.subtract(by_system[a], by_system[b])
        interval = list(drawn_interval(values, answers, seed))
        result = {"difference": float(values.mean()), "interval": interval, "verdict": verdict(a, b, interval, 0.0)}
        differences.append({"a": a, "b": b, **result})
    return {"scores": scores, "score_differences": differences}


def _careless(answers, system_of, reference, ballots):
    """Names (or numbers) of listeners who too often missed the hidden reference; None where there is none."""
    if reference is None:
        return None
    names = {ballot["listener"]: ballot.get("rater") or ballot["listener"] for ballot in ballots}
    missed = defaultdict(list)
    for answer in answers:
        scores = [score for take, score in answer["scores"].items() if system_of[take] == reference]
        missed[answer["listener"]] += [score < REFERENCE_FROM for score in scores]
    return sorted(names[listener] for listener, rows in missed.items() if np.mean(rows) > REFERENCE_MISSED)


def alpha(units: Iterable[Sequence], level: str) -> float | None:
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives, below 0 contradiction; None where nobody answered
    what another did, or all answers are the same. Units are all answers to one thing each, of a level of measurement,
    "nominal" or "interval"."""
    units = [unit for unit in units if len(unit) > 1]
    domain = sorted({value for unit in units for value in unit})
    if len(domain) < 2:
        return None
    counts = [[list(unit).count(value) for value in domain] for unit in units]
    return float(krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level))


def format_figures(figures: dict) -> str:
    """The figures of a listening test as lines of text."""

    def interval(value, row, digits=2):
        low, high = row["interval"]
        return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    lines = [f"{figures['listeners']} listeners, {figures['answers']} answers"]
    for pair in figures["pairs"]:
        counts = f"{pair['wins']} won, {pair['losses']} lost, {pair['ties']} neither"
        rate = interval(pair["win_rate"], pair)
        lines.append(f"{pair['a']} against {pair['b']}: {counts}; win rate {rate}: {pair['verdict']}")
    for name, share in figures["systems"].items():
        lines.append(f"{name}: win rate {interval(share['win_rate'], share)}")
    if first := figures["first_shown"]:
        share = interval(first["win_rate"], first)
        lines.append(f"the take shown first was chosen: {share}; 0.5 where sides do not matter")
    for name, score in figures["scores"].items():
        lines.append(f"{name}: score {interval(score['mean'], score, 1)}, median {score['median']:g}")
    for row in figures["score_differences"]:
        lines.append(f"{row['a']} - {row['b']}: {interval(row['difference'], row, 1)}: {row['verdict']}")
    for what, value in figures["agreement"].items():
        lines.append(f"agreement on {what} (Krippendorff's alpha): {'unknown' if value is None else f'{value:.2f}'}")
    if figures["careless"]:
        lines.append(f"did not find the hidden reference: {', '.join(figures['careless'])}")
    return "\n".join(lines)

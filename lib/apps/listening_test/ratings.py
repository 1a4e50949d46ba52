"""What listeners said: the answers of a listening test, put together with its key, as win rates, scores and agreement.

Conventions: an interval is (low, high), 95 %. Answers of one listener, and answers on one item, are not independent: intervals
are of a bootstrap that draws listeners and items anew, each by themselves (the pigeonhole bootstrap, Owen 2007,
https://doi.org/10.1214/07-AOAS122), and for shares not narrower than Wilson's of as many independent answers.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from lib.config import ConfigError
from lib.storage.manifest import unsealed

DRAWS = 2000
Z = 1.96
NEITHER = "neither"
# ITU-R BS.1534-3, 4.1.2: who rates the hidden reference below 90 in more than 15 % of the items hears or works too carelessly
REFERENCE_FROM, REFERENCE_MISSED = 90, 0.15


def read_key(path):
    """The key of a test, as the page's maker sealed it; ConfigError, DamageError where it is none."""
    key = unsealed(Path(path).read_text(encoding="utf-8"), path)
    if key.get("kind") != "listening test key":
        raise ConfigError(f"{path} is no key of a listening test.")
    return key


def read_answers(paths, key):
    """What listeners saved, one dict a listener; a file that is there twice counts once.

    Parameters
    ----------
    paths : files that the page saved
    key : of `read_key`

    Raises
    ------
    ConfigError : names the file that is none, or of another test, or answers what was not asked
    """
    found = {}
    for path in paths:
        try:
            answers = json.loads(Path(path).read_text(encoding="utf-8"))
            listener, test = answers["listener"], answers["test"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} holds no answers of a listening test.") from None
        if test != key["test"]:
            raise ConfigError(f"{path} answers another test ({test}) than this key is of ({key['test']}).")
        items = {item["id"]: item for item in key["items"]}
        for answer in answers["answers"]:
            _check_answer(answer, items.get(answer.get("item")), path)
        if listener not in found or len(answers["answers"]) > len(found[listener]["answers"]):
            found[listener] = answers
    return list(found.values())


def _check_answer(answer, item, path):
    if item is None or sorted(answer.get("shown", ())) != item["takes"]:
        raise ConfigError(f"{path} answers an item that the test does not have: {answer.get('item')!r}.")
    if item["kind"] == "ab" and answer.get("choice") not in (*item["takes"], NEITHER):
        raise ConfigError(f"{path}: {item['id']} has the choice {answer.get('choice')!r}.")
    scores = answer.get("scores", {})
    if item["kind"] == "rate" and not all(isinstance(scores.get(take), int) and 0 <= scores[take] <= 100 for take in item["takes"]):
        raise ConfigError(f"{path}: {item['id']} has scores that are none: {scores}.")


def evaluate(key, answers, seed=0):
    """All figures of a listening test; answers on a take that the browser could not play are left out.

    Returns
    -------
    dict for JSON : listeners, answers; pairs (a, b, wins, losses, ties, win_rate of a, interval, verdict), systems (win rate
        over all pairs), first_shown (share of choices that fell on A: 0.5 where sides do not matter); scores (mean, interval,
        median), score_differences; agreement (Krippendorff's alpha of choices and of scores), careless (listeners, see
        REFERENCE_FROM)

    Raises
    ------
    ConfigError : nobody has answered anything
    """
    whose = {take: facts["system"] for take, facts in key["takes"].items()}
    rows = [{**answer, "listener": one["listener"]} for one in answers for answer in one["answers"] if not answer.get("broken")]
    if not rows:
        raise ConfigError("There are no answers to evaluate.")
    pairs, rates = ([row for row in rows if row["kind"] == kind] for kind in ("ab", "rate"))
    return {
        "listeners": len(answers),
        "answers": len(rows),
        "pairs": _pairs(pairs, whose, seed),
        "systems": _systems(pairs, whose, seed),
        "first_shown": _first_shown(pairs, seed),
        **_scores(rates, whose, seed),
        "agreement": {"choices": alpha(_choices(pairs, whose), nominal), "scores": alpha(_units(rates), interval)},
        "careless": _careless(rates, key, answers),
    }


# --- Pairs ---------------------------------------------------------------------------------------------------------


def _worth(row, whose, system):
    """1 where the system was chosen, 0 where the other was, half where neither."""
    return 0.5 if row["choice"] == NEITHER else float(whose[row["choice"]] == system)


def _pairs(rows, whose, seed):
    groups, found = defaultdict(list), []
    for row in rows:
        groups[tuple(sorted(whose[take] for take in row["shown"]))].append(row)
    for (a, b), group in sorted(groups.items()):
        worth = [_worth(row, whose, a) for row in group]
        counts = Counter(worth)
        figures = _share(worth, group, seed)
        found.append({"a": a, "b": b, "wins": counts[1.0], "losses": counts[0.0], "ties": counts[0.5], **figures,
                      "verdict": verdict(a, b, figures["interval"], 0.5)})  # fmt: skip
    return found


def _systems(rows, whose, seed):
    names, found = sorted({whose[take] for row in rows for take in row["shown"]}), {}
    for name in names:
        group = [row for row in rows if name in {whose[take] for take in row["shown"]}]
        found[name] = _share([_worth(row, whose, name) for row in group], group, seed)
    return found


def _first_shown(rows, seed):
    group = [row for row in rows if row["choice"] != NEITHER]
    return _share([float(row["choice"] == row["shown"][0]) for row in group], group, seed) if group else None


def _share(worth, rows, seed):
    low, high = drawn_interval(worth, rows, seed)
    wilson_low, wilson_high = wilson(float(np.mean(worth)), len(worth))
    return {"win_rate": float(np.mean(worth)), "interval": [min(low, wilson_low), max(high, wilson_high)], "n": len(worth)}


def wilson(share, n):
    """Wilson's interval of a share of n independent answers (Wilson 1927, https://doi.org/10.2307/2276774)."""
    middle, spread = share + Z**2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float((middle - spread) / (1 + Z**2 / n)), float((middle + spread) / (1 + Z**2 / n))


def drawn_interval(values, rows, seed=0):
    """Interval of the mean of values, each the answer of a row's listener to a row's item."""
    random, values = np.random.default_rng(seed), np.asarray(values, float)
    places = [np.unique([row[name] for row in rows], return_inverse=True)[1] for name in ("listener", "item")]
    sizes = [int(place.max()) + 1 for place in places]
    weights = 1.0
    for place, size in zip(places, sizes):
        weights = weights * random.multinomial(size, np.full(size, 1 / size), DRAWS)[:, place]
    total = weights.sum(1)
    means = (weights[total > 0] * values).sum(1) / total[total > 0]
    return tuple(float(bound) for bound in np.percentile(means, [2.5, 97.5]))


def verdict(a, b, bounds, even):
    """In words, whether an interval leaves a difference."""
    if bounds[0] > even:
        return f"{a} is better"
    return f"{b} is better" if bounds[1] < even else "no difference found"


# --- Scores --------------------------------------------------------------------------------------------------------


def _scores(rows, whose, seed):
    by_system = defaultdict(list)
    for row in rows:
        for take, score in row["scores"].items():
            by_system[whose[take]].append((score, row))
    scores, differences = {}, []
    for name, pairs in sorted(by_system.items()):
        values, answered = zip(*pairs)
        scores[name] = {"mean": float(np.mean(values)), "interval": list(drawn_interval(values, answered, seed)),
                        "median": float(np.median(values)), "n": len(values)}  # fmt: skip
    for a, b in itertools.combinations(sorted(by_system), 2):
        values = [x - y for (x, _), (y, _) in zip(by_system[a], by_system[b])]  # of one listener and item each
        bounds = drawn_interval(values, [row for _, row in by_system[a]], seed)
        differences.append({"a": a, "b": b, "difference": float(np.mean(values)), "interval": list(bounds),
                            "verdict": verdict(a, b, bounds, 0.0)})  # fmt: skip
    return {"scores": scores, "score_differences": differences}


def _careless(rows, key, answers):
    """Names (or numbers) of listeners who too often did not find the hidden reference; None where there is none."""
    if key["reference"] is None:
        return None
    names, missed = {one["listener"]: one.get("rater") or one["listener"] for one in answers}, defaultdict(list)
    references = {take for take, facts in key["takes"].items() if facts["system"] == key["reference"]}
    for row in rows:
        missed[row["listener"]] += [score < REFERENCE_FROM for take, score in row["scores"].items() if take in references]
    return sorted(names[listener] for listener, found in missed.items() if np.mean(found) > REFERENCE_MISSED)


# --- Agreement -----------------------------------------------------------------------------------------------------


def _choices(rows, whose):
    units = defaultdict(list)
    for row in rows:
        units[row["item"]].append(whose.get(row["choice"], NEITHER))
    return list(units.values())


def _units(rows):
    units = defaultdict(list)
    for row in rows:
        for take, score in row["scores"].items():
            units[row["item"], take].append(score)
    return list(units.values())


def nominal(a, b):
    """Distance of two names."""
    return float(a != b)


def interval(a, b):
    """Squared distance of two numbers."""
    return float(a - b) ** 2


def alpha(units, distance):
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives, below 0 contradiction.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, https://repository.upenn.edu/asc_papers/43

    Parameters
    ----------
    units : list of lists, all answers to one thing; things that fewer than two have answered say nothing
    distance : `nominal` or `interval`

    Returns
    -------
    float, or None where nobody answered what another did, or all answers are the same
    """
    units = [unit for unit in units if len(unit) > 1]
    pooled = [value for unit in units for value in unit]
    expected = _disagreement(pooled, distance)
    if not expected:
        return None
    observed = sum(len(unit) * _disagreement(unit, distance) for unit in units) / len(pooled)
    return 1 - observed / expected


def _disagreement(values, distance):
    """Mean distance of two different answers."""
    counts, n = Counter(values), len(values)
    pairs = sum(distance(a, b) * counts[a] * counts[b] for a, b in itertools.combinations(counts, 2))
    return 2 * pairs / (n * (n - 1)) if n > 1 else 0.0

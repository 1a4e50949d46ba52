"""How often the intervals of a listening test hold the truth, where listeners and items have leanings of their own.

    python tests/benchmarks/listening_intervals.py [--tests 300]

Prints one JSON line last: share of simulated tests whose 95 % interval holds the true mean, by numbers of listeners and items;
`independent` is Wilson's interval, as if all answers knew nothing of each other.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from lib.apps.listening_test.ratings import drawn_interval, wilson  # noqa: E402

SPREAD = 1.0  # of listeners' and of items' leanings, in logits
TRUTH = 0.5  # by symmetry


def simulate(random, listeners, items):
    """(answers, rows) of a test in which nothing is better."""
    leaning = random.normal(0, SPREAD, (listeners, 1)) + random.normal(0, SPREAD, (1, items))
    answers = random.random((listeners, items)) < 1 / (1 + np.exp(-leaning))
    rows = [{"listener": person, "item": item} for person in range(listeners) for item in range(items)]
    return answers.ravel().astype(float), rows


def coverage(listeners, items, tests):
    random, held = np.random.default_rng(listeners * 1000 + items), np.zeros(2)
    for number in range(tests):
        answers, rows = simulate(random, listeners, items)
        alone, drawn = wilson(answers.mean(), len(answers)), drawn_interval(answers, rows, number)
        ours = min(alone[0], drawn[0]), max(alone[1], drawn[1])
        held += [low <= TRUTH <= high for low, high in (ours, alone)]
    return {"listeners": listeners, "items": items, "ours": held[0] / tests, "independent": held[1] / tests}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tests", type=int, default=300)
    words = parser.parse_args()
    found = [coverage(listeners, items, words.tests) for listeners, items in ((3, 12), (6, 12), (12, 12), (24, 24))]
    print(json.dumps({"tests": words.tests, "coverage": found}))


if __name__ == "__main__":
    main()

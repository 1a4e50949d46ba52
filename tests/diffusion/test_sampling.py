"""Sampling and guidance with models whose answer is known."""

import zlib

import pytest
import torch

from lib.diffusion.guidance import StochasticControl, guidance_steps
from lib.diffusion.sampling import count, pick, ranks, sample
from lib.diffusion.schedule import LEAST_HIDDEN, remaining, training_share

SHAPE = (64, 8, 2)  # examples, latent frames, groups


def draws(shape=SHAPE, seed=0):
    def draw(step, candidate):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {step} {candidate}".encode()))
        return torch.rand(shape, generator=generator)

    return draw


def nothing(shape=SHAPE):
    return torch.zeros(shape, dtype=torch.long), torch.ones(shape, dtype=torch.bool)


def chain(stay=0.9):
    """The exact posterior of a Markov chain of two codes along all cells, given those that are seen, by their neighbours alone
    where both are settled: exact when one cell at a time is settled from left to right or at random, as the chain's own
    conditionals given the nearest seen cells are used."""

    def power(gap):  # probability of the same code `gap` cells on
        return 0.5 + 0.5 * (2 * stay - 1) ** gap

    def predict(codes, hidden):
        flat, gone = codes.flatten(1), hidden.flatten(1)
        size, cells = flat.shape
        logits = torch.zeros(size, cells, 2)
        for row in range(size):
            seen = [i for i in range(cells) if not gone[row, i]]
            for cell in range(cells):
                before = max((i for i in seen if i < cell), default=None)
                after = min((i for i in seen if i > cell), default=None)
                chance = torch.ones(2)
                for other in (before, after):
                    if other is not None:
                        same = power(abs(other - cell))
                        chance *= torch.tensor([same, 1 - same] if flat[row, other] == 0 else [1 - same, same])
                logits[row, cell] = chance.log()
        return logits.view(*codes.shape, 2)

    return predict


def coins(one):
    """Codes that are 1 with this probability, whatever is around them."""
    logits = torch.tensor([1 - one, one]).log()
    return lambda codes, hidden: logits.expand(*codes.shape, 2)


@pytest.mark.parametrize("curve", ["cosine", "linear"])
def test_what_remains_hidden_falls_from_all_to_nothing(curve):
    shares = [remaining(step / 20, curve) for step in range(21)]
    assert shares[0] == 1 and shares[-1] == 0 and all(a > b for a, b in zip(shares, shares[1:]))
    assert training_share(0.0) == LEAST_HIDDEN and training_share(1.0) == 1


def test_pick_draws_by_probability():
    logits = torch.tensor([0.2, 0.5, 0.3]).log()
    codes = pick(logits.expand(1000, 3), torch.arange(1000) / 1000)
    assert torch.bincount(codes).tolist() == pytest.approx([200, 500, 300], abs=1)
    assert pick(logits, torch.tensor(1.0)) == 2


def test_ranks_order_what_is_hidden():
    hidden = torch.tensor([[[True, False], [True, True]]])
    places = ranks(torch.tensor([[[0.3, 0.0], [0.9, 0.1]]]), hidden)
    assert places[hidden].tolist() == pytest.approx([2 / 3, 1, 1 / 3]) and (places[~hidden] <= 0).all()


def test_one_cell_at_a_time_reaches_the_distribution():
    codes = sample(chain(), *nothing(), draws(), num_steps=16, curve="linear").flatten(1)
    assert codes.float().mean().item() == pytest.approx(0.5, abs=0.1)
    same = [(codes[:, gap:] == codes[:, :-gap]).float().mean().item() for gap in (1, 3)]
    assert same == pytest.approx([0.9, 0.5 + 0.5 * 0.8**3], abs=0.06)


def test_all_at_once_loses_what_codes_have_in_common():
    codes = sample(chain(), *nothing(), draws(), num_steps=1).flatten(1)
    assert (codes[:, 1:] == codes[:, :-1]).float().mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_what_is_given_stays_and_all_else_is_settled(order):
    codes, hidden = nothing()
    codes[:, :3], hidden[:, :3] = 1, False
    heard = []
    drawn = sample(coins(0.0), codes, hidden, draws(), 5, order=order, callback=heard.append)
    assert (drawn[:, :3] == 1).all() and (drawn[:, 3:] == 0).all()
    assert [state["step"] for state in heard] == [1, 2, 3, 4, 5] and {state["num_steps"] for state in heard} == {5}
    left = [int(count(state["hidden"])[0]) for state in heard]
    assert left == sorted(left, reverse=True) and left[-1] == 0 and left[0] < 10
    assert heard[-1]["logits"] is None and heard[0]["logits"].shape == (*SHAPE, 2)


def guided(num_candidates, wanted):
    """Coins of which a share `wanted` should be 1."""
    evaluations = []

    def score(codes):
        evaluations.append(len(codes))
        return (codes.float().mean((1, 2)) - wanted).abs()

    guide = StochasticControl(coins(0.5), score, draws(seed=1), num_candidates, guidance_steps(8))
    return sample(coins(0.5), *nothing(), draws(), 8, guide), evaluations


def test_guidance_lowers_the_rule_loss():
    free = sample(coins(0.5), *nothing(), draws(), 8)
    steered, evaluations = guided(16, 0.8)
    losses = [(codes.float().mean((1, 2)) - 0.8).abs().mean() for codes in (free, steered)]
    assert losses[1] < 0.3 * losses[0]
    assert evaluations == [16 * len(free)] * 8


def test_one_candidate_is_no_guidance():
    steered, evaluations = guided(1, 0.8)
    assert torch.equal(sample(coins(0.5), *nothing(), draws(), 8), steered) and evaluations == []


def test_only_guided_steps_cost():
    assert list(guidance_steps(8)) == [1, 2, 3, 4, 5, 6, 7, 8] and list(guidance_steps(8, 0.25, 0.75)) == [3, 4, 5, 6]


def test_each_example_keeps_its_own_best_candidate():
    wanted = torch.tensor([0.2, 0.8]).repeat(32)

    def score(codes):
        return (codes.float().mean((1, 2)) - wanted.repeat(len(codes) // 64)).abs()

    guide = StochasticControl(coins(0.5), score, draws(seed=1), 16, guidance_steps(8))
    means = sample(coins(0.5), *nothing(), draws(), 8, guide).float().mean((1, 2))
    assert means[wanted > 0.5].mean() > 0.65 and means[wanted < 0.5].mean() < 0.35

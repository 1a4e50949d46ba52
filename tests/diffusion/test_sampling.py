"""Sampling and guidance with models whose answer is known."""

import zlib

import pytest
import torch

from lib.diffusion.guidance import StochasticControl, guidance_steps
from lib.diffusion.sampling import count, ranks, sample
from lib.diffusion.schedule import LEAST_HIDDEN, remaining, training_share

SHAPE = (64, 16, 1)  # examples, latent frames, groups


def draws(shape=SHAPE, seed=0):
    def draw(step, candidate):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {step} {candidate}".encode()))
        return torch.rand(shape, generator=generator)

    return draw


def nothing(shape=SHAPE):
    return torch.zeros(shape, dtype=torch.long), torch.ones(shape[:2], dtype=torch.bool)


class Chances:
    """A posterior: the probability (B, N) that a frame's one code is 1."""

    def __init__(self, one):
        self.one = one

    def __getitem__(self, rows):
        return Chances(self.one[rows])

    def draw(self, where, uniform):
        return (uniform[where] < self.one[where][:, None]).long()


def coins(one):
    """Codes that are 1 with this probability, whatever is around them."""
    return lambda codes, hidden, before=None: Chances(torch.full(hidden.shape, one))


def chain(stay=0.9):
    """The exact conditionals of a Markov chain of two codes, given the nearest settled frame on either side."""

    def same(gap):  # probability of the same code `gap` frames on
        return 0.5 + 0.5 * (2 * stay - 1) ** gap

    def predict(codes, hidden):
        size, frames = hidden.shape
        one = torch.full((size, frames), 0.5)
        for row in range(size):
            seen = [i for i in range(frames) if not hidden[row, i]]
            for frame in range(frames):
                chance = torch.ones(2)
                for others in ([i for i in seen if i < frame][-1:], [i for i in seen if i > frame][:1]):
                    for other in others:
                        likely = same(abs(other - frame))
                        chance *= torch.tensor([1 - likely, likely] if codes[row, other, 0] else [likely, 1 - likely])
                one[row, frame] = chance[1] / chance.sum()
        return Chances(one)

    return predict


@pytest.mark.parametrize("curve", ["cosine", "linear"])
def test_what_remains_hidden_falls_from_all_to_nothing(curve):
    shares = [remaining(step / 20, curve) for step in range(21)]
    assert shares[0] == 1 and shares[-1] == 0 and all(a > b for a, b in zip(shares, shares[1:]))
    assert training_share(0.0) == LEAST_HIDDEN and training_share(1.0) == 1


def test_ranks_order_what_is_hidden():
    hidden = torch.tensor([[True, False, True, True]])
    places = ranks(torch.tensor([[0.3, 0.0, 0.9, 0.1]]), hidden)
    assert places[hidden].tolist() == pytest.approx([2 / 3, 1, 1 / 3]) and (places[~hidden] <= 0).all()


def test_one_frame_at_a_time_reaches_the_distribution():
    codes = sample(chain(), *nothing(), draws(), num_steps=16)[..., 0]
    assert codes.float().mean().item() == pytest.approx(0.5, abs=0.1)
    same = [(codes[:, gap:] == codes[:, :-gap]).float().mean().item() for gap in (1, 3)]
    assert same == pytest.approx([0.9, 0.5 + 0.5 * 0.8**3], abs=0.06)


def test_all_at_once_loses_what_frames_have_in_common():
    codes = sample(chain(), *nothing(), draws(), num_steps=1)[..., 0]
    assert (codes[:, 1:] == codes[:, :-1]).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_what_is_given_stays_and_all_else_is_settled():
    codes, hidden = nothing()
    codes[:, :3], hidden[:, :3] = 1, False
    heard = []
    drawn = sample(coins(0.0), codes, hidden, draws(), 5, callback=heard.append)
    assert (drawn[:, :3] == 1).all() and (drawn[:, 3:] == 0).all()
    assert [state["step"] for state in heard] == [1, 2, 3, 4, 5] and {state["num_steps"] for state in heard} == {5}
    left = [int(count(state["state"].hidden)[0]) for state in heard]
    assert left == sorted(set(left), reverse=True) and left[-1] == 0 and left[0] == 12
    assert heard[-1]["state"].posterior is None and (heard[0]["state"].likeliest()[:, 3:] == 0).all()


def test_no_more_steps_than_frames():
    heard = []
    codes, hidden = nothing()
    hidden[:, 4:] = False
    sample(coins(0.5), codes, hidden, draws(), 30, callback=heard.append)
    assert len(heard) == 4


def guided(num_candidates, wanted):
    """Coins of which a share `wanted` should be 1."""
    evaluations = []

    def score(codes):
        evaluations.append(len(codes))
        return (codes.float().mean((1, 2)) - wanted).abs(), None

    guide = StochasticControl(coins(0.5), score, draws(seed=1), num_candidates, guidance_steps(8, 0), 0)
    return sample(coins(0.5), *nothing(), draws(), 8, guide), evaluations


def test_guidance_lowers_the_rule_loss():
    free = sample(coins(0.5), *nothing(), draws(), 8)
    steered, evaluations = guided(64, 0.8)
    losses = [(codes.float().mean((1, 2)) - 0.8).abs().mean() for codes in (free, steered)]
    assert losses[1] < 0.3 * losses[0]
    assert evaluations == [16 * len(free)] * 8  # a quarter of them at each step


def test_candidates_are_glanced_at_from_the_state_before_and_only_the_winner_is_predicted():
    calls = []

    def predict(codes, hidden, before=None):
        calls.append(("predict" if before is None else "glance", codes.clone(), hidden.clone(), before))
        return Chances(torch.full(hidden.shape, 0.5))

    def score(codes):
        return codes.float().mean((1, 2)), None

    guide = StochasticControl(predict, score, draws(seed=1), 16, guidance_steps(2, 0), 0)
    settled = sample(predict, *nothing(), draws(), 2, guide)
    assert [name for name, *_ in calls] == ["predict", "glance", "predict"]  # at the last step nothing is hidden
    (_, _, every, _), (_, codes, hidden, before), (_, best, open_, _) = calls
    assert every.all() and isinstance(before, Chances) and len(before.one) == SHAPE[0]
    assert len(codes) == 4 * SHAPE[0] and torch.equal(hidden[: SHAPE[0]], open_)
    assert all(any(torch.equal(best[row], codes[k * SHAPE[0] + row]) for k in range(4)) for row in range(SHAPE[0]))
    assert torch.equal(settled[~open_], best[~open_])


def test_only_guided_steps_cost():
    assert list(guidance_steps(8)) == [5, 6, 7, 8] and list(guidance_steps(8, 0.25)) == [3, 4, 5, 6, 7, 8]


def test_each_example_keeps_its_own_best_candidate():
    wanted = torch.tensor([0.2, 0.8]).repeat(32)

    def score(codes):
        return (codes.float().mean((1, 2)) - wanted.repeat(len(codes) // 64)).abs(), None

    guide = StochasticControl(coins(0.5), score, draws(seed=1), 64, guidance_steps(8, 0), 0)
    means = sample(coins(0.5), *nothing(), draws(), 8, guide).float().mean((1, 2))
    assert means[wanted > 0.5].mean() > 0.65 and means[wanted < 0.5].mean() < 0.35


PATTERN = (torch.rand(SHAPE[:2], generator=torch.Generator().manual_seed(2)) < 0.5).long()


def wrong(blame, revisions=0, num_steps=4):
    """Each frame should be 0 or 1, as an example's pattern has it: the share that is not, (B,)."""

    def score(codes):
        parts = (codes[..., 0] != PATTERN.repeat(len(codes) // len(PATTERN), 1)).float() / SHAPE[1]
        return parts.sum(1), parts if blame else None

    guide = StochasticControl(coins(0.5), score, draws(seed=1), 16, guidance_steps(num_steps, 0), revisions)
    return score(sample(coins(0.5), *nothing(), draws(), num_steps, guide))[0]


def test_blame_by_frame_mixes_candidates():
    """Where losses say which frame is wrong, few candidates do."""
    assert wrong(True).mean() < 0.7 * wrong(False).mean()


def test_revisions_never_make_it_worse_and_blame_shows_them_where():
    before, blind, shown = wrong(False), wrong(False, revisions=10), wrong(True, revisions=10)
    assert (blind <= before).all() and blind.mean() < 0.8 * before.mean()
    assert (shown <= wrong(True)).all() and shown.mean() < 0.5 * blind.mean()
    assert wrong(True, revisions=40).mean() < 0.01


def test_a_revision_leaves_alone_what_was_given():
    codes, hidden = nothing()
    hidden[:, ::2] = False
    states = []
    guide = StochasticControl(coins(0.5), lambda codes: (-codes.float().mean((1, 2)), None), draws(seed=1), 4, (), 5)
    settled = sample(coins(0.5), codes, hidden, draws(), 3, guide, callback=states.append)
    assert (settled[:, ::2] == codes[:, ::2]).all() and not hidden[:, ::2].any()
    assert [state["step"] for state in states] == list(range(1, 9)) and {state["num_steps"] for state in states} == {8}
    states.clear()
    assert torch.equal(sample(coins(0.5), settled, torch.zeros_like(hidden), draws(), 3, guide, callback=states.append), settled)
    assert states == []

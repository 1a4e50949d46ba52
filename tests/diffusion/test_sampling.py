"""Sampling and guidance with models whose answer is known."""

import zlib

import pytest
import torch

from lib.diffusion.sampling import (
    MIN_MASK_RATIO,
    count,
    guided_steps,
    mask_ratio,
    ranks,
    revise,
    sample_ancestral,
    sample_stochastic_control,
    step_candidates,
    training_mask_ratio,
)

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

    def sample(self, mask, uniform):
        return (uniform[mask] < self.one[mask][:, None]).long()


def coins(one):
    """Codes that are 1 with this probability, whatever is around them."""
    return lambda codes, mask, parent=None: Chances(torch.full(mask.shape, one))


def chain(stay=0.9):
    """The exact conditionals of a Markov chain of two codes, given the nearest known frame on either side."""

    def same(gap):  # probability of the same code `gap` frames on
        return 0.5 + 0.5 * (2 * stay - 1) ** gap

    def predict(codes, mask):
        size, frames = mask.shape
        one = torch.full((size, frames), 0.5)
        for row in range(size):
            known = [i for i in range(frames) if not mask[row, i]]
            for frame in range(frames):
                chance = torch.ones(2)
                for others in ([i for i in known if i < frame][-1:], [i for i in known if i > frame][:1]):
                    for other in others:
                        likely = same(abs(other - frame))
                        chance *= torch.tensor([1 - likely, likely] if codes[row, other, 0] else [likely, 1 - likely])
                one[row, frame] = chance[1] / chance.sum()
        return Chances(one)

    return predict


def test_the_mask_ratio_falls_from_one_to_zero():
    ratios = [mask_ratio(step / 20) for step in range(21)]
    assert ratios[0] == 1 and ratios[-1] == 0 and all(a > b for a, b in zip(ratios, ratios[1:]))
    assert training_mask_ratio(0.0) == MIN_MASK_RATIO and training_mask_ratio(1.0) == 1


def test_ranks_order_what_is_masked():
    mask = torch.tensor([[True, False, True, True]])
    shares = ranks(torch.tensor([[0.3, 0.0, 0.9, 0.1]]), mask)
    assert shares[mask].tolist() == pytest.approx([2 / 3, 1, 1 / 3]) and (shares[~mask] <= 0).all()


def test_one_frame_at_a_time_reaches_the_distribution():
    codes = sample_ancestral(chain(), *nothing(), draws(), num_steps=16)[..., 0]
    assert codes.float().mean().item() == pytest.approx(0.5, abs=0.1)
    same = [(codes[:, gap:] == codes[:, :-gap]).float().mean().item() for gap in (1, 3)]
    assert same == pytest.approx([0.9, 0.5 + 0.5 * 0.8**3], abs=0.06)


def test_all_at_once_loses_what_frames_have_in_common():
    codes = sample_ancestral(chain(), *nothing(), draws(), num_steps=1)[..., 0]
    assert (codes[:, 1:] == codes[:, :-1]).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_what_is_given_stays_and_all_else_is_sampled():
    codes, mask = nothing()
    codes[:, :3], mask[:, :3] = 1, False
    states = []
    sampled = sample_ancestral(coins(0.0), codes, mask, draws(), 5, callback=states.append)
    assert (sampled[:, :3] == 1).all() and (sampled[:, 3:] == 0).all()
    assert [state["step"] for state in states] == [1, 2, 3, 4, 5]
    left = [int(count(state["mask"])[0]) for state in states]
    assert left == sorted(set(left), reverse=True) and left[-1] == 0 and left[0] == 12
    assert states[-1]["posterior"] is None and torch.equal(states[-1]["codes"], sampled)


def test_no_more_steps_than_frames():
    states = []
    codes, mask = nothing()
    mask[:, 4:] = False
    sample_ancestral(coins(0.5), codes, mask, draws(), 30, callback=states.append)
    assert len(states) == 4


def test_without_a_guided_step_it_is_ancestral_sampling():
    plain = sample_ancestral(chain(), *nothing(), draws(), 8)
    unguided = sample_stochastic_control(chain(), *nothing(), draws(), 8, None, 4, guided_steps=())
    assert torch.equal(plain, unguided)


def guided(num_candidates, wanted):
    """Coins of which a share `wanted` should be 1."""
    evaluations = []

    def loss(codes):
        evaluations.append(len(codes))
        return (codes.float().mean((1, 2)) - wanted).abs(), None

    steps = guided_steps(8, 0)
    return sample_stochastic_control(coins(0.5), *nothing(), draws(), 8, loss, num_candidates, steps), evaluations


def test_guidance_lowers_the_rule_loss():
    free = sample_ancestral(coins(0.5), *nothing(), draws(), 8)
    steered, evaluations = guided(16, 0.8)
    losses = [(codes.float().mean((1, 2)) - 0.8).abs().mean() for codes in (free, steered)]
    assert losses[1] < 0.3 * losses[0]
    assert evaluations == [16 * len(free)] * 8


def test_candidates_are_looked_at_from_the_parent_and_the_winner_alone_is_predicted():
    calls = []

    def predict(codes, mask, parent=None):
        calls.append(("predict" if parent is None else "look ahead", codes.clone(), mask.clone(), parent))
        return Chances(torch.full(mask.shape, 0.5))

    def loss(codes):
        return codes.float().mean((1, 2)), None

    sampled = sample_stochastic_control(predict, *nothing(), draws(), 2, loss, 4, guided_steps(2, 0))
    assert [name for name, *_ in calls] == ["predict", "look ahead", "predict"]  # at the last step nothing is masked
    (_, _, every, _), (_, codes, mask, parent), (_, best, still_masked, _) = calls
    assert every.all() and isinstance(parent, Chances) and len(parent.one) == SHAPE[0]
    assert len(codes) == 4 * SHAPE[0] and torch.equal(mask[: SHAPE[0]], still_masked)
    assert all(any(torch.equal(best[row], codes[k * SHAPE[0] + row]) for k in range(4)) for row in range(SHAPE[0]))
    assert torch.equal(sampled[~still_masked], best[~still_masked])


def test_where_candidates_compete_and_how_many():
    assert list(guided_steps(8)) == [5, 6, 7, 8] and list(guided_steps(8, 0.25)) == [3, 4, 5, 6, 7, 8]
    assert [step_candidates(count) for count in (2, 8, 16)] == [2, 2, 4]


def test_each_example_keeps_its_own_best_candidate():
    wanted = torch.tensor([0.2, 0.8]).repeat(32)

    def loss(codes):
        return (codes.float().mean((1, 2)) - wanted.repeat(len(codes) // 64)).abs(), None

    codes = sample_stochastic_control(coins(0.5), *nothing(), draws(), 8, loss, 16, guided_steps(8, 0))
    means = codes.float().mean((1, 2))
    assert means[wanted > 0.5].mean() > 0.65 and means[wanted < 0.5].mean() < 0.35


PATTERN = (torch.rand(SHAPE[:2], generator=torch.Generator().manual_seed(2)) < 0.5).long()


def wrong(with_credit, revisions=0, num_steps=4):
    """Each frame should be 0 or 1, as an example's pattern has it: the share that is not, (B,)."""

    def loss(codes):
        parts = (codes[..., 0] != PATTERN.repeat(len(codes) // len(PATTERN), 1)).float() / SHAPE[1]
        return parts.sum(1), parts if with_credit else None

    codes, mask = nothing()
    steps = guided_steps(num_steps, 0)
    codes = sample_stochastic_control(coins(0.5), codes, mask, draws(), num_steps, loss, 4, steps)
    revised = range(num_steps + 1, num_steps + 1 + revisions)
    return loss(revise(coins(0.5), codes, mask, draws(), loss, 16, revised))[0]


def test_credit_by_frame_mixes_candidates():
    """Where losses say which frame is wrong, few candidates do."""
    assert wrong(True).mean() < 0.7 * wrong(False).mean()


def test_revisions_never_make_it_worse_and_credit_shows_them_where():
    before, blind, shown = wrong(False), wrong(False, revisions=10), wrong(True, revisions=10)
    assert (blind <= before).all() and blind.mean() < 0.8 * before.mean()
    assert (shown <= wrong(True)).all() and shown.mean() < 0.5 * blind.mean()
    assert wrong(True, revisions=40).mean() < 0.01


def test_a_revision_leaves_alone_what_was_given():
    codes, editable = nothing()
    editable[:, ::2] = False
    states = []
    rest = (draws(), lambda codes: (-codes.float().mean((1, 2)), None), 4, range(4, 9), states.append)
    revised = revise(coins(0.5), codes, editable, *rest)
    assert (revised[:, ::2] == codes[:, ::2]).all() and (revised[:, 1::2] == 1).any() and not codes.any()
    assert [state["step"] for state in states] == [4, 5, 6, 7, 8] and not any(state["mask"].any() for state in states)
    states.clear()
    assert torch.equal(revise(coins(0.5), revised, torch.zeros_like(editable), *rest), revised) and states == []

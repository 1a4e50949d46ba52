"""Sampling and guidance with models whose answer is known."""

import pytest
import torch

from lib.diffusion.guidance import StochasticControl, guidance_steps
from lib.diffusion.sampling import ancestral_step, sample
from lib.diffusion.schedule import diffuse, noise, sampling_timesteps, signal


def draws(shape, seed=0):
    def draw_noise(step, candidate):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1000 * step + candidate))

    return draw_noise


def gaussian_denoiser(mean, std):
    """The exact denoiser of data that is N(mean, std^2) everywhere."""

    def denoise(noisy, timestep):
        a, s = signal(timestep)[:, None, None], noise(timestep)[:, None, None]
        return mean + a * std**2 / (a**2 * std**2 + s**2) * (noisy - a * mean)

    return denoise


def test_schedule_preserves_variance():
    timestep = torch.linspace(0, 1, 11)
    assert torch.allclose(signal(timestep) ** 2 + noise(timestep) ** 2, torch.ones(11))
    assert torch.allclose(diffuse(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1)), torch.ones(1, 2, 2))
    steps = sampling_timesteps(10)
    assert len(steps) == 11 and steps[-1] == 0 and (steps.diff() < 0).all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sampling_reaches_the_distribution(eta):
    clean = sample(gaussian_denoiser(2.0, 0.5), draws((64, 16, 8)), 100, eta=eta)
    assert clean.mean().item() == pytest.approx(2.0, abs=0.05)
    assert clean.std().item() == pytest.approx(0.5, abs=0.06)


def test_step_to_zero_returns_the_clean_estimate():
    noisy, clean = torch.randn(1, 4, 2), torch.randn(1, 4, 2)
    result = ancestral_step(noisy, clean, torch.tensor(0.3), torch.tensor(0.0), torch.randn(1, 4, 2))
    assert torch.allclose(result, clean, atol=1e-6)


def test_a_deterministic_step_ignores_fresh_noise():
    noisy, clean = torch.randn(1, 4, 2), torch.randn(1, 4, 2)
    times = (torch.tensor(0.6), torch.tensor(0.4))
    first, second = (ancestral_step(noisy, clean, *times, torch.randn(1, 4, 2), eta=0.0) for _ in range(2))
    assert torch.equal(first, second)


def test_callback_hears_each_step():
    heard = []
    sample(gaussian_denoiser(0.0, 1.0), draws((1, 4, 2)), 5, callback=heard.append)
    assert [state["step"] for state in heard] == [2, 3, 4, 5]
    assert {state["num_steps"] for state in heard} == {5}


def guided(num_candidates, wanted):
    denoise = gaussian_denoiser(0.0, 1.0)
    evaluations = []

    def score(clean):
        evaluations.append(len(clean))
        return (clean.mean((1, 2)) - wanted).abs()

    guide = StochasticControl(denoise, score, num_candidates, guidance_steps(40))
    return sample(denoise, draws((4, 4, 2)), 40, guide), evaluations


def test_guidance_lowers_the_rule_loss():
    free = sample(gaussian_denoiser(0.0, 1.0), draws((4, 4, 2)), 40)
    steered, evaluations = guided(16, 1.0)
    assert (steered.mean((1, 2)) - 1).abs().mean() < 0.5 * (free.mean((1, 2)) - 1).abs().mean()
    assert set(evaluations) == {64} and len(evaluations) == len(guidance_steps(40))


def test_one_candidate_is_no_guidance():
    free = sample(gaussian_denoiser(0.0, 1.0), draws((4, 4, 2)), 40)
    steered, evaluations = guided(1, 1.0)
    assert torch.equal(free, steered) and evaluations == []


def test_each_example_keeps_its_own_best_candidate():
    denoise = gaussian_denoiser(0.0, 1.0)
    wanted = torch.tensor([-1.0, 1.0]).repeat(2)

    def score(clean):
        return (clean.mean((1, 2)) - wanted.repeat(len(clean) // 4)).abs()

    clean = sample(denoise, draws((4, 4, 2)), 40, StochasticControl(denoise, score, 16, guidance_steps(40)))
    means = clean.mean((1, 2))
    assert (means[wanted > 0] > means[wanted < 0].max()).all()

"""Sampling: from noise to latents, as a function of a callable.

`denoise(noisy (B, N, D), timestep (B,)) -> clean estimate (B, N, D)` is all that is known of the model.
"""

from __future__ import annotations

from lib.diffusion.schedule import noise, sampling_timesteps, signal


def ancestral_step(noisy, clean, timestep, next_timestep, epsilon, eta=1.0):
    """One step of DDIM (Song et al. 2021) from timestep to next_timestep (scalar Tensors).

    Parameters
    ----------
    noisy, clean : (B, N, D), the latents and their clean estimate at `timestep`
    epsilon : (B, N, D), fresh unit noise
    eta : 0 deterministic, 1 ancestral (DDPM's variance)

    Returns
    -------
    (B, N, D) at next_timestep
    """
    a, s, a_next, s_next = signal(timestep), noise(timestep), signal(next_timestep), noise(next_timestep)
    direction = (noisy - a * clean) / s
    kept = (1 - (a / a_next).square()).clamp(min=0).sqrt() if a_next > 0 else 0.0
    fresh = eta * (s_next / s) * kept
    return a_next * clean + (s_next.square() - fresh**2).clamp(min=0).sqrt() * direction + fresh * epsilon


def sample(denoise, draw_noise, num_steps, choose=None, eta=1.0, callback=None):
    """Draw latents.

    Parameters
    ----------
    denoise : callable, see the module
    draw_noise : callable(step, candidate) -> unit noise (B, N, D); step 0 is the beginning
    num_steps : calls of denoise, at least 1
    choose : None, or a guide as in guidance.py: callable(advance, step, next_timestep) -> (noisy, clean)
    eta : stochasticity of unguided steps, see ancestral_step
    callback : None, or callable(dict) after each step: step, num_steps, timestep, noisy, clean

    Returns
    -------
    (B, N, D), the clean estimate of the last step
    """
    timesteps = sampling_timesteps(num_steps)
    noisy = draw_noise(0, 0)
    timesteps = timesteps.to(noisy.device)
    clean = denoise(noisy, timesteps[0].expand(len(noisy)))
    for step in range(1, num_steps):
        timestep, next_timestep = timesteps[step - 1], timesteps[step]

        def advance(candidate, noisy=noisy, clean=clean, step=step, times=(timestep, next_timestep)):
            return ancestral_step(noisy, clean, *times, draw_noise(step, candidate), eta)

        guided = choose(advance, step, next_timestep) if choose is not None else None
        if guided is None:
            noisy = advance(0)
            clean = denoise(noisy, next_timestep.expand(len(noisy)))
        else:
            noisy, clean = guided
        if callback is not None:
            callback({"step": step + 1, "num_steps": num_steps, "timestep": float(next_timestep),
                      "noisy": noisy, "clean": clean})  # fmt: skip
    return clean

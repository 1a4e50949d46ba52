"""From a trained run to a solo: the one way in for notebooks, command line and server."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.config import RELEASED, ConfigError
from lib.data.notes import Notes
from lib.diffusion.guidance import StochasticControl, guidance_steps
from lib.diffusion.sampling import sample
from lib.models.dit import Conditions
from lib.music.chord_symbols import NO_CHORD
from lib.music.chords import CHORD_DIM, chord_changes, chord_features, chords_per_frame, parse_progression
from lib.music.metrics import note_f1
from lib.music.piano_roll import (
    CHUNK_FRAMES,
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    PianoRoll,
    decide,
    notes_to_piano_roll,
    piano_roll_to_notes,
)
from lib.music.rules import chord_progression, loudness, note_density, pitch_class_histogram, register, total_loss
from lib.styles import style_vector, with_own
from lib.training import trained
from lib.training.devices import choose_device
from lib.training.stream import normal

LATENT_RATE_HZ = FRAME_RATE_HZ / LATENT_STRIDE
WINDOW = CHUNK_FRAMES // LATENT_STRIDE  # latent frames the model plays at once
OVERLAP = WINDOW // 4  # latent frames given from the window before


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, what it goes on from included
    begins_s : where the new music begins
    request : GenerateRequest
    chords : list of (time_s, symbol), each asked chord where it begins
    rule_losses : dict name -> loss of each rule on the whole solo (empty without rules)
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    request: object
    chords: list
    rule_losses: dict
    seconds: float


def load_improviser(run=None, released=False, device="auto", styles_dir=None):
    """trained.Improviser from a run or a finished folder, or the released one.

    Parameters
    ----------
    run : brad_final, or a run folder of diffusion or fine_tune
    released : use the weights in data/released instead
    device : auto, cuda, mps or cpu
    styles_dir : folder of the user's own styles (styles.add_style), or None

    Raises
    ------
    ConfigError : neither or both are given; CheckpointError : nothing to load there
    """
    if (run is None) != released:
        raise ConfigError("Give either --run RUN or --released.")
    improviser = trained.load_improviser(RELEASED if released else run, choose_device(device))
    return dataclasses.replace(improviser, styles=with_own(improviser.styles, improviser.style_encoder, styles_dir))


def generate(improviser, request, callback=None, before=None):
    """Play a solo.

    Parameters
    ----------
    improviser : trained.Improviser
    request : GenerateRequest; the same request gives the same solo
    callback : None, or callable(dict) after each denoising step: step, num_steps, window, num_windows and
        piano_roll, a callable that decodes the present estimate to a decided PianoRoll; raising in it cancels
    before : None, or Notes to go on from: its last seconds are heard, and the chords begin where it ends

    Returns
    -------
    Solo

    Raises
    ------
    ChordError, ConfigError : a symbol or a pianist is unknown
    """
    began = time.monotonic()
    bars = parse_progression(request.chords)
    style = _style(improviser, request)
    heard = None if before is None else _end_of(improviser, before)
    given = 0 if heard is None else OVERLAP
    length = given + max(WINDOW - given, math.ceil(request.seconds * LATENT_RATE_HZ))
    chords = chords_per_frame(bars, length + WINDOW, LATENT_RATE_HZ, request.tempo_bpm)
    latents = _play_windows(improviser, request, style, [None] * given + chords, length, heard, callback)
    first = given * LATENT_STRIDE
    piano_roll = _decode(improviser, latents).crop(first, first + math.ceil(request.seconds * FRAME_RATE_HZ))
    rules = _rules(request, chords[: math.ceil(piano_roll.num_frames / LATENT_STRIDE)])
    losses = {rule.name: float(rule.loss(piano_roll)[0]) for rule in rules}
    notes, begins_s = piano_roll_to_notes(piano_roll)[0], 0.0 if before is None else _end_s(before)
    notes = notes if before is None else before.followed_by(notes, begins_s)
    changes = chord_changes(bars, request.seconds, request.tempo_bpm)
    symbols = [(begins_s + time_s, NO_CHORD[0] if chord is None else chord.symbol) for time_s, chord in changes]
    return Solo(notes, begins_s, request, symbols, losses, time.monotonic() - began)


def _end_s(notes):
    """When a performance has ended, in whole latent frames."""
    return math.ceil(notes.end_s * LATENT_RATE_HZ) / LATENT_RATE_HZ


@torch.inference_mode()
def _end_of(improviser, notes):
    """Latents (1, OVERLAP, D) of the end of a performance; a shorter one begins in silence."""
    end_s = _end_s(notes)
    last = notes.between(end_s - OVERLAP / LATENT_RATE_HZ, end_s)
    piano_roll = notes_to_piano_roll(last, OVERLAP * LATENT_STRIDE).to(improviser.styles.vectors.device)
    return improviser.vqvae.latents(improviser.vqvae.encode(piano_roll).indices)


def _style(improviser, request):
    """(1, S): the asked pianist's vector, else that of whom the run was tuned on, else none."""
    name = request.style or improviser.pianist
    if name is None:
        return torch.zeros(1, improviser.styles.vectors.shape[1], device=improviser.styles.vectors.device)
    return style_vector(improviser.styles, name)[None]


def _play_windows(improviser, request, style, chords, length, played, callback):
    """Latents (1, length, D): window after window, each given the end of the one before, the first of `played` if any."""
    starts = range(0, max(1, length - OVERLAP), WINDOW - OVERLAP)
    for number, start in enumerate(starts):
        known = None if played is None else played[:, start : start + OVERLAP]
        conditions = _conditions(improviser, style, chords[start : start + WINDOW], known)
        report = _reporter(improviser, callback, number, len(starts))
        window = _play_window(improviser, request, conditions, chords[start : start + WINDOW], number, report)
        played = window if played is None else torch.cat([played[:, : start + OVERLAP], window[:, OVERLAP:]], 1)
    return played[:, :length]


def _conditions(improviser, style, chords, known):
    latent_dim = improviser.vqvae.codebook.groups * improviser.vqvae.codebook.code_dim
    features = chord_features(chords).to(style.device)[None]  # (1, N, CHORD_DIM)
    assert features.shape == (1, WINDOW, CHORD_DIM)
    given, mask = torch.zeros(1, WINDOW, latent_dim), torch.zeros(1, WINDOW, 1)
    if known is not None:
        given[:, : known.shape[1]], mask[:, : known.shape[1]] = known.cpu(), 1.0
    return Conditions(style, features, given.to(style.device), mask.to(style.device))


@torch.inference_mode()
def _play_window(improviser, request, conditions, chords, number, report):
    """Latents (1, WINDOW, D) on the codebook."""
    denoise = denoiser(improviser, conditions, request.guidance_scale, request.temperature)
    shape = conditions.known.shape[1:]

    def draw_noise(step, candidate):
        return normal(request.seed, f"window {number} step {step}", 0, [candidate], shape, conditions.style.device)

    rules, guide = _rules(request, chords), None
    if rules and request.num_candidates > 1:
        guide = StochasticControl(
            denoise,
            lambda clean: total_loss(rules, _decode(improviser, on_codes(improviser, clean))),
            request.num_candidates,
            guidance_steps(request.num_steps),
        )
    return on_codes(improviser, sample(denoise, draw_noise, request.num_steps, guide, callback=report))


def on_codes(improviser, clean):
    """Estimates (B, N, D) moved onto the nearest codes: a mean of several codes would be decoded to too few notes."""
    return improviser.vqvae.latents(improviser.vqvae.nearest(clean))


def denoiser(improviser, conditions, guidance_scale=1.0, temperature=1.0):
    """The model as sampling wants it: callable(noisy (B, N, D), timestep (B,)) -> clean estimate (B, N, D).

    Parameters
    ----------
    improviser : trained.Improviser
    conditions : Conditions of one example, used for each of the batch
    guidance_scale : classifier-free guidance on the log posterior; 1: none
    temperature : of the posterior; below 1 sharpens it
    """

    def denoise(noisy, timestep):
        told = conditions.repeat(len(noisy))
        if guidance_scale == 1:
            logits = improviser.dit(noisy, timestep, told).float()
        else:
            both = told.joined(told.without_wishes())
            twice = improviser.dit(torch.cat([noisy, noisy]), torch.cat([timestep, timestep]), both).float()
            asked, unasked = twice.log_softmax(-1).chunk(2)
            logits = unasked + guidance_scale * (asked - unasked)
        clean = improviser.vqvae.expected((logits / temperature).softmax(-1))
        return torch.where(told.known_mask > 0, told.known, clean)

    return denoise


@torch.inference_mode()
def _decode(improviser, latents):
    """Latents (B, N, D) -> decided PianoRoll."""
    return decide(improviser.vqvae.decode_latents(latents))


def _rules(request, chords):
    """The rules a request implies: chords where candidates are asked for, and what else it names."""
    wishes = {note_density: request.density, register: request.register, loudness: request.loudness}
    rules = [rule(target) for rule, target in wishes.items() if target is not None]
    if request.pitch_classes is not None:
        rules.append(pitch_class_histogram(request.pitch_classes))
    if request.num_candidates > 1 and any(chord is not None for chord in chords):
        rules.append(chord_progression(chords))
    return rules


def _reporter(improviser, callback, window, num_windows):
    if callback is None:
        return None

    def report(state):
        place = {"step": state["step"], "num_steps": state["num_steps"], "window": window, "num_windows": num_windows}
        callback({**place, "piano_roll": lambda: _decode(improviser, state["clean"])})

    return report


def load_codec(run, device="auto"):
    """The VQVAE of a vqvae run, or of any folder load_improviser takes.

    Raises
    ------
    CheckpointError : nothing to load there
    """
    device = choose_device(device)
    finished = (Path(run) / "dit.safetensors").exists()
    return trained.load_improviser(run, device).vqvae if finished else trained.load_vqvae(run, device)[0]


@torch.inference_mode()
def reconstruct(run, notes, device="auto"):
    """Notes through the codec and back, in one pass however long they are.

    Parameters
    ----------
    run : a vqvae run, or any folder load_improviser takes
    notes : Notes

    Returns
    -------
    (Notes, NoteF1) : the decoded performance, and how much of it is right
    """
    device = choose_device(device)
    vqvae = load_codec(run, device)
    piano_roll: PianoRoll = notes_to_piano_roll(notes).to(device)
    decoded = decide(vqvae.decode_latents(vqvae.latents(vqvae.encode(piano_roll).indices)))
    estimate = piano_roll_to_notes(decoded)[0]
    return estimate, note_f1(notes, estimate)

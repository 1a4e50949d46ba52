"""From a request to a solo: new music, the continuation of a prompt, the infilling of a passage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from lib.checkpoints import load
from lib.checkpoints.load import Improviser
from lib.config import RELEASED, ConfigError
from lib.devices import choose_device
from lib.generation.request import GenerateRequest
from lib.generation.sliding_window import OVERLAP, Conditioning, Passage, decode, fill_passages
from lib.models.vqvae import GROUPS
from lib.music.chart import Chart
from lib.music.chord_recognition import recognise_chords
from lib.music.chords import NO_CHORD
from lib.music.hands import left_hand
from lib.music.harmony import changes_by, invent_chart, read_changes
from lib.music.notes import Notes, write_midi
from lib.music.piano_roll import (
    FRAME_RATE_HZ,
    LATENT_RATE_HZ,
    LATENT_STRIDE,
    WINDOW,
    PianoRoll,
    notes_to_piano_roll,
    piano_roll_to_notes,
    sounding_roll,
)
from lib.music.rules import Rule
from lib.style.classifier import StyleClassifier
from lib.style.embeddings import with_own

PROMPT_S = 10.0  # of a prompt's end, whose chords an invented chart continues


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, those of the prompt or around the passage included
    begins_s, ends_s : where the new music begins and ends
    bars_from_s : where a bar begins: one begins with a continuation; an infilled passage leaves the bars alone
    request : GenerateRequest, with the chart that was invented where own changes were asked for
    chords : list of (time_s, symbol), each chord of the chart where it begins
    rules : list of Rule, of all the new music (empty where none is asked for)
    piano_roll : PianoRoll (B = 1) of the new music alone, which its notes were read from
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    ends_s: float
    bars_from_s: float
    request: GenerateRequest
    chords: list[tuple[float, str]]
    rules: list[Rule]
    piano_roll: PianoRoll
    seconds: float = 0.0

    @property
    def new_notes(self) -> Notes:
        """Notes of the new music alone, from 0."""
        return self.notes.between(self.begins_s, self.ends_s)

    @property
    def rule_losses(self) -> dict[str, float]:
        """name -> loss of each rule on the new music."""
        return {rule.name: float(rule.loss(self.piano_roll)[0]) for rule in self.rules}

    def write(self, path: Path | str) -> Path:
        """A MIDI file with a track a hand, tempo, metre, and chords as markers: its Path."""
        request, hands = self.request, left_hand(self.notes)
        return write_midi(
            self.notes, path, request.tempo_bpm, self.chords, hands, request.beats_per_bar, self.bars_from_s
        )


@dataclass(frozen=True)
class Order:
    """A solo to be played.

    Attributes
    ----------
    request : GenerateRequest
    notes : Notes of a prompt, or, with from_s and to_s, of the performance of which that passage is infilled; or None
    from_s, to_s : the passage, or None
    callback, rules, chart : as for `generate`
    """

    request: GenerateRequest
    notes: Notes | None = None
    from_s: float | None = None
    to_s: float | None = None
    callback: Callable | None = None
    rules: Callable | None = None
    chart: Chart | None = None

    @property
    def is_infilling(self) -> bool:
        """Whether a passage of `notes` is to be infilled."""
        return self.from_s is not None

    @property
    def borders(self) -> tuple[int, int]:
        """(first, last) latent frame of the passage; ConfigError where it is none."""
        first, last = (round(seconds * LATENT_RATE_HZ) for seconds in (self.from_s, self.to_s))
        if not 0 <= first < last or self.from_s >= self.notes.end_s:
            reason = f"is no passage of a performance of {self.notes.end_s:.1f} s."
            fields = {"passage": f"{self.from_s:g} to {self.to_s:g} {reason}"}
            raise ConfigError(f"--from {self.from_s:g} --to {self.to_s:g} {reason}", fields)
        return first, last


def load_improviser(
    run: Path | str | None = None,
    released: bool = False,
    device: str = "auto",
    styles_dir: Path | None = None,
    base: bool = False,
) -> Improviser:
    """The improviser of a run or a finished folder, or the released one.

    Parameters
    ----------
    run : brad_final, or a run folder of diffusion or fine_tune
    released : use the weights in data/released instead
    device : auto, cuda, mps or cpu
    styles_dir : folder of the user's own styles (style.embeddings.add_style), or None
    base : of a finished folder the model before it was adapted to a pianist

    Raises
    ------
    ConfigError : neither or both are given; CheckpointError : nothing to load there
    """
    if (run is None) != released:
        raise ConfigError("Give either --run RUN or --released.")
    improviser = load.load_improviser(RELEASED if released else run, choose_device(device), base)
    classifier = StyleClassifier.of_improviser(improviser)
    return replace(improviser, styles=with_own(improviser.styles, classifier, styles_dir))


def generate(
    improviser: Improviser,
    request: GenerateRequest,
    callback: Callable | None = None,
    prompt: Notes | None = None,
    rules: Callable | None = None,
    chart: Chart | None = None,
) -> Solo:
    """Play a solo.

    Parameters
    ----------
    improviser : of load_improviser
    request : the same request gives the same solo
    callback : None, or callable(dict) after each step and revision: step, num_steps (both), window, num_windows and
        piano_roll, a callable that decodes the present estimate to a PianoRoll; raising in it cancels
    prompt : None, or Notes to continue: the model is given their last seconds, and the chords begin where they end
    rules : None, or callable(Conditioning of a window) -> list of Rule: rules of one's own, beside those of the
        request; they choose where num_candidates is 2 or more
    chart : None, or a Chart that is played instead of request.chords

    Raises
    ------
    ChordError, ConfigError : a symbol or a pianist is unknown
    """
    return generate_many(improviser, [Order(request, prompt, callback=callback, rules=rules, chart=chart)])[0]


def infill(
    improviser: Improviser,
    request: GenerateRequest,
    notes: Notes,
    from_s: float,
    to_s: float,
    callback: Callable | None = None,
    rules: Callable | None = None,
    chart: Chart | None = None,
) -> Solo:
    """Infill a passage of a performance: the model is given what is before and after it, which stays.

    Parameters
    ----------
    improviser, request, callback, rules, chart : as for `generate`; the chords begin at from_s, the passage decides
        how long the music is
    notes : Notes
    from_s, to_s : the passage, rounded to latent frames (80 ms)

    Returns
    -------
    Solo; begins_s is from_s, rounded

    Raises
    ------
    ConfigError : the passage is empty, or not within the performance
    """
    return generate_many(improviser, [Order(request, notes, from_s, to_s, callback, rules, chart)])[0]


def generate_many(improviser: Improviser, orders: Sequence[Order]) -> list[Solo]:
    """Play several solos, each as it would be alone; windows that are alike go through the model together.

    Parameters
    ----------
    orders : what a callback raises ends all of them

    Returns
    -------
    list of Solo, in this order; their seconds are those of all together

    Raises
    ------
    ChordError, ConfigError : as generate and infill
    """
    began = time.monotonic()
    orders = [_with_own_chart(improviser, order) if order.request.own_changes else order for order in orders]
    passages = [_passage(improviser, order) for order in orders]
    fill_passages(improviser, passages)
    solos = [_solo(improviser, order, passage) for order, passage in zip(orders, passages, strict=True)]
    return [replace(solo, seconds=time.monotonic() - began) for solo in solos]


def _with_own_chart(improviser, order):
    """The order with a chart that the asked pianist invents, continuing a prompt's chords; its text in the request."""
    request, seconds, prompt = order.request, order.request.seconds, order.notes
    if order.is_infilling:
        from_s, to_s = (frame / LATENT_RATE_HZ for frame in order.borders)
        seconds, prompt = to_s - from_s, order.notes.between(0, from_s)
    rows = changes_by(improviser.changes, request.style or improviser.pianist)
    after = None if prompt is None else _last_changes(prompt)
    chart = invent_chart(rows, seconds, request.tempo_bpm, request.beats_per_bar, request.seed, after)
    return replace(order, request=replace(request, chords=chart.text(), own_changes=False), chart=chart)


def _last_changes(notes: Notes) -> np.ndarray:
    """The changes of the end of a performance, rows of music.harmony."""
    end_s = _latent_end_s(notes)
    last = notes_to_piano_roll(notes.between(max(0.0, end_s - PROMPT_S), end_s))
    return read_changes(recognise_chords(sounding_roll(last))[0].numpy())


def _passage(improviser, order):
    """The Passage to fill: music behind a prompt's last OVERLAP latent frames, with silence first where it is short.

    Of an infilling it is the gap, with half a window or more around it that is given.
    """
    seconds, before, after, num_given = order.request.seconds, 0, 0, 0
    if order.is_infilling:
        first, last = order.borders
        start = max(0, first - WINDOW // 2)
        num_given = max(WINDOW, last - start + WINDOW // 2)
        seconds, before, after = (last - first) / LATENT_RATE_HZ, first - start, start + num_given - last
        given = order.notes.between(start / LATENT_RATE_HZ, (start + num_given) / LATENT_RATE_HZ)
    elif order.notes is not None:
        before, num_given, end_s = OVERLAP, OVERLAP, _latent_end_s(order.notes)
        given = order.notes.between(end_s - OVERLAP / LATENT_RATE_HZ, end_s)
    conditioning = Conditioning.of(order.request, seconds, before, after, order.chart)
    length = num_given if order.is_infilling else max(WINDOW, len(conditioning))
    codes = torch.zeros(1, length, GROUPS, dtype=torch.long, device=improviser.device)
    mask = torch.ones(1, length, dtype=torch.bool, device=improviser.device)
    mask[:, :before] = mask[:, length - after :] = False
    if num_given:
        piano_roll = notes_to_piano_roll(given, num_given * LATENT_STRIDE).to(improviser.device)
        with torch.inference_mode():
            codes[:, :num_given] = improviser.vqvae.encode(piano_roll)
    return Passage(conditioning, codes, mask, before, order.callback, order.rules)


def _solo(improviser, order, passage):
    """Solo of a passage that _passage made and that was filled."""
    prompt, before, last = order.notes, passage.before, None
    if order.is_infilling:
        first, last = order.borders
        begins_s, ends_s, bars_from_s = first / LATENT_RATE_HZ, last / LATENT_RATE_HZ, 0.0
        num_frames, last = (last - first) * LATENT_STRIDE, before + last - first
    else:
        begins_s = bars_from_s = 0.0 if prompt is None else _latent_end_s(prompt)
        ends_s, num_frames = begins_s + order.request.seconds, math.ceil(order.request.seconds * FRAME_RATE_HZ)
    first_frame = before * LATENT_STRIDE
    piano_roll = decode(improviser, passage.codes).to("cpu").crop(first_frame, first_frame + num_frames)
    notes = piano_roll_to_notes(piano_roll)[0]
    if prompt is not None:
        notes = prompt.between(0, begins_s).followed_by(notes, begins_s)
    if order.is_infilling:
        notes = notes.followed_by(prompt.between(ends_s, math.inf), ends_s)
    rules, symbols = passage.rules(before, last), _symbols(passage.conditioning, begins_s, ends_s)
    return Solo(notes, begins_s, ends_s, bars_from_s, order.request, symbols, rules, piano_roll)


def _latent_end_s(notes):
    """When a performance has ended, in whole latent frames."""
    return math.ceil(notes.end_s * LATENT_RATE_HZ) / LATENT_RATE_HZ


def _symbols(conditioning, begins_s, ends_s):
    """[(time_s, symbol)] of the chart where it changes."""
    seconds_per_quarter = Fraction(60) / Fraction(conditioning.request.tempo_bpm)
    changes = conditioning.chart.changes(Fraction(round(ends_s - begins_s, 6)) / seconds_per_quarter)
    return [
        (begins_s + float(position * seconds_per_quarter), NO_CHORD[0] if chord is None else chord.symbol)
        for position, chord in changes
    ]

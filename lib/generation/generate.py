"""From a request to a solo: new music, the continuation of a prompt, the infilling of a passage."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from lib.checkpoints.load import Improviser
from lib.config import ConfigError
from lib.generation.conditioning import Conditioning, latent_end_s
from lib.generation.improviser import load_improviser, own_chart
from lib.generation.request import GenerateRequest
from lib.generation.sliding_window import OVERLAP, Passage, fill_passages
from lib.models.vqvae import GROUPS
from lib.music.chart import Chart
from lib.music.chords import NO_CHORD
from lib.music.hands import left_hand
from lib.music.notes import Notes, write_midi
from lib.music.piano_roll import (
    FRAME_RATE_HZ,
    LATENT_RATE_HZ,
    LATENT_STRIDE,
    WINDOW,
    PianoRoll,
    notes_to_piano_roll,
    piano_roll_to_notes,
)
from lib.music.rules import Rule

__all__ = ["Order", "Solo", "generate", "generate_many", "infill", "load_improviser"]


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
    passages = [(_gap if order.is_infilling else _continuation)(improviser, order) for order in orders]
    fill_passages(improviser, passages)
    pairs = zip(orders, passages, strict=True)
    solos = [(_infilled if order.is_infilling else _continued)(improviser, order, passage) for order, passage in pairs]
    return [dataclasses.replace(solo, seconds=time.monotonic() - began) for solo in solos]


def _with_own_chart(improviser, order):
    """The order with a chart that the pianist invents, and its text in the request."""
    seconds, prompt = order.request.seconds, order.notes
    if order.is_infilling:
        from_s, to_s = (frame / LATENT_RATE_HZ for frame in order.borders)
        seconds, prompt = to_s - from_s, order.notes.between(0, from_s)
    chart = own_chart(improviser, order.request, seconds, prompt)
    request = dataclasses.replace(order.request, chords=chart.text(), own_changes=False)
    return dataclasses.replace(order, request=request, chart=chart)


# --- New music, from nothing or on from a prompt ------------------------------------------------------------------


def _continuation(improviser, order):
    """Passage of new music behind the last OVERLAP latent frames of the prompt; a shorter prompt begins in silence."""
    prompt_frames = 0 if order.notes is None else OVERLAP
    conditioning = Conditioning.of(order.request, order.request.seconds, prompt_frames, chart=order.chart)
    codes, mask = _masked(improviser, max(WINDOW, len(conditioning)))
    if prompt_frames:
        end_s = latent_end_s(order.notes)
        prompt = order.notes.between(end_s - OVERLAP / LATENT_RATE_HZ, end_s)
        codes[:, :prompt_frames], mask[:, :prompt_frames] = _encode(improviser, prompt, OVERLAP), False
    return Passage(conditioning, codes, mask, order.callback, order.rules)


def _continued(improviser, order, passage):
    """Solo of a passage that _continuation made and that was filled."""
    prompt, seconds, prompt_frames = order.notes, order.request.seconds, 0 if order.notes is None else OVERLAP
    first = prompt_frames * LATENT_STRIDE
    piano_roll = passage.piano_roll(improviser).crop(first, first + math.ceil(seconds * FRAME_RATE_HZ))
    notes, begins_s = piano_roll_to_notes(piano_roll)[0], 0.0 if prompt is None else latent_end_s(prompt)
    notes = notes if prompt is None else prompt.followed_by(notes, begins_s)
    ends_s, rules = begins_s + seconds, passage.rules(prompt_frames, None)
    symbols = _symbols(passage, begins_s, ends_s)
    return Solo(notes, begins_s, ends_s, begins_s, order.request, symbols, rules, piano_roll)


# --- A passage of a performance -----------------------------------------------------------------------------------


def _gap(improviser, order):
    """Passage of the music to be infilled, with half a window or more around it that is given."""
    (first, last), (start, length) = order.borders, _around(*order.borders)
    before, after = first - start, start + length - last
    seconds = (last - first) / LATENT_RATE_HZ
    conditioning = Conditioning.of(order.request, seconds, before, after, order.chart)
    given = order.notes.between(start / LATENT_RATE_HZ, (start + length) / LATENT_RATE_HZ)
    codes, (_, mask) = _encode(improviser, given, length).clone(), _masked(improviser, length)
    mask[:, :before] = mask[:, last - start :] = False
    return Passage(conditioning, codes, mask, order.callback, order.rules)


def _around(first, last):
    """(start, length) in latent frames of what the model is given for a gap."""
    start = max(0, first - WINDOW // 2)
    return start, max(WINDOW, last - start + WINDOW // 2)


def _infilled(improviser, order, passage):
    """Solo of a passage that _gap made and that was filled."""
    (first, last), notes = order.borders, order.notes
    start, _ = _around(first, last)
    piano_roll = passage.piano_roll(improviser).crop((first - start) * LATENT_STRIDE, (last - start) * LATENT_STRIDE)
    begins_s, ends_s = first / LATENT_RATE_HZ, last / LATENT_RATE_HZ
    notes = notes.between(0, begins_s).followed_by(piano_roll_to_notes(piano_roll)[0], begins_s)
    notes = notes.followed_by(order.notes.between(ends_s, math.inf), ends_s)
    rules, symbols = passage.rules(first - start, last - start), _symbols(passage, begins_s, ends_s)
    return Solo(notes, begins_s, ends_s, 0.0, order.request, symbols, rules, piano_roll)


# --- Both ---------------------------------------------------------------------------------------------------------


def _symbols(passage, begins_s, ends_s):
    """[(time_s, symbol)] of the chart where it changes."""
    seconds_per_quarter = Fraction(60) / Fraction(passage.request.tempo_bpm)
    changes = passage.conditioning.chart.changes(Fraction(round(ends_s - begins_s, 6)) / seconds_per_quarter)
    times_s = [begins_s + float(position * seconds_per_quarter) for position, _ in changes]
    symbols = [NO_CHORD[0] if chord is None else chord.symbol for _, chord in changes]
    return list(zip(times_s, symbols, strict=True))


def _masked(improviser, length):
    """(codes (1, length, G), mask (1, length)): nothing is known."""
    codes = torch.zeros(1, length, GROUPS, dtype=torch.long, device=improviser.device)
    return codes, torch.ones(1, length, dtype=torch.bool, device=improviser.device)


@torch.inference_mode()
def _encode(improviser, notes, length):
    """Codes (1, length, G) of a passage."""
    return improviser.vqvae.encode(notes_to_piano_roll(notes, length * LATENT_STRIDE).to(improviser.device))

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
from lib.generation.request import USUAL_S, GenerateRequest, Order
from lib.generation.sliding_window import OVERLAP, Conditioning, Passage, decode, fill_passages, passage_time
from lib.models.vqvae import GROUPS
from lib.music.chart import Chart
from lib.music.chord_recognition import recognise_chords
from lib.music.chords import NO_CHORD
from lib.music.hands import left_hand
from lib.music.harmony import changes_by, invent_chart, read_changes
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes
from lib.music.piano_roll import (
    LATENT_STRIDE,
    LATENTS_PER_BEAT,
    WINDOW,
    PianoRoll,
    notes_to_piano_roll,
    piano_roll_to_notes,
    sounding_roll,
)
from lib.music.rules import Rule
from lib.music.tempo_map import (
    SLOWEST_FELT,
    BeatNotes,
    Metre,
    TempoMap,
    clock_frames,
    in_beats,
    in_seconds,
)
from lib.storage.atomic_write import write_bytes
from lib.style.classifier import StyleClassifier
from lib.style.embeddings import with_own

PROMPT_LATENTS = 120  # of a prompt's end (20 beats), whose chords an invented chart continues
SHORTEST_WINDOW = 96  # latent frames that the model is given at least
TOLERANCE = 1e-6  # beats


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, those of the prompt or around the passage included
    begins_s, ends_s : where the new music begins and ends
    tempo_map : TempoMap of all of it; a bar begins with a continuation, an infilled passage leaves the bars alone
    request : GenerateRequest, with the chart that was invented where own changes were asked for
    chords : list of (time_s, symbol), each chord of the chart where it begins
    rules : list of Rule, of all the new music (empty where none is asked for)
    piano_roll : PianoRoll (B = 1) of the new music alone, which its notes were read from
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    ends_s: float
    tempo_map: TempoMap
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

    @property
    def length_s(self) -> float:
        """Of the new music."""
        return self.ends_s - self.begins_s

    def midi(self) -> bytes:
        """A MIDI file with a track a hand, tempo, metre, and chords as markers."""
        return to_midi(self.notes, self.tempo_map, self.chords, left_hand(self.notes))

    def write(self, path: Path | str) -> Path:
        """Write the MIDI file: its Path."""
        return write_bytes(path, self.midi())


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
        raise ConfigError("Which model? Give either --released (the project's weights) or --run RUN (your own).")
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
    tempo_map: TempoMap | None = None,
    theme: BeatNotes | None = None,
) -> Solo:
    """Play a solo.

    Parameters
    ----------
    improviser : of load_improviser
    request : the same request gives the same solo
    callback : None, or callable(dict) after each step and revision: step, num_steps (both), window, num_windows and
        piano_roll, a callable that decodes the present estimate to a PianoRoll; raising in it cancels
    prompt : None, or Notes to continue: the model is given their last beats; new music and chart begin on the next one
    rules : None, or callable(Conditioning of a window) -> list of Rule: additional rules, beside those of the
        request; they choose where num_candidates is 2 or more
    chart : None, or a Chart that is played instead of request.chords
    tempo_map : of the prompt; None: it is in the request's tempo, with a bar line at 0
    theme : None, or BeatNotes from a bar line on: the music comes back to it with each chorus, as far as request.recall
        says, instead of to its own last chorus

    Raises
    ------
    ChordError, ConfigError : a symbol or a pianist is unknown
    """
    order = Order(request, prompt, None, None, callback, rules, chart, tempo_map, theme)
    return generate_many(improviser, [order])[0]


def infill(
    improviser: Improviser,
    request: GenerateRequest,
    notes: Notes,
    from_s: float,
    to_s: float,
    callback: Callable | None = None,
    rules: Callable | None = None,
    chart: Chart | None = None,
    tempo_map: TempoMap | None = None,
) -> Solo:
    """Infill a passage of a performance: the model is given what is before and after it, which stays.

    Parameters
    ----------
    improviser, request, callback, rules, chart, tempo_map : as for `generate`; the chords begin with the new music, the
        passage decides how long it is
    notes : Notes
    from_s, to_s : the passage; new music begins on its first beat

    Returns
    -------
    Solo; begins_s is that beat

    Raises
    ------
    ConfigError : the passage is empty, or not within the performance
    """
    return generate_many(improviser, [Order(request, notes, from_s, to_s, callback, rules, chart, tempo_map)])[0]


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
    plans = [_plan(improviser, order) for order in orders]
    passages = [_passage(improviser, plan) for plan in plans]
    fill_passages(improviser, passages)
    solos = [_solo(improviser, plan, passage) for plan, passage in zip(plans, passages, strict=True)]
    return [replace(solo, seconds=time.monotonic() - began) for solo in solos]


@dataclass(frozen=True)
class _Plan:
    """An order, understood.

    Attributes
    ----------
    order, request : the latter with the chart's text where the pianist invents it
    chart : Chart that is played
    around : TempoMap of the notes that there are
    first, last : where the new music begins and ends, in latent frames of `around`
    """

    order: Order
    request: GenerateRequest
    chart: Chart
    around: TempoMap
    first: int
    last: int


def _plan(improviser, order):
    request, metre, timing = order.request, Metre.parse(order.request.metre), order.request.timing
    if order.is_infilling:
        around, first, last = find_passage(order)
    else:
        around, last = _map_around(order), None
        begins = 0.0 if order.notes is None else around.to_beats(max(order.notes.end_s, order.to_s or 0.0))
        first = math.ceil(begins - TOLERANCE) * LATENTS_PER_BEAT
    chart = order.chart
    if request.own_changes:
        bar, seconds = request.blank_chart(), timing.seconds(last - first) if last else request.seconds or USUAL_S
        quarters = bar.quarters * request.bars if request.bars and not last else seconds * request.tempo_bpm / 60
        rows = changes_by(improviser.changes, request.style or improviser.pianist)
        after = None if order.notes is None else _last_changes(order.notes, around, first)
        felt = replace(metre, felt=Fraction(1, 4) / timing.beats_per_quarter)  # as the rows count beats
        chart = invent_chart(rows, math.ceil((order.into_bar + quarters) / bar.quarters), felt, request.seed, after)
        request = replace(request, chords=chart.text(), own_changes=False)
        if order.into_bar:
            chart, request = chart.excerpt(order.into_bar, quarters), replace(request, bars=None, choruses=1)
    chart = chart or request.parsed_chart()
    last = last or first + math.ceil(request.quarters(chart) * timing.latents_per_quarter)
    return _Plan(order, request, chart, around, first, last)


def _map_around(order):
    """TempoMap of the notes that there are, or in the request's tempo, with some beats more than they need."""
    timing, end_s = order.request.timing, 0.0 if order.notes is None else max(order.notes.end_s, order.to_s or 0.0)
    num_latents = WINDOW + math.ceil(end_s / timing.seconds(1))
    around = order.tempo_map or timing.tempo_map(order.request.blank_chart(), num_latents)
    return around.covering(0.0, end_s + 120.0 / SLOWEST_FELT)


def find_passage(order: Order) -> tuple[TempoMap, int, int]:
    """The passage that an order infills.

    Returns
    -------
    (TempoMap of what is around it, first, last) : latent frames of the map, the first on a beat

    Raises
    ------
    ConfigError : it is no passage of the performance, or holds no beat to begin on
    """
    from_s, to_s, end_s = order.from_s, order.to_s, order.notes.end_s

    def error(reason):
        return ConfigError(f"--from {from_s:g} --to {to_s:g} {reason}", {"passage": f"{from_s:g} to {to_s:g} {reason}"})

    if not (0 <= from_s < to_s and from_s < end_s):
        raise error(f"is not a passage of a performance of {end_s:.1f} s.")
    around = _map_around(order)
    first, last = (float(around.to_beats(second)) for second in (from_s, to_s))
    beat = math.ceil(first - TOLERANCE)
    if beat >= last - TOLERANCE:
        raise error(f"contains no beat to begin on; the next one is at {around.to_seconds(beat):.2f} s.")
    return around, beat * LATENTS_PER_BEAT, math.ceil(last * LATENTS_PER_BEAT - TOLERANCE)


def _last_changes(notes, around, first):
    """The changes of what is played before a latent frame, rows of music.harmony."""
    start = max(0, first - PROMPT_LATENTS)
    given = in_beats(notes, around).between(start / LATENTS_PER_BEAT, first / LATENTS_PER_BEAT)
    roll = notes_to_piano_roll(given, (first - start) * LATENT_STRIDE)
    clock = torch.from_numpy(clock_frames(around, first)[start:].astype(np.int64))
    return read_changes(recognise_chords(sounding_roll(roll), clock[None])[0].numpy())


def _passage(improviser, plan):
    """The Passage to fill: music behind a prompt's last OVERLAP latent frames, with silence first where it is short.

    Of an infilling it is the gap, with half a window or more around it that is given; other music is planned until the
    end of its last bar.
    """
    order, first, last, after = plan.order, plan.first, plan.last, 0
    if order.is_infilling:
        before, after = min(first, WINDOW // 2), WINDOW // 2
        length = last - first
    else:
        before = 0 if order.notes is None else OVERLAP
        length = _whole_bars(plan, max(last - first, SHORTEST_WINDOW - before))
    start, end = first - before, last + after if order.is_infilling else first
    known = 0 if order.theme is None else math.ceil(order.theme.end) * LATENTS_PER_BEAT
    theme = _encode(improviser, order.theme, known) if known else None
    clock_and_bpm = passage_time(plan.request, plan.chart, plan.around, start, end, 0 if order.is_infilling else length)
    conditioning = Conditioning.of(plan.request, plan.chart, length, before, *clock_and_bpm, known)
    codes = torch.zeros(1, len(conditioning), GROUPS, dtype=torch.long, device=improviser.device)
    mask = torch.zeros(1, len(conditioning), dtype=torch.bool, device=improviser.device)
    mask[:, before : before + length] = True
    if end > start:
        given = in_beats(order.notes, plan.around).between(start / LATENTS_PER_BEAT, end / LATENTS_PER_BEAT)
        codes[:, : end - start] = _encode(improviser, given, end - start)
    return Passage(conditioning, codes, mask, before, order.callback, order.rules, theme)


@torch.inference_mode()
def _encode(improviser, notes, num_latents):
    """Codes (1, N, G) of BeatNotes."""
    piano_roll = notes_to_piano_roll(notes, num_latents * LATENT_STRIDE)
    return improviser.vqvae.encode(piano_roll.to(improviser.device))


def _whole_bars(plan, length):
    """Latent frames until the end of the bar in which so many end."""
    per_quarter = plan.request.timing.latents_per_quarter
    for start, bar in plan.chart.played(Fraction(length) / per_quarter):
        end = start + bar.quarters
    return math.ceil(end * per_quarter)


def _solo(improviser, plan, passage):
    """Solo of a plan whose passage was filled."""
    order, timing, around, length = plan.order, plan.request.timing, plan.around, plan.last - plan.first
    frames = passage.before * LATENT_STRIDE, (passage.before + length) * LATENT_STRIDE
    piano_roll = decode(improviser, passage.codes).to("cpu").crop(*frames)
    begins_s = float(around.to_seconds(plan.first / LATENTS_PER_BEAT))
    if order.is_infilling:
        own, tempo_map, ends_s = around.from_beat(plan.first // LATENTS_PER_BEAT), around, order.to_s
    else:
        own = timing.tempo_map(plan.chart, length, begins_s)
        ends_s = begins_s + (plan.request.seconds or timing.seconds(length))
        tempo_map = around.followed_by(own, plan.first // LATENTS_PER_BEAT) if order.notes is not None else own
    notes = in_seconds(piano_roll_to_notes(piano_roll)[0], own).between(begins_s, ends_s)
    if order.is_infilling:
        around_s = order.notes.between(0, begins_s)
        notes = notes.without_held(replace(around_s, onset_s=around_s.onset_s - begins_s))
    if order.notes is not None:
        notes = order.notes.between(0, begins_s).followed_by(notes, begins_s)
    if order.is_infilling:
        notes = notes.followed_by(order.notes.between(ends_s, math.inf), ends_s)
    rules = passage.rules(passage.before, passage.before + length)
    symbols = [(float(time_s), symbol) for time_s, symbol in _symbols(plan, own) if time_s < ends_s]
    return Solo(notes.struck_once(), begins_s, ends_s, tempo_map, plan.request, symbols, rules, piano_roll)


def _symbols(plan, own):
    """[(time_s, symbol)] of the chart where it changes, by the new music's own map."""
    timing = plan.request.timing
    for position, chord in plan.chart.changes(Fraction(plan.last - plan.first) / timing.latents_per_quarter):
        time_s = own.to_seconds(float(position * timing.beats_per_quarter))
        yield time_s, NO_CHORD if chord is None else chord.symbol

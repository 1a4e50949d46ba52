"""From a trained run to a solo: the one way in for notebooks, command line and server."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from fractions import Fraction

import torch

from lib.checkpoints import load
from lib.config import RELEASED, ConfigError
from lib.devices import choose_device
from lib.generation.conditioning import LATENT_RATE_HZ, Wishes
from lib.generation.sliding_window import OVERLAP, WINDOW, Passage, decode, play
from lib.models.vqvae import GROUPS
from lib.music.chart import Chart
from lib.music.chord_recognition import recognise_chords
from lib.music.chords import NO_CHORD
from lib.music.hands import left_hand
from lib.music.harmony import invent_chart, read_changes
from lib.music.notes import Notes, write_midi
from lib.music.piano_roll import FRAME_RATE_HZ, LATENT_STRIDE, notes_to_piano_roll, piano_roll_to_notes, sounding_roll
from lib.style.embeddings import with_own

HEARD_S = 10.0  # of what is gone on from, as far as its chords matter


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, what it goes on from included
    begins_s, ends_s : where the new music begins and ends
    bars_from_s : where a bar begins: one begins with music that goes on; a passage that is played anew leaves the bars alone
    request : GenerateRequest, with the chart that was invented where none was asked
    chords : list of (time_s, symbol), each asked chord where it begins
    rules : list of Rule, of all the new music (empty where nothing is asked)
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    ends_s: float
    bars_from_s: float
    request: object
    chords: list
    rules: list
    seconds: float

    @property
    def new_notes(self):
        """Notes of the new music alone, from 0."""
        return self.notes.between(self.begins_s, self.ends_s)

    def write(self, path):
        """A MIDI file with a track a hand, tempo, metre, and chords as markers: its Path."""
        asked, hands = self.request, left_hand(self.notes)
        return write_midi(self.notes, path, asked.tempo_bpm, self.chords, hands, asked.beats_per_bar, self.bars_from_s)

    @property
    def new_roll(self):
        """PianoRoll (B = 1) of the new music alone."""
        return notes_to_piano_roll(self.new_notes, math.ceil((self.ends_s - self.begins_s) * FRAME_RATE_HZ))

    @property
    def rule_losses(self):
        """dict name -> loss of each rule on the new music."""
        roll = self.new_roll
        return {rule.name: float(rule.loss(roll)[0]) for rule in self.rules}


def load_improviser(run=None, released=False, device="auto", styles_dir=None, base=False):
    """Improviser from a run or a finished folder, or the released one.

    Parameters
    ----------
    run : brad_final, or a run folder of diffusion or fine_tune
    released : use the weights in data/released instead
    device : auto, cuda, mps or cpu
    styles_dir : folder of the user's own styles (styles.add_style), or None
    base : of a finished folder the model before it was adapted to a pianist

    Raises
    ------
    ConfigError : neither or both are given; CheckpointError : nothing to load there
    """
    if (run is None) != released:
        raise ConfigError("Give either --run RUN or --released.")
    improviser = load.load_improviser(RELEASED if released else run, choose_device(device), base)
    return dataclasses.replace(improviser, styles=with_own(improviser.styles, improviser.style_encoder, styles_dir))


def generate(improviser, request, callback=None, before=None, rules=None, chart=None):
    """Play a solo.

    Parameters
    ----------
    improviser : Improviser
    request : GenerateRequest; the same request gives the same solo
    callback : None, or callable(dict) after each step and revision: step, num_steps (both), window, num_windows and
        piano_roll, a callable that decodes the present estimate to a decided PianoRoll; raising in it cancels
    before : None, or Notes to go on from: its last seconds are heard, and the chords begin where it ends
    rules : None, or callable(Wishes of a window) -> list of Rule: rules of one's own, beside those of the request; they
        choose where num_candidates is 2 or more
    chart : None, or a Chart that is played instead of request.chords

    Returns
    -------
    Solo

    Raises
    ------
    ChordError, ConfigError : a symbol or a pianist is unknown
    """
    return generate_many(improviser, [Order(request, before, callback=callback, rules=rules, chart=chart)])[0]


def infill(improviser, request, notes, from_s, to_s, callback=None, rules=None, chart=None):
    """Play a passage of a performance anew: what is before and after it is heard, and stays.

    Parameters
    ----------
    improviser, request, callback, rules, chart : as for `generate`; the chords begin at from_s, request.seconds says nothing
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


@dataclass(frozen=True)
class Order:
    """A solo that is wanted: as `generate` takes it, or with from_s and to_s as `infill` does."""

    request: object
    notes: Notes | None = None
    from_s: float | None = None
    to_s: float | None = None
    callback: object = None
    rules: object = None
    chart: Chart | None = None

    @property
    def borders(self):
        """(first, last) latent frame of what is played anew; ConfigError where it is no passage."""
        first, last = (round(seconds * LATENT_RATE_HZ) for seconds in (self.from_s, self.to_s))
        if not 0 <= first < last or self.from_s >= self.notes.end_s:
            reason = f"is no passage of a performance of {self.notes.end_s:.1f} s."
            fields = {"passage": f"{self.from_s:g} to {self.to_s:g} {reason}"}
            raise ConfigError(f"--from {self.from_s:g} --to {self.to_s:g} {reason}", fields)
        return first, last


def generate_many(improviser, orders):
    """Play several solos, each as it would be alone; windows that are alike go through the model together.

    Parameters
    ----------
    improviser : Improviser
    orders : list of Order; what a callback raises ends all of them

    Returns
    -------
    list of Solo, in this order; their seconds are those of all together

    Raises
    ------
    ChordError, ConfigError : as generate and infill
    """
    began = time.monotonic()
    orders = [_with_changes(improviser, order) for order in orders]
    makers = [_opening if order.from_s is None else _gap for order in orders]
    passages = [maker(improviser, order) for maker, order in zip(makers, orders)]
    play(improviser, passages)
    finishers = [_opened if order.from_s is None else _filled for order in orders]
    solos = [finish(improviser, *pair) for finish, pair in zip(finishers, zip(orders, passages))]
    return [dataclasses.replace(solo, seconds=time.monotonic() - began) for solo in solos]


def _with_changes(improviser, order):
    """The order with a chart where it leaves the changes to the pianist; they continue those of what is heard before."""
    request, seconds, before = order.request, order.request.seconds, order.notes
    if not request.own_changes:
        return order
    if order.from_s is not None:
        from_s, to_s = (place / LATENT_RATE_HZ for place in order.borders)
        seconds, before = to_s - from_s, order.notes.between(0, from_s)
    rows, metre = improviser.changes.by(request.style or improviser.pianist), (request.tempo_bpm, request.beats_per_bar)
    chart = invent_chart(rows, seconds, *metre, request.seed, None if before is None else _last_changes(before))
    request = dataclasses.replace(request, chords=chart.text(), own_changes=False)
    return dataclasses.replace(order, request=request, chart=chart)


def _last_changes(notes):
    """The changes of the end of a performance."""
    end_s = _end_s(notes)
    last = notes_to_piano_roll(notes.between(max(0.0, end_s - HEARD_S), end_s))
    return read_changes(recognise_chords(sounding_roll(last))[0].numpy())


def _opening(improviser, order):
    """Passage of new music, from nothing or on from the end of what was played."""
    given = 0 if order.notes is None else OVERLAP
    wishes = Wishes.over(order.request, order.request.seconds, given, chart=order.chart)
    codes, hidden = _nothing(improviser, max(WINDOW, len(wishes)))
    if given:
        codes[:, :given], hidden[:, :given] = _end_of(improviser, order.notes), False
    return Passage(wishes, codes, hidden, order.callback, order.rules)


def _opened(improviser, order, passage):
    """Solo of a passage that _opening made and that was played."""
    before, seconds = order.notes, order.request.seconds
    given = 0 if before is None else OVERLAP
    first = given * LATENT_STRIDE
    piano_roll = decode(improviser, passage.codes).crop(first, first + math.ceil(seconds * FRAME_RATE_HZ))
    notes, begins_s = piano_roll_to_notes(piano_roll)[0], 0.0 if before is None else _end_s(before)
    notes = notes if before is None else before.followed_by(notes, begins_s)
    return _solo(passage, passage.rules(given, None), notes, begins_s, begins_s + seconds, begins_s)


def _gap(improviser, order):
    """Passage of what is played anew, with half a window or more around it that is heard."""
    (first, last), notes = order.borders, order.notes
    start, length = _around(first, last)
    before, after = first - start, start + length - last
    wishes = Wishes.over(order.request, (last - first) / LATENT_RATE_HZ, before, after, order.chart)
    around = notes.between(start / LATENT_RATE_HZ, (start + length) / LATENT_RATE_HZ)
    codes, (_, hidden) = _heard(improviser, around, length).clone(), _nothing(improviser, length)
    hidden[:, : first - start] = hidden[:, last - start :] = False
    return Passage(wishes, codes, hidden, order.callback, order.rules)


def _around(first, last):
    """(start, length) in latent frames of what is heard for a gap."""
    start = max(0, first - WINDOW // 2)
    return start, max(WINDOW, last - start + WINDOW // 2)


def _filled(improviser, order, passage):
    """Solo of a passage that _gap made and that was played."""
    (first, last), notes = order.borders, order.notes
    start, _ = _around(first, last)
    within = decode(improviser, passage.codes).crop((first - start) * LATENT_STRIDE, (last - start) * LATENT_STRIDE)
    begins_s, ends_s = first / LATENT_RATE_HZ, last / LATENT_RATE_HZ
    played = notes.between(0, begins_s).followed_by(piano_roll_to_notes(within)[0], begins_s)
    whole = played.followed_by(notes.between(ends_s, math.inf), ends_s)
    return _solo(passage, passage.rules(first - start, last - start), whole, begins_s, ends_s)


def _solo(passage, rules, notes, begins_s, ends_s, bars_from_s=0.0):
    request, wishes = passage.request, passage.wishes
    seconds_per_quarter = Fraction(60) / Fraction(request.tempo_bpm)
    changes = wishes.chart.changes(Fraction(round(ends_s - begins_s, 6)) / seconds_per_quarter)
    chords = [(begins_s + float(position * seconds_per_quarter), chord) for position, chord in changes]
    symbols = [(time_s, NO_CHORD[0] if chord is None else chord.symbol) for time_s, chord in chords]
    return Solo(notes, begins_s, ends_s, bars_from_s, request, symbols, rules, 0.0)


def _nothing(improviser, length):
    """Codes (1, length, G) that are all hidden."""
    shape = (1, length, GROUPS)
    device = improviser.device
    return torch.zeros(shape, dtype=torch.long, device=device), torch.ones(shape[:2], dtype=torch.bool, device=device)


def _end_s(notes):
    """When a performance has ended, in whole latent frames."""
    return math.ceil(notes.end_s * LATENT_RATE_HZ) / LATENT_RATE_HZ


def _end_of(improviser, notes):
    """Codes (1, OVERLAP, G) of the end of a performance; a shorter one begins in silence."""
    end_s = _end_s(notes)
    return _heard(improviser, notes.between(end_s - OVERLAP / LATENT_RATE_HZ, end_s), OVERLAP)


@torch.inference_mode()
def _heard(improviser, notes, length):
    """Codes (1, length, G) of a passage."""
    piano_roll = notes_to_piano_roll(notes, length * LATENT_STRIDE).to(improviser.device)
    return improviser.vqvae.encode(piano_roll)

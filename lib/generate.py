"""From a trained run to a solo: the one way in for notebooks, command line and server."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from lib.config import RELEASED, ConfigError
from lib.data.notes import Notes
from lib.diffusion.guidance import StochasticControl, guidance_steps
from lib.diffusion.sampling import sample
from lib.models.dit import Conditions, knobs
from lib.models.posterior import Posterior
from lib.models.vqvae import GROUPS
from lib.music.changes import invent_chart, read_changes
from lib.music.chord_recognition import recognise_chords
from lib.music.chord_symbols import NO_CHORD
from lib.music.chords import chord_changes, chord_features
from lib.music.forms import OWN, parse_chart
from lib.music.metrics import note_f1
from lib.music.piano_roll import (
    CHUNK_FRAMES,
    FRAME_RATE_HZ,
    LATENT_STRIDE,
    decide,
    notes_to_piano_roll,
    piano_roll_to_notes,
    sounding_roll,
)
from lib.music.rules import total_loss
from lib.music.wishes import LATENT_RATE_HZ, Wishes
from lib.styles import style_vector, with_own
from lib.training import trained
from lib.training.devices import choose_device
from lib.training.stream import uniforms

WINDOW = CHUNK_FRAMES // LATENT_STRIDE  # latent frames the model plays at once
HEARD_S = 10.0  # of what is gone on from, as far as its chords matter
OVERLAP = WINDOW // 4  # latent frames given from the window before


@dataclass(frozen=True)
class Solo:
    """What was played.

    Attributes
    ----------
    notes : Notes, what it goes on from included
    begins_s, ends_s : where the new music begins and ends
    request : GenerateRequest, with the chart that was invented where none was asked
    chords : list of (time_s, symbol), each asked chord where it begins
    rules : list of Rule, of all the new music (empty where nothing is asked)
    seconds : how long it took
    """

    notes: Notes
    begins_s: float
    ends_s: float
    request: object
    chords: list
    rules: list
    seconds: float

    @property
    def new_notes(self):
        """Notes of the new music alone, from 0."""
        return self.notes.between(self.begins_s, self.ends_s)

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
    """trained.Improviser from a run or a finished folder, or the released one.

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
    improviser = trained.load_improviser(RELEASED if released else run, choose_device(device), base)
    return dataclasses.replace(improviser, styles=with_own(improviser.styles, improviser.style_encoder, styles_dir))


def generate(improviser, request, callback=None, before=None, rules=None):
    """Play a solo.

    Parameters
    ----------
    improviser : trained.Improviser
    request : GenerateRequest; the same request gives the same solo
    callback : None, or callable(dict) after each denoising step: step, num_steps, window, num_windows and
        piano_roll, a callable that decodes the present estimate to a decided PianoRoll; raising in it cancels
    before : None, or Notes to go on from: its last seconds are heard, and the chords begin where it ends
    rules : None, or callable(Wishes of a window) -> list of Rule: rules of one's own, beside those of the request; they
        choose where num_candidates is 2 or more

    Returns
    -------
    Solo

    Raises
    ------
    ChordError, ConfigError : a symbol or a pianist is unknown
    """
    began = time.monotonic()
    given = 0 if before is None else OVERLAP
    request = with_changes(improviser, request, request.seconds, before)
    wishes = Wishes.over(request, request.seconds, given)
    codes, hidden = _nothing(improviser, max(WINDOW, len(wishes)))
    if given:
        codes[:, :given], hidden[:, :given] = _end_of(improviser, before), False
    codes = _fill(improviser, wishes, codes, hidden, callback, rules)
    first = given * LATENT_STRIDE
    piano_roll = decode(improviser, codes).crop(first, first + math.ceil(request.seconds * FRAME_RATE_HZ))
    notes, begins_s = piano_roll_to_notes(piano_roll)[0], 0.0 if before is None else _end_s(before)
    notes = notes if before is None else before.followed_by(notes, begins_s)
    ends_s = begins_s + request.seconds
    asked, symbols = _all_rules(wishes.between(given, None), rules), _symbols(request, begins_s, ends_s)
    return Solo(notes, begins_s, ends_s, request, symbols, asked, time.monotonic() - began)


def infill(improviser, request, notes, from_s, to_s, callback=None, rules=None):
    """Play a passage of a performance anew: what is before and after it is heard, and stays.

    Parameters
    ----------
    improviser, request, callback, rules : as for `generate`; the chords begin at from_s, request.seconds says nothing
    notes : Notes
    from_s, to_s : the passage, rounded to latent frames (80 ms)

    Returns
    -------
    Solo; begins_s is from_s, rounded

    Raises
    ------
    ConfigError : the passage is empty, or not within the performance
    """
    began = time.monotonic()
    first, last = (round(seconds * LATENT_RATE_HZ) for seconds in (from_s, to_s))
    if not 0 <= first < last or from_s >= notes.end_s:
        raise ConfigError(f"--from {from_s:g} --to {to_s:g} is no passage of a performance of {notes.end_s:.1f} s.")
    start = max(0, first - WINDOW // 2)
    length = max(WINDOW, last - start + WINDOW // 2)
    passage_s = (last - first) / LATENT_RATE_HZ
    request = with_changes(improviser, request, passage_s, notes.between(0, first / LATENT_RATE_HZ))
    wishes = Wishes.over(request, passage_s, first - start, start + length - last)
    around = notes.between(start / LATENT_RATE_HZ, (start + length) / LATENT_RATE_HZ)
    codes, (_, hidden) = _heard(improviser, around, length), _nothing(improviser, length)
    hidden[:, : first - start] = hidden[:, last - start :] = False
    codes = _fill(improviser, wishes, codes, hidden, callback, rules)
    within = decode(improviser, codes).crop((first - start) * LATENT_STRIDE, (last - start) * LATENT_STRIDE)
    begins_s, ends_s = first / LATENT_RATE_HZ, last / LATENT_RATE_HZ
    kept = notes.between(ends_s, math.inf)
    played = notes.between(0, begins_s).followed_by(piano_roll_to_notes(within)[0], begins_s)
    asked, symbols = _all_rules(wishes.between(first - start, last - start), rules), _symbols(request, begins_s, ends_s)
    return Solo(played.followed_by(kept, ends_s), begins_s, ends_s, request, symbols, asked, time.monotonic() - began)


def with_changes(improviser, request, seconds, before=None):
    """The request with a chart where it leaves the changes to the pianist (forms.OWN): they go on from what was heard.

    Raises
    ------
    ConfigError : no changes are known to this improviser
    """
    if request.chords.strip().lower() != OWN:
        return request
    rows, heard = improviser.changes.by(request.style or improviser.pianist), None
    if before is not None:
        end_s = _end_s(before)
        last = notes_to_piano_roll(before.between(max(0.0, end_s - HEARD_S), end_s))
        labels = recognise_chords(sounding_roll(last))
        heard = read_changes(torch.stack([labels.root, labels.quality, labels.bass], -1)[0].numpy())
    metre = (request.tempo_bpm, request.beats_per_bar)
    return dataclasses.replace(request, chords=invent_chart(rows, seconds, *metre, request.seed, heard))


def _symbols(request, begins_s, ends_s):
    """[(time_s, symbol)] of the chart where it changes."""
    bars, seconds = parse_chart(request.chords).bars, round(ends_s - begins_s, 6)
    changes = chord_changes(bars, seconds, request.tempo_bpm, request.beats_per_bar)
    return [(begins_s + time_s, NO_CHORD[0] if chord is None else chord.symbol) for time_s, chord in changes]


def _all_rules(wishes, rules):
    """Those of the request and one's own."""
    return [*wishes.rules(), *(rules(wishes) if rules else ())]


def _nothing(improviser, length):
    """Codes (1, length, G) that are all hidden."""
    shape = (1, length, GROUPS)
    device = improviser.styles.vectors.device
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
    piano_roll = notes_to_piano_roll(notes, length * LATENT_STRIDE).to(improviser.styles.vectors.device)
    return improviser.vqvae.encode(piano_roll).clone()


def _style(improviser, request):
    """(1, S): the asked pianist's vector, else that of whom the run was tuned on, else none."""
    name = request.style or improviser.pianist
    if name is None:
        return torch.zeros(1, improviser.styles.vectors.shape[1], device=improviser.styles.vectors.device)
    return style_vector(improviser.styles, name)[None]


def window_starts(length):
    """Where windows begin, so that each but the first hears OVERLAP latent frames at least, and the last ends with the whole."""
    return [*range(0, length - WINDOW, WINDOW - OVERLAP), length - WINDOW]


def _fill(improviser, wishes, codes, hidden, callback, rules):
    """Codes (1, L, G) with the hidden ones played, window after window, each hearing what is there already."""
    style, codes, hidden = _style(improviser, wishes.request), codes.clone(), hidden.clone()
    starts = [start for start in window_starts(codes.shape[1]) if hidden[:, start : start + WINDOW].any()]
    for number, start in enumerate(starts):
        taken_up = _recall(wishes, codes, hidden, start)
        window, asked = slice(start, start + WINDOW), wishes.between(start, start + WINDOW)
        conditions, chosen = _conditions(asked, style), _all_rules(asked, rules)
        report = _reporter(improviser, callback, number, len(starts))
        codes[:, window] = _play_window(
            improviser, wishes.request, conditions, chosen, codes[:, window], hidden[:, window], taken_up, number, report
        )
        hidden[:, window] = False
    return codes


def _recall(wishes, codes, hidden, start):
    """Settle what a window takes up of earlier sections: a share `recall` of its hidden frames, chosen by the seed.

    Returns
    -------
    int64 (R, 2), within the window: frames that take up what it is yet to play, and where
    """
    chance, later = uniforms(wishes.request.seed, "recall", [0], (len(wishes),))[0].numpy(), []
    for frame in range(start, min(start + WINDOW, len(wishes))):
        earlier = int(wishes.recalled[frame])
        if hidden[0, frame] and earlier >= 0 and chance[frame] < wishes.request.recall:
            if hidden[0, earlier] and earlier >= start:
                later.append((frame - start, earlier - start))
            else:
                codes[0, frame], hidden[0, frame] = codes[0, earlier], False
    return torch.tensor(later, dtype=torch.long, device=codes.device).view(-1, 2)


def _conditions(wishes, style):
    """Conditions (B = 1) of a window; a solo shorter than a window asks for nothing after its end."""
    short, told = WINDOW - len(wishes), wishes.request.told
    features = chord_features([*wishes.chords, *[None] * short]).to(style.device)[None] * told  # (1, N, CHORD_DIM)
    arcs = (torch.from_numpy(values) if told else torch.full((len(wishes),), torch.nan)
            for values in (wishes.density, wishes.register))  # fmt: skip
    arcs = (functional.pad(arc, (0, short), value=torch.nan).to(features)[None] for arc in arcs)
    return Conditions(style, features, knobs(*arcs))


@torch.inference_mode()
def _play_window(improviser, request, conditions, rules, codes, hidden, taken_up, number, report):
    """Codes (1, WINDOW, G), none hidden any more; those of `taken_up` (see _recall) are hidden until the end."""
    guide_style = request.style is not None or improviser.pianist is None
    predict = predictor(improviser, conditions, request.guidance_scale, request.temperature, guide_style)
    later = torch.zeros_like(hidden)
    later[:, taken_up[:, 0]] = True

    def draw(step, candidate):
        return uniforms(request.seed, f"window {number} step {step}", [candidate], codes.shape[1:], codes.device)

    def hears(codes, hidden):
        return predict(codes, hidden | later)

    def whole(codes):
        return codes.index_copy(1, taken_up[:, 0], codes[:, taken_up[:, 1]])

    guide = None
    if rules and request.num_candidates > 1:

        def score(codes):
            return total_loss(rules, decode(improviser, whole(codes)))

        steps = guidance_steps(request.num_steps)
        guide = StochasticControl(hears, score, lambda step, k: draw(f"{step} ahead", k), request.num_candidates, steps)
    return whole(sample(hears, codes, hidden & ~later, draw, request.num_steps, guide, request.order, callback=report))


def predictor(improviser, conditions, guidance_scale=1.0, temperature=1.0, guide_style=True):
    """The model as sampling wants it: callable(codes (k B, N, G), hidden (k B, N)) -> Posterior.

    Parameters
    ----------
    improviser : trained.Improviser
    conditions : Conditions of B examples; codes may be several such batches, one behind the other
    guidance_scale : classifier-free guidance on the log posterior; 1: none
    temperature : of the posterior; below 1 sharpens it
    guide_style : whether guidance is away from no style, too; not where the model was adapted to it anyway
    """
    nothing = conditions.without_wishes(but_style=not guide_style)
    guided = guidance_scale != 1 and not conditions.equals(nothing)

    def predict(codes, hidden):
        times, dit = len(codes) // len(conditions.style), improviser.dit
        told = conditions.repeat(times)
        if not guided:
            return Posterior(dit, dit(codes, hidden, told)[None], 1.0, temperature)
        contexts = dit(torch.cat([codes, codes]), torch.cat([hidden, hidden]), told.joined(nothing.repeat(times)))
        return Posterior(dit, contexts.unflatten(0, (2, -1)), guidance_scale, temperature)

    return predict


@torch.inference_mode()
def decode(improviser, codes):
    """Codes (B, N, G) -> decided PianoRoll."""
    return decide(improviser.vqvae.decode(codes))


def _reporter(improviser, callback, window, num_windows):
    if callback is None:
        return None

    def report(state):
        place = {"step": state["step"], "num_steps": state["num_steps"], "window": window, "num_windows": num_windows}
        callback({**place, "piano_roll": lambda: decode(improviser, state["state"].likeliest())})

    return report


def load_codec(run, device="auto"):
    """The VQVAE of a vqvae run, or of any folder load_improviser takes.

    Raises
    ------
    CheckpointError : nothing to load there
    """
    device = choose_device(device)
    finished = trained.is_finished(run)
    return trained.load_improviser(run, device).vqvae if finished else trained.load_vqvae(run, device)[0]


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
    estimate = codec_round_trip(load_codec(run, device), notes)
    return estimate, note_f1(notes, estimate)


@torch.inference_mode()
def codec_round_trip(vqvae, notes, num_frames=None):
    """Notes through a codec and back: Notes.

    Parameters
    ----------
    num_frames : of the roll, see notes_to_piano_roll
    """
    piano_roll = notes_to_piano_roll(notes, num_frames).to(next(vqvae.parameters()).device)
    return piano_roll_to_notes(decide(vqvae.decode(vqvae.encode(piano_roll))))[0]

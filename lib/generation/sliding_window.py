"""A request over time, and music of any length by outpainting: window after window, each given the ones before.

Conventions: codes are int64 (1, L, G) of a passage or (B, N, G) of B windows; mask is bool, true where nothing is known
yet. The windows of several passages go through the model together where they are alike. Each passage draws its own
uniform numbers by its request's seed, so that it is the same in a batch as alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from lib.checkpoints.load import Improviser
from lib.diffusion import sampling
from lib.generation.request import GenerateRequest
from lib.keyed_random import uniforms
from lib.models.conditions import Conditions, attributes, feel_condition, harmony, tempo
from lib.models.dit import classifier_free
from lib.music.chart import Chart, chord_features, chord_frames, next_chords
from lib.music.chords import Chord
from lib.music.piano_roll import LATENTS_PER_BEAT, WINDOW, PianoRoll
from lib.music.rules import CURVES, RULES, Rule, Span, chord_progression, total_loss
from lib.music.tempo_map import UNKNOWN_CLOCK, TempoMap, clock_frames, tempo_frames, window_starts

OVERLAP = 8 * LATENTS_PER_BEAT  # latent frames given from the window before
FEELS = {"straight": (-1.0, 0.04, 0.04), "swing": (0.85, 0.36, 0.05)}  # medians of the straightest and most swung 15 %
# purposes of random numbers; data: see lib/keyed_random.py
RECALL_PURPOSE, WINDOW_PURPOSE = "recall", "window {} step {}"


@dataclass(frozen=True)
class Conditioning:
    """What a request asks for at each of L latent frames.

    Attributes
    ----------
    request : GenerateRequest
    chart : Chart that is played
    chords : L of Chord or None
    next_chords : chord frames int8 (L, 3) of the one that comes next, and in how many latent frames (L,), or infinity
    curves : name of rules.CURVES -> float32 (L,), the target, NaN where there is none; density in notes a beat
    sources : int64 (L,), the latent frame of the whole, or of the theme, whose music each comes back to; -1: none
    clock : int64 (L, 3), of tempo_map.clock_frames
    bpm : float32 (L,), felt beats a minute, NaN where there is no beat
    start : when the first latent frame is, in latent frames from the beginning of the chart
    """

    request: GenerateRequest
    chart: Chart
    chords: list[Chord | None]
    next_chords: tuple[np.ndarray, np.ndarray]
    curves: dict[str, np.ndarray]
    sources: np.ndarray
    clock: np.ndarray
    bpm: np.ndarray
    start: int = 0

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        chart: Chart,
        length: int,
        before: int = 0,
        clock: np.ndarray | None = None,
        bpm: np.ndarray | None = None,
        theme: int = 0,
    ) -> Conditioning:
        """Of a request for so many latent frames of music.

        Parameters
        ----------
        chart : what is played
        length : latent frames
        before : latent frames before it, which have no targets
        clock, bpm : of the latent frames before it, of its own and of those after it, which have no targets either;
            None: it stands alone, in the request's time
        theme : latent frames of a theme that the music returns to instead of to itself; 0: none
        """
        timing = request.timing
        if clock is None:
            clock, bpm = timing.clock(chart, length), np.full(length, timing.felt_bpm, np.float32)
        around = before, len(clock) - before - length
        chords, sources = chart.frames(length, timing.latents_per_quarter)
        position, chorus = np.arange(length), round(chart.quarters * timing.latents_per_quarter)
        span = chart.chorus_span(length / timing.latents_per_quarter)
        first, last = (round(quarters * timing.latents_per_quarter) for quarters in span)
        in_chorus, since = (position >= first) & (position < last), position - first
        if theme:  # with each chorus, or each two where it is longer
            sources = since % (-(-theme // chorus) * chorus)
            sources = np.where(in_chorus & (sources < theme), sources, -1)
        elif request.vamp:
            sources = np.where(position < (vamp := vamp_length(request)), -1, position % vamp + before)
        else:
            chorus_before = np.where(in_chorus & (since >= chorus), position - chorus, -1)
            sources = np.where(sources < 0, chorus_before, sources)  # of the form, else the chorus before
            sources = np.where(sources < 0, -1, sources + before)
        sources = np.pad(sources, around, constant_values=-1)
        curves = {name: _curve(getattr(request, name), length, *around) for name in CURVES}
        curves["density"] *= 60 / timing.felt_bpm  # notes a beat
        chords = [None] * around[0] + chords + [None] * around[1]
        following = next_chords(chord_frames(chords).numpy())
        return cls(request, chart, chords, following, curves, sources, clock, bpm, -before)

    def __len__(self):
        return len(self.chords)

    def between(self, first: int, last: int | None) -> Conditioning:
        """That of latent frames first to last - 1."""
        part = slice(first, last)
        curves = {name: values[part] for name, values in self.curves.items()}
        following, until = self.next_chords
        rest = curves, self.sources[part], self.clock[part], self.bpm[part], self.start + first
        return Conditioning(self.request, self.chart, self.chords[part], (following[part], until[part]), *rest)

    def rules(self) -> list[Rule]:
        """The rules that steer, chords among them where there are candidates to choose from."""
        span = Span(len(self), self.start, self.request.timing)
        targets = {name: self.curves.get(name, getattr(self.request, name)) for name in RULES}
        rules = [RULES[name](target, span) for name, target in targets.items() if target is not None]
        if self.request.num_candidates > 1 and any(chord is not None for chord in self.chords):
            rules.append(chord_progression(self.chords))
        return [rule for rule in rules if rule is not None]

    def model_conditions(self, style: Tensor, reference: Tensor, referred: Tensor) -> Conditions:
        """Conditions (B = 1) of the model.

        Parameters
        ----------
        style : (1, S)
        reference, referred : int64 (1, L, G) and bool (1, L), the music that each frame comes back to, where it does
        """
        request, size, device = self.request, (len(self),), style.device
        following, until = (torch.from_numpy(part) for part in self.next_chords)
        now = chord_features(chord_frames(self.chords))
        chords = harmony(now, chord_features(following), until.float() / LATENTS_PER_BEAT)
        density, register = (torch.from_numpy(self.curves[name]) for name in ("density", "register"))
        if not request.condition_model:
            chords = torch.zeros_like(chords)
            density, register = (torch.full_like(values, torch.nan) for values in (density, register))
        of_feel = torch.tensor(FEELS.get(request.feel, (torch.nan,) * 3))
        return Conditions(
            style=style,
            chords=chords[None].to(device),
            attributes=attributes(density, register)[None].to(device),
            clock=torch.from_numpy(self.clock.astype(np.int64))[None].to(device),
            tempo=tempo(torch.from_numpy(self.bpm))[None].to(device),
            feel=feel_condition(of_feel).expand(*size, -1)[None].to(device),
            reference=reference,
            referred=referred,
        )


def passage_time(
    request: GenerateRequest, chart: Chart, around: TempoMap, start: int, end: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """(clock, bpm), as of Conditioning, of what is given and of the new music behind it.

    Parameters
    ----------
    around : of what is given
    start, end : latent frames of `around` that are given; what lies before 0 is silence
    length : latent frames of new music; 0: the bars and the tempo of the map continue, as in an infilled passage
    """
    timing, silent = request.timing, max(0, -start)
    clock, bpm = (of(around, max(0, end))[max(0, start) :] for of in (clock_frames, tempo_frames))
    clock = np.concatenate([np.tile(np.array(UNKNOWN_CLOCK, clock.dtype), (silent, 1)), clock])
    bpm = np.pad(bpm, (silent, 0), constant_values=np.nan)
    if not length:
        return clock, bpm
    clock = np.concatenate([clock, _continued(clock, timing.clock(chart, length))])
    return clock, np.pad(bpm, (0, length), constant_values=timing.felt_bpm)


def _continued(before, clock):
    """The clock of new music; where its first bar is but the rest of the bar in which it begins, it counts on."""
    _, since, length = before[-1] if len(before) else UNKNOWN_CLOCK
    rest = length - since - 1
    if 0 < rest == clock[0, 2]:
        clock[:rest, 1:] = np.column_stack([clock[:rest, 1] + since + 1, np.full(rest, length)])
    return clock


def vamp_length(request: GenerateRequest) -> int:
    """Latent frames of its vamp; 0: it asks for none."""
    return round(request.blank_chart().quarters * (request.vamp or 0) * request.timing.latents_per_quarter)


def _curve(target, length, before, after):
    """(before + length + after,) of a number, of several spread evenly over `length` frames, or of None."""
    values = np.full(before + length + after, np.nan, np.float32)
    if target is not None:
        points = np.atleast_1d(np.asarray(target, np.float32))
        values[before : before + length] = np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)
    return values


@dataclass(frozen=True)
class Passage:
    """Music with gaps, and what is asked for where they are.

    Attributes
    ----------
    conditioning : Conditioning
    codes, mask : (1, L, G) and bool (1, L), L that of the conditioning; `fill_passages` fills them
    before : latent frames that are given before the new music begins
    callback : None, or callable(dict) after each step and revision, see lib.generation.generate
    own_rules : None, or callable(Conditioning) -> list of Rule, beside those of the request
    theme : codes (1, T, G) of the theme that it comes back to; None: it comes back to itself
    """

    conditioning: Conditioning
    codes: Tensor
    mask: Tensor
    before: int = 0
    callback: Callable | None = None
    own_rules: Callable | None = None
    theme: Tensor | None = None

    def rules(self, first: int, last: int | None) -> list[Rule]:
        """Those of the request and one's own, for latent frames first to last - 1."""
        conditioning = self.conditioning.between(first, last)
        return [*conditioning.rules(), *(self.own_rules(conditioning) if self.own_rules else ())]


def _windows(passage):
    """[(slice, end)] of the windows that have something to generate, and where what is kept of each ends.

    Each is WINDOW long, or as long as the passage. Each begins on a bar line, where bars are unknown on a beat, but for
    the last, which ends with the passage. Each but the first is given OVERLAP latent frames or more. Of the first
    window of a vamp the vamp alone is kept, which the same window then comes back to.
    """
    length, request = passage.codes.shape[1], passage.conditioning.request
    possible, last = window_starts(passage.conditioning.clock, min(WINDOW, length)), max(0, length - WINDOW)
    starts = [0]
    while starts[-1] < last:
        later = possible[(possible > starts[-1]) & (possible <= starts[-1] + WINDOW - OVERLAP)]
        starts.append(min(last, int(later[-1]) if len(later) else starts[-1] + WINDOW - OVERLAP))
    parts = [(slice(start, start + min(WINDOW, length)), length) for start in starts]
    if request.vamp and passage.theme is None:
        parts.insert(0, (parts[0][0], passage.before + vamp_length(request)))
    return [(part, end) for part, end in parts if passage.mask[:, part].any()]


def fill_passages(improviser: Improviser, passages: Sequence[Passage]) -> None:
    """Fill the masked frames of passages, window after window, each given what is there already.

    Parameters
    ----------
    passages : their first windows are generated together, then their second ones, as far as they are alike

    Raises
    ------
    ConfigError : a pianist is unknown; whatever a callback raises, which ends all of them
    """
    todo = [(passage, _windows(passage)) for passage in passages]
    for number in range(max(len(parts) for _, parts in todo)):
        batches = defaultdict(list)
        for passage, parts in todo:
            if number < len(parts):
                window = Window(improviser, passage, *parts[number], number, len(parts))
                batches[window.batch_key()].append(window)
        for windows in batches.values():
            codes = _generate_windows(improviser, windows)
            for row, window in enumerate(windows):
                window.keep(codes[row])


def _reference(passage, part):
    """What a window comes back to: codes (1, N, G), and bool (1, N), a share `recall` of the frames, by the seed."""
    conditioning, mask = passage.conditioning, passage.mask[0]
    sources = torch.from_numpy(conditioning.sources[part]).to(mask.device)
    at, codes = sources.clamp(min=0), passage.codes if passage.theme is None else passage.theme
    chance = uniforms(conditioning.request.seed, RECALL_PURPOSE, [part.start], (len(at),), mask.device)[0]
    referred = (sources >= 0) & (chance < conditioning.request.recall)
    return codes[:, at], (referred & ~mask[at] if passage.theme is None else referred)[None]


class Window:
    """What the model generates at once of a passage.

    Attributes
    ----------
    request, callback : the passage's
    codes, mask : (N, G) and bool (N,), views of the passage's
    num_kept : of how many frames what is generated is kept
    number, num_windows : which window this is of those that have something to generate
    rules : list of Rule
    conditions : Conditions (B = 1)
    targets : whether guidance is of the style, and of the pedal, as dit.classifier_free takes them
    num_steps : of sampling, never more than there are frames to sample
    num_candidates : among which rules choose; 1 where there are none
    num_revisions : of what offends the rules, after sampling
    """

    def __init__(self, improviser: Improviser, passage: Passage, part: slice, end: int, number: int, num_windows: int):
        request = passage.conditioning.request
        self.request, self.callback, self.number, self.num_windows = request, passage.callback, number, num_windows
        self.codes, self.mask, self.num_kept = passage.codes[0, part], passage.mask[0, part], end - part.start
        self.rules = passage.rules(part.start, part.stop)
        style, reference = improviser.style(request.style), _reference(passage, part)
        self.conditions = passage.conditioning.between(part.start, part.stop).model_conditions(style, *reference)
        self.targets = (request.style is not None or improviser.pianist is None, request.style is not None)
        self.num_steps = min(request.num_steps, int(self.mask.sum()))
        self.num_candidates = request.num_candidates if self.rules else 1
        self.num_revisions = sampling.NUM_REVISIONS if self.num_candidates > 1 and self.num_steps else 0

    def keep(self, codes: Tensor) -> None:
        """Write what was generated (N, G) into the passage, as far as it is kept."""
        self.codes[: self.num_kept], self.mask[: self.num_kept] = codes[: self.num_kept], False

    def batch_key(self) -> tuple:
        """What must be the same of windows that are generated together."""
        unconditional = self.conditions.equals(self.conditions.dropped(keep_style=not self.targets[0]))
        rules = tuple(rule.name for rule in self.rules) if self.num_candidates > 1 else ()
        model = (self.request.guidance, self.request.temperature, self.targets, unconditional)
        return *model, len(self.mask), self.num_steps, self.num_candidates, rules

    def draw(self, step: int | str, candidate: int) -> Tensor:
        """Uniform numbers (1, N, G), this passage's own."""
        purpose = WINDOW_PURPOSE.format(self.number, step)
        return uniforms(self.request.seed, purpose, [candidate], self.codes.shape, self.codes.device)

    def report(self, improviser: Improviser, row: int, state: dict) -> None:
        """Tell the passage's callback how far it is."""
        if self.callback is not None:
            progress = {"step": state["step"], "num_steps": self.num_steps + self.num_revisions}
            progress |= {"window": self.number, "num_windows": self.num_windows}
            self.callback({**progress, "piano_roll": lambda: decode(improviser, _estimate(state, [row]))})


@torch.inference_mode()
def _generate_windows(improviser: Improviser, windows: Sequence[Window]) -> Tensor:
    """Codes (B, N, G) of windows of one batch key, nothing masked any more."""
    first, request = windows[0], windows[0].request
    conditions = reduce(Conditions.joined, (window.conditions for window in windows))
    predict = classifier_free(improviser.dit, conditions, request.guidance, request.temperature, *first.targets)
    codes, mask = (torch.stack([getattr(window, name) for window in windows]) for name in ("codes", "mask"))

    def draw(step, candidate):
        return torch.cat([window.draw(step, candidate) for window in windows])

    def loss(codes):
        """(k B,), (k B, N) of the batch: all of a candidate stand together."""
        piano_roll = decode(improviser, codes)
        scores = [total_loss(window.rules, piano_roll[row :: len(windows)]) for row, window in enumerate(windows)]
        losses, credit = zip(*scores, strict=True)
        return torch.stack(losses, 1).flatten(), None if credit[0] is None else torch.stack(credit, 1).flatten(0, 1)

    def report(state):
        for row, window in enumerate(windows):
            window.report(improviser, row, state)

    sampler = (predict, codes, mask, draw, first.num_steps)
    if first.num_candidates == 1:
        return sampling.sample_ancestral(*sampler, report)
    candidates, steps = sampling.step_candidates(first.num_candidates), sampling.guided_steps(first.num_steps)
    codes = sampling.sample_stochastic_control(*sampler, loss, candidates, steps, report)
    revisions = range(first.num_steps + 1, first.num_steps + 1 + first.num_revisions)
    return sampling.revise(predict, codes, mask, draw, loss, first.num_candidates, revisions, report)


def _estimate(state, rows):
    """Codes of some examples of a sampler's state, where masked the middle of the posterior: what it may become."""
    codes, mask, posterior = state["codes"][rows], state["mask"][rows], state["posterior"]
    middle = torch.full(codes.shape, 0.5, device=codes.device)
    return codes if posterior is None else sampling.fill(codes, mask, posterior[rows], middle)


@torch.inference_mode()
def decode(improviser: Improviser, codes: Tensor) -> PianoRoll:
    """Codes (B, N, G) -> PianoRoll."""
    return improviser.vqvae.decode(codes)

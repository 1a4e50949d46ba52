"""A request over time, and music of any length by outpainting: window after window, each given what is there already.

Conventions: codes are int64 (1, L, G) of a passage or (B, WINDOW, G) of B windows; mask is bool, true where nothing is
known yet. The windows of several passages go through the model together where they are alike. Each passage draws its
own uniform numbers by its request's seed, so that it is the same in a batch as alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.checkpoints.load import Improviser
from lib.diffusion import sampling
from lib.generation.request import GenerateRequest
from lib.keyed_random import uniforms
from lib.models.dit import Conditions, attributes, classifier_free
from lib.music.chart import Chart, chord_features, chord_frames
from lib.music.chords import Chord
from lib.music.piano_roll import LATENT_RATE_HZ, WINDOW, PianoRoll
from lib.music.rules import CURVES, RULES, Rule, Span, chord_progression, total_loss

OVERLAP = WINDOW // 4  # latent frames given from the window before
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
    curves : name of rules.CURVES -> float32 (L,), the target, NaN where there is none
    sources : int64 (L,), the latent frame of the whole whose music each repeats, as the form has it; -1: none
    start_s : when the first latent frame is, from the beginning of the chart
    """

    request: GenerateRequest
    chart: Chart
    chords: list[Chord | None]
    curves: dict[str, np.ndarray]
    sources: np.ndarray
    start_s: float = 0.0

    @classmethod
    def of(
        cls, request: GenerateRequest, seconds: float, before: int = 0, after: int = 0, chart: Chart | None = None
    ) -> Conditioning:
        """Of a request for so many seconds of music, with latent frames before and after it that have no targets.

        The request's chart is parsed here, and nowhere else; `chart` is one that was given instead.

        Raises
        ------
        ChordError : of the chart
        """
        length = math.ceil(seconds * LATENT_RATE_HZ)
        chart = chart or Chart.parse(request.chords, request.beats_per_bar)
        chords, sources = chart.frames(length, frames_per_quarter(request.tempo_bpm))
        sources = np.pad(np.where(sources < 0, -1, sources + before), (before, after), constant_values=-1)
        curves = {name: _curve(getattr(request, name), length, before, after) for name in CURVES}
        chords = [None] * before + chords + [None] * after
        return cls(request, chart, chords, curves, sources, -before / LATENT_RATE_HZ)

    def __len__(self):
        return len(self.chords)

    def between(self, first: int, last: int | None) -> Conditioning:
        """That of latent frames first to last - 1."""
        part, start_s = slice(first, last), self.start_s + first / LATENT_RATE_HZ
        curves = {name: values[part] for name, values in self.curves.items()}
        return Conditioning(self.request, self.chart, self.chords[part], curves, self.sources[part], start_s)

    def rules(self) -> list[Rule]:
        """The rules that steer, chords among them where there are candidates to choose from."""
        span = Span(len(self), self.start_s, self.request.tempo_bpm)
        targets = {name: self.curves.get(name, getattr(self.request, name)) for name in RULES}
        rules = [RULES[name](target, span) for name, target in targets.items() if target is not None]
        if self.request.num_candidates > 1 and any(chord is not None for chord in self.chords):
            rules.append(chord_progression(self.chords))
        return [rule for rule in rules if rule is not None]

    def model_conditions(self, style: Tensor, num_frames: int) -> Conditions:
        """Conditions (B = 1) of the model: the style (1, S), chords and curves, none of these beyond the end."""
        beyond, given = num_frames - len(self), self.request.condition_model
        chords = chord_features(chord_frames([*self.chords, *[None] * beyond]).to(style.device))[None] * given
        curves = [torch.from_numpy(self.curves[name]) for name in ("density", "register")]
        curves = [values if given else torch.full_like(values, torch.nan) for values in curves]
        curves = [functional.pad(values, (0, beyond), value=torch.nan).to(chords)[None] for values in curves]
        return Conditions(style, chords, attributes(*curves))


def frames_per_quarter(tempo_bpm: float) -> Fraction:
    """Latent frames a quarter, exact."""
    return Fraction(LATENT_RATE_HZ) * 60 / Fraction(tempo_bpm)


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
    conditioning : Conditioning; shorter than the codes where the music is shorter than a window
    codes, mask : (1, L, G) and bool (1, L), L at least WINDOW; `fill_passages` fills them
    before : latent frames that are given before the new music begins
    callback : None, or callable(dict) after each step and revision, see lib.generation.generate
    own_rules : None, or callable(Conditioning) -> list of Rule, beside those of the request
    """

    conditioning: Conditioning
    codes: Tensor
    mask: Tensor
    before: int = 0
    callback: Callable | None = None
    own_rules: Callable | None = None

    def rules(self, first: int, last: int | None) -> list[Rule]:
        """Those of the request and one's own, for latent frames first to last - 1."""
        conditioning = self.conditioning.between(first, last)
        return [*conditioning.rules(), *(self.own_rules(conditioning) if self.own_rules else ())]


def _window_starts(passage: Passage) -> list[int]:
    """Where the windows begin that have something to generate.

    Each but the first is given OVERLAP latent frames or more, the last ends with the passage.
    """
    starts = [*range(0, passage.codes.shape[1] - WINDOW, WINDOW - OVERLAP), passage.codes.shape[1] - WINDOW]
    return [start for start in starts if passage.mask[:, start : start + WINDOW].any()]


def fill_passages(improviser: Improviser, passages: Sequence[Passage]) -> None:
    """Fill the masked frames of passages, window after window, each given what is there already.

    Parameters
    ----------
    passages : their first windows are generated together, then their second ones, as far as they are alike

    Raises
    ------
    ConfigError : a pianist is unknown; whatever a callback raises, which ends all of them
    """
    todo = [(passage, _window_starts(passage)) for passage in passages]
    for number in range(max(len(starts) for _, starts in todo)):
        batches = defaultdict(list)
        for passage, starts in todo:
            if number < len(starts):
                window = Window(improviser, passage, starts[number], number, len(starts))
                batches[window.batch_key()].append(window)
        for windows in batches.values():
            codes = _generate_windows(improviser, windows)
            for row, window in enumerate(windows):
                window.codes[:], window.mask[:] = codes[row], False


def _copy_repeats(passage: Passage, start: int) -> Tensor:
    """Copy what a window repeats of earlier sections: a share `recall` of its masked frames, chosen by the seed.

    Returns
    -------
    int64 (R, 2) : frames whose source this window is yet to generate, and the sources, counted from its first frame
    """
    conditioning, codes, mask, copies = passage.conditioning, passage.codes, passage.mask, []
    chance = uniforms(conditioning.request.seed, RECALL_PURPOSE, [0], (len(conditioning),))[0].numpy()
    for frame in range(start, min(start + WINDOW, len(conditioning))):
        source = int(conditioning.sources[frame])
        if mask[0, frame] and source >= 0 and chance[frame] < conditioning.request.recall:
            if mask[0, source] and source >= start:
                copies.append((frame - start, source - start))
            else:
                codes[0, frame], mask[0, frame] = codes[0, source], False
    return torch.tensor(copies, dtype=torch.long, device=codes.device).view(-1, 2)


class Window:
    """What the model generates at once of a passage.

    Attributes
    ----------
    request, callback : the passage's
    codes, mask : (WINDOW, G) and bool (WINDOW,), views of the passage's
    number, num_windows : which window this is of those that have something to generate
    copies, copied : of _copy_repeats, and bool (WINDOW,), the frames of these, which stay masked until the end
    editable : bool (WINDOW,), the frames that are sampled
    rules : list of Rule
    conditions : Conditions (B = 1)
    targets : whether guidance is of the style, and of the pedal, as dit.classifier_free takes them
    num_steps : of sampling, never more than there are frames to sample
    num_candidates : among which rules choose; 1 where there are none
    num_revisions : of what offends the rules, after sampling
    """

    def __init__(self, improviser: Improviser, passage: Passage, start: int, number: int, num_windows: int):
        part, request = slice(start, start + WINDOW), passage.conditioning.request
        self.request, self.callback, self.number, self.num_windows = request, passage.callback, number, num_windows
        self.copies = _copy_repeats(passage, start)
        self.codes, self.mask = passage.codes[0, part], passage.mask[0, part]
        self.copied = torch.zeros_like(self.mask).index_fill(0, self.copies[:, 0], True)
        self.editable = self.mask & ~self.copied
        self.rules = passage.rules(part.start, part.stop)
        style = improviser.style(request.style)
        self.conditions = passage.conditioning.between(part.start, part.stop).model_conditions(style, WINDOW)
        self.targets = (request.style is not None or improviser.pianist is None, request.style is not None)
        self.num_steps = min(request.num_steps, int(self.editable.sum()))
        self.num_candidates = request.num_candidates if self.rules else 1
        self.num_revisions = sampling.NUM_REVISIONS if self.num_candidates > 1 and self.num_steps else 0

    def batch_key(self) -> tuple:
        """What must be the same of windows that are generated together."""
        unconditional = self.conditions.equals(self.conditions.dropped(keep_style=not self.targets[0]))
        rules = tuple(rule.name for rule in self.rules) if self.num_candidates > 1 else ()
        model = (self.request.guidance, self.request.temperature, self.targets, unconditional)
        return *model, self.num_steps, self.num_candidates, rules

    def draw(self, step: int | str, candidate: int) -> Tensor:
        """Uniform numbers (1, WINDOW, G), this passage's own."""
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
    """Codes (B, WINDOW, G) of windows of one batch key, nothing masked any more."""
    first, request = windows[0], windows[0].request
    conditions = reduce(Conditions.joined, (window.conditions for window in windows))
    model = classifier_free(improviser.dit, conditions, request.guidance, request.temperature, *first.targets)
    codes, mask, copied = (torch.stack([getattr(w, name) for w in windows]) for name in ("codes", "editable", "copied"))

    def draw(step, candidate):
        return torch.cat([window.draw(step, candidate) for window in windows])

    def predict(codes, mask, parent=None):
        mask = mask | copied.repeat(len(codes) // len(copied), 1)
        return model(_with_copies(codes, windows), _with_copies(mask, windows), parent)

    def loss(codes):
        piano_roll = decode(improviser, _with_copies(codes, windows))
        scores = [total_loss(w.rules, piano_roll[row :: len(windows)]) for row, w in enumerate(windows)]
        return _by_candidate(scores, windows)

    def report(state):
        for row, window in enumerate(windows):
            window.report(improviser, row, state)

    sampler = (predict, codes, mask, draw, first.num_steps)
    if first.num_candidates == 1:
        return _with_copies(sampling.sample_ancestral(*sampler, report), windows)
    candidates, steps = sampling.step_candidates(first.num_candidates), sampling.guided_steps(first.num_steps)
    codes = sampling.sample_stochastic_control(*sampler, loss, candidates, steps, report)
    revisions = range(first.num_steps + 1, first.num_steps + 1 + first.num_revisions)
    codes = sampling.revise(predict, codes, mask, draw, loss, first.num_candidates, revisions, report)
    return _with_copies(codes, windows)


def _estimate(state, rows):
    """Codes of some examples of a sampler's state, where masked the middle of the posterior: what it may become."""
    codes, mask, posterior = state["codes"][rows], state["mask"][rows], state["posterior"]
    middle = torch.full(codes.shape, 0.5, device=codes.device)
    return codes if posterior is None else sampling.fill(codes, mask, posterior[rows], middle)


def _with_copies(values, windows):
    """Codes (k B, N, G), or their mask (k B, N), with what each window copies of what it generates itself."""
    values = values.clone()
    for row, window in enumerate(windows):
        frames, sources = window.copies.T
        values[row :: len(windows), frames] = values[row :: len(windows), sources]
    return values


def _credit_sources(credit, window):
    """Losses (k, N), those of copied frames added to their sources, which alone can be resampled."""
    frames, sources = window.copies.T
    return credit.index_fill(1, frames, 0.0).index_add(1, sources, credit[:, frames])


def _by_candidate(scores, windows):
    """B of (losses (k,), credit (k, N) or None) -> (k B,), (k B, N) of the batch: all of a candidate stand together."""
    losses, credit = zip(*scores, strict=True)
    losses = torch.stack(losses, 1).flatten()
    if credit[0] is None:
        return losses, None
    return losses, torch.stack([*map(_credit_sources, credit, windows)], 1).flatten(0, 1)


@torch.inference_mode()
def decode(improviser: Improviser, codes: Tensor) -> PianoRoll:
    """Codes (B, N, G) -> PianoRoll."""
    return improviser.vqvae.decode(codes)

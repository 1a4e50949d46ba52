"""Music of any length, played a window after the other; the windows of several solos together where they are alike.

Conventions: codes are int64 (1, L, G) of a passage or (B, WINDOW, G) of B windows, `hidden` is where nothing is played yet. Each
passage draws its own uniform numbers by its request's seed, so that it is played in company as it is alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor
from torch.nn import functional

from lib.diffusion.guidance import NUM_REVISIONS, guided_steps, revise, step_candidates
from lib.diffusion.sampling import fill, sample_ancestral, sample_stochastic_control
from lib.generation.conditioning import Wishes
from lib.keyed_random import uniforms
from lib.models.conditions import Conditions, attributes
from lib.models.posterior import classifier_free
from lib.music.chart import chord_features, chord_frames
from lib.music.piano_roll import WINDOW
from lib.music.rules import total_loss
from lib.style.embeddings import style_vector

OVERLAP = WINDOW // 4  # latent frames given from the window before


@dataclass(frozen=True)
class Passage:
    """Music with gaps, and what is asked where they are.

    Attributes
    ----------
    wishes : Wishes; shorter than the codes where the music is shorter than a window
    codes, hidden : (1, L, G) and bool (1, L), L at least WINDOW; `play` fills them
    callback : None, or callable(dict) after each step and revision, see lib.generation.generate
    own_rules : None, or callable(Wishes) -> list of Rule, beside those of the request
    """

    wishes: Wishes
    codes: Tensor
    hidden: Tensor
    callback: Callable | None = None
    own_rules: Callable | None = None

    @property
    def request(self):
        """GenerateRequest."""
        return self.wishes.request

    def starts(self):
        """Where the windows begin that have something to play."""
        return [start for start in window_starts(self.codes.shape[1]) if self.hidden[:, start : start + WINDOW].any()]

    def rules(self, first, last):
        """Those of the request and one's own, for latent frames first to last - 1."""
        wishes = self.wishes.between(first, last)
        return [*wishes.rules(), *(self.own_rules(wishes) if self.own_rules else ())]


def window_starts(length):
    """Where windows begin, so that each but the first hears OVERLAP latent frames at least, and the last ends with the whole."""
    return [*range(0, length - WINDOW, WINDOW - OVERLAP), length - WINDOW]


def play(improviser, passages):
    """Fill the hidden frames of passages, window after window, each hearing what is there already.

    Parameters
    ----------
    improviser : Improviser
    passages : list of Passage; their first windows are played together, then their second ones, as far as they are alike

    Raises
    ------
    ConfigError : a pianist is unknown; whatever a callback raises, which ends all of them
    """
    todo = [(passage, passage.starts(), _style(improviser, passage.request)) for passage in passages]
    for number in range(max(len(starts) for _, starts, _ in todo)):
        alike = defaultdict(list)
        for passage, starts, style in todo:
            if number < len(starts):
                window = Window(passage, starts[number], number, len(starts), style, _recall(passage, starts[number]))
                alike[window.kind(improviser)].append(window)
        for windows in alike.values():
            codes = _play_windows(improviser, windows)
            for row, window in enumerate(windows):
                window.codes[:], window.hidden[:] = codes[row], False


def _style(improviser, request):
    """(1, S): the asked pianist's vector, else that of whom the run was tuned on, else none."""
    name = request.style or improviser.pianist
    if name is None:
        return torch.zeros(1, improviser.styles.vectors.shape[1], device=improviser.device)
    return style_vector(improviser.styles, name)[None]


def _recall(passage, start):
    """Settle what a window takes up of earlier sections: a share `recall` of its hidden frames, chosen by the seed.

    Returns
    -------
    int64 (R, 2), within the window: frames that take up what it is yet to play, and where
    """
    wishes, codes, hidden, later = passage.wishes, passage.codes, passage.hidden, []
    chance = uniforms(wishes.request.seed, "recall", [0], (len(wishes),))[0].numpy()
    for frame in range(start, min(start + WINDOW, len(wishes))):
        earlier = int(wishes.recalled[frame])
        if hidden[0, frame] and earlier >= 0 and chance[frame] < wishes.request.recall:
            if hidden[0, earlier] and earlier >= start:
                later.append((frame - start, earlier - start))
            else:
                codes[0, frame], hidden[0, frame] = codes[0, earlier], False
    return torch.tensor(later, dtype=torch.long, device=codes.device).view(-1, 2)


@dataclass(frozen=True)
class Window:
    """What the model plays at once of a passage.

    Attributes
    ----------
    passage : Passage
    start : its first latent frame in the passage
    number, num_windows : which window this is of those that have something to play
    style : (1, S)
    taken_up : see _recall
    """

    passage: Passage
    start: int
    number: int
    num_windows: int
    style: Tensor
    taken_up: Tensor

    @property
    def codes(self):
        """(WINDOW, G), a view of the passage's."""
        return self.passage.codes[0, self.start : self.start + WINDOW]

    @property
    def hidden(self):
        """(WINDOW,), a view of the passage's."""
        return self.passage.hidden[0, self.start : self.start + WINDOW]

    @cached_property
    def later(self):
        """bool (WINDOW,): the frames of `taken_up`, which are hidden until the end."""
        return torch.zeros_like(self.hidden).index_fill(0, self.taken_up[:, 0], True)

    @cached_property
    def rules(self):
        """list of Rule, of this window."""
        return self.passage.rules(self.start, self.start + WINDOW)

    @cached_property
    def conditions(self):
        """Conditions (B = 1); a solo shorter than a window asks for nothing after its end."""
        wishes, told = self.passage.wishes.between(self.start, self.start + WINDOW), self.passage.request.told
        short = WINDOW - len(wishes)
        frames = chord_frames([*wishes.chords, *[None] * short]).to(self.style.device)
        features = chord_features(frames)[None] * told  # (1, N, CHORD_DIM)
        arcs = (torch.from_numpy(values) if told else torch.full((len(wishes),), torch.nan)
                for values in (wishes.density, wishes.register))  # fmt: skip
        arcs = (functional.pad(arc, (0, short), value=torch.nan).to(features)[None] for arc in arcs)
        return Conditions(self.style, features, attributes(*arcs))

    def kind(self, improviser):
        """What must be the same of windows that are played together."""
        request, guides = self.passage.request, self.guides(improviser)
        nothing = self.conditions.equals(self.conditions.dropped(keep_style=not guides[0]))
        candidates, names = (request.num_candidates, tuple(rule.name for rule in self.rules)) if self.guided else (1, ())
        return request.guidance, request.temperature, guides, nothing, self.num_steps, candidates, names

    def guides(self, improviser):
        """Whether guidance is of the style, and of the pedal, as posterior.classifier_free takes them."""
        asked = self.passage.request.style is not None
        return asked or improviser.pianist is None, asked

    @property
    def free(self):
        """bool (WINDOW,): the frames that sampling settles."""
        return self.hidden & ~self.later

    @property
    def num_steps(self):
        """Of sampling: never more than there are frames to settle."""
        return min(self.passage.request.num_steps, int(self.free.sum()))

    @property
    def guided(self):
        """Whether rules choose among candidates, and have revised what offends them."""
        return bool(self.rules) and self.passage.request.num_candidates > 1

    def draw(self, step, candidate):
        """Uniform numbers (1, WINDOW, G), this passage's own."""
        seed, purpose = self.passage.request.seed, f"window {self.number} step {step}"
        return uniforms(seed, purpose, [candidate], self.codes.shape, self.codes.device)

    @property
    def num_revisions(self):
        """That follow sampling."""
        return NUM_REVISIONS if self.guided and self.num_steps else 0

    def report(self, improviser, row, state):
        """Tell the passage's callback how far it is."""
        if self.passage.callback is not None:
            total = self.num_steps + self.num_revisions
            progress = {"step": state["step"], "num_steps": total, "window": self.number, "num_windows": self.num_windows}
            self.passage.callback({**progress, "piano_roll": lambda: decode(improviser, _estimate(state, [row]))})


@torch.inference_mode()
def _play_windows(improviser, windows):
    """Codes (B, WINDOW, G) of windows of one kind, none hidden any more."""
    first, request = windows[0], windows[0].passage.request
    conditions = reduce(Conditions.joined, (window.conditions for window in windows))
    model = classifier_free(
        improviser.dit, conditions, request.guidance, request.temperature, *first.guides(improviser)
    )
    codes, mask, later = (torch.stack([getattr(w, name) for w in windows]) for name in ("codes", "free", "later"))

    def draw(step, candidate):
        return torch.cat([window.draw(step, candidate) for window in windows])

    def predict(codes, mask, parent=None):
        return model(_whole(codes, windows), _whole(mask | later.repeat(len(codes) // len(later), 1), windows), parent)

    def loss(codes):
        piano_roll = decode(improviser, _whole(codes, windows))
        scores = [total_loss(w.rules, piano_roll[row :: len(windows)]) for row, w in enumerate(windows)]
        return _by_row(scores, windows)

    def report(state):
        for row, window in enumerate(windows):
            window.report(improviser, row, state)

    sampler = (predict, codes, mask, draw, first.num_steps)
    if not first.guided:
        return _whole(sample_ancestral(*sampler, report), windows)
    candidates = step_candidates(request.num_candidates)
    codes = sample_stochastic_control(*sampler, loss, candidates, guided_steps(first.num_steps), report)
    revisions = range(first.num_steps + 1, first.num_steps + 1 + first.num_revisions)
    return _whole(revise(predict, codes, mask, draw, loss, request.num_candidates, revisions, report), windows)


def _estimate(state, rows):
    """Codes of some examples of a sampler's state, the middle of the posterior where they are masked: what it may become."""
    codes, mask, posterior = state["codes"][rows], state["mask"][rows], state["posterior"]
    middle = torch.full(codes.shape, 0.5, device=codes.device)
    return codes if posterior is None else fill(codes, mask, posterior[rows], middle)


def _whole(values, windows):
    """Codes (k B, N, G), or what is hidden of them (k B, N), with what is taken up of what each window plays itself."""
    values = values.clone()
    for row, window in enumerate(windows):
        taken, source = window.taken_up.T
        values[row :: len(windows), taken] = values[row :: len(windows), source]
    return values


def _to_source(credit, window):
    """Losses (k, N): those of frames that are taken up where they are taken from, which alone can be played anew."""
    taken, source = window.taken_up.T
    return credit.index_fill(1, taken, 0.0).index_add(1, source, credit[:, taken])


def _by_row(scores, windows):
    """B of (losses (k,), credit (k, N) or None) -> those of a batch (k B,), (k B, N): all of a candidate stand together."""
    losses, credit = zip(*scores)
    losses = torch.stack(losses, 1).flatten()
    return losses, None if credit[0] is None else torch.stack([*map(_to_source, credit, windows)], 1).flatten(0, 1)


@torch.inference_mode()
def decode(improviser, codes):
    """Codes (B, N, G) -> PianoRoll."""
    return improviser.vqvae.decode(codes)

"""Music of any length by outpainting: a window after the other, each given what is there already.

Conventions: codes are int64 (1, L, G) of a passage or (B, WINDOW, G) of B windows; mask is bool, true where nothing is
known yet. The windows of several passages go through the model together where they are alike. Each passage draws its
own uniform numbers by its request's seed, so that it is the same in a batch as alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from lib.checkpoints.load import Improviser
from lib.diffusion.sampling import (
    NUM_REVISIONS,
    fill,
    guided_steps,
    revise,
    sample_ancestral,
    sample_stochastic_control,
    step_candidates,
)
from lib.generation.conditioning import Conditioning
from lib.generation.request import GenerateRequest
from lib.keyed_random import uniforms
from lib.models.dit import Conditions, classifier_free
from lib.music.piano_roll import WINDOW, PianoRoll
from lib.music.rules import Rule, total_loss

OVERLAP = WINDOW // 4  # latent frames given from the window before
# purposes of random numbers; data: see lib/keyed_random.py
RECALL_PURPOSE, WINDOW_PURPOSE = "recall", "window {} step {}"


@dataclass(frozen=True)
class Passage:
    """Music with gaps, and what is asked for where they are.

    Attributes
    ----------
    conditioning : Conditioning; shorter than the codes where the music is shorter than a window
    codes, mask : (1, L, G) and bool (1, L), L at least WINDOW; `fill_passages` fills them
    callback : None, or callable(dict) after each step and revision, see lib.generation.generate
    own_rules : None, or callable(Conditioning) -> list of Rule, beside those of the request
    """

    conditioning: Conditioning
    codes: Tensor
    mask: Tensor
    callback: Callable | None = None
    own_rules: Callable | None = None

    @property
    def request(self) -> GenerateRequest:
        """The request it is generated for."""
        return self.conditioning.request

    def starts(self) -> list[int]:
        """Where the windows begin that have something to generate."""
        return [start for start in window_starts(self.codes.shape[1]) if self.mask[:, start : start + WINDOW].any()]

    def rules(self, first: int, last: int | None) -> list[Rule]:
        """Those of the request and one's own, for latent frames first to last - 1."""
        conditioning = self.conditioning.between(first, last)
        return [*conditioning.rules(), *(self.own_rules(conditioning) if self.own_rules else ())]

    def piano_roll(self, improviser: Improviser) -> PianoRoll:
        """The music (B = 1), once nothing is masked any more."""
        return decode(improviser, self.codes).to("cpu")


def window_starts(length: int) -> list[int]:
    """Where windows begin: each but the first is given OVERLAP latent frames or more, the last ends with the whole."""
    return [*range(0, length - WINDOW, WINDOW - OVERLAP), length - WINDOW]


def fill_passages(improviser: Improviser, passages: Sequence[Passage]) -> None:
    """Fill the masked frames of passages, window after window, each given what is there already.

    Parameters
    ----------
    passages : their first windows are generated together, then their second ones, as far as they are alike

    Raises
    ------
    ConfigError : a pianist is unknown; whatever a callback raises, which ends all of them
    """
    todo = [(passage, passage.starts(), improviser.style(passage.request.style)) for passage in passages]
    for number in range(max(len(starts) for _, starts, _ in todo)):
        batches = defaultdict(list)
        for passage, starts, style in todo:
            if number < len(starts):
                copies = copy_repeats(passage, starts[number])
                window = Window(passage, starts[number], number, len(starts), style, copies)
                batches[window.batch_key(improviser)].append(window)
        for windows in batches.values():
            codes = generate_windows(improviser, windows)
            for row, window in enumerate(windows):
                window.codes[:], window.mask[:] = codes[row], False


def copy_repeats(passage: Passage, start: int) -> Tensor:
    """Copy what a window repeats of earlier sections: a share `recall` of its masked frames, chosen by the seed.

    Returns
    -------
    int64 (R, 2) : frames whose source this window is yet to generate, and the sources, counted from its first frame
    """
    conditioning, codes, mask, copies = passage.conditioning, passage.codes, passage.mask, []
    chance = uniforms(passage.request.seed, RECALL_PURPOSE, [0], (len(conditioning),))[0].numpy()
    for frame in range(start, min(start + WINDOW, len(conditioning))):
        source = int(conditioning.sources[frame])
        if mask[0, frame] and source >= 0 and chance[frame] < passage.request.recall:
            if mask[0, source] and source >= start:
                copies.append((frame - start, source - start))
            else:
                codes[0, frame], mask[0, frame] = codes[0, source], False
    return torch.tensor(copies, dtype=torch.long, device=codes.device).view(-1, 2)


@dataclass(frozen=True)
class Window:
    """What the model generates at once of a passage.

    Attributes
    ----------
    passage : Passage
    start : its first latent frame in the passage
    number, num_windows : which window this is of those that have something to generate
    style : (1, S)
    copies : of copy_repeats
    """

    passage: Passage
    start: int
    number: int
    num_windows: int
    style: Tensor
    copies: Tensor

    @property
    def request(self) -> GenerateRequest:
        """The passage's."""
        return self.passage.request

    @property
    def codes(self) -> Tensor:
        """(WINDOW, G), a view of the passage's."""
        return self.passage.codes[0, self.start : self.start + WINDOW]

    @property
    def mask(self) -> Tensor:
        """(WINDOW,), a view of the passage's."""
        return self.passage.mask[0, self.start : self.start + WINDOW]

    @cached_property
    def copied(self) -> Tensor:
        """bool (WINDOW,): the frames of `copies`, which stay masked until the end."""
        return torch.zeros_like(self.mask).index_fill(0, self.copies[:, 0], True)

    @property
    def editable(self) -> Tensor:
        """bool (WINDOW,): the frames that are sampled."""
        return self.mask & ~self.copied

    @cached_property
    def rules(self) -> list[Rule]:
        """Those of this window."""
        return self.passage.rules(self.start, self.start + WINDOW)

    @cached_property
    def conditions(self) -> Conditions:
        """What conditions the model (B = 1)."""
        conditioning = self.passage.conditioning.between(self.start, self.start + WINDOW)
        return conditioning.model_conditions(self.style, WINDOW)

    @property
    def num_steps(self) -> int:
        """Of sampling: never more than there are frames to sample."""
        return min(self.request.num_steps, int(self.editable.sum()))

    @property
    def has_candidates(self) -> bool:
        """Whether rules choose among candidates, and revise what offends them."""
        return bool(self.rules) and self.request.num_candidates > 1

    @property
    def num_revisions(self) -> int:
        """That follow sampling."""
        return NUM_REVISIONS if self.has_candidates and self.num_steps else 0

    def guidance_targets(self, improviser: Improviser) -> tuple[bool, bool]:
        """Whether guidance is of the style, and of the pedal, as dit.classifier_free takes them."""
        has_style = self.request.style is not None
        return has_style or improviser.pianist is None, has_style

    def batch_key(self, improviser: Improviser) -> tuple:
        """What must be the same of windows that are generated together."""
        request, targets = self.request, self.guidance_targets(improviser)
        unconditional = self.conditions.equals(self.conditions.dropped(keep_style=not targets[0]))
        rule_names = tuple(rule.name for rule in self.rules)
        candidates = (request.num_candidates, rule_names) if self.has_candidates else (1, ())
        return request.guidance, request.temperature, targets, unconditional, self.num_steps, *candidates

    def draw(self, step: int | str, candidate: int) -> Tensor:
        """Uniform numbers (1, WINDOW, G), this passage's own."""
        purpose = WINDOW_PURPOSE.format(self.number, step)
        return uniforms(self.request.seed, purpose, [candidate], self.codes.shape, self.codes.device)

    def report(self, improviser: Improviser, row: int, state: dict) -> None:
        """Tell the passage's callback how far it is."""
        if self.passage.callback is not None:
            total = self.num_steps + self.num_revisions
            window = {"window": self.number, "num_windows": self.num_windows}
            progress = {"step": state["step"], "num_steps": total, **window}
            self.passage.callback({**progress, "piano_roll": lambda: decode(improviser, _estimate(state, [row]))})


@torch.inference_mode()
def generate_windows(improviser: Improviser, windows: Sequence[Window]) -> Tensor:
    """Codes (B, WINDOW, G) of windows of one batch key, nothing masked any more."""
    first, request = windows[0], windows[0].request
    conditions = reduce(Conditions.joined, (window.conditions for window in windows))
    targets = first.guidance_targets(improviser)
    model = classifier_free(improviser.dit, conditions, request.guidance, request.temperature, *targets)
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
    if not first.has_candidates:
        return _with_copies(sample_ancestral(*sampler, report), windows)
    candidates = step_candidates(request.num_candidates)
    codes = sample_stochastic_control(*sampler, loss, candidates, guided_steps(first.num_steps), report)
    revisions = range(first.num_steps + 1, first.num_steps + 1 + first.num_revisions)
    codes = revise(predict, codes, mask, draw, loss, request.num_candidates, revisions, report)
    return _with_copies(codes, windows)


def _estimate(state, rows):
    """Codes of some examples of a sampler's state, where masked the middle of the posterior: what it may become."""
    codes, mask, posterior = state["codes"][rows], state["mask"][rows], state["posterior"]
    middle = torch.full(codes.shape, 0.5, device=codes.device)
    return codes if posterior is None else fill(codes, mask, posterior[rows], middle)


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

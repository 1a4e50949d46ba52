"""Sets of clips that an evaluation compares: of a model, of real pianists, of baselines; each made on first use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats.qmc import Halton

from lib.apps.evaluate.chord_adherence import TEMPO, chart_of
from lib.apps.evaluate.players import ClipPlayer, MarkovBaseline, make_orders
from lib.apps.evaluate.reference_classifier import load_reference_classifier
from lib.checkpoints.load import is_finished
from lib.checkpoints.run_dependencies import require, resolve_dependency
from lib.config import GUIDED_CANDIDATES, RELEASED, ConfigError
from lib.data.corpora import open_corpus
from lib.data.note_store import CorpusError, NoteStore
from lib.generation.generate import load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.music.chart import Chart
from lib.music.notes import Notes
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S
from lib.style.classifier import StyleClassifier
from lib.style.gallery import load_classifier

BAR_S = 1.28  # eight bars in a clip of 10.24 s
FEWEST_NOTES = 2  # of a chart's clip: fewer say nothing about density
LEAST_DENSITY, MOST_DENSITY = 0.1, 40.0  # that a request may have
CHARTS = (
    "Cmaj7 | Dm7 G7 | Em7 A7 | Dm7 G7",
    "Cm7 | F7 | Bbmaj7 | Ebmaj7",
    "F7 | Bb7 | F7 | C7",
    "Am7b5 D7 | Gm7 | C7 | Fmaj7",
)
CHORDS = "told"  # evaluation.json's key of the clips that follow a chart, ClipSets.with_chords
# key -> title, in the order of the report; keys are attributes of ClipSets
SETS = {
    "real": "held-out recordings",
    "training": "training recordings",
    "generated": "the model",
    "base_clips": "base model",
    "others": "other pianists",
    "markov": "Markov, order 5",
    "codec": "codec alone",
    "shuffled": "shuffled bars",
}
PAIRED = ("generated", CHORDS, "guided", "solos")  # sets of the model whose clips answer the same prompts everywhere


class Missing(ValueError):
    """A figure that can't be given here; the message says why, and the way out."""


@dataclass(frozen=True)
class ClipSet:
    """Clips that are measured together.

    Attributes
    ----------
    name : one word or two
    clips : N Notes
    groups : N names, the recording that each is from
    positions : N (piece index, start_s) of real clips, else ()
    seconds : length of each
    """

    name: str
    clips: list[Notes]
    groups: tuple[str, ...]
    positions: tuple[tuple[int, float], ...] = ()
    seconds: float = CHUNK_S

    def __len__(self) -> int:
        return len(self.clips)

    @classmethod
    def of_generated(cls, name: str, clips: Sequence[Notes], seconds: float = CHUNK_S) -> ClipSet:
        """Clips that have nothing to do with each other."""
        return cls(name, list(clips), tuple(f"{name} {number}" for number in range(len(clips))), (), seconds)

    def changed(self, name: str, change: Callable[[Notes, int], Notes]) -> ClipSet:
        """The clips, each changed by callable(Notes, seed) -> Notes."""
        clips = [change(notes, seed) for seed, notes in enumerate(self.clips)]
        return dataclasses.replace(self, name=name, clips=clips)

    def shuffled(self, seed: int = 0) -> ClipSet:
        """The control that must score badly: the bars of all clips in random order; each bar is real, none leads on."""
        starts_s = np.arange(0, self.seconds - BAR_S / 2, BAR_S)
        cut = [notes.until(self.seconds) for notes in self.clips]
        bars = [notes.between(start_s, start_s + BAR_S) for notes in cut for start_s in starts_s]
        order = np.random.default_rng(seed).permutation(len(bars)).reshape(len(self), -1)
        clips = []
        for first, *rest in order:
            clip = bars[first]
            for number, bar in enumerate(rest, 1):
                clip = clip.followed_by(bars[bar], number * BAR_S)
            clips.append(clip)
        groups = tuple(f"shuffled {number}" for number in range(len(clips)))
        return ClipSet("shuffled bars", clips, groups, (), self.seconds)


@dataclass(frozen=True)
class Size:
    """How much is made and cut.

    Attributes
    ----------
    clips : of each set, 10.24 s each
    with_chords, guided : clips over the chords of a real clip; those of them where rules choose, too
    each : clips in the style of each of twelve pianists
    solos, solo_s : longer solos, for form, and how long they are
    """

    clips: int = 64
    with_chords: int = 32
    guided: int = 8
    each: int = 16
    solos: int = 16
    solo_s: float = 64.0

    @classmethod
    def for_preset(cls, preset: str, clips: int = 0, guided: int = 0) -> Size:
        """What suits a preset in a notebook; `clips` 0: a handful, for a first look."""
        clips = clips or {"tiny": 3, "demo": 8}.get(preset, 32)
        few = max(1, clips // 8)
        return cls(clips, clips // 2, guided, few, few, min(32.0, 6.0 * clips))

    @classmethod
    def of(cls, values: dict) -> Size:
        """Of evaluation.json's values, see `values`."""
        return cls(**{"with_chords" if name == CHORDS else name: value for name, value in values.items()})

    def values(self) -> dict:
        """As evaluation.json has it."""
        return {CHORDS if name == "with_chords" else name: value for name, value in dataclasses.asdict(self).items()}


QUICK = Size(clips=16, with_chords=8, guided=2, each=4, solos=4, solo_s=48.0)


def spread(items: Sequence) -> list:
    """The same items in an order whose beginning is spread over all of them (van der Corput's, Halton's in base 2)."""
    return [items[index] for index in Halton(1, scramble=False).random(len(items))[:, 0].argsort()]


def real_clips(
    store: NoteStore, pianist: str | None, split: str, count: int, seconds: float = CHUNK_S, name: str = "real"
) -> ClipSet:
    """`count` clips of a pianist's solo pieces of a split, evenly spread over all of their time.

    Raises
    ------
    Missing : the split holds no piece that is long enough
    """
    positions = []
    for index in store.select(pianist=pianist, split=split, duets=False):
        piece = store.pieces[index]
        starts_s = np.arange(piece.start_s, piece.end_s - seconds, seconds)
        positions += [(index, float(start_s)) for start_s in starts_s]
    if not positions:
        raise Missing(f"{store.path.parent.name} has no {split} recording of {pianist} of {seconds:g} s or more.")
    chosen = np.linspace(0, len(positions) - 1, min(count, len(positions)))
    return _cut(store, spread([positions[round(index)] for index in chosen]), seconds, name)


def clips_of_others(store: NoteStore, pianist: str | None, split: str, count: int, seconds: float = CHUNK_S) -> ClipSet:
    """As many clips of other pianists, one of each in turn, from the middle of a recording.

    Raises
    ------
    Missing : there are none
    """
    by_name = []
    for name in store.pianists:
        indices = store.select(pianist=name, split=split, duets=False) if name != pianist else ()
        pieces = [(index, store.pieces[index]) for index in indices if store.pieces[index].seconds > seconds]
        by_name.append([(index, (piece.start_s + piece.end_s - seconds) / 2) for index, piece in pieces])
    rounds = max(map(len, by_name), default=0)
    positions = [middles[turn] for turn in range(rounds) for middles in by_name if turn < len(middles)]
    if not positions:
        raise Missing(f"{store.path.parent.name} has no {split} recording of another pianist than {pianist}.")
    return _cut(store, spread(positions[:count]), seconds, "other pianists")


def _cut(store, positions, seconds, name):
    clips = [store.piece_notes(index, start_s, start_s + seconds) for index, start_s in positions]
    return ClipSet(name, clips, tuple(store.pieces[index].member for index, _ in positions), tuple(positions), seconds)


def load_base(run: Path, improviser):
    """The model before it was adapted to a pianist: of a finished folder that holds it, or of the run it began with.

    A model that was adapted to nobody is its own base.

    Raises
    ------
    Missing : it no longer exists
    """
    if improviser.pianist is None:
        return improviser
    if is_finished(run) and (run / "diffusion.safetensors").exists():
        return load_improviser(run, base=True, device="cpu")
    tuned = run.parent / "fine_tune" if is_finished(run) else run  # a finished folder lies beside the run it is from
    try:
        return load_improviser(resolve_dependency(require(tuned, "fine_tune"), "diffusion"), device="cpu")
    except (ConfigError, FileNotFoundError) as error:
        raise Missing(
            f"The base model that {run} was adapted from was not found ({error}). Name it: --base RUN"
        ) from None


class ClipSets:
    """A model's clips and those it is compared with.

    Parameters
    ----------
    run : a finished folder, or a run of diffusion or fine_tune; None: the released weights
    data_dir : where note stores are
    folder : where clips are kept, or None
    size : Size
    split : "validation" or "test"
    base : run of the model before it was adapted; None: found
    pianist, corpus : None: whom the run was adapted to, and the first of its corpora that has that pianist
    """

    def __init__(
        self, run, data_dir, folder=None, size=QUICK, split="validation", base=None, pianist=None, corpus=None
    ):
        self.run, self.data_dir, self.size, self.split = Path(run or RELEASED), Path(data_dir), size, split
        self.clips_folder = None if folder is None else Path(folder) / "clips"
        self.tuned = load_improviser(self.run, device="cpu")
        self.player, self.given_base = ClipPlayer(self.tuned, self.clips_folder), base
        self.pianist, self.corpus = pianist or self.tuned.pianist, corpus
        self.classifier, self.gallery = load_classifier(RELEASED)

    def get(self, name: str) -> ClipSet:
        """The set of a key of evaluation.json; Missing where it can't be had."""
        return getattr(self, "with_chords" if name == CHORDS else name)

    @cached_property
    def base(self) -> ClipPlayer:
        """The model before it was adapted."""
        base = load_improviser(self.given_base, device="cpu") if self.given_base else load_base(self.run, self.tuned)
        return ClipPlayer(base, self.clips_folder)

    @cached_property
    def reference_classifier(self) -> StyleClassifier:
        """The reference classifier; Missing where it does not know the pianist."""
        classifier = load_reference_classifier()
        if self.pianist not in classifier.names:
            raise Missing(
                f"The released judge does not know {self.pianist or 'anybody in particular'}: it knows thirty pianists."
            )
        return classifier

    @cached_property
    def store(self) -> NoteStore:
        """NoteStore with the pianist; Missing, with the way to it, where there is none."""
        reasons = []
        for name in (self.corpus,) if self.corpus else self.tuned.configs["dit"].corpora:
            try:
                store = open_corpus(name, self.data_dir)
            except CorpusError as error:
                reasons.append(str(error))
                continue
            if self.pianist is None or self.pianist in store.pianists:
                return store
            reasons.append(f"{name} has no recording of {self.pianist}.")
        raise Missing(" ".join(reasons))

    @cached_property
    def training_pieces(self) -> dict[int, Notes]:
        """Piece index -> training recording of the pianist; Missing where there is none."""
        if self.pianist is None:
            raise Missing(
                "The model was adapted to nobody, so that nobody's training recordings are compared. Name one: "
                "--pianist"
            )
        indices = self.store.select(pianist=self.pianist, split="train", duets=False)
        if not len(indices):
            raise Missing(f"{self.store.path.parent.name} has no training recording of {self.pianist}.")
        return {index: self.store.piece_notes(index) for index in indices}

    # --- Real ones -----------------------------------------------------------------------------

    @cached_property
    def real(self) -> ClipSet:
        """Held-out clips of the pianist."""
        return real_clips(self.store, self.pianist, self.split, self.size.clips)

    @cached_property
    def training(self) -> ClipSet:
        """Clips of training recordings: real music compared with real music is the most that can be reached."""
        return real_clips(self.store, self.pianist, "train", self.size.clips, name="real, training")

    @cached_property
    def others(self) -> ClipSet:
        """Held-out clips of other pianists."""
        return clips_of_others(self.store, self.pianist, self.split, self.size.clips)

    @cached_property
    def real_solos(self) -> ClipSet:
        """Held-out passages of a minute or so."""
        self._need("solos")
        return real_clips(self.store, self.pianist, self.split, self.size.solos, self.size.solo_s)

    @cached_property
    def shuffled_solos(self) -> ClipSet:
        """Their bars in random order: no form is left."""
        return self.real_solos.shuffled()

    # --- The model's ---------------------------------------------------------------------------

    def _need(self, name, option=None):
        if not getattr(self.size, name):
            raise Missing(f"The size of this evaluation has none: --{option or name} 0.")

    def _play(self, name, requests, seconds=CHUNK_S, title=None):
        return ClipSet.of_generated(title or name, self.player.play(make_orders(requests), name), seconds)

    @cached_property
    def generated(self) -> ClipSet:
        """In the pianist's style, over changes of the model's own."""
        return self._play("generated", [{"own_changes": True}] * self.size.clips)

    def without_chords(self, count: int) -> ClipSet:
        """So many clips of the model without any chords."""
        return self._play("without chords", [{}] * count)

    @cached_property
    def solos(self) -> ClipSet:
        """Longer solos over changes of the model's own."""
        self._need("solos")
        seconds = self.size.solo_s
        return self._play("solos", [{"own_changes": True, "seconds": seconds}] * self.size.solos, seconds, "generated")

    @cached_property
    def charts(self) -> list[tuple[Chart, float]]:
        """Charts and densities to request: those of real clips, or four plain charts where there are none."""
        try:
            return [(chart_of(notes), density_of(notes)) for notes in self.real.clips if len(notes) >= FEWEST_NOTES]
        except Missing:
            return [(Chart.parse(text), 6.0) for text in CHARTS] * -(-self.size.with_chords // len(CHARTS))

    @cached_property
    def with_chords(self) -> ClipSet:
        """Over the chords of real clips."""
        self._need("with_chords", "clips")
        charts = self.charts[: self.size.with_chords]
        requests = [{"chart": chart, "tempo_bpm": TEMPO} for chart, _ in charts]
        return self._play("with chords", requests, title=CHORDS)

    @property
    def guided_orders(self):
        """Orders with the same chords and density, where candidates compete by both rules."""
        self._need("guided")
        fixed = {"tempo_bpm": TEMPO, "num_candidates": GUIDED_CANDIDATES}
        return make_orders(
            {"chart": chart, "density": density, **fixed} for chart, density in self.charts[: self.size.guided]
        )

    @cached_property
    def guided(self) -> ClipSet:
        """Guided by the density and chords of real clips."""
        return ClipSet.of_generated("guided", self.player.play(self.guided_orders, "guided"))

    # --- Baselines -----------------------------------------------------------------------------

    @cached_property
    def base_clips(self) -> ClipSet:
        """Of the base model, without a style."""
        orders = make_orders([{"own_changes": True}] * self.size.clips)
        return ClipSet.of_generated("base model", self.base.play(orders, "base model"))

    @cached_property
    def markov(self) -> ClipSet:
        """Of an order-5 Markov model of the training recordings."""
        model = MarkovBaseline(list(self.training_pieces.values()))
        clips = [model.play(CHUNK_S, seed) for seed in range(self.size.clips)]
        return ClipSet.of_generated("Markov, order 5", clips)

    @cached_property
    def codec(self) -> ClipSet:
        """The held-out clips through the codec and back: the best that the model could do."""
        return self.real.changed("codec", lambda notes, _: codec_round_trip(self.tuned.vqvae, notes, CHUNK_FRAMES))

    @cached_property
    def shuffled(self) -> ClipSet:
        """The held-out clips' bars in random order."""
        return self.real.shuffled()


def density_of(notes: Notes) -> float:
    """Notes a second, within the range of a request."""
    return float(np.clip(len(notes) / CHUNK_S, LEAST_DENSITY, MOST_DENSITY))

"""Sets of clips that an evaluation compares: of a model, of real pianists, of baselines; each made on first use.

Real ones are cut on the bars of their own tempo maps. A model is asked for the tempo, metre and chords of each, so that
what differs is how it plays, not what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from scipy.stats.qmc import Halton

from lib.apps.evaluate.clips import CLIP_BEATS, Clip, ClipSet, Prompt, cut, make_orders, passages
from lib.apps.evaluate.players import ClipPlayer, MarkovBaseline
from lib.apps.evaluate.reference_classifier import load_reference_classifier
from lib.checkpoints.load import is_finished
from lib.checkpoints.run_dependencies import require, resolve_dependency
from lib.config import GUIDED_CANDIDATES, RELEASED, ConfigError
from lib.data.corpora import open_corpus
from lib.data.note_store import CorpusError, NoteStore
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.generate import Order, load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.generation.request import GenerateRequest
from lib.music.beat_notes import in_seconds
from lib.music.chart import Chart
from lib.music.tempo_map import Metre, TempoMap
from lib.style.classifier import StyleClassifier
from lib.style.gallery import load_classifier

SOLO_BEATS = 128  # 32 bars of 4/4
PLAIN_TEMPO, PLAIN_DENSITY = 120.0, 6.0  # where there is no real clip to take them from
PLAIN_CHARTS = (
    "Cmaj7 | Dm7 G7 | Em7 A7 | Dm7 G7",
    "Cm7 | F7 | Bbmaj7 | Ebmaj7",
    "F7 | Bb7 | F7 | C7",
    "Am7b5 D7 | Gm7 | C7 | Fmaj7",
)
# key -> title, in the order of the report; keys are attributes of ClipSets
SETS = {
    "real": "held-out recordings",
    "training": "training recordings",
    "generated": "the model",
    "base_clips": "base model",
    "others": "other pianists",
    "markov": "Markov, order 5",
    "codec": "codec alone",
    "flattened": "codec, steady tempo",
    "shuffled": "shuffled bars",
}
PAIRED = ("generated", "guided", "solos")  # sets of the model whose clips answer the same prompts everywhere


class Missing(ValueError):
    """A figure that can't be given here; the message says why, and the way out."""


@dataclass(frozen=True)
class Size:
    """How much is made and cut.

    Attributes
    ----------
    clips : of each set, CLIP_BEATS each
    guided : of those over a chart, clips where rules choose, too
    each : clips in the style of each of twelve pianists
    solos, solo_beats : longer solos, for form, and how long they are
    """

    clips: int = 64
    guided: int = 8
    each: int = 16
    solos: int = 16
    solo_beats: int = SOLO_BEATS

    @classmethod
    def for_preset(cls, preset: str, clips: int = 0, guided: int = 0) -> Size:
        """What suits a preset in a notebook; `clips` 0: a handful, for a first look."""
        clips = clips or {"tiny": 3, "demo": 8}.get(preset, 32)
        few = max(1, clips // 8)
        return cls(clips, guided, few, few, min(64, 12 * clips))


QUICK = Size(clips=16, guided=2, each=4, solos=4, solo_beats=96)


def spread(items: Sequence) -> list:
    """The same items in an order whose beginning is spread over all of them (van der Corput's, Halton's in base 2)."""
    return [items[index] for index in Halton(1, scramble=False).random(len(items))[:, 0].argsort()]


def real_clips(
    store: NoteStore, pianist: str | None, split: str, count: int, beats: int = CLIP_BEATS, name: str = "real"
) -> ClipSet:
    """`count` clips of a pianist's solo pieces of a split, evenly spread over all of their time.

    Raises
    ------
    Missing : the split holds no passage in time that is long enough; CorpusError : the store has no tempo maps
    """
    maps, places = open_tempo_maps(store), []
    for index in store.select(pianist=pianist, split=split, duets=False):
        places += [(int(index), *place) for place in passages(maps[index], beats)]
    if not places:
        raise Missing(f"{store.path.parent.name} has no {split} recording of {pianist} with {beats} beats in time.")
    chosen = np.linspace(0, len(places) - 1, min(count, len(places)))
    return _cut(store, maps, spread([places[round(index)] for index in chosen]), name)


def clips_of_others(store: NoteStore, pianist: str | None, split: str, count: int, beats: int = CLIP_BEATS) -> ClipSet:
    """As many clips of other pianists, one of each in turn, from the middle of a recording.

    Raises
    ------
    Missing : there are none; CorpusError : the store has no tempo maps
    """
    maps, by_name = open_tempo_maps(store), []
    for name in store.pianists:
        indices = store.select(pianist=name, split=split, duets=False) if name != pianist else ()
        found = [(int(index), passages(maps[index], beats)) for index in indices]
        by_name.append([(index, *places[len(places) // 2]) for index, places in found if places])
    rounds = max(map(len, by_name), default=0)
    places = [middles[turn] for turn in range(rounds) for middles in by_name if turn < len(middles)]
    if not places:
        raise Missing(f"{store.path.parent.name} has no {split} recording of another pianist than {pianist}.")
    return _cut(store, maps, spread(places[:count]), "other pianists")


def _cut(store: NoteStore, maps: list[TempoMap], places, name):
    clips = [cut(store, maps[index], index, first, beats) for index, first, beats in places]
    pieces = tuple(index for index, _, _ in places)
    return ClipSet(name, clips, tuple(store.pieces[index].member for index in pieces), pieces)


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
        return getattr(self, name)

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
        """NoteStore with the pianist and tempo maps; Missing, with the way to it, where there is none."""
        reasons = []
        for name in (self.corpus,) if self.corpus else self.tuned.configs["dit"].corpora:
            try:
                store = open_corpus(name, self.data_dir)
                open_tempo_maps(store)
            except CorpusError as error:
                reasons.append(str(error))
                continue
            if self.pianist is None or self.pianist in store.pianists:
                return store
            reasons.append(f"{name} has no recording of {self.pianist}.")
        raise Missing(" ".join(reasons))

    @cached_property
    def training_pieces(self) -> dict[int, Clip]:
        """Piece index -> training recording of the pianist; Missing where there is none."""
        if self.pianist is None:
            raise Missing(
                "The model was adapted to nobody, so that nobody's training recordings are compared. Name one: "
                "--pianist"
            )
        indices = self.store.select(pianist=self.pianist, split="train", duets=False)
        if not len(indices):
            raise Missing(f"{self.store.path.parent.name} has no training recording of {self.pianist}.")
        maps = open_tempo_maps(self.store)
        return {int(index): Clip.of_piece(self.store.piece_notes(index), maps[index]) for index in indices}

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
        return real_clips(self.store, self.pianist, self.split, self.size.solos, self.size.solo_beats)

    @cached_property
    def shuffled_solos(self) -> ClipSet:
        """Their bars in random order: no form is left."""
        return self.real_solos.shuffled()

    # --- The model's ---------------------------------------------------------------------------

    def _need(self, name):
        if not getattr(self.size, name):
            raise Missing(f"The size of this evaluation has none: --{name} 0.")

    def _play(self, player, name, requests):
        return ClipSet.of_generated(name, player.play(make_orders(requests), name))

    @cached_property
    def prompts(self) -> list[Prompt]:
        """What is asked for: tempo, metre, chords and density of real clips, or plain ones where there are none."""
        try:
            return [Prompt.of(clip) for clip in self.real.clips]
        except Missing:
            return [Prompt(Chart.parse(text), PLAIN_TEMPO, PLAIN_DENSITY) for text in PLAIN_CHARTS]

    def requests(self, count: int, density: bool = False, **fields) -> Iterator[dict]:
        """Fields of so many requests, of the tempo, metre and chords of prompts, and their density where it is wanted."""
        for prompt in islice(cycle(self.prompts), count):
            wanted = {"density": prompt.density} if density else {}
            yield {**prompt.fields(), "chords": prompt.chart.text(), **wanted, **fields}

    @cached_property
    def generated(self) -> ClipSet:
        """In the pianist's style, each over the chords of a real clip."""
        return self._play(self.player, "generated", self.requests(self.size.clips))

    def without_chords(self, count: int) -> ClipSet:
        """So many clips of the model without any chords."""
        return self._play(
            self.player, "without chords", [prompt.fields() for prompt in islice(cycle(self.prompts), count)]
        )

    @cached_property
    def solos(self) -> ClipSet:
        """Longer solos over changes of the model's own."""
        self._need("solos")
        try:
            prompts = [Prompt.of(clip) for clip in self.real_solos.clips]
        except Missing:
            prompts = self.prompts
        common = {"own_changes": True, "chords": GenerateRequest.chords}
        requests = [{**prompt.fields(self.size.solo_beats), **common} for prompt in prompts]
        return self._play(self.player, "solos", islice(cycle(requests), self.size.solos))

    @property
    def guided_orders(self) -> list[Order]:
        """Orders with the same chords and density, where candidates compete by both rules."""
        self._need("guided")
        return make_orders(self.requests(self.size.guided, True, num_candidates=GUIDED_CANDIDATES))

    @cached_property
    def guided(self) -> ClipSet:
        """Guided by the density and chords of real clips."""
        return ClipSet.of_generated("guided", self.player.play(self.guided_orders, "guided"))

    # --- Baselines -----------------------------------------------------------------------------

    @cached_property
    def base_clips(self) -> ClipSet:
        """Of the base model, without a style."""
        return self._play(self.base, "base model", self.requests(self.size.clips))

    @cached_property
    def markov(self) -> ClipSet:
        """Of an order-5 Markov model of the training recordings, in the beats of the model's clips."""
        model = MarkovBaseline([piece.in_beats for piece in self.training_pieces.values()])
        played = (
            clip.with_notes(in_seconds(model.play(clip.beats, seed), clip.tempo_map))
            for seed, clip in enumerate(self.generated.clips)
        )
        return ClipSet.of_generated("Markov, order 5", list(played))

    @cached_property
    def codec(self) -> ClipSet:
        """The held-out clips through the codec and back: the best that the model could do."""
        vqvae = self.tuned.vqvae
        return self.real.changed("codec", lambda clip, _: codec_round_trip(vqvae, clip.notes, clip.tempo_map))

    @cached_property
    def flattened(self) -> ClipSet:
        """The same at their mean tempo, kept steady: the most that a solo on a steady grid can reach."""
        clips = []
        for clip in self.real.clips:
            bar = clip.beats_per_bar
            steady = TempoMap.constant(clip.felt_bpm, Metre(bar, 4), clip.beats // bar)
            notes = codec_round_trip(self.tuned.vqvae, in_seconds(clip.in_beats, steady), steady)
            clips.append(Clip(notes, steady, clip.beats))
        return dataclasses.replace(self.real, name="flattened", clips=clips)

    @cached_property
    def shuffled(self) -> ClipSet:
        """The held-out clips' bars in random order."""
        return self.real.shuffled()

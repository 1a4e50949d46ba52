"""Sets of clips that an evaluation compares: of a model, of real pianists, of baselines; each made on first use.

Real ones are cut on the bars of their own tempo maps. A model is asked for the tempo, metre and chords of each, so that
what differs is how it plays, not what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, cycle, islice, zip_longest
from pathlib import Path

import numpy as np
from scipy.stats.qmc import Halton

from lib.apps.evaluate.clips import CLIP_BEATS, Clip, ClipPlayer, ClipSet, MarkovBaseline, passages
from lib.apps.evaluate.copying import copied
from lib.apps.evaluate.measures import clip_measures, solo_measures
from lib.apps.evaluate.reference_classifier import load_reference_classifier, pianist_probability
from lib.apps.evaluate.similarity import ClipMeasures, Similarity, widest_directions
from lib.apps.evaluate.structure import looped
from lib.checkpoints.load import is_finished
from lib.checkpoints.run_dependencies import require, resolve_dependency
from lib.config import GUIDED_CANDIDATES, RELEASED, ConfigError, build
from lib.data.corpora import open_corpus
from lib.data.note_store import CorpusError, NoteStore
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.generate import load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.generation.request import GenerateRequest
from lib.music.chart import Chart
from lib.music.chords import NO_CHORD
from lib.music.tempo_map import Metre, TempoMap, in_seconds
from lib.style.classifier import StyleClassifier, TooShort
from lib.style.gallery import load_classifier

OWN_CHANGES = {"own_changes": True, "chords": GenerateRequest.chords, "density": None}
NO_CHORDS = {"chords": NO_CHORD, "density": None}
COPY_BOT = 8  # clips of it, at most
FREE = 8  # clips without chords, at most, where no more are guided
GUIDED = {"num_candidates": GUIDED_CANDIDATES}  # by chords and density
PLAIN_PROMPT = {"tempo_bpm": 120.0, "metre": "4/4", "bars": CLIP_BEATS // 4, "density": 6.0}
PLAIN_CHORDS = (  # where there is no real clip to take them from
    "Cmaj7 | Dm7 G7 | Em7 A7 | Dm7 G7",
    "Cm7 | F7 | Bbmaj7 | Ebmaj7",
    "F7 | Bb7 | F7 | C7",
    "Am7b5 D7 | Gm7 | C7 | Fmaj7",
)
# compared with held-out recordings, in the order of the report
COMPARED = ("real", "training", "generated", "base_clips", "others", "markov", "codec", "flattened", "shuffled")
SOLO_SETS = ("real_solos", "solos", "shuffled_solos", "loop_solos")  # of longer solos, for form
PAIRED = ("generated", "guided", "solos")  # sets of the model whose clips answer the same prompts everywhere


class Missing(ValueError):
    """A figure that can't be given here; the message says why, and the way out."""


@dataclass(frozen=True)
class Size:
    """How much is made and cut."""

    clips: int = 64  # of each set, CLIP_BEATS each
    guided: int = 8  # of those over a chart, clips where rules choose, too
    each: int = 16  # clips in the style of each of twelve pianists
    solos: int = 16  # longer solos, for form
    solo_beats: int = 128  # of these: 32 bars of 4/4

    @classmethod
    def for_preset(cls, preset: str, clips: int = 0, guided: int = 0) -> Size:
        """What suits a preset in a notebook; `clips` 0: a handful, for a first look."""
        clips = clips or {"tiny": 3, "demo": 8}.get(preset, 32)
        few = max(1, clips // 8)
        return cls(clips, guided, few, few, min(64, 12 * clips))


QUICK = Size(clips=16, guided=2, each=4, solos=4, solo_beats=96)


def pieces_in_time(
    store: NoteStore, split: str, is_chosen: Callable[[str], bool], beats: int = CLIP_BEATS
) -> Iterator[list[tuple[int, int, int]]]:
    """Passages in time, for ClipSet.cut, of each solo recording of a split that has any and whose pianist is chosen.

    CorpusError where the store has no tempo maps.
    """
    maps = open_tempo_maps(store)
    for index in store.select(split=split, duets=False):
        in_time = passages(maps[index], beats) if is_chosen(store.pieces[index].pianist) else ()
        if in_time:
            yield [(index, *passage) for passage in in_time]


def real_clips(store: NoteStore, pianist: str | None, split: str, count: int, beats: int = CLIP_BEATS) -> ClipSet:
    """`count` clips of a pianist's solo pieces of a split, evenly spread over all of their time; Missing for none."""
    pool = list(chain(*pieces_in_time(store, split, lambda name: pianist in (None, name), beats)))
    if not pool:
        raise Missing(f"{store.path.parent.name} has no {split} recording of {pianist} with {beats} beats in time.")
    return ClipSet.cut(store, spread(evenly(pool, count)))


def clips_of_others(store: NoteStore, pianist: str | None, split: str, count: int) -> ClipSet:
    """As many clips of other pianists, one of each in turn, from the middle of a recording; Missing for none."""
    by_name = {name: [] for name in store.pianists}
    for in_time in pieces_in_time(store, split, lambda name: name != pianist):
        by_name[store.pieces[in_time[0][0]].pianist].append(in_time[len(in_time) // 2])
    middles = [passage for turn in zip_longest(*by_name.values()) for passage in turn if passage]
    if not middles:
        raise Missing(f"{store.path.parent.name} has no {split} recording of another pianist than {pianist}.")
    return ClipSet.cut(store, spread(middles[:count]))


def evenly(items: Sequence, count: int) -> list:
    """So many of the items at most, evenly spread."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)]


def spread(items: Sequence) -> list:
    """The same items in an order whose beginning is spread over all of them (van der Corput's, Halton's in base 2)."""
    return [items[index] for index in Halton(1, scramble=False).random(len(items))[:, 0].argsort()]


class ClipSets:
    """A model's clips and those it is compared with: `sets[NAME]` is the ClipSet of a row of SETS.

    Parameters
    ----------
    run : a finished folder, or a run of diffusion or fine_tune; None: the released weights
    folder : where clips are kept, or None
    split : "validation" or "test"
    base : run of the model before it was adapted; None: found
    pianist, corpus : None: whom the run was adapted to, and the first of its corpora that has that pianist

    Attributes
    ----------
    missing : dict set or measure -> why it can't be had, of those that were asked for
    directions : (S, D) of styles, see similarity.widest_directions
    """

    def __init__(
        self, run, data_dir, folder=None, size=QUICK, split="validation", base=None, pianist=None, corpus=None
    ):
        self.run, self.data_dir, self.size, self.split = Path(run or RELEASED), Path(data_dir), size, split
        self.clips_folder = None if folder is None else Path(folder) / "clips"
        self.tuned = load_improviser(self.run, device="cpu")
        self.player, self.base_run = ClipPlayer(self.tuned, self.clips_folder), base
        self.pianist, self.corpus = pianist or self.tuned.pianist, corpus
        self.classifier, self.gallery = load_classifier(RELEASED)
        self.directions = widest_directions(self.gallery.styles)
        self.missing, self._sets, self._measured = {}, {}, {}

    def __getitem__(self, name: str) -> ClipSet:
        """A set, made once; Missing where it can't be had."""
        if name not in self._sets:
            try:
                self._sets[name] = SETS[name][1](self)
            except Missing as reason:
                self.missing[name] = str(reason)
                raise
        return self._sets[name]

    def measured(self, name: str) -> ClipMeasures:
        """What is measured of the clips of a set, once."""
        if name not in self._measured:
            self._measured[name] = self.measure(self[name], is_solo=name in SOLO_SETS)
        return self._measured[name]

    def measure(self, clip_set: ClipSet, is_solo: bool = False) -> ClipMeasures:
        """All measures of clips, or those of form of longer solos; `judge` where it knows the pianist."""
        rows = [(solo_measures if is_solo else clip_measures)(clip) for clip in clip_set.clips]
        values = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
        if is_solo:
            return ClipMeasures(clip_set.groups, values)
        try:
            values["judge"] = pianist_probability(self.reference_classifier, clip_set.notes, self.pianist)
        except Missing as reason:
            self.missing["judge"] = str(reason)
        styles = np.full((len(rows), self.gallery.styles.shape[1]), np.nan)
        for style, notes in zip(styles, clip_set.notes):
            with suppress(TooShort):
                style[:] = self.classifier.predict(notes).style
        return ClipMeasures(clip_set.groups, values, styles)

    def similarity(self, measured: ClipMeasures) -> Similarity:
        """To the held-out recordings."""
        return Similarity(measured, self.measured("real"), self.directions)

    def available(self, names: Iterable[str] = COMPARED) -> dict[str, ClipSet]:
        """Those of these sets that can be had."""
        sets = {}
        for name in names:
            with suppress(Missing):
                sets[name] = self[name]
        return sets

    @cached_property
    def base(self) -> ClipPlayer:
        """The model before it was adapted: of the finished folder, or of the run it began with; else Missing."""
        run = self.run
        if self.base_run:
            base = load_improviser(self.base_run, device="cpu")
        elif self.tuned.pianist is None:
            base = self.tuned
        elif is_finished(run) and (run / "diffusion.safetensors").exists():
            base = load_improviser(run, base=True, device="cpu")
        else:
            tuned = run.parent / "fine_tune" if is_finished(run) else run  # a finished folder lies beside its run
            try:
                base = load_improviser(resolve_dependency(require(tuned, "fine_tune"), "diffusion"), device="cpu")
            except (ConfigError, FileNotFoundError) as error:
                reason = f"The base model that {run} was adapted from was not found ({error}). Name it: --base RUN"
                raise Missing(reason) from None
        return ClipPlayer(base, self.clips_folder)

    @cached_property
    def reference_classifier(self) -> StyleClassifier:
        """The reference classifier; Missing where it does not know the pianist."""
        classifier = load_reference_classifier()
        if self.pianist not in classifier.names:
            name = self.pianist or "anybody in particular"
            raise Missing(f"The released judge does not know {name}: it knows thirty pianists.")
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
            reason = "The model was adapted to nobody, so that nobody's training recordings are compared."
            raise Missing(f"{reason} Name one: --pianist")
        indices = self.store.select(pianist=self.pianist, split="train", duets=False)
        if not indices:
            raise Missing(f"{self.store.path.parent.name} has no training recording of {self.pianist}.")
        maps = open_tempo_maps(self.store)
        return {index: Clip.of_piece(self.store.piece_notes(index), maps[index]) for index in indices}

    @cached_property
    def prompts(self) -> list[dict]:
        """What is asked for: Clip.prompt of real clips, or plain ones where there are none."""
        try:
            return [clip.prompt() for clip in self["real"].clips]
        except Missing:
            return [{"chords": chords, **PLAIN_PROMPT} for chords in PLAIN_CHORDS]

    @property
    def charts(self) -> list[Chart]:
        """Of the prompts."""
        return [build(GenerateRequest, prompt).parsed_chart() for prompt in self.prompts]

    def requests(self, count: int, **fields) -> list[dict]:
        """The fields of so many requests, those of the prompts but for these."""
        return [{**prompt, **fields} for prompt in islice(cycle(self.prompts), count)]

    def count_of(self, name: str) -> int:
        """`guided` or `solos` of the size; Missing where that is 0."""
        count = getattr(self.size, name)
        if not count:
            raise Missing(f"The size of this evaluation has none: --{name} 0.")
        return count


def _without_chords(sets):
    """Clips of the model without any chords."""
    count = max(sets.size.guided, min(FREE, sets.size.clips))
    return sets.player.play_set("without chords", sets.requests(count, **NO_CHORDS))


def _solos(sets):
    """Longer solos over changes of the model's own."""
    count, beats = sets.count_of("solos"), sets.size.solo_beats
    try:
        prompts = [clip.prompt(beats) for clip in sets["real_solos"].clips]
    except Missing:
        prompts = [{**prompt, "bars": beats // int(prompt["metre"].split("/")[0])} for prompt in sets.prompts]
    return sets.player.play_set("solos", [{**prompt, **OWN_CHANGES} for prompt in islice(cycle(prompts), count)])


def _markov(sets):
    """Of an order-5 Markov model of the training recordings, in the beats of the model's clips."""
    model = MarkovBaseline([piece.in_beats for piece in sets.training_pieces.values()])
    played = sets["generated"].changed(lambda clip, seed: in_seconds(model.play(clip.beats, seed), clip.tempo_map))
    return ClipSet.of_generated("Markov, order 5", played.clips)


def _decoded(sets, clips):
    """Clips through the codec and back: the best that the model could do."""
    return clips.changed(lambda clip, _: codec_round_trip(sets.tuned.vqvae, clip.notes, clip.tempo_map))


def _copy_bot(sets):
    """Clips of training recordings at another tempo."""
    clips = real_clips(sets.store, sets.pianist, "train", min(COPY_BOT, sets.size.clips))
    return dataclasses.replace(clips, clips=[copied(clip) for clip in clips.clips])


def _steady(clips):
    """Clips at their mean tempo, kept steady: through the codec, the most that a solo on a steady grid can reach."""
    steady = []
    for clip in clips.clips:
        bar = clip.beats_per_bar
        tempo_map = TempoMap.constant(clip.felt_bpm, Metre(bar, 4), clip.beats // bar)
        steady.append(Clip(in_seconds(clip.in_beats, tempo_map), tempo_map, clip.beats))
    return dataclasses.replace(clips, clips=steady)


# name -> (title, function of ClipSets); real training music beside real music is the most that can be reached
SETS: dict[str, tuple[str, Callable[[ClipSets], ClipSet]]] = {
    "real": ("held-out recordings", lambda s: real_clips(s.store, s.pianist, s.split, s.size.clips)),
    "training": ("training recordings", lambda s: real_clips(s.store, s.pianist, "train", s.size.clips)),
    "generated": ("the model", lambda s: s.player.play_set("generated", s.requests(s.size.clips, density=None))),
    "base_clips": ("base model", lambda s: s.base.play_set("base model", s.requests(s.size.clips, density=None))),
    "others": ("other pianists", lambda s: clips_of_others(s.store, s.pianist, s.split, s.size.clips)),
    "markov": ("Markov, order 5", _markov),
    "codec": ("codec alone", lambda s: _decoded(s, s["real"])),
    "flattened": ("codec, steady tempo", lambda s: _decoded(s, _steady(s["real"]))),
    "shuffled": ("shuffled bars", lambda s: s["real"].shuffled()),
    "free": ("without chords", _without_chords),
    "guided": ("where rules choose", lambda s: s.player.play_set("guided", s.requests(s.count_of("guided"), **GUIDED))),
    "real_solos": (
        "held-out solos",
        lambda s: real_clips(s.store, s.pianist, s.split, s.count_of("solos"), s.size.solo_beats),
    ),
    "solos": ("the model's solos", _solos),
    "shuffled_solos": ("held-out solos, bars shuffled", lambda s: s["real_solos"].shuffled()),
    "loop_solos": ("loop bot: their first two bars", lambda s: s["real_solos"].changed(lambda clip, _: looped(clip))),
    "copy_bot": ("copy bot: training, faster", _copy_bot),
}
TITLES = {name: title for name, (title, _) in SETS.items()}

"""What is compared: clips of a model, of real pianists, of baselines; each made when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.apps.evaluate.clips import ClipSet, Missing, clips_of_others, real_clips
from lib.apps.evaluate.corruption import bars_shuffled
from lib.apps.evaluate.markov import MarkovBaseline
from lib.apps.evaluate.obedience import TEMPO, chart_of
from lib.apps.evaluate.playing import Player, ask
from lib.apps.evaluate.reference_classifier import load_judge
from lib.checkpoints.load import is_finished
from lib.checkpoints.run_dependencies import require, resolve_dependency
from lib.config import GUIDED_CANDIDATES, RELEASED, ConfigError
from lib.data.corpora import open_corpus
from lib.data.note_store import CorpusError
from lib.generation.generate import load_improviser
from lib.generation.reconstruct import codec_round_trip
from lib.music.chart import Chart
from lib.music.piano_roll import CHUNK_FRAMES, CHUNK_S
from lib.style.gallery import load_classifier

FEWEST_NOTES = 2  # of a chart's clip: fewer say nothing about density
LEAST_DENSITY, MOST_DENSITY = 0.1, 40.0  # that can be asked for
CHARTS = ("Cmaj7 | Dm7 G7 | Em7 A7 | Dm7 G7", "Cm7 | F7 | Bbmaj7 | Ebmaj7", "F7 | Bb7 | F7 | C7", "Am7b5 D7 | Gm7 | C7 | Fmaj7")


@dataclass(frozen=True)
class Size:
    """How much is made and cut.

    Attributes
    ----------
    clips : of each set, 10.24 s each
    told, guided : clips that are told a real clip's chords; those of them where rules choose, too
    each : clips in the style of each of twelve pianists
    solos, solo_s : longer solos, for form, and how long they are
    """

    clips: int = 64
    told: int = 32
    guided: int = 8
    each: int = 16
    solos: int = 16
    solo_s: float = 64.0


QUICK = Size(clips=16, told=8, guided=2, each=4, solos=4, solo_s=48.0)


def load_base(run, improviser):
    """The model before it was adapted to a pianist: of a finished folder that holds it, or of the run that it began with.

    What was adapted to nobody is its own base.

    Raises
    ------
    Missing : it is not there any more
    """
    if improviser.pianist is None:
        return improviser
    run = Path(run)
    if is_finished(run) and (run / "diffusion.safetensors").exists():
        return load_improviser(run, base=True, device="cpu")
    tuned = run.parent / "fine_tune" if is_finished(run) else run  # a finished folder lies beside the run it is from
    try:
        return load_improviser(resolve_dependency(require(tuned, "fine_tune"), "diffusion"), device="cpu")
    except (ConfigError, FileNotFoundError) as error:
        raise Missing(f"The base model that {run} was adapted from was not found ({error}). Name it: --base RUN") from None


class Material:
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

    def __init__(self, run, data_dir, folder=None, size=QUICK, split="validation", base=None, pianist=None, corpus=None):
        self.run, self.data_dir, self.size, self.split = Path(run or RELEASED), Path(data_dir), size, split
        self.clips_folder = None if folder is None else Path(folder) / "clips"
        self.tuned = load_improviser(self.run, device="cpu")
        self.player, self.given_base = Player(self.tuned, self.clips_folder), base
        self.pianist, self.corpus = pianist or self.tuned.pianist, corpus
        self.classifier, self.gallery = load_classifier(RELEASED)

    @cached_property
    def base(self):
        """Player of the model before it was adapted."""
        base = load_improviser(self.given_base, device="cpu") if self.given_base else load_base(self.run, self.tuned)
        return Player(base, self.clips_folder)

    @cached_property
    def judge(self):
        """The judge; Missing where it does not know the pianist."""
        judge = load_judge()
        if self.pianist not in judge.names:
            raise Missing(f"The released judge does not know {self.pianist or 'anybody in particular'}: it knows thirty pianists.")
        return judge

    @cached_property
    def store(self):
        """NoteStore with the pianist; Missing, with the way to it, where there is none."""
        names = (self.corpus,) if self.corpus else self.tuned.configs["dit"].corpora
        reasons = []
        for name in names:
            try:
                store = open_corpus(name, self.data_dir)
            except CorpusError as error:
                reasons.append(str(error))
                continue
            if self.pianist is None or self.pianist in store.pianists:
                return store
            reasons.append(f"{name} has no recording of {self.pianist}.")
        raise Missing(" ".join(reasons))

    # --- Real ones -----------------------------------------------------------------------------

    @cached_property
    def real(self):
        """Held-out clips of the pianist."""
        return real_clips(self.store, self.pianist, self.split, self.size.clips)

    @cached_property
    def training(self):
        """Clips of his training recordings: real against real is what can be reached."""
        return real_clips(self.store, self.pianist, "train", self.size.clips, name="real, training")

    @cached_property
    def others(self):
        """Held-out clips of other pianists."""
        return clips_of_others(self.store, self.pianist, self.split, self.size.clips)

    @cached_property
    def training_pieces(self):
        """dict piece index -> Notes of the pianist's training recordings; Missing where it is nobody's in particular."""
        if self.pianist is None:
            raise Missing("The model was adapted to nobody, so that nobody's training recordings are compared. Name one: --pianist")
        return {i: self.store.piece_notes(i) for i in self.store.select(pianist=self.pianist, split="train", duets=False)}

    @cached_property
    def real_solos(self):
        """Held-out passages of a minute or so."""
        self._need("solos")
        return real_clips(self.store, self.pianist, self.split, self.size.solos, self.size.solo_s)

    @cached_property
    def shuffled_solos(self):
        """Their bars, dealt out anew: no form is left."""
        return bars_shuffled(self.real_solos)

    # --- The model's ---------------------------------------------------------------------------

    @cached_property
    def generated(self):
        """Nothing asked but the pianist's style: over changes of its own."""
        return ClipSet.of_generated("generated", self.player.play(ask([{"own_changes": True}] * self.size.clips), "generated"))

    def _need(self, name):
        if not getattr(self.size, name):
            raise Missing(f"None were asked for: --{name} 0.")

    def without_changes(self, count):
        """So many clips of the model where it hears of no chords at all."""
        return ClipSet.of_generated("no changes", self.player.play(ask([{}] * count), "no changes"))

    @cached_property
    def solos(self):
        """Longer solos over changes of its own."""
        self._need("solos")
        wishes = [{"own_changes": True, "seconds": self.size.solo_s}] * self.size.solos
        return ClipSet.of_generated("generated", self.player.play(ask(wishes), "solos"), self.size.solo_s)

    @cached_property
    def charts(self):
        """[(Chart, density)] to ask for: those of real clips, or four plain ones where there are none."""
        try:
            return [(chart_of(notes), density_of(notes)) for notes in self.real.clips if len(notes) >= FEWEST_NOTES]
        except Missing:
            return [(Chart.parse(text), 6.0) for text in CHARTS] * -(-self.size.told // len(CHARTS))

    @cached_property
    def told(self):
        """Told the chords of real clips."""
        self._need("told")
        wishes = [{"chart": chart, "tempo_bpm": TEMPO} for chart, _ in self.charts[: self.size.told]]
        return ClipSet.of_generated("told", self.player.play(ask(wishes), "told"))

    @property
    def guided_orders(self):
        """Orders: told the same chords and density, and candidates compete by both rules."""
        self._need("guided")
        plain = {"tempo_bpm": TEMPO, "num_candidates": GUIDED_CANDIDATES}
        return ask([{"chart": chart, "density": density, **plain} for chart, density in self.charts[: self.size.guided]])

    @cached_property
    def guided(self):
        """Guided by the density and chords of real clips."""
        return ClipSet.of_generated("guided", self.player.play(self.guided_orders, "guided"))

    # --- Baselines -----------------------------------------------------------------------------

    @cached_property
    def base_clips(self):
        """Of the base model, no style asked."""
        return ClipSet.of_generated("base model", self.base.play(ask([{"own_changes": True}] * self.size.clips), "base model"))

    @cached_property
    def markov(self):
        """Of an order-5 Markov model of the training recordings."""
        if not self.training_pieces:
            raise Missing(f"{self.store.path.parent.name} has no training recording of {self.pianist}.")
        model = MarkovBaseline(list(self.training_pieces.values()))
        return ClipSet.of_generated("Markov, order 5", [model.play(CHUNK_S, seed) for seed in range(self.size.clips)])

    @cached_property
    def codec(self):
        """The held-out clips through the codec and back: what the model could say at best."""
        return self.real.changed("codec", lambda notes, _: codec_round_trip(self.tuned.vqvae, notes, CHUNK_FRAMES))

    @cached_property
    def shuffled(self):
        """The held-out clips' bars, dealt out anew."""
        return bars_shuffled(self.real)


def density_of(notes):
    """Notes a second that can be asked for."""
    return float(np.clip(len(notes) / CHUNK_S, LEAST_DENSITY, MOST_DENSITY))

"""Clips: music with its beats, cut on the bars of its own tempo map; and who plays some: a model, whose clips are kept
as MIDI files, and a Markov model as the baseline."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lib.checkpoints.load import Improviser
from lib.config import build
from lib.data.note_store import NoteStore
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.bulk import SoloStore, facts_of
from lib.generation.generate import generate_many
from lib.generation.request import GenerateRequest, Order
from lib.music.chart import Bar, Chart
from lib.music.chord_recognition import recognise_chords
from lib.music.chords import Chord
from lib.music.notes import Notes
from lib.music.piano_roll import (
    LATENT_STRIDE,
    LATENTS_PER_BEAT,
    LOWEST_PITCH,
    NUM_PITCHES,
    WINDOW,
    PianoRoll,
    notes_to_piano_roll,
    sounding_roll,
)
from lib.music.tempo_map import (
    FASTEST_FELT,
    SLOWEST_FELT,
    BeatNotes,
    TempoMap,
    clock_frames,
    in_beats,
    in_seconds,
    window_starts,
)
from lib.progress import progress_bar

CLIP_BEATS = WINDOW // LATENTS_PER_BEAT  # 32: eight bars of 4/4, as much as a model sees at once
USUAL_BAR = 4  # beats, where the bars are not known
LEAST_IN_TIME = 0.9  # of a passage whose beats are known
DENSITIES = (0.1, 40.0)  # that a request may have
BATCH = 8  # clips that share a batch: each is the same as alone
FEWEST_SEEN = 2  # times that a state must have been seen
GAPS = np.array([0, 1, 3, 4, 6, 8, 9, 12, 16, 18, 24, 36, 48, 96]) / 24  # beats
DURATIONS = np.array([1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 60, 120]) / 24  # beats


@dataclass(frozen=True)
class Clip:
    """Music with its beats."""

    notes: Notes
    tempo_map: TempoMap  # of the notes, its position 0 at 0 s
    beats: int  # how long it is, in felt beats

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.tempo_map.to_seconds(self.beats))

    @property
    def felt_bpm(self) -> float:
        """Felt beats a minute, the mean."""
        return 60 * self.beats / self.seconds

    @cached_property
    def in_beats(self) -> BeatNotes:
        """Its notes in beats."""
        return in_beats(self.notes, self.tempo_map)

    @cached_property
    def clock(self) -> np.ndarray:
        """Of its latent frames, see tempo_map.clock_frames."""
        return clock_frames(self.tempo_map, self.beats * LATENTS_PER_BEAT)

    @property
    def beats_per_bar(self) -> int:
        """Of most of its bars."""
        return usual_bar(self.clock)

    @property
    def piano_roll(self) -> PianoRoll:
        """PianoRoll (B = 1) of its beats."""
        return notes_to_piano_roll(self.in_beats, self.beats * LATENTS_PER_BEAT * LATENT_STRIDE)

    @classmethod
    def of_piece(cls, notes: Notes, tempo_map: TempoMap) -> Clip:
        """A whole performance."""
        return cls(notes, from_zero(tempo_map, 0), max(1, tempo_map.num_beats - 1))

    @classmethod
    def of_request(cls, request: GenerateRequest, notes: Notes) -> Clip:
        """A solo of a request's tempo, metre and length."""
        timing, bar = request.timing, request.blank_chart()
        beats = round(request.quarters(bar) * timing.beats_per_quarter)
        return cls(notes, timing.tempo_map(bar, beats * LATENTS_PER_BEAT), beats)

    def with_notes(self, notes: Notes) -> Clip:
        """The same beats under other notes."""
        return replace(self, notes=notes)

    def chords(self) -> np.ndarray:
        """int8 (beats, 3): the most frequent chord frame (lib.music.chart) of each beat; of a tie the earlier."""
        clock = torch.from_numpy(self.clock.astype(np.int64))[None]
        frames = recognise_chords(sounding_roll(self.piano_roll), clock)[0].view(self.beats, -1, 3).tolist()
        rows = [[tuple(frame) for frame in row] for row in frames]
        return np.array([max(dict.fromkeys(row), key=row.count) for row in rows], np.int8)

    def chart(self) -> Chart:
        """Its own chords: a quarter is a beat."""
        bar = self.beats_per_bar
        chords = [None if frame[0] < 0 else Chord.of(*frame) for frame in self.chords().tolist()]
        chords += [chords[-1]] * (-len(chords) % bar)
        return Chart(tuple(Bar.of(chords[first : first + bar], (bar, 4)) for first in range(0, len(chords), bar)))

    def prompt(self, beats: int = CLIP_BEATS) -> dict:
        """Fields of a GenerateRequest like it: its chords, tempo (a quarter is a felt beat), metre and density, whole
        bars of `beats` beats at most."""
        bar = self.beats_per_bar
        return {
            "chords": self.chart().text((bar, 4)),
            "tempo_bpm": float(np.clip(self.felt_bpm, SLOWEST_FELT, FASTEST_FELT)),
            "metre": f"{bar}/4",
            "bars": beats // bar,
            "density": float(np.clip(len(self.notes) / self.seconds, *DENSITIES)),
        }


@dataclass(frozen=True)
class ClipSet:
    """N clips that are measured together."""

    clips: list[Clip]
    groups: tuple[str, ...]  # the recording that each is from
    pieces: tuple[int, ...] = ()  # of real clips, in the note store

    @property
    def notes(self) -> list[Notes]:
        """Of each clip."""
        return [clip.notes for clip in self.clips]

    @classmethod
    def of_generated(cls, name: str, clips: Sequence[Clip]) -> ClipSet:
        """Clips that have nothing to do with each other."""
        return cls(list(clips), tuple(f"{name} {number}" for number in range(len(clips))))

    @classmethod
    def cut(cls, store: NoteStore, passages: Iterable[tuple[int, int, int]]) -> ClipSet:
        """Passages of a store's pieces: (index of the piece, first beat, beats) each."""
        maps, clips, pieces = open_tempo_maps(store), [], []
        for piece, first, beats in passages:
            start_s, end_s = maps[piece].to_seconds([first, first + beats])
            notes = store.piece_notes(piece).between(start_s, end_s)
            clips.append(Clip(notes, from_zero(maps[piece], first), beats))
            pieces.append(piece)
        return cls(clips, tuple(store.pieces[piece].member for piece in pieces), tuple(pieces))

    def changed(self, change: Callable[[Clip, int], Notes]) -> ClipSet:
        """The clips, the notes of each changed by callable(Clip, seed) -> Notes."""
        return replace(self, clips=[clip.with_notes(change(clip, seed)) for seed, clip in enumerate(self.clips)])

    def shuffled(self, seed: int = 0) -> ClipSet:
        """The control that must score badly: stretches of a bar of all clips in random order, in the beats of the clip
        where each comes to lie; each is real, none leads on."""
        counts = [clip.beats // USUAL_BAR for clip in self.clips]
        bars = [(number, bar * USUAL_BAR) for number, count in enumerate(counts) for bar in range(count)]
        shuffled = [clip.notes.between(0, 0) for clip in self.clips]
        for (number, first), drawn in zip(bars, np.random.default_rng(seed).permutation(len(bars))):
            (source, start), clip = bars[drawn], self.clips[number]
            stretch = self.clips[source].in_beats.between(start, start + USUAL_BAR)
            at_s = float(clip.tempo_map.to_seconds(first))
            bar = in_seconds(stretch, from_zero(clip.tempo_map, first)).until(clip.seconds - at_s)
            shuffled[number] = shuffled[number].followed_by(bar, at_s)
        return ClipSet.of_generated("shuffled", [clip.with_notes(notes) for clip, notes in zip(self.clips, shuffled)])


def from_zero(tempo_map: TempoMap, first: int) -> TempoMap:
    """A map from one of its beats on, which comes at 0 s."""
    part = tempo_map.from_beat(first)
    return TempoMap(part.beats_s - part.beats_s[0], part.bars)


def usual_bar(clock: np.ndarray) -> int:
    """Beats of most bars of a clock (N, 3); USUAL_BAR where none is known, or they have no whole number of beats."""
    lengths = clock[clock[:, 2] > 0, 2]
    beats, rest = divmod(int(np.bincount(lengths).argmax()) if len(lengths) else 0, LATENTS_PER_BEAT)
    return USUAL_BAR if rest or not beats else beats


def passages(tempo_map: TempoMap, beats: int = CLIP_BEATS) -> list[tuple[int, int]]:
    """(first beat, beats) of passages in time, one after another: whole bars of `beats` beats at most.

    They begin on bar lines, where bars are not known on beats.
    """
    clock = clock_frames(tempo_map, (tempo_map.num_beats - 1) * LATENTS_PER_BEAT)
    in_time, free, length = [], 0, beats * LATENTS_PER_BEAT
    for start in map(int, window_starts(clock, length)):
        part = clock[start : start + length]
        is_whole = start >= free and part[0, 0] == start % LATENTS_PER_BEAT == 0 and len(part) == length
        if is_whole and (part[:, 0] < LATENTS_PER_BEAT).mean() >= LEAST_IN_TIME:
            bars = beats // usual_bar(part) * usual_bar(part)
            in_time.append((start // LATENTS_PER_BEAT, bars))
            free = start + bars * LATENTS_PER_BEAT
    return in_time


def make_orders(requests: Iterable[dict]) -> list[Order]:
    """An Order for the fields of each request, seeds 1, 2, ..."""
    return [Order(build(GenerateRequest, {"seed": number, **fields})) for number, fields in enumerate(requests, 1)]


class ClipPlayer:
    """A model that plays requests, and keeps what it has played in a folder (None: nowhere): a second evaluation
    continues the first."""

    def __init__(self, improviser: Improviser, folder: Path | str | None = None):
        self.improviser, self.store = improviser, None if folder is None else SoloStore(Path(folder))
        self.fingerprint = improviser.fingerprint()

    def play_set(self, name: str, requests: Iterable[dict]) -> ClipSet:
        """The ClipSet of requests, given by their fields."""
        return ClipSet.of_generated(name, self.play(make_orders(requests), name))

    def play(self, orders: Sequence[Order], name: str) -> list[Clip]:
        """A Clip an order; `name` stands on the progress bar and in the file names."""
        names = [self._name_of(order.request, name) for order in orders]
        played = [self._read(each) for each in names]
        missing = [index for index, notes in enumerate(played) if notes is None]
        with progress_bar(total=len(orders), desc=name, unit="clip", initial=len(orders) - len(missing)) as bar:
            for first in range(0, len(missing), BATCH):
                batch = missing[first : first + BATCH]
                solos = generate_many(self.improviser, [orders[index] for index in batch])
                for index, solo in zip(batch, solos, strict=True):
                    played[index] = solo.new_notes
                    if self.store:
                        self.store.write(names[index], solo.midi(), facts_of(solo))
                        played[index] = self._read(names[index])  # as the file holds them
                bar.update(len(batch))
        return [Clip.of_request(order.request, notes) for order, notes in zip(orders, played, strict=True)]

    def _name_of(self, request, name):
        """What a clip is called, or is to be: its digest stands at the end, whatever set it was first played for."""
        if self.store is None:
            return None
        values = json.dumps([self.fingerprint, asdict(request)], sort_keys=True)
        digest = hashlib.sha256(values.encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        path = next(self.store.folder.glob(f"*-{digest}.mid"), None)
        return f"{slug}-{request.seed:04d}-{digest}" if path is None else path.stem

    def _read(self, name):
        """Notes of a clip that was played before, or None; a damaged one counts as none."""
        facts = self.store.facts(name) if self.store else None
        return None if facts is None else self.store.notes(name).between(facts["begins_s"], facts["ends_s"])


class MarkovBaseline:
    """A Markov model over (interval, duration, onset gap), in beats, with the pianist's own touch and pedal.

    A state is the last symbols, `order` at most. The longest state that was seen at least FEWEST_SEEN times decides
    (Katz's back-off, without discounts).
    """

    def __init__(self, performances: Sequence[BeatNotes], order: int = 5):
        self.order, self.followers = order, defaultdict(list)  # state -> (interval, duration, gap, velocity) after it
        self.starts, self.pedals = [], [notes.pedal for notes in performances]
        for notes in performances:
            duration = _nearest((notes.release - notes.onset)[1:], DURATIONS)
            columns = np.diff(notes.pitch.astype(int)), duration, _nearest(np.diff(notes.onset), GAPS)
            symbols = list(zip(*(column.tolist() for column in columns), strict=True))
            for index, symbol in enumerate(symbols):
                for length in range(min(order, index) + 1):
                    follower = (*symbol, int(notes.velocity[index + 1]))
                    self.followers[tuple(symbols[index - length : index])].append(follower)
            self.starts.append((int(notes.pitch[0]), symbols[:order]))

    def play(self, beats: float, seed: int) -> BeatNotes:
        """Notes of so many beats; the pedal is a stretch of a real performance's."""
        generator = np.random.default_rng(seed)
        pitch, symbols = self.starts[generator.integers(len(self.starts))]
        symbols, beat, rows = list(symbols), 0.0, []
        while beat < beats:
            interval, duration, gap, velocity = self._next(symbols, pitch, generator)
            pitch, beat = pitch + interval, beat + float(GAPS[gap])
            rows.append((beat, beat + float(DURATIONS[duration]), pitch, velocity))
            symbols.append((interval, duration, gap))
        columns = np.array([row for row in rows if row[0] < beats]).reshape(-1, 4).T
        return BeatNotes(*columns, self._pedal(beats, generator))

    def _next(self, symbols, pitch, generator):
        lowest, highest = LOWEST_PITCH - pitch, LOWEST_PITCH + NUM_PITCHES - 1 - pitch
        for length in range(min(self.order, len(symbols)), -1, -1):
            followers = self.followers.get(tuple(symbols[len(symbols) - length :]), [])
            followers = [follower for follower in followers if lowest <= follower[0] <= highest]
            if len(followers) >= (FEWEST_SEEN if length else 1):
                return followers[generator.integers(len(followers))]
        raise ValueError("no performance was counted")

    def _pedal(self, beats, generator):
        pedal = self.pedals[generator.integers(len(self.pedals))]
        if not len(pedal):
            return pedal
        start = generator.uniform(0, max(0.1, pedal[-1, 1] - beats))
        cut = np.clip(pedal, start, start + beats) - start
        return cut[cut[:, 1] > cut[:, 0]]


def _nearest(values, grid):
    """The index in a grid of each value."""
    return np.abs(values[:, None] - grid).argmin(1)

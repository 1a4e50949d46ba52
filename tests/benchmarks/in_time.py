"""Whether solos are in time: in the tempo, feel and metre that were asked for, beside real passages.

    python tests/benchmarks/in_time.py --data-dir data [--quick] [--run RUN] [--style NAME] [--steps N] [--tempos 96,120]

Plain solos of the released weights (or of RUN), default settings, no rules, nothing moved after decoding: 64 clips of
eight bars (--quick 16) at each of five tempos, in 4/4 and 3/4, straight and swing. Phase lock R is that of all onsets of
a cell's clips, pooled: |mean exp(2 pi i h x)|, x in felt beats of the asked tempo, h = 2 eighths, 3 triplets, 4
sixteenths, 5 fifths (a control: nothing there). Real: the same pianist's passages of eight bars, felt tempo within 15 %,
the same feel, through the codec, by their own maps; a cell counts where real R is at least FEWEST_R.

`eighths_over_real`, `triplets_over_real`, `sixteenths_over_real`: medians over the cells that count, `plain_r` the better
of triplets and sixteenths, the lowest cell. `metre_heard_over_real`: how often the tracker's bars are those asked for.
Bars of less than three felt beats may be heard as twice as long. `chord_on_time_over_real`: share of changes with a bass
or a chord within 60 ms, over chance (half a beat off) and real (changes as recognised).
`tempo_error`: median over 60-s solos of |log| of the period, within 5 %, at which R is highest. `spread_over_real`:
standard deviation of onsets from the nearest twelfth of a beat. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from lib.config import RELEASED  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.data.tempo_maps import open_tempo_maps  # noqa: E402
from lib.generation.generate import generate_many, load_improviser  # noqa: E402
from lib.generation.reconstruct import codec_round_trip  # noqa: E402
from lib.generation.request import GenerateRequest, Order  # noqa: E402
from lib.models.beat_tracker import load_track  # noqa: E402
from lib.models.conditions import feel  # noqa: E402
from lib.music.chord_recognition import recognise_chords  # noqa: E402
from lib.music.metrics import PARTS_OF_BEAT, phase_lock, spread_of_twelfths  # noqa: E402
from lib.music.piano_roll import LATENT_STRIDE, notes_to_piano_roll, sounding_roll  # noqa: E402
from lib.music.tempo_map import IN_BARS, clock_frames, in_beats, tempo_frames  # noqa: E402
from lib.progress import progress_bar  # noqa: E402

TEMPOS, METRES, FEELS = (72, 96, 120, 160, 210), ("4/4", "3/4"), ("straight", "swing")
FEWEST_R = 0.2  # of real passages: below, a cell says nothing
CHART = "Dm7 | G7 | Cmaj7 | A7"
BARS, BATCH, LONG_S, LONG_SOLOS = 8, 16, 60.0, 8
PASSAGE_BEATS, NEAR_TEMPO, SWUNG, STRAIGHT = 32, 0.15, 0.2, -0.4  # of real passages
ON_TIME_S, TOGETHER_S, BASS_BELOW = 0.06, 0.03, 60
FEWEST_BEATS = 3  # of a bar, as the tracker looks for them


def figures(positions):
    """R of each harmonic and the spread, of the pooled positions of several clips."""
    pooled = np.concatenate([np.zeros(0), *positions])
    locks = {name: phase_lock(pooled, parts) for name, parts in PARTS_OF_BEAT.items()}
    return {**locks, "spread": spread_of_twelfths(pooled), "onsets": len(pooled)}


def real_passages(data_dir, pianist, vqvae):
    """[(felt bpm, feel, positions in beats, notes, map, changes_s)] of the pianist's passages in known bars, decoded."""
    store = open_corpus("pijama", data_dir)
    maps, passages = open_tempo_maps(store), []
    for index in progress_bar(store.select(pianist=pianist), desc="real", unit="piece"):
        notes, tempo_map = store.piece_notes(index), maps[index]
        length = int(tempo_map.num_beats * 6)
        clock, bpm = clock_frames(tempo_map, length), tempo_frames(tempo_map, length)
        beats = in_beats(notes, tempo_map)
        for first in np.flatnonzero((clock[:, 1] == 0) & (np.arange(length) % 24 == 0))[::8]:
            part = slice(first, first + 6 * PASSAGE_BEATS)
            if part.stop > length or (clock[part, 2] == 0).mean() > 0.1:
                continue
            window = beats.between(first / 6, part.stop / 6)
            roll = notes_to_piano_roll(window, 6 * PASSAGE_BEATS * LATENT_STRIDE)
            onsets = roll.onset.sum(1).unflatten(-1, (-1, LATENT_STRIDE))
            lies = float(feel(onsets, torch.from_numpy(clock[None, part, 0].astype(np.int64)))[0, 0])
            start_s, end_s = tempo_map.to_seconds([first / 6, part.stop / 6])
            excerpt = notes.between(start_s, end_s)
            if len(excerpt) < 16 or np.isnan(lies):
                continue
            own = tempo_map.from_beat(int(first // 6))
            shifted = type(own)(own.beats_s - start_s, own.bars)
            decoded = codec_round_trip(vqvae, excerpt, shifted)
            kind = "swing" if lies > SWUNG else "straight" if lies < STRAIGHT else ""
            chords = recognise_chords(sounding_roll(roll), torch.from_numpy(clock[None, part].astype(np.int64)))[0].numpy()
            changes = 1 + np.flatnonzero((chords[1:] != chords[:-1]).any(1) & (chords[1:, 0] >= 0))
            row = (float(np.nanmedian(bpm[part])), kind, shifted.to_beats(decoded.onset_s), decoded, shifted)
            passages.append((*row, shifted.to_seconds(changes / 6)))
    return passages


def bars_heard(track, notes, beats):
    """Whether most bars that the tracker is sure of have so many beats; None where it is sure of none."""
    bars = track(notes, None).bars
    known = bars["beats"][bars["kind"] == IN_BARS]
    while beats < FEWEST_BEATS:
        beats *= 2
    return None if not len(known) else bool((np.abs(known - beats) < 0.1).mean() > 0.5)


def changes_on_time(notes, changes_s):
    """Share of changes with a bass or a chord that begins within ON_TIME_S."""
    bass_s = notes.onset_s[notes.pitch < BASS_BELOW]
    third = notes.onset_s[2:] - notes.onset_s[:-2]
    chord_s = notes.onset_s[:-2][third <= TOGETHER_S] if len(notes) > 2 else np.zeros(0)
    near = [
        any(len(times) and np.abs(times - time_s).min() <= ON_TIME_S for times in (bass_s, chord_s))
        for time_s in changes_s
    ]
    return float(np.mean(near)) if near else np.nan


def share_on_time(rows):
    """(share, chance) over clips of (notes, change times, seconds a beat)."""
    rows = list(rows)
    own = np.nanmean([changes_on_time(notes, np.asarray(times)) for notes, times, _ in rows])
    chance = np.nanmean([changes_on_time(notes, np.asarray(times) + beat_s / 2) for notes, times, beat_s in rows])
    return float(own), float(chance)


def tempo_error(solo):
    """|log| of the period within 5 % of the asked one at which R of triplets or sixteenths is highest."""
    beats, ratios = solo.notes.onset_s * solo.request.timing.felt_bpm / 60, np.exp(np.linspace(-0.05, 0.05, 401))
    locks = [max(phase_lock(beats * ratio, parts) for parts in (3, 4)) for ratio in ratios]
    return abs(float(np.log(ratios[int(np.argmax(locks))])))


def solos_of(improviser, words, requests):
    """Solos, a batch after the other."""
    for first in range(0, len(requests), BATCH):
        yield from generate_many(improviser, [Order(request) for request in requests[first : first + BATCH]])


def main():
    """Measure, print cells as they come, and JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--style", default="Brad Mehldau")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--clips", type=int)
    parser.add_argument("--steps", type=int, default=GenerateRequest().num_steps)
    parser.add_argument("--tempos", default=",".join(map(str, TEMPOS)))
    words = parser.parse_args()
    count = words.clips or (16 if words.quick else 64)
    improviser = load_improviser(words.run, released=words.run is None)
    real = real_passages(words.data_dir, words.style, improviser.vqvae)
    track, cells, on_time, heard, asked_heard = load_track(RELEASED / "beat_tracker.safetensors", True), [], [], [], []
    common = {"chords": CHART, "style": words.style, "num_steps": words.steps}
    for tempo in map(int, words.tempos.split(",")):
        for metre in METRES:
            for kind in FEELS:
                asked = {"tempo_bpm": tempo, "metre": metre, "feel": kind, "bars": BARS}
                requests = [GenerateRequest(**common, **asked, seed=seed) for seed in range(1, count + 1)]
                solos = list(solos_of(improviser, words, requests))
                felt = requests[0].timing.felt_bpm
                own = figures([solo.notes.onset_s * felt / 60 for solo in solos])
                alike = [row for row in real if row[1] == kind and abs(np.log(row[0] / felt)) < NEAR_TEMPO]
                other = figures([row[2] for row in alike])
                cells.append({"tempo": tempo, "metre": metre, "feel": kind, "own": own, "real": other})
                on_time += [(solo.notes, [t for t, _ in solo.chords], 60 / felt) for solo in solos]
                beats = float(solos[0].tempo_map.bars["beats"][0])
                asked_heard += [bars_heard(track, solo.notes, beats) for solo in solos]
                shown = {name: f"{own[name]:.2f} / {other[name]:.2f}" for name in (*PARTS_OF_BEAT, "spread")}
                print(tempo, metre, kind, len(alike), "real passages;", shown, flush=True)
    real_changes = []
    for bpm, _, _, notes, tempo_map, changes_s in real:
        known = tempo_map.bars["beats"][tempo_map.bars["kind"] == IN_BARS]
        heard.append(bars_heard(track, notes, float(np.median(known))))
        real_changes.append((notes, changes_s, 60 / bpm))
    result = summary(cells, on_time, real_changes, asked_heard, heard)
    long = [
        GenerateRequest(**common, tempo_bpm=tempo, seconds=LONG_S, seed=seed, feel=FEELS[seed % 2])
        for tempo in (96, 120, 160)
        for seed in range(1, 1 + (2 if words.quick else LONG_SOLOS))
    ]
    result["tempo_error"] = float(np.median([tempo_error(solo) for solo in solos_of(improviser, words, long)]))
    print(json.dumps({"benchmark": "in_time", "style": words.style, "clips_a_cell": count, **result, "cells": cells}))


def summary(cells, on_time, real_on_time, asked_heard, heard):
    """The figures over all cells."""
    result = {}
    for name in PARTS_OF_BEAT:
        ratios = [cell["own"][name] / cell["real"][name] for cell in cells if cell["real"][name] >= FEWEST_R]
        result[f"{name}_over_real"] = float(np.median(ratios)) if ratios else None
        result[f"{name}_over_real_range"] = [float(min(ratios)), float(max(ratios))] if ratios else None
    result["plain_r"] = min(max(cell["own"]["triplets"], cell["own"]["sixteenths"]) for cell in cells)
    result["fifths"] = float(np.median([cell["own"]["fifths"] for cell in cells]))
    spreads = [cell["own"]["spread"] / cell["real"]["spread"] for cell in cells if cell["real"]["onsets"]]
    result["spread_over_real"] = float(np.median(spreads)) if spreads else None
    (share, chance), (real, real_chance) = share_on_time(on_time), share_on_time(real_on_time)
    result |= {"chord_on_time": share, "chord_on_time_chance": chance, "chord_on_time_real": real}
    result["chord_on_time_over_real"] = (share - chance) / (real - real_chance)
    shares = [np.mean([bool(x) for x in rows if x is not None] or [0.0]) for rows in (asked_heard, heard)]
    result |= {"metre_heard": float(shares[0]), "metre_heard_real": float(shares[1])}
    result["metre_heard_over_real"] = float(shares[0] / shares[1]) if shares[1] else None
    return result


if __name__ == "__main__":
    main()

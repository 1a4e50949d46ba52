"""How well beats and bars are found: against annotations where there are some, on notes left out where there are none.

    python tests/benchmarks/beats.py --data-dir data [--asap asap.zip] [--tracker FILE] [--quick]

(n)ASAP's test pieces (held out by folder): `f` of the beats at the level that the annotators chose, `f_best_level` of
the felt beats (75 to 170 a minute) at their best metrical level (same, double, triple, half, third), `downbeat_f` of the
bars at the annotators' level, all with a tempo that follows the player; tolerance 70 ms, the first 5 s left out
(mir_eval), two performances a piece.
PiJAMA, 70 recordings that nothing was learnt or chosen on, their first three minutes: a fifth of the onset groups is
left out, beats and bars are found without them. `held_lock_*`: phase lock R of what was left out, the better of
triplets and sixteenths, median over recordings; beside it with the gaps between onsets shuffled. Of bars that are
written down: `bass_on_one`, share of first beats with a left-out bass note on them, over that of the recording's other
beats; `chord_changes_on_one`, the same for beats whose left-out notes below middle C share next to no pitch class
(cosine below 0.2) with what is played there in the two beats before, a third of a beat early counting as on it. Beside
them the same with what is heard at a recording's beats shuffled. `files_s`: recordings tracked a
second of one core. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import mir_eval  # noqa: E402
from asap import read_asap  # noqa: E402

from lib.data.note_store import NoteStore  # noqa: E402
from lib.models.beat_tracker import BeatTracker, predict_activations  # noqa: E402
from lib.music.bar_lines import MAX_LENGTH, beat_positions, chroma_by_beat  # noqa: E402
from lib.music.beat_tracking import OnsetGroups, group_index, group_onsets, phase_lock  # noqa: E402
from lib.music.notes import Notes, select  # noqa: E402
from lib.music.tempo_map import BEATS_ONLY, IN_BARS  # noqa: E402

BENCHMARK_PIECES = {"Mehldau": 25, "Hyman": 10, "others": 35}  # nothing is learnt or chosen on these
SELECTION_SEED, MIN_PIECE_S = 5, 90.0

ASAP = ROOT.parent / "shared" / "data" / "asap.zip"
EXCERPT_S, ASAP_S = 180.0, 240.0
HELD_SHARE = 0.2
ON_BEAT = 0.14  # beats
BASS_BELOW = 55
CHORDS_BELOW, EARLY, BEATS_BEFORE = 60, 0.3, 2  # MIDI pitch of the left hand's notes; beats early; beats compared with
NEW_HARMONY = 0.8  # change of harmony from which on chords have next to nothing in common
PERFORMANCES_A_PIECE, QUICK_PIECES, QUICK_ASAP = 2, {"Mehldau": 8, "Hyman": 4, "others": 8}, 20
TIMED_PIECES = {"maestro": 4, "pijama": 9}  # as the corpora are large


def benchmark_pieces(pieces) -> list[tuple[int, str]]:
    """(index, who) of PiJAMA's pieces that are measured here: 25 of Mehldau, 10 of Hyman, 35 of others."""
    rng = np.random.default_rng(SELECTION_SEED)
    solos = [i for i, piece in enumerate(pieces) if not piece.duet and piece.seconds > MIN_PIECE_S]
    names, chosen = {"Brad Mehldau": "Mehldau", "Dick Hyman": "Hyman"}, []
    for who, count in BENCHMARK_PIECES.items():
        of_player = [i for i in solos if names.get(pieces[i].pianist, "others") == who]
        chosen += [(int(i), who) for i in rng.permutation(of_player)[:count]]
    return chosen


def groups_of(notes: Notes) -> OnsetGroups:
    return group_onsets(notes.onset_s, notes.pitch, notes.velocity)


def felt_beats(tracker: BeatTracker, notes: Notes, steady: bool = True) -> np.ndarray:
    """Felt beats of a performance, seconds."""
    return tracker.find_beats(groups_of(notes), predict_activations(tracker.network, notes), steady).beats_s


def excerpt(store: NoteStore, index: int, length_s: float) -> Notes:
    """Notes of the first seconds of a piece."""
    notes = store.piece_notes(int(index))
    return select(notes, notes.onset_s < notes.onset_s[0] + length_s)


def f_measure(annotated_s, found_s) -> float:
    """Beat F1, 70 ms, without the first 5 s."""
    annotated_s, found_s = mir_eval.beat.trim_beats(annotated_s), mir_eval.beat.trim_beats(np.asarray(found_s))
    return float(mir_eval.beat.f_measure(annotated_s, found_s)) if len(annotated_s) and len(found_s) else 0.0


def levels_of(beats_s):
    """The beats at the metrical levels that count as the same."""
    between = np.diff(beats_s)
    yield beats_s
    yield np.sort(np.r_[beats_s, beats_s[:-1] + between / 2])
    yield np.sort(np.r_[beats_s, beats_s[:-1] + between / 3, beats_s[:-1] + 2 * between / 3])
    for step in (2, 3):
        yield from (beats_s[phase::step] for phase in range(step))


def annotated_figures(tracker: BeatTracker, archive: Path, quick: bool) -> dict[str, float]:
    """F of beats and downbeats on (n)ASAP's test pieces."""
    pieces: dict[str, list] = {}
    for performance in read_asap(archive, splits=("test",)):
        pieces.setdefault(performance.folder, []).append(performance)
    rng, rows = np.random.default_rng(0), []
    chosen = [pieces[f][i] for f in sorted(pieces) for i in rng.permutation(len(pieces[f]))[:PERFORMANCES_A_PIECE]]
    if quick:
        chosen = [chosen[i] for i in rng.permutation(len(chosen))[:QUICK_ASAP]]
    for performance in chosen:
        notes = select(performance.notes, performance.notes.onset_s < ASAP_S)
        beats_s, downbeats_s = (x[x < ASAP_S] for x in (performance.beats_s, performance.downbeats_s))
        found_s, found_downbeats_s = tracker.find_written_bars(notes)
        felt_s = felt_beats(tracker, notes, steady=False)
        best = max(f_measure(beats_s, level) for level in levels_of(felt_s))
        rows.append((f_measure(beats_s, found_s), best, f_measure(downbeats_s, found_downbeats_s)))
    mean = np.mean(rows, 0)
    return {"f": mean[0], "f_best_level": mean[1], "downbeat_f": mean[2], "asap_performances": len(rows)}


def shuffle_gaps(notes: Notes, rng) -> Notes:
    """The same onset groups with the gaps between them in another order: nothing keeps time."""
    group = group_index(notes.onset_s)
    time_s = np.bincount(group, notes.onset_s) / np.bincount(group)
    moved = np.r_[time_s[0], time_s[0] + np.cumsum(rng.permutation(np.diff(time_s)))] - time_s
    return Notes(notes.onset_s + moved[group], notes.duration_s, notes.pitch, notes.velocity)


def beat_flags(notes: Notes, held, beats_s) -> tuple[np.ndarray, np.ndarray]:
    """At each beat: whether a left-out bass note begins on it, and whether its left-out harmony is new (NaN: unheard)."""
    num_beats, position, pitch = len(beats_s), beat_positions(notes.onset_s, beats_s), notes.pitch.astype(np.int64)
    beat = np.rint(position).astype(np.int64)
    on_beat = held & (np.abs(position - beat) < ON_BEAT) & (beat >= 0) & (beat < num_beats)
    bass = np.zeros(num_beats)
    bass[beat[on_beat & (pitch < BASS_BELOW)]] = 1
    period = np.diff(beats_s, append=2 * beats_s[-1] - beats_s[-2])
    length = np.clip(notes.duration_s / period[np.clip(beat, 0, num_beats - 1)], 0.05, MAX_LENGTH)
    low = pitch < CHORDS_BELOW
    here, played = (chroma_by_beat(position[of], length[of], pitch[of], num_beats, EARLY) for of in (low & held, low))
    total = np.concatenate([np.zeros((1, 12)), np.cumsum(played, 0)])
    index = np.arange(num_beats)
    before = total[index] - total[np.maximum(index - BEATS_BEFORE, 0)]
    size = np.linalg.norm(here, axis=1) * np.linalg.norm(before, axis=1)
    change = 1 - (here * before).sum(1) / np.maximum(size, 1e-9)
    return bass, np.where(size > 1e-9, change > NEW_HARMONY, np.nan)


def jazz_figures(tracker: BeatTracker, store: NoteStore, quick: bool) -> dict[str, float]:
    """Lock, bars and coverage from notes left out."""
    locks: dict[str, list] = {who: [] for who in (*BENCHMARK_PIECES, "shuffled")}
    counts, shuffled_counts, in_time, in_bars, beats = np.zeros(4), np.zeros(4), 0.0, 0.0, 0.0
    taken = dict.fromkeys(BENCHMARK_PIECES, 0)
    for index, who in benchmark_pieces(store.pieces):
        if quick and taken[who] >= QUICK_PIECES[who]:
            continue
        taken[who] += 1
        rng, notes = np.random.default_rng(index), excerpt(store, index, EXCERPT_S)
        group = group_index(notes.onset_s)
        held = (rng.random(group[-1] + 1) < HELD_SHARE)[group]
        for kind, played in ((who, notes), ("shuffled", shuffle_gaps(notes, rng))):
            beats_s = felt_beats(tracker, select(played, ~held))
            locks[kind].append(phase_lock(groups_of(select(played, held)).time_s, beats_s).max())
        tempo_map = tracker.track(select(notes, ~held))
        beat_in_bar = beats_in_bars(tempo_map)
        flags = beat_flags(notes, held, tempo_map.beats_s[:-1])
        counts += on_one(beat_in_bar, *flags)
        order = np.arange(len(beat_in_bar))
        order[beat_in_bar >= 0] = rng.permutation(order[beat_in_bar >= 0])
        shuffled_counts += on_one(beat_in_bar, *(flag[order] for flag in flags))
        in_time += tempo_map.seconds_of(BEATS_ONLY, IN_BARS) / (tempo_map.beats_s[-1] - tempo_map.beats_s[0])
        in_bars, beats = in_bars + (beat_in_bar >= 0).sum(), beats + len(beat_in_bar)
    figures = {f"held_lock_{who.lower()}": float(np.median(values)) for who, values in locks.items()}
    for name, table in (("", counts), ("_shuffled", shuffled_counts)):
        figures[f"bass_on_one{name}"], figures[f"chord_changes_on_one{name}"] = table[0] / table[1], table[2] / table[3]
    return figures | {"in_time": in_time / sum(taken.values()), "in_bars": in_bars / beats}


def beats_in_bars(tempo_map) -> np.ndarray:
    """Place in its bar of each beat of the map but the last, -1 where the bar is unknown."""
    beat_in_bar = np.full(tempo_map.num_beats - 1, -1)
    for bar in tempo_map.bars[tempo_map.bars["kind"] == IN_BARS]:
        first = int(bar["start"])
        beat_in_bar[first : first + int(bar["beats"])] = np.arange(int(bar["beats"]))
    return beat_in_bar


def on_one(beat_in_bar, bass, change) -> np.ndarray:
    """(bass notes on one, expected from the recording's other beats, new harmonies on one, expected), summed in the end."""
    row = []
    for flag in (bass, change):
        known = np.isfinite(flag)
        one, other = flag[(beat_in_bar == 0) & known], flag[(beat_in_bar > 0) & known]
        row += [one.sum(), len(one) * other.mean()] if len(one) and len(other) else [0.0, 0.0]
    return np.array(row)


def speed(tracker: BeatTracker, data_dir: Path) -> float:
    """Recordings a second of one core's time, pieces of both corpora at random."""
    rng, pieces = np.random.default_rng(0), []
    for corpus, count in TIMED_PIECES.items():
        store = NoteStore.open(data_dir / corpus / "notes.store")
        chosen = rng.permutation(len(store.pieces))[:count]
        pieces += [(store.piece_notes(int(i)), corpus == "pijama") for i in chosen]
    started = time.process_time()
    for notes, steady in pieces:
        tracker.track(notes, steady)
    return len(pieces) / (time.process_time() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--asap", type=Path, default=ASAP, help="asap.zip of (n)ASAP")
    parser.add_argument("--tracker", type=Path, default=ROOT / "data" / "released" / "beat_tracker.safetensors")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tracker, figures = BeatTracker.load(arguments.tracker), {}
    figures |= annotated_figures(tracker, arguments.asap, arguments.quick)
    figures |= jazz_figures(tracker, NoteStore.open(arguments.data_dir / "pijama" / "notes.store"), arguments.quick)
    figures["files_s"] = speed(tracker, arguments.data_dir)
    print(json.dumps({name: round(float(value), 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

"""Does the answer depend on the time grid? Who is playing, on validation recordings and half minutes, on grids of all kinds.

    python tests/benchmarks/style_grids.py --data-dir data [--run RUN --benchmark album_0] [--whole] [--split validation]

Without --run the released style encoder. Half minutes are drawn by seed (200 of validation): accuracy on each grid, the share
with the same first name on all grids and, where there is a gallery, with the same "none of the players". Recordings (200 at most)
are transcribed again by simulation: the share whose two versions get the same first name. --whole: accuracy of whole recordings
on each of three grids as well. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

from style_corpus import CLIP_S, Corpus  # noqa: E402

from lib.config import RELEASED  # noqa: E402
from lib.data.note_store import resolution_ms  # noqa: E402
from lib.keyed_random import keyed_generator  # noqa: E402
from lib.music import note_augmentation as augmentation  # noqa: E402
from lib.music.notes import Notes  # noqa: E402
from lib.music.time_grid import put_on_grid  # noqa: E402
from lib.style.classifier import StyleClassifier, TooShort, from_first_onset  # noqa: E402
from lib.style.gallery import GALLERY, load_classifier  # noqa: E402
from lib.style.verification import Features  # noqa: E402


def frames(a_beat, bpm):
    """Seconds between frames of a beat."""
    return 60 / bpm / a_beat


GRIDS_S = {"none": 0.0, "1 ms": 0.001, "5 ms": 0.005, "10 ms": 0.01, "20 ms": 0.02, "480 a quarter at 120": frames(480, 120),
           "96 a quarter at 90": frames(96, 90), "24 a beat at 120": frames(24, 120), "24 a beat at 75": frames(24, 75),
           "12 a beat at 120": frames(12, 120), "12 a beat at 75": frames(12, 75)}  # fmt: skip
WHOLE = ("none", "10 ms", "24 a beat at 120")
MOST = 200


def half_minutes(corpus, recordings, count, seed=0):
    """[(recording, Notes)]: recordings in turn, each time elsewhere, until there are so many."""
    generator, found = np.random.default_rng(seed), []
    order = generator.permutation(recordings)
    while len(found) < count:
        for i in order:
            notes = corpus.notes[int(i)]
            start_s = generator.uniform(0, max(0.0, notes.end_s - CLIP_S))
            try:
                found.append((int(i), from_first_onset(notes.between(start_s, start_s + CLIP_S))))
            except TooShort:
                continue
    return found[:count]


def named(classifier, notes):
    """(name's index, Prediction)."""
    prediction = classifier.predict(notes)
    return int(prediction.log_probability.argmax()), prediction


def on_grids(classifier, gallery, corpus, clips):
    """Figures of half minutes; `gallery` may be None."""
    who = np.array([classifier.names.index(corpus.pieces[i].pianist) for i, _ in clips])
    names, nobody = {}, {}
    for grid, step_s in GRIDS_S.items():
        versions = [put_on_grid(notes, step_s) for _, notes in clips]
        found = [named(classifier, notes) for notes in versions]
        names[grid] = np.array([name for name, _ in found])
        if gallery is not None:
            vectors = gallery.verifier.vectors(Features.of([prediction for _, prediction in found], versions))
            nobody[grid] = np.array([gallery.probability_of_known(v, classifier.names, CLIP_S) < 0.5 for v in vectors])
    figures = {"accuracy_by_grid": {grid: round(float((own == who).mean()), 4) for grid, own in names.items()},
               "same_name_as_without": {grid: round(float((own == names["none"]).mean()), 4) for grid, own in names.items()},
               "same_name_on_all_grids": same_on_all(list(names.values())),
               "same_name_on_grids_to_34_ms": same_on_all([names[g] for g, s in GRIDS_S.items() if s < 0.034])}  # fmt: skip
    if gallery is not None:
        figures["same_none_on_all_grids"] = same_on_all(list(nobody.values()))
        figures["none_by_grid"] = {grid: round(float(own.mean()), 4) for grid, own in nobody.items()}
    return figures


def same_on_all(rows):
    """Share of columns with one value alone."""
    rows = np.stack(rows)
    return round(float((rows == rows[0]).all(0).mean()), 4)


def transcribe_again(notes: Notes, generator: np.random.Generator, strength: float = 1.0) -> Notes:
    """What another transcriber would have made of the recording: moderate slips of every kind, at a strength of 1.

    The onsets of two transcribers of one recording differ by some 10 ms, releases by 50 ms and more, velocities by 5 to
    8; a few of a hundred notes are missing in either (Hawthorne et al. 2019; Kong et al. 2021: F1 of 0.95 to 0.97).
    """
    notes = augmentation.drop_notes(notes, generator, 0.03 * strength)
    notes = augmentation.double_notes(notes, generator, 0.01 * strength)
    notes = augmentation.add_octave_errors(notes, generator, 0.003 * strength)
    notes = augmentation.jitter(notes, generator, 0.008 * strength)
    notes = augmentation.scale_durations(notes, generator, 0.1 * strength, 0.2 * strength, 0.02 * strength)
    notes = augmentation.bend_velocities(notes, float(np.exp(generator.uniform(-0.2, 0.2) * strength)))
    notes = augmentation.add_velocity_noise(notes, generator, 5 * strength)
    return augmentation.move_pedal_edges(notes, generator, 0.05 * strength, 0.1 * strength)


def second_transcription(classifier, corpus, recordings):
    """Share of recordings whose simulated second transcription gets the same first name."""
    same = []
    for index, i in enumerate(recordings):
        notes = corpus.notes[i]
        other = transcribe_again(notes, keyed_generator(0, "second transcription", index=index))
        same.append(named(classifier, notes)[0] == named(classifier, other)[0])
    return round(float(np.mean(same)), 4)


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--benchmark", default="album_0")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--clips", type=int, default=MOST)
    parser.add_argument("--whole", action="store_true")
    words = parser.parse_args()
    corpus, folder = Corpus(words.data_dir), words.run or RELEASED
    has_gallery = (folder / GALLERY).exists()
    classifier, gallery = load_classifier(folder) if has_gallery else (StyleClassifier.of_run(folder), None)
    recordings = corpus.part(words.benchmark, words.split)
    figures = on_grids(classifier, gallery, corpus, half_minutes(corpus, recordings, words.clips))
    figures["time_resolution_ms"] = resolution_ms(corpus.store)
    if words.whole:
        who = corpus.who(recordings)
        for grid in WHOLE:
            step_s = GRIDS_S[grid]
            names = [classifier.names[named(classifier, put_on_grid(corpus.notes[i], step_s))[0]] for i in recordings]
            figures[f"accuracy_recording, {grid}"] = round(float((np.array(names) == who).mean()), 4)
            print(grid, figures[f"accuracy_recording, {grid}"], flush=True)
        figures["same_name_second_transcription"] = second_transcription(classifier, corpus, recordings[:MOST])
    print(json.dumps({"benchmark": "style_grids", "run": str(words.run or "released"), "split": words.split, **figures}))


if __name__ == "__main__":
    main()

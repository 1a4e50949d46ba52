"""Who is playing: the style encoder against note statistics and n-grams, by album, and on players it never heard.

    python tests/benchmarks/style.py --data-dir data --runs-dir runs/style [--quick] [--steps N] [--split test|validation]

Trains what is not there yet (preset laptop, our own resumable loop) into RUNS/album_0, album_1, album_2 and song, each on
that split of PiJAMA's 30 pianists; `--quick`: album_0 alone, with the released weights. The baselines are fitted in the
same run, on the same recordings: note statistics with a logistic regression, and TF-IDF of n-grams of intervals, rhythms
and chords with a linear SVM, each with the best strength of regularisation on validation. Unseen players are those of PiJAMA's
other 90 who have two albums or more. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

from strangers import Strangers, encoder_alone, players_outside  # noqa: E402
from style_baselines import NGramBaseline, StatisticsBaseline  # noqa: E402
from style_corpus import CLIP_S, Corpus  # noqa: E402
from style_grids import MOST, half_minutes, on_grids  # noqa: E402

from lib.apps.evaluate.reference_classifier import load_reference_classifier  # noqa: E402
from lib.apps.evaluate.transfer import TWELVE  # noqa: E402
from lib.checkpoints.history import read_events  # noqa: E402
from lib.config import RELEASED, preset  # noqa: E402
from lib.data.note_store import resolution_ms  # noqa: E402
from lib.keyed_random import keyed_generator  # noqa: E402
from lib.style.classifier import StyleClassifier, TooShort, from_first_onset  # noqa: E402
from lib.style.gallery import CLIP_S as GALLERY_CLIP_S  # noqa: E402
from lib.style.gallery import load_classifier  # noqa: E402
from lib.style.verification import Features  # noqa: E402
from lib.training.loop import train  # noqa: E402

MEHLDAU = "Brad Mehldau"
SPLITS = ("album_0", "album_1", "album_2")


def trained_ear(words, name):
    """(StyleClassifier, seconds it was trained for): the released one, or that of RUNS/NAME, trained first where it is not done."""
    if words.quick:
        return load_classifier(words.released)[0], 0.0
    config = preset("style_encoder", "laptop", benchmark=name, steps=words.steps, mixed_precision=words.mixed_precision,
                    validate_every=250, save_every=250, tracker="none")  # fmt: skip
    result = train(config, words.data_dir, words.runs_dir, run=name)
    if not result.finished:
        raise SystemExit(result.message)
    times = defaultdict(list)
    for event in read_events(words.runs_dir / name):
        times[event["runtime"]].append(event["time"])
    return StyleClassifier.of_run(words.runs_dir / name), sum(max(own) - min(own) for own in times.values())


def predict(classifier, corpus, recordings, change=lambda notes: notes):
    """log-probabilities (N, P) and styles (N, S) of recordings."""
    heard = [classifier.predict(change(corpus.notes[i])) for i in recordings]
    return np.stack([h.log_probability for h in heard]), np.stack([h.style for h in heard])


def clips(corpus, recordings):
    """(recording, Notes) of each 30 s of each."""
    for i in recordings:
        notes = corpus.notes[i]
        for start_s in np.arange(0, max(CLIP_S, notes.end_s - CLIP_S / 2), CLIP_S):
            clip = notes.between(start_s, start_s + CLIP_S)
            try:
                yield i, from_first_onset(clip)
            except TooShort:
                continue


def share_right(names, log_probability, who):
    """Accuracy."""
    return float((np.array(names)[log_probability.argmax(1)] == who).mean())


def calibration_error(probability, names, who, bins=10):
    """Expected calibration error: |confidence - accuracy| over equally wide bins, by their share (Guo et al. 2017)."""
    confidence, right = probability.max(1), np.array(names)[probability.argmax(1)] == who
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    parts = [place == b for b in range(bins)]
    return float(sum(part.mean() * abs(confidence[part].mean() - right[part].mean()) for part in parts if part.any()))


def flat_velocity(notes):
    """Every note as loud."""
    return dataclasses.replace(notes, velocity=np.full_like(notes.velocity, 64))


def no_pedal(notes):
    """Without the pedal."""
    return dataclasses.replace(notes, pedal_s=np.zeros((0, 2)))


def unseen(classifier, corpus, gallery=None):
    """Figures of players that the classifier never heard: by the verifier, by the encoder's part of it, by the style alone.

    With a gallery by its verifier, and by whom it takes for nobody that the classifier knows; else by one fitted on split 0.
    """
    several, single = players_outside(corpus)
    strangers = Strangers(classifier, corpus, several, single, corpus.part("album_0", "train"))
    vectors = gallery.verifier.vectors(strangers.features) if gallery else strangers.fitted()
    return {
        **strangers.figures(vectors),
        **strangers.figures(strangers.fitted(encoder_alone), "_encoder_alone"),
        **strangers.figures(strangers.styles, "_style"),
        **(unknown_players(classifier, corpus, gallery, several) if gallery else {}),
        "unseen_players": len(several),
        "gallery": len(several) + len(single),
    }


def unknown_players(classifier, corpus, gallery, several):
    """Shares of unseen players' recordings, and of clips of each length, that are taken for nobody it knows."""
    recordings = [i for i in corpus.notes if corpus.pieces[i].pianist in several]
    return {f"unseen_taken_for_nobody{mark}": 1 - share for mark, share in shares_known(classifier, corpus, gallery, recordings)}


def shares_known(classifier, corpus, gallery, recordings):
    """(mark, share that is taken for somebody whom the classifier knows) of whole recordings, and of a clip of each."""
    for seconds in (None, *GALLERY_CLIP_S):
        heard = []
        for i in recordings:
            notes, generator = corpus.notes[i], keyed_generator(0, f"clip of {seconds} s", index=i)
            start_s = generator.uniform(0, max(0.0, notes.end_s - seconds)) if seconds else 0.0
            try:
                heard.append(from_first_onset(notes.between(start_s, start_s + seconds) if seconds else notes))
            except TooShort:
                continue
        vectors = gallery.verifier.vectors(Features.of([classifier.predict(notes) for notes in heard], heard))
        pairs = zip(vectors, heard, strict=True)
        known = [gallery.probability_of_known(vector, classifier.names, notes.end_s) > 0.5 for vector, notes in pairs]
        yield f"_{seconds:g}s" if seconds else "", float(np.mean(known))


def one_split(words, corpus, name):
    """Figures of one album split, its baselines', and its test recordings taken for Mehldau."""
    classifier, seconds = trained_ear(words, name)
    held, train_part, validation = (corpus.part(name, split) for split in (words.split, "train", "validation"))
    if words.split != "validation":  # it would be measured on what it was set on
        classifier = classifier.calibrated(*predict(classifier, corpus, validation)[:1], corpus.who(validation))
    who, (log_probability, _) = corpus.who(held), predict(classifier, corpus, held)
    figures = {**namings(classifier, corpus, held, log_probability), "train_seconds": seconds}
    for key, change in (("accuracy_flat_velocity", flat_velocity), ("accuracy_no_pedal", no_pedal)):
        figures[key] = share_right(classifier.names, predict(classifier, corpus, held, change)[0], who)
    scores = [log_probability - log_probability.mean(1, keepdims=True)]
    scores[0] /= scores[0].std(1, keepdims=True)
    for baseline in (StatisticsBaseline(), NGramBaseline()):
        baseline.fit(corpus, train_part, validation)
        assert list(baseline.names) == list(classifier.names)
        found = baseline.scores(corpus, held)
        figures[f"baseline_{baseline.name}"] = share_right(classifier.names, found, who)
        scores.append((found - found.mean(1, keepdims=True)) / found.std(1, keepdims=True))
    figures["accuracy_with_baselines"] = share_right(classifier.names, sum(scores), who)
    return classifier, figures, taken_for_mehldau(classifier.names, log_probability, who)


def namings(classifier, corpus, held, log_probability):
    """Accuracies by recording and by clip, and the calibration error."""
    who = corpus.who(held)
    heard = [(corpus.pieces[i].pianist, classifier.predict(clip).log_probability) for i, clip in clips(corpus, held)]
    return {
        "accuracy_recording": share_right(classifier.names, log_probability, who),
        "accuracy_clip_30s": share_right(classifier.names, np.stack([p for _, p in heard]), np.array([w for w, _ in heard])),
        "ece": calibration_error(np.exp(log_probability), classifier.names, who),
    }


def taken_for_mehldau(names, log_probability, who):
    """Counts: Mehldau's recordings named rightly, his recordings, all that were taken for his."""
    taken = np.array(names)[log_probability.argmax(1)]
    return np.array([(taken[who == MEHLDAU] == MEHLDAU).sum(), (who == MEHLDAU).sum(), (taken == MEHLDAU).sum()])


def among_twelve(names, log_probability, who):
    """Accuracy over the twelve pianists' recordings, by the likeliest of the twelve."""
    columns, rows = [names.index(name) for name in TWELVE], np.isin(who, TWELVE)
    return share_right(TWELVE, log_probability[rows][:, columns], who[rows])


def judge_figures(corpus, split):
    """The released judge's own figures, on album_split_0, which it was trained on."""
    judge, held = load_reference_classifier(), corpus.part("album_0", split)
    log_probability, who = predict(judge, corpus, held)[0], corpus.who(held)
    right, own, taken = taken_for_mehldau(judge.names, log_probability, who)
    parameters = sum(weight.numel() for weight in judge.style_encoder.parameters())
    found = {**namings(judge, corpus, held, log_probability), "accuracy_pijama12": among_twelve(judge.names, log_probability, who),
             "mehldau_recall": right / own, "mehldau_precision": right / max(1, taken), "parameters": parameters}  # fmt: skip
    return {f"judge_{key}": float(value) for key, value in found.items()}


def main():
    """Print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-dir", type=Path, default=ROOT / "runs" / "style")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--mixed-precision", default="auto")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of the release, for --quick")
    words = parser.parse_args()
    corpus, rows, counts, first = Corpus(words.data_dir), [], np.zeros(3, int), None
    by_grid, same_names = {}, []
    for name in SPLITS[:1] if words.quick else SPLITS:
        classifier, figures, own = one_split(words, corpus, name)
        rows.append(figures)
        counts += own
        first = first or classifier
        gallery = load_classifier(words.released)[1] if words.quick else None
        clips = half_minutes(corpus, corpus.part(name, "validation"), MOST)
        grids = on_grids(classifier, gallery, corpus, clips)
        same_names.append(grids["same_name_on_all_grids"])
        for grid, accuracy in grids["accuracy_by_grid"].items():
            by_grid.setdefault(grid, []).append(accuracy)
        print(name, json.dumps(grids), flush=True)
        print(name, json.dumps({key: round(value, 4) for key, value in figures.items()}), flush=True)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    mean["accuracy_recording_spread"] = float(np.std([row["accuracy_recording"] for row in rows]))
    mean["baseline_best"] = max(mean["baseline_statistics"], mean["baseline_ngrams"])
    mean["mehldau_recall"], mean["mehldau_precision"] = float(counts[0] / counts[1]), float(counts[0] / max(1, counts[2]))
    mean["mehldau_recordings"] = int(counts[1])
    by_grid = {grid: round(float(np.mean(found)), 4) for grid, found in by_grid.items()}
    mean["accuracy_by_grid_range"] = max(by_grid.values()) - min(by_grid.values())
    mean["same_name_on_all_grids"] = float(np.mean(same_names))
    mean |= {"same_none_on_all_grids": grids["same_none_on_all_grids"]} if words.quick else {}
    if words.split == "test":  # there is no other split of the unseen
        mean |= unseen(first, corpus, gallery)
        if gallery:
            known = shares_known(first, corpus, gallery, corpus.part("album_0", words.split))
            mean |= {f"known_taken_for_known{mark}": share for mark, share in known}
    if not words.quick:
        classifier, _ = trained_ear(words, "song")
        held = corpus.part("song", words.split)
        log_probability, who = predict(classifier, corpus, held)[0], corpus.who(held)
        mean["accuracy_song_split"] = share_right(classifier.names, log_probability, who)
        mean["accuracy_pijama12_song_split"] = among_twelve(classifier.names, log_probability, who)
    mean["parameters"] = sum(weight.numel() for weight in first.style_encoder.parameters())
    mean["time_resolution_ms"] = resolution_ms(corpus.store)
    mean |= judge_figures(corpus, words.split)
    print(json.dumps({"benchmark": "style", "split": words.split, "steps": words.steps, "quick": words.quick,
                      **{key: round(value, 4) for key, value in mean.items()}, "accuracy_by_grid": by_grid}))  # fmt: skip


if __name__ == "__main__":
    main()

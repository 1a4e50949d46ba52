"""What each measure is called, what is ideal, and what it can't tell: a paragraph each, for the report."""

from __future__ import annotations

from dataclasses import dataclass

from lib.apps.evaluate.heard import SETS

SET_TITLES = {**SETS, "real_solos": "held-out solos", "solos": "the model's solos",
              "shuffled_solos": "held-out solos, bars shuffled"}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A measure in words.

    Attributes
    ----------
    title : a few words
    ideal : what would be best
    unit : "" for none
    means : what it is
    silent_on : what it can't tell
    """

    title: str
    ideal: str
    unit: str
    means: str
    silent_on: str


LIKENESS = {
    "overlapping_area": Caption(
        "overlapping area", "as real training recordings", "0 to 1",
        "How much the distributions of seven attributes of a clip (pitch range, entropy of pitch classes, notes a second, gaps, "
        "lengths, loudness, polyphony) overlap with those of held-out recordings; their mean (Yang & Lerch 2020).",
        "It sees one attribute at a time and nothing of the order of notes: bars that follow each other by chance can have it. "
        "Few clips make it smaller, so compare only sets of one size."),
    "divergence": Caption(
        "divergence", "as real training recordings", "nats",
        "Kullback-Leibler divergence of the same seven distributions from the held-out ones, their mean: how surprising a clip's "
        "figures are to someone who expects the pianist.",
        "It punishes what the pianist never does and hardly notices what is never done of what he does; it hangs on the width of "
        "the density estimate."),
    "frechet_style": Caption(
        "Fréchet music distance", "as real training recordings", "",
        "Distance of two normal distributions fitted to clips in an embedding (Dowson & Landau 1982; Retkowski et al. 2024 for "
        "music). The embedding is our own: the released style encoder, in its eight widest directions, so that figures can't be "
        "compared with those of others.",
        "The same encoder tells the model which style to play, so it is no stranger to the model. It grows when clips are few, "
        "and two sets may have the same mean and spread and still differ."),
    "nearest_style": Caption(
        "nearest neighbour, style", "0.5", "0 to 1",
        "How often a clip's nearest neighbour, of another recording, is of its own set, in the style embedding (two-sample test; "
        "Lopez-Paz & Oquab 2017). 0.5: nobody can tell them apart; 1: everybody can.",
        "With a few dozen clips it moves by 0.1 by chance. A model that copies real clips would score well."),
    "nearest_attributes": Caption(
        "nearest neighbour, attributes", "0.5", "0 to 1",
        "The same among the seven attributes, each in deviations of the real ones.",
        "Seven numbers are not the music. Below 0.5, clips lie among the others' more than among their own: a model that plays "
        "the average, or copies, does that."),
    "judge": Caption(
        "judge", "as held-out recordings", "0 to 1",
        "The mean probability of the pianist by the judge: a classifier of thirty pianists that has no part in generation.",
        "It hears ten seconds at a time, is wrong about four half minutes of ten, and knows style, not quality: a caricature can "
        "please it more than the pianist does."),
}  # fmt: skip
MEANS = {
    "pitch_range": Caption("pitch range", "as real", "semitones", "Highest less lowest key of a clip.",
                           "One stray note makes it large."),
    "pitch_class_entropy": Caption("pitch-class entropy", "as real", "bits", "How evenly the twelve pitch classes are used.",
                                   "It does not know keys or chords, nor which notes are used when."),
    "note_density": Caption("note density", "as real", "a second", "Notes that begin in a second.", "Nothing of which notes."),
    "inter_onset": Caption("gap between onsets", "as real", "log2 s", "Mean logarithm of the gaps between attacks.",
                           "A mean hides whether it is rhythm or chance."),
    "duration": Caption("note length", "as real", "log2 s", "Mean logarithm of how long keys are down.",
                        "The pedal is left out, and real lengths come from automatic transcription."),
    "velocity": Caption("loudness", "as real", "MIDI", "Mean velocity.",
                        "Velocities of transcriptions depend on microphone and room."),
    "polyphony": Caption("polyphony", "as real", "keys", "Mean number of keys down while any is.", "Not which ones."),
    "sounding_notes": Caption("keys down", "as real", "keys", "Mean number of keys down at any time.",
                              "The pedal is left out."),
    "longest_silence_s": Caption("longest silence", "as real", "s", "The longest time in which nothing sounds.",
                                 "A rest can be the best of a solo."),
    "pedal_share": Caption("pedal", "as real", "share of time", "Share of the time in which the pedal is down.",
                           "Not whether it is changed with the harmony."),
    "swing_ratio": Caption("swing ratio", "as real", "long : short",
                           "Median ratio of neighbouring melody gaps that last about a beat together; 1 straight, 2 triplets.",
                           "Beats are written nowhere, so any uneven pair counts, and the laid-back line against a steady left "
                           "hand is not seen."),
    "hand_independence": Caption("hand independence", "as real", "0 to 1",
                                 "Share of the hands' attacks that the other hand does not strike with.",
                                 "Hands are guessed from pitch; independence by chance and counterpoint look the same."),
    "chord_share": Caption("chords", "as real", "share of attacks", "Share of attacks of three notes or more.",
                           "Not which chords."),
    "muspy_pitch_range": Caption("pitch range (MusPy)", "as real", "semitones", "MusPy's pitch_range (Dong et al. 2020).",
                                 "As ours, which it must equal."),
    "muspy_n_pitches_used": Caption("keys used (MusPy)", "as real", "keys", "MusPy's n_pitches_used.",
                                    "Grows with the number of notes."),
    "muspy_n_pitch_classes_used": Caption("pitch classes used (MusPy)", "as real", "of 12", "MusPy's n_pitch_classes_used.",
                                          "One passing note counts as much as a tonic."),
    "muspy_polyphony": Caption("polyphony (MusPy)", "as real", "keys", "MusPy's polyphony, in steps of 10 ms.",
                               "The pedal is left out."),
    "muspy_polyphony_rate": Caption("polyphony rate (MusPy)", "as real", "share of time",
                                    "MusPy's polyphony_rate: two keys or more.", "A held drone makes it 1."),
    "muspy_pitch_entropy": Caption("pitch entropy (MusPy)", "as real", "bits", "MusPy's pitch_entropy, over 128 keys.",
                                   "Grows with the number of notes."),
    "muspy_pitch_class_entropy": Caption("pitch-class entropy (MusPy)", "as real", "bits", "MusPy's pitch_class_entropy.",
                                         "As ours, which it must equal."),
    "muspy_scale_consistency": Caption("scale consistency (MusPy)", "as real", "0 to 1",
                                       "MusPy's scale_consistency: the largest share of notes within one major or minor scale.",
                                       "Jazz leaves scales on purpose: higher is not better."),
    "muspy_empty_beat_rate": Caption("empty beats (MusPy)", "as real", "share",
                                     "MusPy's empty_beat_rate; a beat is half a second here, for performances have none.",
                                     "As the longest silence."),
}  # fmt: skip
FORM = {
    "repetition": Caption("repetition", "as real", "share of figures",
                          "Share of the melody's figures of four steps, by interval and rhythm, that came before in the solo.",
                          "A figure that is varied counts as new, and a vamp below the melody is not seen."),
    **{f"self_similarity_{bars}": Caption(
        f"self-similarity, {bars} bars", "as real", "cosine",
        f"How much more the solo is like itself {bars} bars later, in harmony and rhythm, than at other distances; 0: no form.",
        "Bars are guessed from one tempo for the whole passage, which rubato defeats; a minute holds one return of a long form.")
       for bars in (4, 8, 16)},
}  # fmt: skip
CODEC = Caption(
    "the codec", "1", "note F1",
    "How many notes of held-out clips come back from the codec: by onset and pitch, by the offset too, by the velocity too "
    "(mir_eval; Raffel et al. 2014). The model can't be clearer than this.",
    "A note that is lost may be one that nobody hears, or the one that matters.")  # fmt: skip
OBEDIENCE = {
    "chord_agreement": Caption("chord agreement", "as the codec alone", "share of half bars",
                               "Share of half bars whose recognised chord has the root and the class of quality that were asked "
                               "for; the chords are those of real held-out clips.",
                               "The recogniser errs, most on the rich chords that jazz lives on; a good substitution counts as "
                               "wrong."),
    "rule_losses": Caption("rule losses", "0", "",
                           "What the rules say of clips without and with them, and by which share they lower it.",
                           "A rule can be met in ways that nobody would play. These losses are what the candidates were chosen "
                           "by: that they fall says that the search works, not that the music is better."),
}  # fmt: skip
TRANSFER = Caption(
    "synthetic transfer", "as learnt from real music", "share named rightly",
    "A classifier (note statistics and a logistic regression) that learns twelve pianists from generated clips alone, tested on "
    "their real held-out recordings; beside it the same one, learnt from as many real clips (after Edwards, Maezawa & Dixon, "
    "ISMIR 2026). Others reach 87 % of windows and 95 % of tracks, from scratch 70 % and 91 %, each with a classifier, clips and "
    "recordings of its own.",
    "It shows that styles are told apart along the same lines as real ones, not that they are played well; loudness and density "
    "alone carry far.")  # fmt: skip
COPYING = Caption(
    "copying", "at most as held-out recordings", "",
    "For each clip the passage of the training recordings that is most like it, in any key, and the longest run of notes they "
    "share; the same of real held-out clips is the yardstick, for players quote themselves.",
    "It finds passages that are the same note by note, not a borrowed idea, and looks only among the recordings of the pianist "
    "that the model was adapted to.")  # fmt: skip
SELFCHECK = Caption(
    "the measures, measured", "worse with each dose", "",
    "Real training clips are made worse on purpose, and each measure must rank them lower than whole ones. The first row, real "
    "against real, is the most that can be reached.",
    "These are three ways of being bad. A measure that fails a column says nothing about that kind of damage.")  # fmt: skip
SECOND_OPINION = Caption(
    "a second opinion", "as real", "",
    "The single-file measures of smg-metrics, computed from the clips' MIDI files; bars are those of 120 a minute.",
    "Most are MusPy's under another name; those that count bars mean little where nobody plays in them.")  # fmt: skip

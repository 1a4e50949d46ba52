"""Name, ideal and limits of each measure: one paragraph each, for the report."""

from __future__ import annotations

from typing import NamedTuple

AS_TRAINING, AS_REAL = "as real training recordings", "as real"


class Description(NamedTuple):
    """A measure in words: its title, its unit ("" for none), what it is, what it can't tell, and what would be best."""

    title: str
    unit: str
    means: str
    silent_on: str
    ideal: str = AS_REAL


def _described(rows: dict[str, tuple]) -> dict[str, Description]:
    return {key: Description(*row) for key, row in rows.items()}


SIMILARITY = _described({
    "overlapping_area": ("overlapping area", "0 to 1",
        "How much the distributions of seven attributes of a clip (pitch range, entropy of pitch classes, notes a "
        "second, gaps, lengths, loudness, polyphony) overlap with those of held-out recordings; their mean (Yang & "
        "Lerch 2020).",
        "It sees one attribute at a time and nothing of the order of notes: random bars can have it. Few clips make "
        "it smaller, so compare only sets of one size.", AS_TRAINING),
    "divergence": ("divergence", "nats",
        "Kullback-Leibler divergence of the same seven distributions from the held-out ones, their mean: how "
        "surprising a clip's figures are to someone who expects the pianist.",
        "It punishes what the pianist never does and hardly notices what is missing of what he does; it depends on "
        "the width of the density estimate.", AS_TRAINING),
    "frechet_style": ("Fréchet music distance", "",
        "Distance of two normal distributions fitted to clips in an embedding (Dowson & Landau 1982; Retkowski et al. "
        "2024 for music). The embedding is our own: the released style encoder, in its eight widest directions, so "
        "that figures can't be compared with those of others.",
        "It is related to the encoder that gives the model its style, so it is no stranger to the model. It grows "
        "when clips are few, and two sets may have the same mean and spread and still differ.", AS_TRAINING),
    "nearest_style": ("nearest neighbour, style", "0 to 1",
        "How often a clip's nearest neighbour, of another recording, is of its own set, in the style embedding "
        "(two-sample test; Lopez-Paz & Oquab 2017). 0.5: nobody can tell them apart; 1: everybody can.",
        "With a few dozen clips chance moves it by 0.1. A model that copies real clips would score well.", "0.5"),
    "nearest_attributes": ("nearest neighbour, attributes", "0 to 1",
        "The same among the seven attributes, each in deviations of the real ones.",
        "Seven numbers are not the music. Below 0.5, clips lie among the others' more than among their own: a model "
        "that plays the average, or copies, does that.", "0.5"),
    "judge": ("judge", "0 to 1",
        "The mean probability of the pianist by the judge, the reference classifier: it knows thirty pianists and has "
        "no part in generation.",
        "It goes by a quarter of a minute at a time, is wrong about four half minutes of ten, and knows style, not "
        "quality: a caricature can please it more than the pianist does.",
        "as held-out recordings, at a steady tempo through the codec"),
})
_MUSPY = {  # title, unit, what it is, what it can't tell
    "pitch_range": ("pitch range", "semitones", " (Dong et al. 2020)", "As ours, which it must equal."),
    "n_pitches_used": ("keys used", "keys", "", "Grows with the number of notes."),
    "n_pitch_classes_used": ("pitch classes used", "of 12", "", "A passing note counts as much as a tonic."),
    "polyphony": ("polyphony", "keys", ", in steps of a 24th of a beat", "The pedal is left out."),
    "polyphony_rate": ("polyphony rate", "share of time", ": two keys or more", "A held drone makes it 1."),
    "pitch_entropy": ("pitch entropy", "bits", ", over 128 keys", "Grows with the number of notes."),
    "pitch_class_entropy": ("pitch-class entropy", "bits", "", "As ours, which it must equal."),
    "scale_consistency": ("scale consistency", "0 to 1", ": the largest share of notes within one major or minor scale",
        "Jazz leaves scales on purpose: higher is not better."),
    "empty_beat_rate": ("empty beats", "share", "", "As the longest silence."),
}
MEANS = _described({
    "pitch_range": ("pitch range", "semitones", "Highest less lowest key of a clip.", "One stray note makes it large."),
    "pitch_class_entropy": ("pitch-class entropy", "bits", "How evenly the twelve pitch classes are used.",
        "It does not know keys or chords, nor which notes are used when."),
    "note_density": ("note density", "a second", "Notes that begin in a second.", "Nothing of which notes."),
    "inter_onset": ("gap between onsets", "log2 s", "Mean logarithm of the gaps between attacks.",
        "A mean does not show whether it is rhythm or chance."),
    "duration": ("note length", "log2 s", "Mean logarithm of how long keys are down.",
        "The pedal is left out, and real lengths come from automatic transcription."),
    "velocity": ("loudness", "MIDI", "Mean velocity.", "Velocities of transcriptions depend on microphone and room."),
    "polyphony": ("polyphony", "keys", "Mean number of keys down while any is.", "Not which ones."),
    "sounding_notes": ("keys down", "keys", "Mean number of keys down at any time.", "The pedal is left out."),
    "longest_silence_s": ("longest silence", "s", "Longest time without sound.", "A rest can be the best of a solo."),
    "pedal_share": ("pedal", "share of time", "Share of the time in which the pedal is down.",
        "Not whether it is changed with the harmony."),
    "swing_ratio": ("swing ratio", "long : short",
        "How the melody's second eighth divides the beat, the median; 1 straight, 2 triplets.",
        "Beats of recordings are found by a tracker, which errs; a laid-back line looks the more swung."),
    "hand_independence": ("hand independence", "0 to 1",
        "Share of the hands' attacks that the other hand does not strike with.",
        "Hands are guessed from pitch; independence by chance and counterpoint look the same."),
    "chord_share": ("chords", "share of attacks", "Share of attacks of three notes or more.", "Not which chords."),
    **{
        f"muspy_{key}": (f"{title} (MusPy)", unit, f"MusPy's {key}{means}.", silent_on)
        for key, (title, unit, means, silent_on) in _MUSPY.items()
    },
})
IN_TIME = _described({
    "grid": ("in time", "0 to 1",
        "Phase lock R of all onsets to the beats: to triplets or to sixteenths, whichever is higher. 1: all lie at "
        "one position of each part of a beat. Generated clips are taken by the beats that were asked for, recordings "
        "by their own map; by the beats of another clip, music is in time by chance alone.",
        "It asks for a steady grid: playing behind the beat lowers it, and a machine's stiffness raises it beyond "
        "what people play. The tracker's errors lower that of recordings.", "as held-out recordings"),
    "eighths": ("eighths", "0 to 1", "R at eighths.", "Triplets lower it."),
    "triplets": ("triplets", "0 to 1", "R at triplets.", "Straight playing lowers it."),
    "sixteenths": ("sixteenths", "0 to 1", "R at sixteenths.", "Swing lowers it."),
    "fifths": ("fifths", "0 to 1", "R at fifths.", "Nobody plays them: a control, low where there are enough onsets."),
})
FORM = _described({
    "repetition": ("repetition", "share of figures",
        "Share of the melody's figures of four steps, by interval and rhythm, that came before in the solo.",
        "A figure that is varied counts as new, and a vamp below the melody is not seen."),
    **{
        f"self_similarity_{bars}": (
            f"self-similarity, {bars} bars", "cosine",
            f"How much more the solo resembles itself {bars} bars later, in harmony and rhythm, than at other "
            "distances; 0: no form.",
            "Bars of recordings are found by a tracker, and a beat too many hides a return; a minute holds one return "
            "of a long form."
        )
        for bars in (4, 8, 16)
    },
    **{
        f"structure_{key}": (
            f"structure index, {bars} bars", "0 to 1",
            f"Fitness of the fittest segment of {bars} bars: how well its repetitions explain the solo (Müller, Jiang "
            "& Grosche 2013; Wu & Yang 2020), by chroma and rhythm of each beat of the tempo map.",
            "More is not better: a loop scores highest, and must lie far above real playing. It hears no return in "
            "another key and finds little in solos that are not several times as long as the range; a chart that "
            "comes round gives some of it to whoever keeps to the chords."
        )
        for key, bars in (("2_8", "2 to 8"), ("8_16", "8 to 16"), ("16", "16 or more"))
    },
    "bar_recurrence": ("bars that recur", "share of bars",
        "Share of the bars that are like an earlier bar, key by key.",
        "It sees literal returns alone, and none that the tracker has moved by a part of a beat. More is not better."),
    "own_likeness": ("similarity to its own past", "0 to 1",
        "How similar 16 beats are to the most similar 16 beats that were over before: the chorus or the vamp that the "
        "model comes back to lies there.",
        "A theme played again on purpose counts as a copy; what comes back in another key does not."),
    "own_beats": ("copied from its own past", "beats",
        "The most beats in a row that are like beats 16 or more before.",
        "As the similarity; of real playing a head that is played twice is most of it."),
})
ADHERENCE = _described({
    "chord_agreement": ("chord agreement", "share of beats",
        "Share of beats whose recognised chord has the root and the class of quality of the chart; the charts are "
        "those of real held-out clips.",
        "The recogniser errs, most on the rich chords that jazz lives on; a good substitution counts as wrong.",
        "as the codec alone"),
    "rule_losses": ("rule losses", "",
        "What the rules say of clips without and with them, and by which share they lower it.",
        "A rule can be met in ways that nobody would play. These losses are what the candidates were chosen by: that "
        "they fall says that the search works, not that the music is better.", "0"),
})
CODEC = Description("the codec", "note F1",
    "How many notes of held-out clips come back from the codec: by onset and pitch, by the offset too, by the "
    "velocity too (mir_eval; Raffel et al. 2014). The model can't be clearer than this.",
    "A lost note may be one that nobody misses, or the one that matters.", "1")
TRANSFER = Description("synthetic transfer", "share named rightly",
    "A classifier (note statistics and a logistic regression) that learns twelve pianists from generated clips alone, "
    "tested on their real held-out recordings; beside it the same one, learnt from as many real clips (after Edwards, "
    "Maezawa & Dixon, ISMIR 2026). Others reach 87 % of windows and 95 % of tracks, from scratch 70 % and 91 %, each "
    "with a classifier, clips and recordings of its own.",
    "It shows that styles differ along the same lines as real ones, not that they are played well; loudness and "
    "density alone carry far.", "as learnt from real music")
MISMATCH = Description("mismatch agreement", "share of clips",
    "The base model is asked for pianist B over the chords, tempo and metre of a training clip of A; whom of the "
    "twelve the judge hears. A's own clips are the control: it must hear A, and B in hardly one.",
    "The judge errs, and pianists differ in how easily it hears them; chance is one in twelve. What B would have made "
    "of A's music nobody knows.", "asked: as much as without mismatch; source: chance")
LIKELIHOOD = Description("nats a note, by pianist", "nats a note",
    "The bound on the negative log-likelihood of held-out clips, with their own pianist as the style, with another, "
    "and of their shuffled bars. The wrong one and shuffled bars must cost more.",
    "It depends on the codec and on how dense the music is, so compare within a row, and rows of two models of one "
    "codec; a likely note need not be a good one.", "less, and least where the name is right")
OUTSIDE = Description("Fréchet distance, outside embedding", "",
    "Distance and nearest neighbours as above, in an embedding that has nothing to do with this project: CLaMP 2, by "
    "the package frechet-music-distance (Retkowski et al. 2024).",
    "It knows scores and MIDI of every kind and may hear a transcription's timing rather than the playing. Eight "
    "directions of it are looked at, those in which real clips vary most.", AS_TRAINING)
COPYING = Description("copying", "",
    "For each clip the 16 beats of the training recordings that are most similar to 16 of its own, in any key and at "
    "any tempo, and the most beats and notes in a row that it shares with one; the same of real held-out clips is the "
    "yardstick, for players quote themselves. The copy bot, training clips at another tempo, must be found.",
    "It finds passages that are the same note by note, not a borrowed idea, and looks only among the recordings of "
    "the pianist that the model was adapted to.", "at most as held-out recordings")
SELFCHECK = Description("the measures, measured", "",
    "Real training clips are made worse on purpose, and each measure must rank them lower than whole ones. The first "
    "row, real against real, is the most that can be reached.",
    "These are three ways of being bad. A measure that fails a column says nothing about that kind of damage.",
    "worse with each dose")
SECOND_OPINION = Description("a second opinion", "",
    "The single-file measures of smg-metrics, computed from the clips' MIDI files, which have their tempo and bars.",
    "Most are MusPy's under another name; those that count bars mean little where nobody plays in them.")

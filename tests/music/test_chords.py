"""Chord symbols, and what a model is told of them."""

import pytest
import torch

from lib.music.chart import CHORD_DIM, chord_features, chord_frames
from lib.music.chords import QUALITIES, QUALITY_NAMES, Chord, ChordError, parse_chord

# semitones above C, and the spellings that mean them
SPELLINGS = {
    "0 4 7": "C CM Cmaj Cma CMaj Cmajor",
    "0 3 7": "Cm Cmin C- Cmi CMin Cminor",
    "0 4 7 10": "C7 Cdom7 Cdom",
    "0 4 7 11": "Cmaj7 CM7 Cma7 CMaj7 Cj7 CΔ C△7 C∆7 C^7 C^ C7M Cmajor7 C(maj7)",
    "0 3 7 10": "Cm7 Cmin7 C-7 Cmi7 Cminor7 CMin7",
    "0 3 6 10": "Cm7b5 Cø Cø7 C-7b5 Cmin7b5 Cm7(b5) Cm7-5 Cmi7♭5 Cm7(♭5) Ch7",
    "0 3 6": "Cdim C° Co Cdiminished Cmb5 C-b5",
    "0 3 6 9": "Cdim7 C°7 Co7 C˚7",
    "0 3 6 11": "CdimM7 C°maj7",
    "0 4 8": "Caug C+ Caugmented",
    "0 4 8 10": "C7#5 C+7 Caug7 C7+5 C7+ C7(#5) C7♯5",
    "0 4 6 10": "C7b5 C7-5 C7(b5)",
    "0 4 8 11": "Cmaj7#5 C+maj7 C+M7 CM7#5 Caugmaj7",
    "0 4 6 7 11": "Cmaj7#11 CΔ#11 CM7(#11) C^7#11",
    "0 4 7 9": "C6 Cmaj6 CM6 Cadd6",
    "0 2 4 7 9": "C69 C6/9 C6(9) CM69 C6add9",
    "0 3 7 9": "Cm6 C-6 Cmin6 Cmi6",
    "0 2 3 7 9": "Cm69 Cm6/9 C-69",
    "0 3 7 11": "Cmmaj7 CmM7 CmMaj7 Cm(maj7) C-Δ7 Cmin/maj7 C-^7 Cm(M7) Cm7M C-maj7",
    "0 2 3 7 11": "Cmmaj9 CmM9",
    "0 5 7": "Csus Csus4",
    "0 2 7": "Csus2",
    "0 5 7 10": "C7sus4 C7sus C7(sus4)",
    "0 2 5 7 10": "C9sus4 C9sus C11",
    "0 2 5 7 9 10": "C13sus C13sus4",
    "0 1 5 7 10": "C7b9sus4 C7susb9 C7sus(b9)",
    "0 2 4 7": "Cadd9 C(add9) Cadd2 C2",
    "0 2 3 7": "Cmadd9 Cm(add9)",
    "0 7": "C5",
    "0 2 4 7 10": "C9 Cdom9",
    "0 2 4 7 9 10": "C13",
    "0 2 4 7 11": "Cmaj9 CM9 CΔ9 Cma9",
    "0 2 4 7 9 11": "Cmaj13 CM13",
    "0 2 4 6 7 11": "Cmaj9#11 CM9(#11)",
    "0 2 3 7 10": "Cm9 C-9 Cmin9",
    "0 2 3 5 7 10": "Cm11 C-11",
    "0 2 3 5 7 9 10": "Cm13",
    "0 3 5 7 10": "Cm7add11 Cm7(add11) Cm7add4",
    "0 1 4 7 10": "C7b9 C7(b9) C7-9 C7♭9",
    "0 3 4 7 10": "C7#9 C7(#9) C7+9",
    "0 4 6 7 10": "C7#11 C7(#11)",
    "0 4 7 8 10": "C7b13 C7(b13)",
    "0 2 4 6 7 10": "C9#11 C9(#11)",
    "0 1 4 7 9 10": "C13b9 C13(b9)",
    "0 1 4 6 7 9 10": "C13(b9,#11)",
    "0 1 3 4 7 10": "C7b9#9 C7(b9,#9)",
    "0 1 3 4 6 8 10": "C7alt Calt C7(alt)",
    "0 4 10": "C7no5 C7omit5",
    "0 7 10": "C7no3",
}
TABLE = [(symbol, intervals) for intervals, symbols in SPELLINGS.items() for symbol in symbols.split()]


def test_the_table_has_150_spellings():
    assert len({symbol for symbol, _ in TABLE}) >= 150


@pytest.mark.parametrize(("symbol", "intervals"), TABLE)
def test_spelling(symbol, intervals):
    chord = parse_chord(symbol)
    assert " ".join(map(str, chord.intervals)) == intervals
    assert (chord.root, chord.bass, chord.symbol) == (0, 0, symbol)


@pytest.mark.parametrize(
    ("symbol", "root", "bass"),
    [("F#m7", 6, 6), ("Bb", 10, 10), ("B♭7", 10, 10), ("C♯m", 1, 1), ("Cb", 11, 11), ("D/F#", 2, 6), ("Am7/G", 9, 7),
     ("Ebmaj7/Bb", 3, 10), ("Bbb", 9, 9), ("C6/9/E", 0, 4)],
)  # fmt: skip
def test_root_and_bass(symbol, root, bass):
    chord = parse_chord(symbol)
    assert (chord.root, chord.bass) == (root, bass)
    assert chord.chroma[root] == chord.chroma[bass] == 1


def test_minor_and_flat_five_are_not_a_flat_root():
    assert parse_chord("Ab5").root == 8  # an A flat power chord, as lead sheets read it
    assert parse_chord("C-7b5").intervals == parse_chord("Cø").intervals


@pytest.mark.parametrize(
    ("symbol", "nearest"),
    [("Cmak7", "Cmaj7"), ("H7", "7"), ("cm7", "Cm7"), ("Dm7b6x", "Dm7"), ("G7sus5", "G7sus4"), ("Fmaj77", "Fmaj7")],
)
def test_unknown_symbol_names_itself_and_the_nearest(symbol, nearest):
    with pytest.raises(ChordError) as error:
        parse_chord(symbol)
    assert repr(symbol) in str(error.value) and nearest in str(error.value)


def test_features_tell_root_quality_bass():
    features = chord_features(chord_frames([parse_chord("Dm9/G"), None]))
    assert features.shape == (2, CHORD_DIM)
    assert features[0, :12].nonzero().flatten().tolist() == [2]
    assert features[0, 12:24].nonzero().flatten().tolist() == [0, 2, 5, 9]
    assert features[0, 24:36].nonzero().flatten().tolist() == [7] and features[0, 36] == 1
    assert torch.equal(features[1], torch.zeros(CHORD_DIM))


def test_every_quality_has_a_symbol_that_means_it():
    for quality, name in enumerate(QUALITY_NAMES):
        for root in range(12):
            chord = Chord.of(root, quality)
            parsed = parse_chord(chord.symbol)
            assert (parsed.root, parsed.intervals, parsed.quality) == (root, QUALITIES[name], name)

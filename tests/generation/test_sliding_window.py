"""What is asked, latent frame by latent frame, which rules follow, and where windows lie."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.config import build
from lib.generation.request import GenerateRequest
from lib.generation.sliding_window import OVERLAP, Conditioning, Passage, _reference, _windows
from lib.models.conditions import TEMPO_RANGE, TYPICAL_TEMPO
from lib.music.chart import CHORD_DIM, Chart
from lib.music.piano_roll import WINDOW
from lib.music.tempo_map import UNKNOWN_CLOCK, window_starts


def conditioning(length=192, before=0, after=0, **fields):
    """Of 32 beats, 16 s, unless said otherwise."""
    request = build(GenerateRequest, {"chords": "Cmaj7 | Dm7", **fields})
    chart = request.parsed_chart()
    if not before + after:
        return Conditioning.of(request, chart, length)
    head, tail = (np.tile(UNKNOWN_CLOCK, (count, 1)) for count in (before, after))
    clock = np.concatenate([head, request.timing.clock(chart, length), tail])
    bpm = np.pad(np.full(length, request.timing.felt_bpm, np.float32), (before, after), constant_values=np.nan)
    return Conditioning.of(request, chart, length, before, clock, bpm)


def names(conditioning):
    return [rule.name for rule in conditioning.rules()]


def conditions_of(conditioning, reference=None, referred=None):
    size = len(conditioning)
    reference = torch.zeros(1, size, 23, dtype=torch.long) if reference is None else reference
    referred = torch.zeros(1, size, dtype=torch.bool) if referred is None else referred
    return conditioning.model_conditions(torch.zeros(1, 3), reference, referred)


def test_a_number_is_steady_and_several_are_an_arc():
    steady, arc = conditioning(density=5), conditioning(density="2,8,2", register=(50, 60))
    assert steady.curves["density"] == pytest.approx(2.5) and steady.curves["register"].shape == (192,), "a beat"
    assert np.isnan(steady.curves["register"]).all() and (np.diff(arc.curves["register"]) > 0).all()
    assert arc.curves["density"][[0, 96, 191]] == pytest.approx([1, 4, 1], abs=0.05)
    assert names(steady) == ["note_density"] and names(arc) == ["density_contour", "register"]


def test_notes_a_second_are_so_at_every_tempo():
    for tempo_bpm, metre, felt in ((60.0, "4/4", 120), (240.0, "4/4", 120), (150.0, "12/8", 100), (90.0, "4/4", 90)):
        asked = conditioning(density=6, tempo_bpm=tempo_bpm, metre=metre)
        assert asked.curves["density"] == pytest.approx(6 * 60 / felt)


def test_nothing_is_asked_before_and_after():
    whole = conditioning(96, before=12, after=24, density=5)
    density = whole.curves["density"]
    assert len(whole) == 132 and whole.start == -12
    assert np.isnan(density[:12]).all() and np.isnan(density[108:]).all() and (density[12:108] == 2.5).all()
    assert whole.chords[:12] == [None] * 12 and whole.chords[12].symbol == "Cmaj7" and whole.chords[-1] is None
    assert (whole.clock[:12] == UNKNOWN_CLOCK).all() and whole.clock[12].tolist() == [0, 0, 24]


def test_a_window_knows_where_it_is():
    whole = conditioning(density="2,8", melody=((1.0, 60), (9.0, 64)), swing=0.6)
    window = whole.between(96, 192)  # from 8 s on
    assert window.start == 96 and len(window) == 96 and window.curves["density"][0] == pytest.approx(2.5, abs=0.05)
    tune = next(rule for rule in window.rules() if rule.name == "melody")
    assert tune.target.shape == (1,)
    assert "melody" not in names(whole.between(20, 96)) and "rhythm_grid" in names(window)
    assert np.array_equal(window.clock, whole.clock[96:]) and window.chords == whole.chords[96:]


def test_chords_are_a_rule_where_there_are_candidates():
    assert "chord_progression" not in names(conditioning())
    assert names(conditioning(num_candidates=4)) == ["chord_progression"]
    assert names(conditioning(num_candidates=4, chords="N.C.")) == []
    asked = conditioning(left_density=2, right_density=5, pitch_classes=(1,) * 12, loudness="40,90")
    assert names(asked) == ["velocity_contour", "left_density", "right_density", "pitch_class_histogram"]


def test_a_chart_may_be_given_instead_of_a_text():
    chart = Chart.parse("Fm7 | Bb7")
    assert Conditioning.of(GenerateRequest(chords="Qxy"), chart, 48).chords[0].symbol == "Fm7"


# --- What the model is told ------------------------------------------------------------------------------------------


def test_the_model_is_conditioned_within_the_music_alone_or_not_at_all():
    short = conditioning(48, after=24, density=5)
    conditions = conditions_of(short)
    assert conditions.chords[0, :48].any(-1).all() and not conditions.chords[0, 48:].any()
    assert conditions.attributes[0, :48, 2].all() and not conditions.attributes[0, 48:].any()
    without = conditions_of(conditioning(48, after=24, density=5, condition_model=False))
    assert without.equals(conditions.dropped(keep_style=True))
    assert torch.equal(without.clock, conditions.clock) and torch.equal(without.tempo, conditions.tempo)


def test_the_next_chord_and_the_beats_until_it_are_told():
    chords = conditions_of(conditioning()).chords[0]
    now, following, nearness = chords[:, :CHORD_DIM], chords[:, CHORD_DIM:-1], chords[:, -1]
    assert torch.equal(following[0], now[24]) and torch.equal(following[24], now[48])
    assert nearness[0] == pytest.approx(np.exp(-4 / 4)) and nearness[23] == pytest.approx(np.exp(-1 / 6 / 4))


def test_a_window_knows_the_chord_that_comes_behind_it():
    whole = conditioning(240)
    window, rest = conditions_of(whole.between(0, 192)), conditions_of(whole)
    assert torch.equal(window.chords, rest.chords[:, :192])


@pytest.mark.parametrize(
    ("tempo_bpm", "metre", "bar", "felt"),
    [(120.0, "4/4", 24, 120), (120.0, "3/4", 18, 120), (150.0, "12/8", 24, 100), (120.0, "7/8", 21, 120),
     (60.0, "4/4", 48, 120), (240.0, "4/4", 12, 120)],
)  # fmt: skip
def test_clock_and_tempo_are_those_of_the_metre_as_it_is_felt(tempo_bpm, metre, bar, felt):
    conditions = conditions_of(conditioning(2 * bar, tempo_bpm=tempo_bpm, metre=metre))
    in_beat, in_bar, length = conditions.clock[0].unbind(-1)
    if bar < 48:
        assert in_bar.tolist() == 2 * list(range(bar)) and set(length.tolist()) == {bar}
    assert in_beat[:12].tolist() == 2 * list(range(6))
    values, given = conditions.tempo[0].unbind(-1)
    assert given.all() and values[0] * TEMPO_RANGE + TYPICAL_TEMPO == pytest.approx(np.log(felt), abs=1e-4)


def test_the_feel_is_told_where_one_is_asked_for():
    straight, swing, free = (conditions_of(conditioning(feel=feel)).feel[0] for feel in ("straight", "swing", "free"))
    assert straight[:, 3].all() and straight[0, 0] < 0 < swing[0, 0] and not free.any()
    assert swing[0, 1] > straight[0, 1], "triplets"


# --- What comes back -------------------------------------------------------------------------------------------------


def passage(conditioning, masked=None):
    """Codes that are their own positions; the mask is true from `masked` on."""
    size = len(conditioning)
    codes = torch.arange(size)[None, :, None].expand(-1, -1, 23).clone()
    return Passage(conditioning, codes, torch.arange(size)[None] >= (size if masked is None else masked))


def test_music_comes_back_from_the_same_place_of_the_chorus_before():
    whole = conditioning(240, recall=1.0)  # a chorus of two bars
    reference, referred = _reference(passage(whole, masked=192), slice(48, 240))
    assert referred.all() and torch.equal(reference[0, :, 0], torch.arange(192)), "48 frames before each"
    reference, referred = _reference(passage(whole, masked=192), slice(0, 192))
    assert not referred[0, :48].any() and referred[0, 48:].all(), "nothing comes before the first chorus"
    assert not _reference(passage(whole, masked=0), slice(0, 192))[1].any(), "what is not known yet can't come back"
    none = dataclasses.replace(whole, request=build(GenerateRequest, {"recall": 0.0}))
    assert not _reference(passage(none), slice(48, 240))[1].any()
    half = dataclasses.replace(whole, request=build(GenerateRequest, {"recall": 0.5}))
    share = _reference(passage(half), slice(48, 240))[1].float().mean()
    assert 0.3 < share < 0.7 and torch.equal(*(_reference(passage(half), slice(48, 240))[1] for _ in range(2)))


def test_sections_come_back_from_their_first_time_and_small_letters_from_the_chorus_before():
    whole = conditioning(12 * 24, before=6, chords="A: Cmaj7; B: Fm7; ABAaBA", recall=1.0)
    sources = whole.sources[6:].reshape(12, 24)
    firsts = [int(row[0]) for row in sources]
    bar = [6 + 24 * number for number in range(12)]
    assert firsts[:6] == [-1, -1, bar[0], -1, bar[1], bar[0]]
    assert firsts[6:] == [bar[0], bar[1], bar[0], bar[3], bar[1], bar[0]], "the small a from the chorus before"
    assert (np.diff(sources[2]) == 1).all() and (whole.sources[:6] == -1).all()


@pytest.mark.parametrize(("metre", "bar"), [("4/4", 24), ("7/8", 21)])
def test_a_vamp_comes_back_to_its_first_bars(metre, bar):
    whole = conditioning(8 * bar, before=6, metre=metre, vamp=2)
    assert (whole.sources[: 6 + 2 * bar] == -1).all()
    assert np.array_equal(whole.sources[6 + 2 * bar :], np.tile(6 + np.arange(2 * bar), 3))
    windows = _windows(dataclasses.replace(passage(whole, masked=6), before=6))
    assert windows[0] == (slice(0, min(WINDOW, len(whole))), 6 + 2 * bar)
    assert windows[1][0] == windows[0][0], "kept, then come back to"


def test_a_theme_comes_back_with_each_chorus():
    request = build(GenerateRequest, {"chords": "Cmaj7 | Dm7", "recall": 1.0})
    for theme, period in ((36, 48), (48, 48), (60, 96)):
        whole = Conditioning.of(request, request.parsed_chart(), 192, theme=theme)
        position = np.arange(192) % period
        assert np.array_equal(whole.sources, np.where(position < theme, position, -1))
        codes = 1000 + torch.arange(theme)[None, :, None].expand(-1, -1, 23)
        reference, referred = _reference(dataclasses.replace(passage(whole, 0), theme=codes), slice(48, 144))
        assert torch.equal(referred[0], torch.from_numpy(position < theme)[48:144])
        assert torch.equal(reference[0, :, 0][referred[0]], 1000 + torch.from_numpy(position)[48:144][referred[0]])


# --- Windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metre", ["4/4", "3/4", "7/8", "12/8"])
@pytest.mark.parametrize("length", [96, 192, 210, 480, 1001])
def test_windows_begin_on_bars_overlap_and_cover_everything(metre, length):
    whole = passage(conditioning(length, metre=metre), masked=0)
    parts = [part for part, end in _windows(whole) if end == length]
    assert parts[0].start == 0 and parts[-1].stop == length and all(p.stop - p.start == min(WINDOW, length) for p in parts)
    starts = window_starts(whole.conditioning.clock, min(WINDOW, length))
    assert all(part.start in starts for part in parts[:-1])
    assert all(before.stop - after.start >= OVERLAP for before, after in zip(parts, parts[1:]))
    assert all(after.start > before.start for before, after in zip(parts, parts[1:]))


def test_windows_that_have_nothing_to_generate_are_left_out():
    whole = passage(conditioning(960), masked=0)
    whole.mask[:, :700] = False
    assert all(part.stop > 700 for part, _ in _windows(whole)) and len(_windows(whole)) < len(
        _windows(passage(conditioning(960), 0))
    )

"""The player's page: complete, self-contained, safe; the knobs: they play."""

import base64
import html
import io
import json
import re
from dataclasses import dataclass

import numpy as np
import soundfile

from lib.config import GUIDED_CANDIDATES
from lib.display.controls import request_of, solo_controls
from lib.display.player import player_html, show_player, takes_html, write_player
from lib.generation.request import GenerateRequest
from lib.music.audio import Audio
from lib.music.chart import Chart
from lib.music.notes import Notes, read_midi
from lib.music.tempo_map import BEATS_ONLY, IN_BARS, NO_BEAT, Metre, TempoMap, bar_table, map_without_beat

NOTES = Notes.from_arrays([0.0, 1.0], [0.5, 1.0], [40, 60], [20, 80], [(0.0, 1.5)])
AUDIO = Audio(np.full((4410, 2), 0.25, np.float32), 44100, "sine", "plain <sines>")


def music_of(page):
    return json.loads(re.search(r'<script type="application/json" id="music">(.*?)</script>', page, re.S)[1])


def test_the_page_holds_notes_chords_and_sound():
    page = player_html(NOTES, AUDIO, "a title", [(0.0, "Cmaj7")])
    music = music_of(page)
    (take,) = music["takes"]
    assert take["notes"] == [[0.0, 0.5, 40, 20], [1.0, 1.0, 60, 80]] and take["pedal"] == [[0.0, 1.5]]
    assert take["chords"] == [[0.0, "Cmaj7"]] and take["seconds"] == 2.0 and take["bars"] == take["tempo"] == []
    assert "{{" not in page and (take["samples"], take["rate"]) == (4410, 44100)
    again = read_midi(base64.b64decode(take["midi"]))
    assert again.pitch.tolist() == [40, 60] and again.velocity.tolist() == [20, 80] and len(again.pedal_s) == 1


def test_sound_is_compressed():
    (take,) = music_of(player_html(NOTES, AUDIO))["takes"]
    stream = base64.b64decode(take["sound"].removeprefix("data:audio/mpeg;base64,"))
    samples, rate_hz = soundfile.read(io.BytesIO(stream))
    assert samples.shape == (4410, 2) and rate_hz == 44_100 and take["remark"] == "plain <sines>"


def test_a_minute_of_playing_is_small():
    sound = Audio(np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 44_100, 2)).astype(np.float32), 44_100, "sine")
    onsets_s = np.arange(1000) * 0.058
    notes = Notes.from_arrays(onsets_s, onsets_s * 0 + 0.2, 40 + np.arange(1000) % 40, 30 + np.arange(1000) % 90)
    assert len(player_html(notes, sound).encode()) <= 1.5e6


def test_tempo_is_for_bars_and_the_midi_file():
    waltz = TempoMap.constant(90.0, Metre(3, 4), 2)
    (take,) = music_of(player_html(NOTES, None, chords=[(0.0, "B\u266d7")], tempo_map=waltz))["takes"]
    midi = base64.b64decode(take["midi"])
    assert take["bars"] == [[0.0, 1], [2.0, 2], [4.0, 0]] and take["tempo"] == [90.0], "the last line is where the map ends"
    assert bytes.fromhex("ff5103") + (666_667).to_bytes(3, "big") in midi and bytes.fromhex("ff58040302") in midi
    without = base64.b64decode(music_of(player_html(NOTES))["takes"][0]["midi"])
    assert bytes.fromhex("ff5103") + (500_000).to_bytes(3, "big") in without and bytes.fromhex("ff58040402") in without


def test_a_compound_metre_is_told_in_quarters():
    slow = TempoMap.constant(80.0, Metre.parse("12/8"), 2)
    (take,) = music_of(player_html(NOTES, tempo_map=slow))["takes"]
    assert take["tempo"] == [120.0] and take["bars"] == [[0.0, 1], [3.0, 2], [6.0, 0]]


def test_bars_are_counted_and_where_they_are_unknown_beats_are_shown():
    gaps_s = [0.5] * 4 + [1.0] * 3 + [0.48] * 2 + [0.5] * 4
    metre = Metre(4, 4)
    bars = [bar_table([0], [4], IN_BARS, 1.0, metre), bar_table([4], [3], BEATS_ONLY, 1.0), bar_table([7], [2], NO_BEAT, 0.0),
            bar_table([9], [4], IN_BARS, 1.0, metre)]  # fmt: skip
    tempo_map = TempoMap(np.cumsum([-0.25, *gaps_s]), np.concatenate(bars))
    (take,) = music_of(player_html(NOTES, tempo_map=tempo_map))["takes"]
    assert take["bars"] == [[-0.25, 1], [1.75, 0], [2.75, 0], [3.75, 0], [4.75, 0], [5.71, 2], [7.71, 0]]
    assert take["tempo"] == [60.0, 120.0], "the stretch without a beat has no tempo"


def test_a_map_without_a_beat_has_no_tempo_and_no_bars():
    (take,) = music_of(player_html(NOTES, tempo_map=map_without_beat(3.0)))["takes"]
    assert take["bars"] == take["tempo"] == []


def test_each_take_may_have_a_map_and_chords_of_its_own():
    fast = TempoMap.constant(150.0, Metre(4, 4), 2)
    takes = {"own": (NOTES, None, [(0.4, "G7")], fast), "page's": (NOTES, None)}
    first, second = music_of(takes_html(takes, "A/B", [(0.0, "C6")], TempoMap.constant(120.0, Metre(4, 4), 2)))["takes"]
    assert (first["chords"], second["chords"]) == ([[0.4, "G7"]], [[0.0, "C6"]])
    assert (first["tempo"], second["tempo"]) == ([150.0], [120.0]) and first["bars"][1] == [1.6, 2]
    for take, tempo in ((first, 400_000), (second, 500_000)):
        assert bytes.fromhex("ff5103") + tempo.to_bytes(3, "big") in base64.b64decode(take["midi"])


def test_the_same_take_has_the_same_name_for_its_mark():
    ids = [music_of(takes_html({name: (NOTES, None)}))["takes"][0]["id"] for name in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


def test_takes_are_on_one_page():
    takes = {"original": (NOTES, AUDIO), "decoded": (NOTES.between(0.5, 2.0), None)}
    first, second = music_of(takes_html(takes, "A/B"))["takes"]
    assert (first["name"], second["name"]) == ("original", "decoded")
    assert len(first["notes"]) == 2 and len(second["notes"]) == 1 and first["sound"] and not second["sound"]
    assert "No sound" in second["remark"]


def test_nothing_is_fetched_from_anywhere():
    page = player_html(NOTES, AUDIO)
    assert not re.search(r"https?://|//cdn|@import|url\(", page)


def test_titles_and_symbols_cannot_break_out():
    page = player_html(NOTES, None, "<script>alert(1)</script>", [(0.0, "</script><b>")])
    assert "<script>alert" not in page and music_of(page)["takes"][0]["chords"] == [[0.0, "</script><b>"]]
    assert page.count("</script>") == 2
    assert "<title>{{music}} &amp; \ube0c</title>" in player_html(NOTES, None, "{{music}} & \ube0c")


def test_in_a_notebook_and_in_a_file(tmp_path):
    shown = show_player(NOTES, AUDIO, "x").data
    page = html.unescape(re.search(r'srcdoc="(.*)"></iframe>', shown, re.S)[1])
    assert page == player_html(NOTES, AUDIO, "x")
    assert write_player(tmp_path / "new" / "p.html", NOTES, AUDIO, "x").read_text(encoding="utf-8") == page


@dataclass
class Played:
    notes: Notes
    chords: list
    tempo_map: TempoMap
    begins_s: float = 0.0


def test_knobs_play_and_say_what_is_wrong():
    asked = []

    def improvise(request, callback):
        Chart.parse(request.chords)
        asked.append(request)
        callback({"step": 1, "num_steps": 2, "window": 0, "num_windows": 1})
        return Played(NOTES, [(0.0, "Dm7")], TempoMap.constant(120.0, Metre(4, 4), 1))

    panel = solo_controls(improvise, GenerateRequest, styles=("Ann", "Ben"))
    panel.knobs["chords"].value, panel.knobs["density"].value, panel.knobs["style"].value = "Dm7", 5.0, "Ben"
    panel.play.click()
    request = asked[0]
    assert (request.chords, request.density, request.style, request.num_candidates) == ("Dm7", 5.0, "Ben", GUIDED_CANDIDATES)
    assert "srcdoc" in panel.player.value and panel.message.value == "2 notes" and not panel.play.disabled
    panel.knobs["chords"].value = "Qm7"
    panel.play.click()
    assert "Qm7" in panel.message.value and len(asked) == 1 and not panel.play.disabled
    panel.knobs["chords"].value = " "
    panel.play.click()
    assert "chords" in panel.message.value


def test_knobs_left_alone_leave_the_choice_to_the_model():
    request = request_of(GenerateRequest, solo_controls(lambda *_: None, GenerateRequest).knobs)
    assert request.density is None and request.style is None and request.num_candidates == 1

"""The server over HTTP: it plays, says how far it is, gives results, cancels, and says what is wrong with which field."""

import asyncio
import base64
import io
import json
import threading
import time
import wave

import mido
import numpy as np
import pytest
from anyio import CapacityLimiter
from serving import wait_for

from lib.apps.server.app import in_turn
from lib.apps.server.errors import Problem
from lib.apps.server.schemas import SoloOrder
from lib.generation.generate import generate, infill
from lib.generation.performance import as_theme, read_performance
from lib.generation.request import GenerateRequest
from lib.music.chart import Timing
from lib.music.midi_writer import to_midi
from lib.music.notes import Notes, read_midi, read_tempo
from lib.music.piano_roll import FRAMES_PER_BEAT
from lib.music.tempo_map import Metre, TempoMap

QUICK = {"seconds": 4, "num_steps": 3, "chords": "Dm7 G7 | Cmaj7"}
LONG = {"seconds": 60, "num_steps": 100, "num_candidates": 4, "chords": "C | F"}


@pytest.fixture(scope="module")
def performance():
    """Twenty seconds of arpeggios, as a MIDI file."""
    onsets_s = np.arange(0, 20, 0.25)
    return to_midi(Notes.from_arrays(onsets_s, np.full(80, 0.2), 48 + np.arange(80) * 5 % 30, 40 + np.arange(80) % 60))


def ask(client, **order):
    answer = client.post("/v1/solos", json={**QUICK, **order})
    assert answer.status_code == 202, answer.text
    return answer.json()


def same(notes, rows):
    onsets_s, pitches = [row[0] for row in rows], [row[2] for row in rows]
    return pitches == notes.pitch.tolist() and np.allclose(onsets_s, notes.onset_s, atol=1e-3)


def test_a_solo_from_asking_to_hearing(client, service):
    asked = client.post("/v1/solos", json={**QUICK, "seed": 5})
    assert asked.status_code == 202 and asked.headers["location"] == asked.json()["links"]["self"]
    job = wait_for(client, asked.json())
    assert job["state"] == "done" and job["progress"] == 1.0
    result = client.get(job["links"]["json"]).json()
    alone = generate(service.improviser, GenerateRequest(**{**QUICK, "seconds": 4.0, "seed": 5}))
    assert len(alone.notes) > 5 and same(alone.notes, result["notes"])
    assert [symbol for _, symbol in result["chords"]] == ["Dm7", "G7", "Cmaj7"]
    assert same(read_midi(client.get(job["links"]["mid"]).content), result["notes"])
    with wave.open(io.BytesIO(client.get(job["links"]["wav"]).content)) as sound:
        assert sound.getnframes() / sound.getframerate() > 4 and np.frombuffer(sound.readframes(10**6), "<i2").any()
    page = client.get(job["links"]["html"])
    assert page.headers["content-type"].startswith("text/html") and '"symbol"' not in page.text and "Dm7" in page.text


@pytest.mark.parametrize(
    ("tempo_bpm", "metre", "bar_s"),
    [(120, "4/4", 2.0), (150, "12/8", 2.4), (100, "7/8", 2.1), (60, "3/4", 3.0), (240, "4/4", 1.0)],
)
def test_the_file_keeps_tempo_and_metre_as_they_are_written(client, tempo_bpm, metre, bar_s):
    """Also where the felt tempo is half or double: notes lie on 24 frames of the felt beat, bar lines as written."""
    order = {"seconds": None, "bars": 4, "tempo_bpm": tempo_bpm, "metre": metre, "chords": "Dm7 | G7"}
    job = wait_for(client, ask(client, **order))
    result, content = client.get(job["links"]["json"]).json(), client.get(job["links"]["mid"]).content
    file, metre_asked = mido.MidiFile(file=io.BytesIO(content)), Metre.parse(metre)
    events = {message.type: message for message in file.tracks[0]}
    assert mido.tempo2bpm(events["set_tempo"].tempo) == pytest.approx(tempo_bpm, abs=0.01)
    signature = events["time_signature"]
    assert (signature.numerator, signature.denominator) == (metre_asked.numerator, metre_asked.denominator)
    assert result["bars_s"] == pytest.approx(bar_s * np.arange(4)) and result["ends_s"] == pytest.approx(4 * bar_s)
    assert [time_s for time_s, _ in result["chords"]] == pytest.approx(bar_s * np.arange(4))
    timing = Timing.of(tempo_bpm, metre_asked)
    ticks = np.cumsum([message.time for message in file.tracks[1]])
    onsets = ticks[[message.type == "note_on" for message in file.tracks[1]]]
    frames = onsets / file.ticks_per_beat * float(timing.beats_per_quarter) * FRAMES_PER_BEAT
    assert 75 <= timing.felt_bpm <= 170 and len(frames) and np.abs(frames - np.rint(frames)).max() < 0.06


def test_whole_choruses_nearest_to_half_a_minute_where_nobody_says_how_long(client):
    job = wait_for(client, ask(client, seconds=None, chords="Dm7 | G7 | Cmaj7", num_steps=1))
    assert client.get(job["links"]["json"]).json()["ends_s"] == 30.0
    feels = [wait_for(client, ask(client, feel=feel)) for feel in ("straight", "swing", "free")]
    played = [client.get(job["links"]["json"]).json() for job in feels]
    assert [result["request"]["feel"] for result in played] == ["straight", "swing", "free"]


def test_requests_of_earlier_versions_are_taken(client, service):
    taken = wait_for(client, ask(client, beats_per_bar=3, told=False))
    assert client.get(taken["links"]["json"]).json()["request"]["metre"] == "3/4"
    saved = {"chords": "Dm7 | G7", "seconds": 4.0, "seed": 1, "tempo_bpm": 120.0, "beats_per_bar": 3, "order": "random"}
    text = json.dumps({"request": {**saved, "num_steps": 2, "num_candidates": 1}, "from_s": None, "to_s": None})
    job_id = service.jobs.add(text, "old", 1).id
    job = wait_for(client, {"state": "queued", "links": {"self": f"/v1/solos/{job_id}"}})
    assert job["state"] == "done" and client.get(job["links"]["json"]).json()["bars_s"] == pytest.approx([0, 1.5, 3])


def test_events_tell_progress_until_the_end(client):
    job = ask(client, num_steps=40)
    with client.stream("GET", job["links"]["events"]) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event")]
    states = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
    assert names[-1] == "done" and set(names[:-1]) <= {"progress"} and states[-1]["links"]["wav"]
    shares = [state["progress"] for state in states]
    assert shares == sorted(shares) and shares[-1] == 1


def test_going_on_and_filling_a_gap(client, service, performance):
    content, notes = base64.b64encode(performance).decode(), read_midi(performance)
    on, gap = wait_for(client, ask(client, midi=content)), wait_for(client, ask(client, midi=content, from_s=5, to_s=9))
    request = GenerateRequest(**{**QUICK, "seconds": 4.0})
    alone = generate(service.improviser, request, prompt=notes), infill(service.improviser, request, notes, 5, 9)
    for job, solo in zip((on, gap), alone):
        result = client.get(job["links"]["json"]).json()
        assert same(solo.notes, result["notes"]) and result["begins_s"] == pytest.approx(solo.begins_s)


def test_a_performance_is_continued_in_its_own_beats(client):
    """Bars of three at 97: new music begins on the next beat, in the same tempo and metre where no other is asked for."""
    tempo_map = TempoMap.constant(97.0, Metre.parse("3/4"), 8)
    beats_s = tempo_map.beats_s[:23]
    notes = Notes.from_arrays(beats_s, np.full(23, 0.3), 48 + np.arange(23), np.full(23, 80))
    content = base64.b64encode(to_midi(notes, tempo_map)).decode()
    job, gap = (wait_for(client, ask(client, midi=content, **more)) for more in ({}, {"from_s": 4.1, "to_s": 8.0}))
    result = client.get(job["links"]["json"]).json()
    assert result["begins_s"] == pytest.approx(tempo_map.beats_s[23], abs=1e-4)
    assert (result["request"]["tempo_bpm"], result["request"]["metre"]) == (pytest.approx(97.0, abs=1e-3), "3/4")
    assert read_tempo(client.get(job["links"]["mid"]).content) == pytest.approx(97.0, abs=0.01)
    infilled = client.get(gap["links"]["json"]).json()
    first = int(np.ceil(tempo_map.to_beats(4.1)))
    assert infilled["begins_s"] == pytest.approx(tempo_map.beats_s[first], abs=1e-4) and infilled["ends_s"] == 8.0
    outside = [row for row in infilled["notes"] if not infilled["begins_s"] - 1e-3 <= row[0] < 8.0]
    was = read_midi(base64.b64decode(content))
    kept = was.onset_s[(was.onset_s < infilled["begins_s"] - 1e-3) | (was.onset_s >= 8.0)]
    assert [row[0] for row in outside] == kept.round(4).tolist(), "to the tick"


def test_a_theme_is_what_the_music_comes_back_to(client, service, performance):
    """As the command line's --theme; the file is beside the one that is continued."""
    theme = base64.b64encode(performance).decode()
    job = wait_for(client, ask(client, theme=theme, midi=theme, recall=1.0))
    request = GenerateRequest(**{**QUICK, "seconds": 4.0, "recall": 1.0})
    notes, tempo_map = read_performance(performance)
    alone = generate(service.improviser, request, prompt=notes, theme=as_theme(notes, tempo_map))
    assert same(alone.notes, client.get(job["links"]["json"]).json()["notes"])
    order = SoloOrder(theme=theme).order(service.limits)
    assert order.notes is None and order.theme.onset.tolist() == as_theme(notes, tempo_map).onset.tolist()


def test_a_job_is_cancelled_within_a_second_and_the_next_one_plays(client, service):
    job = ask(client, **LONG)
    while client.get(job["links"]["self"]).json()["progress"] == 0:
        time.sleep(0.02)
    began_s = time.monotonic()
    assert client.delete(job["links"]["self"]).json()["state"] == "cancelled"
    after = wait_for(client, ask(client))
    assert after["state"] == "done" and service.jobs.count("running") == 0
    assert service.jobs.find(after["id"]).started_s - time.time() + time.monotonic() - began_s < 1, "the worker was free at once"
    assert client.get(f"/v1/solos/{job['id']}.mid").status_code == 409
    assert client.delete(job["links"]["self"]).json()["state"] == "cancelled"
    assert client.delete(after["links"]["self"]).json()["state"] == "done"


def test_a_full_queue_is_said_and_nothing_accepted_is_lost(client, service):
    busy = ask(client, **LONG)
    while service.jobs.count("queued"):
        time.sleep(0.01)
    answers = [client.post("/v1/solos", json={**QUICK, "seed": seed}) for seed in range(9)]
    accepted = [answer.json() for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(accepted) == 6 and len(refused) == 3
    assert all(int(answer.headers["retry-after"]) > 0 and "waiting" in answer.json()["detail"] for answer in refused)
    assert client.get(accepted[-1]["links"]["self"]).json()["ahead"] == 5
    client.delete(busy["links"]["self"])
    assert [wait_for(client, job)["state"] for job in accepted] == ["done"] * 6
    assert 'mehldau_batch_jobs_bucket{le="4.0"}' in client.get("/metrics").text


@pytest.mark.parametrize("order, field, words", [
    ({"chords": "Cmaj7 | Qm7"}, "chords", "Qm7"),
    ({"chords": " "}, "chords", "empty"),
    ({"chords": "A: C | F; B: G | C; " + "AB" * 20}, "chords", "80 bars"),
    ({"chords": "C |" * 3000}, "chords", "8000 characters"),
    ({"style": "Bill Evens"}, "style", "Did you mean 'Bill Evans'"),
    ({"seconds": 61}, "seconds", "60 s"),
    ({"seconds": float("nan")}, "seconds", "finite"),
    ({"seconds": "4; DROP"}, "seconds", "number"),
    ({"seconds": None, "bars": 64}, "bars", "128 s"),
    ({"seconds": None, "bars": 10**30}, "bars", "less than or equal to 2000"),
    ({"seconds": None, "bars": 65}, "bars", "64 at most"),
    ({"seconds": None, "choruses": 16}, "choruses", "64 s"),
    ({"seconds": None, "tempo_bpm": 20, "chords": "C | " * 9}, "chords", "108 s"),
    ({"bars": 4}, "seconds", "bars and seconds each give the length"),
    ({"metre": "4/5"}, "metre", "for example 4/4, 3/4, 7/8 or 12/8"),
    ({"beats_per_bar": 0}, "metre", "'0/4'"),
    ({"beats_per_bar": 3, "metre": "3/4"}, "metre", "given twice"),
    ({"feel": "funky"}, "feel", "'swing'"),
    ({"order": "random"}, "order", "no longer a setting"),
    ({"num_steps": 101}, "num_steps", "100 at most"),
    ({"seed": 2**63}, "seed", "less than"),
    ({"density": [1] * 10_001}, "density", "at most 10000"),
    ({"tempo": 100}, "tempo", "Unexpected keyword"),
    ({"midi": "!!"}, "midi", "base64"),
    ({"midi": base64.b64encode(b"MThd nothing").decode()}, "midi", "is cut short"),
    ({"theme": "!!"}, "theme", "base64"),
    ({"theme": base64.b64encode(b"MThd nothing").decode()}, "theme", "is cut short"),
    ({"from_s": 1, "to_s": 2}, "to_s", "go together"),
    ({"style": "\ud800"}, "style", "Unknown pianist"),
])  # fmt: skip
def test_what_is_wrong_is_said_of_its_field(client, order, field, words):
    answer = client.post("/v1/solos", content=json.dumps({**QUICK, **order}), headers={"content-type": "application/json"})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    details = [error["detail"] for error in answer.json()["errors"] if error["field"].split(".")[0] == field]
    assert any(words in detail for detail in details) and answer.json()["status"] == 422


def test_midi_has_limits(client, performance):
    def refused(content, **more):
        answer = client.post("/v1/solos", json={**QUICK, "midi": base64.b64encode(content).decode(), **more})
        assert answer.status_code == 422
        return answer.json()["detail"]

    def steady(count, every_s):
        return to_midi(Notes.from_arrays(np.arange(count) * every_s, [0.1] * count, [60] * count, [64] * count))

    assert "lasts 70 s" in refused(steady(2, 70.0)) and "2,001 notes" in refused(steady(2001, 0.02))
    many = b"MThd\0\0\0\6\0\1\2\0\1\xe0" + b"MTrk\0\0\0\x0c\0\x90\x3c\x40\x10\x3c\0\0\xff\x2f\0\0" * 512
    assert "512 tracks" in refused(many)
    assert "not a passage" in refused(performance, from_s=30, to_s=40)
    assert "from_s: 3 to 2 is not a passage" in refused(performance, from_s=3, to_s=2)
    assert "contains no beat to begin on; the next one is at 4.00 s" in refused(performance, from_s=3.6, to_s=3.8)


def test_a_pedal_that_is_held_for_a_day_ends_with_the_music(client, performance, service):
    notes = read_midi(performance)
    held = to_midi(Notes(notes.onset_s, notes.duration_s, notes.pitch, notes.velocity, np.array([[1.0, 80_000.0]])))
    content = base64.b64encode(held).decode()
    job = wait_for(client, ask(client, midi=content, theme=content))
    assert client.get(job["links"]["json"]).json()["pedal"][0][1] <= 20.1


@pytest.mark.parametrize("content, status", [(b"[" * 100_000, 400), (b"{", 422), (b"\xff\xfe", 422), (b"null", 422), (b"", 422),
                                             (b'{"seed": ' + b"9" * 5000 + b"}", 400)])  # fmt: skip
def test_bodies_that_are_no_order(client, content, status):
    answer = client.post("/v1/solos", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"


def test_no_path_comes_from_a_request(client):
    for job_id in ("..%2f..%2fjobs", "0" * 32, "%2e%2e", "a" * 31):
        for tail in ("", ".mid", "/events"):
            assert client.get(f"/v1/solos/{job_id}{tail}").status_code in (404, 422)
    assert client.get("/v1/solos/" + "0" * 32 + ".exe").status_code == 422


def test_who_plays_and_what_the_codec_keeps(client, performance):
    found = client.post("/v1/identify?top=3", content=performance).json()
    assert len(found["pianists"]) == 3 and 0 <= found["unknown"] <= 1
    back = client.post("/v1/reconstruct", content=performance).json()
    assert back["f1"]["onset"] > 0.9 and len(back["notes"]) > 60
    assert len(read_midi(client.post("/v1/reconstruct?form=mid", content=performance).content)) == len(back["notes"])
    for path in ("identify", "reconstruct"):
        refused = client.post(f"/v1/{path}", content=b"no midi")
        assert refused.status_code == 422 and "MThd" in refused.json()["detail"]
    short = to_midi(Notes.from_arrays([0.0], [0.5], [60], [64]))
    assert "too little to recognise a player" in client.post("/v1/identify", content=short).json()["detail"]


def test_styles_health_and_openapi(client, service):
    assert client.get("/v1/styles").json() == {"own": None, "styles": list(service.improviser.styles.names)}
    assert client.get("/healthz").json() == {"status": "ok"} and client.get("/readyz").json() == {"status": "ready"}
    schema = client.get("/openapi.json").json()
    order = schema["components"]["schemas"]["SoloOrder"]["properties"]
    assert {*GenerateRequest.__dataclass_fields__, "midi", "from_s", "to_s", "theme"} <= set(order)
    assert schema["paths"]["/v1/solos"]["post"]["responses"]["422"]["content"]["application/problem+json"]["schema"]


def test_sound_is_made_one_at_a_time_and_only_a_few_wait(monkeypatch):
    async def ask_thrice():
        turn, may_end, running = CapacityLimiter(1), threading.Event(), []
        tasks = [asyncio.create_task(in_turn(turn, lambda: running.append(1) or may_end.wait(10))) for _ in range(2)]
        await asyncio.sleep(0.2)
        with pytest.raises(Problem) as refused:
            await in_turn(turn, may_end.set)
        assert len(running) == 1 and (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "2"})
        may_end.set()
        assert await asyncio.gather(*tasks) == [True, True] and await in_turn(turn, len, running) == 2

    monkeypatch.setattr("lib.apps.server.app.WAITING", 1)
    asyncio.run(ask_thrice())


def test_a_worker_that_died_is_not_ready(make_service, tmp_path):
    from starlette.testclient import TestClient

    from lib.apps.server.app import make_app

    service = make_service(tmp_path)
    with TestClient(make_app(service), base_url="http://localhost") as client:
        service.dispatcher.stop()
        assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200

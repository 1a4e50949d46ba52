"""The command itself: a process that is killed loses nothing that it accepted, and what it refuses to do."""

import signal

import pytest
from command_line import lib
from serving import serving, wait_for

from lib.music.notes import read_midi

ORDER = {"seconds": 4, "num_steps": 50, "chords": "Dm7 G7 | Cmaj7"}


@pytest.mark.slow
def test_kill_9_loses_nothing_and_each_job_has_one_result(finished, tmp_path):
    with serving(finished, tmp_path, "--batch", 2) as (process, client):
        jobs = [client.post("/v1/solos", json={**ORDER, "seed": seed}).json() for seed in range(6)]
        wait_for(client, jobs[0])
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(finished, tmp_path, "--batch", 2) as (_, client):
        ended = [wait_for(client, client.get(job["links"]["self"]).json()) for job in jobs]
        assert [job["state"] for job in ended] == ["done"] * 6
        assert all(len(read_midi(client.get(job["links"]["mid"]).content)) for job in ended)
    results = [path.stem for path in (tmp_path / "results").glob("*.json")]
    assert sorted(results) == sorted(job["id"] for job in jobs)


@pytest.mark.parametrize("words, said", [
    (("--host", "0.0.0.0"), "wants --token TOKEN"),
    (("--soundfont", "none.sf2"), "no SoundFont at none.sf2"),
    (("--released",), "or --run RUN"),
])  # fmt: skip
def test_what_the_command_refuses(finished, tmp_path, words, said):
    assert said in lib("serve", "--run", finished, "--serve-dir", tmp_path, "--port", "0", *words, check=2).stderr

"""The command line, as a user types it: what it does, and what it says when it can't."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pretty_midi
import pytest
import torch
from command_line import lib

from lib.data.corpora import open_corpus
from lib.data.tempo_maps import open_tempo_maps
from lib.generation.generate import load_improviser
from lib.models.beat_tracker import BeatNetwork, BeatTracker, DownbeatNetwork
from lib.music.midi_writer import write_midi
from lib.music.notes import Notes, read_markers, read_midi
from lib.music.tempo_map import Metre, TempoMap

ROOT = Path(__file__).resolve().parent.parent


def typed(*words):
    """python -m lib WORDS, in a process of its own -> CompletedProcess."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lib", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=240)


def tree(folder):
    """Every file of a folder and its time."""
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "offender", "nearest"),
    [
        (["train", "vqva", "--preset", "tiny"], "'vqva'", "vqvae"),
        (["train", "vqvae", "--preset", "laptp"], "'laptp'", "laptop"),
        (["train", "vqvae", "--preset", "tiny", "--set", "chanels=8"], "'chanels'", "channels"),
        (["train", "vqvae", "--preset", "tiny", "--set", "channels"], "'channels'", "key=value"),
        (["train", "vqvae", "--preset", "tiny", "--lr", "-1"], "lr", "greater than 0"),
        (["train", "vqvae", "--preset", "tiny", "--device", "gpu"], "device", "cuda"),
        (["train", "vqvae", "--preset", "tiny", "--time-budget", "soon"], "'soon'", "11h30m"),
        (["train", "vqvae", "--preset", "tiny", "--set", "corpora=demos"], "'demos'", "demo"),
        (["train", "vqvae", "--preset", "tiny", "--set", "channels=32"], "channels: 64", "new --run"),
        (["train", "fine_tune", "--preset", "tiny", "--run", "new", "--pianist", "Cora Cannonby"],
         "'Cora Cannonby'", "Cora Canonby"),
        (["train", "diffusion", "--preset", "tiny", "--vqvae-run", "{runs}/vqve"], "vqve", "vqvae"),
        (["train", "diffusion", "--preset", "tiny", "--vqvae-run", "{runs}/style_encoder"], "'style_encoder'", "'vqvae'"),
        (["generate", "--run", "{runs}/brad_fina"], "brad_fina", "brad_final"),
        (["generate", "--run", "{runs}/brad_final", "--chords", "Cmaj7 | Hm7"], "'Hm7'", "H is B"),
        (["generate", "--run", "{runs}/brad_final", "--style", "Bea Blokford"], "'Bea Blokford'", "Bea Blockford"),
        (["generate", "--run", "{runs}/brad_final", "--seconds", "0"], "seconds", "greater than 0"),
        (["generate"], "--run", "--released"),
        (["generate", "--run", "{runs}/brad_final", "--chart", "{runs}/none.html"], "none.html", "does not exist"),
        (["generate", "--run", "{runs}/brad_final", "--tune", "Ours"], "--tune", "--chart"),
        (["train", "vqvae", "--preset", "tiny", "--folder", "{runs}"], "--folder", "data ingest"),
        (["train", "fine_tune", "--preset", "tiny", "--folder", "{runs}/none"], "none", "no folder"),
        (["generate", "--run", "{runs}/brad_final", "--soundfont", "{runs}/none.sf2"], "none.sf2", "no SoundFont"),
        (["data", "summary", "dmeo"], "'dmeo'", "demo"),
        (["data", "download", "maestr"], "'maestr'", "maestro"),
        (["data", "ingest", "mine", "--folder", "{runs}/none"], "none", "no folder"),
        (["headless", "--set", "02_vqvae.batchsize=8"], "batchsize", "batch_size"),
        (["headless", "--notebooks", "07x"], "07x", "00_setup"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(words, offender, nearest, demo_data, tiny_runs, tmp_path):
    words = [word.format(runs=tiny_runs) for word in words]
    places = {"train": ["--data-dir", demo_data, "--runs-dir", tiny_runs], "data": ["--data-dir", demo_data],
              "generate": ["--out", tmp_path / "solo.mid"],
              "headless": ["--data-dir", demo_data, "--runs-dir", tiny_runs, "--output-dir", tmp_path / "out"]}  # fmt: skip
    before = tree(tiny_runs), tree(demo_data)
    done = lib(*words, *places[words[0]], check=2)
    assert offender in done.stderr and nearest in done.stderr and "Traceback" not in done.stderr
    assert (tree(tiny_runs), tree(demo_data)) == before and not tree(tmp_path)


def test_exit_codes_and_words_of_a_process(tiny_runs, tmp_path):
    wrong = typed("train", "vqva", "--preset", "tiny", "--runs-dir", tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.startswith("Error: ") and len(wrong.stderr.splitlines()) == 1
    words = ("generate", "--run", tiny_runs / "brad_final", "--seconds", "1", "--num-steps", "1", "--out", tmp_path / "a.mid")
    right = typed(*words)
    assert right.returncode == 0 and not right.stderr and json.loads(right.stdout.splitlines()[-1])["notes"] >= 0


def test_a_solo_from_the_command_line(tiny_runs, tmp_path):
    words = ["generate", "--run", tiny_runs / "brad_final", "--chords", "Cmaj7 | Dm7 G7 | %", "--seconds", "3", "--seed", "1",
             "--density", "8", "--num-candidates", "2", "--num-steps", "6"]  # fmt: skip
    done = lib(*words, "--out", tmp_path / "a.mid", "--wav", tmp_path / "a.wav", check=0)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {"notes", "longest_silence_s", "rule_losses"} <= set(figures)
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
    lib(*words, "--out", tmp_path / "b.mid", check=0)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()


def test_variations_that_go_on_from_a_file(demo_midi, tiny_runs, tmp_path):
    played = next(demo_midi.rglob("*.mid"))
    words = ["generate", "--run", tiny_runs / "brad_final", "--seconds", "3", "--num-steps", "2", "--continue", played]
    lib(*words, "--variations", "2", "--out", tmp_path / "a.mid", "--wav", tmp_path / "a.wav", check=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.mid", "a-1.wav", "a-2.mid", "a-2.wav"]
    assert len(read_midi(tmp_path / "a-2.mid")) >= len(read_midi(played))
    (tmp_path / "empty.mid").write_bytes(b"")
    assert "empty.mid" in lib(*words[:-1], tmp_path / "empty.mid", check=2).stderr


def test_a_chart_in_three_and_the_tempo_of_a_performance(tiny_runs, tmp_path):
    chart, played, out = tmp_path / "waltz.html", tmp_path / "played.mid", tmp_path / "solo.mid"
    chart.write_text("irealb://" + quote("Ours=Me=Waltz=C==1r34LbKcu7[T34C^7 |A-7 |D-7 |G7 Z==90=0"))
    words = ["generate", "--run", tiny_runs / "brad_final", "--seconds", "4", "--num-steps", "2", "--out", out]
    assert "Ours, 3/4: T34 C^7 | A-7" in lib(*words, "--chart", chart, check=0).stdout
    written = pretty_midi.PrettyMIDI(str(out))
    assert [time_s for time_s, _ in read_markers(out)] == pytest.approx([0, 2], abs=0.01)
    assert written.time_signature_changes[0].numerator == 3 and written.get_tempo_changes()[1] == pytest.approx([90], abs=0.01)

    tempo_map = TempoMap.constant(150.0, Metre.parse("3/4"), 4)
    notes = Notes.from_arrays([0.0, 0.4, 1.0], [0.3, 0.3, 0.5], [60, 64, 67], [80, 80, 80])
    write_midi(notes, played, tempo_map)
    lib(*words, "--chords", "C | G7", "--continue", played, check=0)
    written = pretty_midi.PrettyMIDI(str(out))
    assert written.get_tempo_changes()[1] == pytest.approx([150], abs=0.01)
    begins_s = 1.6  # the beat after the last note
    assert [time_s for time_s, _ in read_markers(out)] == pytest.approx([begins_s, begins_s + 1.2, begins_s + 2.4, begins_s + 3.6])
    lines_s = written.get_downbeats()
    assert np.abs(lines_s - begins_s).min() < 1e-3 and np.allclose(np.diff(lines_s[lines_s > begins_s - 0.01]), 1.2, atol=1e-3)
    kept = read_midi(out)
    assert np.allclose(kept.onset_s[:3], notes.onset_s, atol=1e-6) and (kept.onset_s[3:] > begins_s - 1e-3).all()


@pytest.mark.parametrize(
    ("tempo", "metre", "bar_s", "felt"), [("240", "4/4", 1.0, 120), ("50", "3/4", 3.6, 100), ("110", "12/8", 3.2727, 146.67)]
)
def test_a_tempo_that_is_not_felt_is_written_all_the_same(tempo, metre, bar_s, felt, tiny_runs, tmp_path):
    """Chart, bar lines and file keep it; notes lie on 24 frames of the beat that is felt, half or twice as fast."""
    words = ["--run", tiny_runs / "brad_final", "--num-steps", "2", "--chords", "C | F", "--tempo", tempo, "--metre", metre]
    lib("generate", *words, "--bars", "4", "--feel", "swing", "--out", tmp_path / "solo.mid", check=0)
    written = pretty_midi.PrettyMIDI(str(tmp_path / "solo.mid"))
    assert written.get_tempo_changes()[1] == pytest.approx([float(tempo)], abs=0.01)
    assert f"{written.time_signature_changes[0].numerator}/{written.time_signature_changes[0].denominator}" == metre
    assert [time_s for time_s, _ in read_markers(tmp_path / "solo.mid")] == pytest.approx(bar_s * np.arange(4), abs=1e-3)
    frames = read_midi(tmp_path / "solo.mid").onset_s * felt / 60 * 24
    assert np.abs(frames - np.rint(frames)).max() < 0.05 and frames.max() < 4 * bar_s * felt / 60 * 24


def test_a_theme_and_a_vamp_are_taken(tiny_runs, tmp_path):
    theme = write_midi(Notes.from_arrays([0, 0.5, 1, 1.5], [0.4] * 4, [60, 64, 67, 72], [80] * 4), tmp_path / "theme.mid")
    words = ["generate", "--run", tiny_runs / "brad_final", "--bars", "4", "--num-steps", "2", "--count", "1"]
    lib(*words, "--theme", theme, "--vamp", "2", "--out", tmp_path / "a.mid", check=0)
    assert len(json.loads((tmp_path / "a.order.json").read_text())["theme"]) == 16
    assert "theme" in lib(*words, "--vamp", "2", "--out", tmp_path / "a.mid", check=2).stderr
    assert "none.mid" in lib(*words, "--theme", tmp_path / "none.mid", "--out", tmp_path / "b.mid", check=2).stderr


def test_fine_tuning_on_a_folder(demo_midi, tiny_runs, tmp_path):
    data, folder = tmp_path / "data", tmp_path / "My Playing"
    shutil.copytree(demo_midi / "Cora Canonby", folder)
    words = ["train", "fine_tune", "--preset", "tiny", "--folder", folder, "--data-dir", data, "--runs-dir", tmp_path / "runs"]
    words += ["--vqvae-run", tiny_runs / "vqvae", "--style-encoder-run", tiny_runs / "style_encoder"]
    words += ["--diffusion-run", tiny_runs / "diffusion"]
    done = lib(*words, "--pianist", "Me", check=0)
    assert done.stdout.startswith("own-My Playing: ") and (data / "own-My Playing" / "notes.store").exists()
    improviser = load_improviser(tmp_path / "runs" / "brad_final", device="cpu")
    assert improviser.pianist == "Me" and "Cora Canonby" in improviser.styles.names
    assert {piece.pianist for piece in open_corpus("own-My Playing", data).pieces} == {"Me"}
    assert len({piece.album for piece in open_corpus("own-My Playing", data).pieces}) > 1


def test_train_go_on_and_stop_early(demo_data, tmp_path):
    words = ["train", "vqvae", "--preset", "tiny", "--data-dir", demo_data, "--runs-dir", tmp_path]
    done = lib(*words, "--steps", "2", "--batch-size", "2", "--epochs", "3", "--lr", "0.002", "--device", "cpu",
               "--mixed-precision", "no", "--gradient-accumulation", "2", check=0)  # fmt: skip
    assert "steps 0 to 2 of 2" in done.stdout
    config = json.loads((tmp_path / "vqvae" / "config.json").read_text())
    assert (config["batch_size"], config["gradient_accumulation"], config["lr"], config["epochs"]) == (2, 2, 0.002, 3)
    assert "step 2/2" in (tmp_path / "vqvae" / "train.log").read_text()
    assert (tmp_path / "vqvae" / "checkpoints" / "step-00000002").is_dir()
    stopped = lib(*words, "--run", "long", "--steps", "100000", "--epochs", "100000", "--time-budget", "1s", check=75)
    assert "time budget used up and saved" in stopped.stdout


def test_data_from_the_command_line(demo_midi, tmp_path):
    done = lib("data", "ingest", "mine", "--folder", demo_midi, "--data-dir", tmp_path, check=0)
    assert done.stdout.startswith("mine: 60 pieces")
    assert json.loads(lib("data", "summary", "mine", "--data-dir", tmp_path, check=0).stdout)["pianists"] == 6


def test_beats_are_found_once_and_then_they_are_there(tmp_path, demo_midi):
    tracker = tmp_path / "tracker.safetensors"
    BeatTracker(BeatNetwork(8), DownbeatNetwork(width=8), np.zeros((1, 3, 48))).save(tracker)
    lib("data", "ingest", "mine", "--folder", demo_midi, "--data-dir", tmp_path, check=0)
    command = ("data", "beats", "mine", "--data-dir", tmp_path, "--tracker", tracker, "--processes", "1")
    count = len(open_corpus("mine", tmp_path))
    assert f"mine: {count} tempo maps (tracked)" in lib(*command, check=0).stdout
    assert "(there)" in lib(*command, check=0).stdout
    assert len(open_tempo_maps(open_corpus("mine", tmp_path))) == count


def test_reconstruct_from_the_command_line(demo_midi, tiny_runs, tmp_path):
    midi = next(demo_midi.rglob("*.mid"))
    done = lib("reconstruct", midi, "--run", tiny_runs / "vqvae", "--out", tmp_path / "back.mid", check=0)
    assert "onset F1" in done.stdout and (tmp_path / "back.mid").exists()
    assert len(read_midi(midi))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that is asked for")
def test_a_device_that_is_not_there(demo_data, tmp_path):
    done = lib("train", "vqvae", "--preset", "tiny", "--device", "cuda", "--data-dir", demo_data, "--runs-dir", tmp_path, check=2)
    assert "'cuda'" in done.stderr and "cpu" in done.stderr and not list(tmp_path.iterdir())


def test_identify_and_a_style_of_ones_own_from_the_command_line(demo_data, demo_midi, tiny_runs, tmp_path):
    midi = next(demo_midi.rglob("*.mid"))
    run = shutil.copytree(tiny_runs / "style_encoder", tmp_path / "style_encoder")
    refused = lib("identify", midi, "--run", run, check=2)
    assert "--make-library" in refused.stderr
    made = lib("identify", midi, "--run", run, "--make-library", "--data-dir", demo_data, "--json", check=0)
    found = json.loads(made.stdout.splitlines()[-1])
    assert len(found["pianists"]) == 5 and len(found["evidence"]) == len(found["times_s"])
    assert "none of the players" in lib("identify", midi, "--run", run, "--top", "2", check=0).stdout
    empty = tmp_path / "empty.mid"
    empty.write_bytes(b"")
    assert "empty" in lib("identify", empty, "--run", run, check=2).stderr
    added = lib("style", "add", "Mine", "--folder", midi, "--run", tiny_runs / "brad_final", "--data-dir", tmp_path, check=0)
    assert len(list((tmp_path / "styles").glob("Mine.*.json"))) == 1 and "--style" in added.stdout
    wish = ("generate", "--run", tiny_runs / "brad_final", "--seconds", "3", "--num-steps", "2", "--out", tmp_path / "solo.mid")
    lib(*wish, "--style", "Mine:0.7,Cora Canonby:0.3", "--data-dir", tmp_path, check=0)
    assert "Mine" in lib(*wish, "--style", "Mime", "--data-dir", tmp_path, check=2).stderr


def test_the_original_guides_flags(demo_data, tmp_path):
    words = ["train", "vqvae", "--preset", "tiny", "--data_dir", tmp_path / "data", "--batch_size", "2", "--mixed_precision", "no"]
    lib(*words, "--gradient_accumulation", "1", "--save_dir", tmp_path / "weights" / "vq")
    assert (tmp_path / "weights" / "vq" / "checkpoints").is_dir() and (tmp_path / "data" / "demo" / "notes.store").exists()
    refused = lib(*words, "--save_dir", tmp_path / "vq", "--run", "vq", check=2)
    assert "leave --run out" in refused.stderr
    encoder = ["train", "style_encoder", "--preset", "tiny", "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "w" / "se"]
    lib(*encoder)
    lib("train", "diffusion", "--preset", "tiny", "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "w" / "dit",
        "--vqvae_ckpt", tmp_path / "weights" / "vq", "--style_encoder_ckpt", tmp_path / "w" / "se")  # fmt: skip

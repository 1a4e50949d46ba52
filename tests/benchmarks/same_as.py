"""Does this tree give what another commit gives, note for note and bit for bit?

    python tests/benchmarks/same_as.py COMMIT [--quick] [--data-dir data] [--only solos,facts,stages]

Checks COMMIT out beside, in a temporary folder, and runs both trees with this interpreter, in processes of their own:

- solos: the released weights play by the command line, plain, with the pianist's own changes, under rules, a passage
  anew and on from a performance; MIDI files are compared note for note
- facts: fingerprints of the released models, the demo corpus, piano rolls rasterised from notes at 125 beats a minute,
  their codes, rolls decoded from them; not the style encoder, which has been trained anew since
- stages: the other commit trains each stage whole; this tree takes a copy of that run without what came after its
  middle, resumes it, and must end on the same weights, averages, optimizer state and losses, bit for bit

With --data-dir, VQ-VAE and style encoder are trained on that folder's note stores of maestro and pijama too. A commit
from before music was coded in beats (config.LAST_COMMIT_IN_SECONDS and earlier) is compared in what does not hang on
that: codec, reference classifier, demo corpus, rolls, the training of the style encoder and the storage below it. The
last line is JSON: `identical`, `solos`, `facts`, `stages`, `not_compared`, and `differences`, a line each. The exit code
is 1 where something differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from differences import ONLY_CLOSE, compare_arrays, compare_runs, compare_solos
from layouts import name_in_tree

ROOT = Path(__file__).resolve().parent.parent.parent

CHART = "[A] Dm7 | G7 | Cmaj7 | A7 [B] Fmaj7 | Fm6 | Em7 A7 | Dm7 G7 [A]"
# kind -> words of `generate`; {before} is a solo that was played first
SOLOS = {
    "plain": ["--chords", CHART],
    "own": ["--chords", "own", "--style", "Brad Mehldau:0.6,Bill Evans:0.4", "--recall", "0.8"],
    "ruled": ["--chords", CHART, "--density", "4,8", "--register", "62", "--swing", "0.62", "--num-candidates", "4"],
    "infilled": [
        "--chords",
        "Dm7 | G7",
        "--infill",
        "{before}",
        "--from",
        "3",
        "--to",
        "6.4",
        "--density",
        "5",
        "--num-candidates",
        "2",
    ],
    "continued": ["--chords", "Am7 | D7", "--continue", "{before}", "--tempo", "140", "--guidance-scale", "1.5"],
}
# stage and variant -> (stage, settings): precision, optimizers, accumulation and low rank are covered too
STAGES = {
    "vqvae": ("vqvae", []),
    "style_encoder": ("style_encoder", ["reads=notes", "ema_decay=0"]),
    "diffusion": ("diffusion", []),
    "fine_tune": ("fine_tune", []),
    "vqvae adamw": ("vqvae", ["optimizer=adamw", "gradient_accumulation=2", "batch_size=2"]),
    "style_encoder roll": ("style_encoder", ["reads=roll", "ema_decay=0.99", "mixed_precision=bf16"]),
    "diffusion constant": ("diffusion", ["decay=constant", "warmup_steps=5", "mixed_precision=bf16"]),
    "fine_tune low rank": ("fine_tune", ["lora_rank=4", "optimizer=adamw"]),
}
MODELS = {"vqvae": "VQVAE", "style_encoder": "StyleEncoder", "diffusion": "DiT", "fine_tune": "DiT"}
# these read note stores directly; the others would have to encode a corpus first
FROM_STORES = {"vqvae": "maestro", "style_encoder": "pijama"}
OTHER_DEFAULTS = ("views", "consistency")  # settings whose defaults have changed since some commits
IN_BEATS = ("vqvae", "diffusion", "fine_tune")  # stages whose examples are in beats
IN_SECONDS = "that commit counts in seconds"
OTHER_OPTIMIZER = "AdamW is fused since, and Muon takes matrices of one shape together"
QUICK = {"solos": ("plain", "ruled", "infilled"), "stages": ("vqvae", "diffusion")}
TIMEOUT_S = 1800


class Tree:
    """A checked-out project, driven from outside.

    Parameters
    ----------
    root : its folder
    work : a folder for what it makes
    """

    def __init__(self, root, work):
        self.root, self.work = Path(root), Path(work)
        self.work.mkdir()

    @property
    def is_in_beats(self):
        """Whether music is coded in beats there."""
        return is_in_beats(self.root)

    def run(self, *words):
        """A Python process in the tree; stdout. AssertionError with the end of what it said where it fails."""
        environment = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "LIB_QUIET": "1"}
        words = [sys.executable, *map(str, words)]
        done = subprocess.run(words, cwd=self.root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, f"{self.root}: {' '.join(words)}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
        return done.stdout

    def play(self, kind, seeds, quick, before):
        """Solos of a kind, as MIDI files by seed."""
        out = self.work / f"{kind}.mid"
        size = ["--seconds", "4", "--num-steps", "6"] if quick else ["--seconds", "12", "--num-steps", "15"]
        asked = [word.format(before=before) for word in SOLOS[kind]]
        self.run(
            "-m",
            "lib",
            "generate",
            "--released",
            "--device",
            "cpu",
            "--out",
            out,
            "--seed",
            seeds[0],
            "--variations",
            len(seeds),
            *size,
            *asked,
        )
        return {seed: out if len(seeds) == 1 else out.with_stem(f"{kind}-{seed - seeds[0] + 1}") for seed in seeds}

    def facts(self, data, midi):
        """Fingerprints as a dict, and arrays by name: see `write_facts`."""
        import numpy as np

        out = self.work / "facts.npz"
        print_of = self.run(__file__, "--facts-of", self.root, out, data, midi)
        return json.loads(print_of.splitlines()[-1]), dict(np.load(out))

    def train(self, stage, runs, data, settings, sources):
        """`lib train`, to its end."""
        words = [word for setting in settings for word in ("--set", setting)]
        given = [word for name, run in sources.items() for word in (f"--{name.replace('_', '-')}-run", run)]
        self.run(
            "-m",
            "lib",
            "train",
            stage,
            "--preset",
            "tiny",
            "--device",
            "cpu",
            "--data-dir",
            data,
            "--runs-dir",
            runs,
            *given,
            *words,
        )


# --- What is asked of a tree from within -----------------------------------------------------------------------


def is_in_beats(root):
    """Whether a tree codes music in beats."""
    modules = (Path(root) / "lib" / "music").glob("*.py")
    return any("def in_beats(" in module.read_text(encoding="utf-8") for module in modules)


def rolls_of_tree(root):
    """(notes -> piano roll, roll -> notes in seconds) of a tree; in beats at 125 a minute, where frames are 20 ms."""
    to_roll, to_notes = name_in_tree("notes_to_piano_roll"), name_in_tree("piano_roll_to_notes")
    if not is_in_beats(root):
        return to_roll, lambda roll: to_notes(roll)[0]
    steady, in_beats, in_seconds = map(name_in_tree, ("STEADY", "in_beats", "in_seconds"))
    return lambda notes: to_roll(in_beats(notes, steady)), lambda roll: in_seconds(to_notes(roll)[0], steady)


def write_facts(root, out, data, midi):
    """Run within a tree: prints fingerprints as JSON; writes rolls, codes, decoded rolls of MIDI files to an .npz."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    released = Path(root) / "data" / "released"
    vqvae, _ = name_in_tree("load_vqvae")(released)
    judge_parts = vars(name_in_tree("load_reference_classifier")()).values()
    (judge,) = [part for part in judge_parts if isinstance(part, torch.nn.Module)]
    models = {"vqvae": vqvae, "judge": judge}
    if is_in_beats(root):
        for name, is_base in (("dit", False), ("base", True)):
            models[name] = name_in_tree("load_improviser")(released, base=is_base).dit
    fingerprints = {name: name_in_tree("fingerprint")(model) for name, model in models.items()}
    decide, arrays = name_in_tree("decide") or (lambda roll: roll), {}
    pieces, (to_roll, to_notes) = sorted(Path(data).rglob("*.mid")), rolls_of_tree(root)
    for number, path in enumerate([*pieces[:: max(1, len(pieces) // 6)], *sorted(Path(midi).glob("*.mid"))]):
        roll = to_roll(name_in_tree("read_midi")(path))
        with torch.inference_mode():
            codes = vqvae.encode(roll)
            decoded = decide(vqvae.decode(codes))
        notes = to_notes(decoded)
        found = {
            "roll": roll.roll,
            "pedal": roll.pedal,
            "codes": codes,
            "decoded": decoded.roll,
            "decoded_pedal": decoded.pedal,
            **{name: array.round(9) for name, array in vars(notes).items() if isinstance(array, np.ndarray)},
        }
        arrays |= {f"{path.stem} {number} {name}": np.asarray(value) for name, value in found.items()}
    np.savez(out, **arrays)
    print(json.dumps(fingerprints))


# --- The three parts -------------------------------------------------------------------------------------------


def check_solos(old, new, quick):
    """(kind -> how many solos are identical of how many, differences)."""
    seeds = [3] if quick else [3, 4, 5]
    before = old.play("plain", seeds, quick, None)[seeds[0]]
    counts, differences = {}, []
    for kind in QUICK["solos"] if quick else SOLOS:
        there, here = (tree.play(kind, seeds, quick, before) for tree in (old, new))
        found = [compare_solos(f"solo {kind}, seed {seed}", there[seed], here[seed]) for seed in seeds]
        counts[kind] = f"{sum(not one for one in found)} of {len(seeds)}"
        differences += sum(found, [])
        print(f"solos {kind}: {counts[kind]} identical", flush=True)
    return counts, differences


def corpus_of(path):
    """A note store's rows and its table of pieces, but for what the older tree does not keep."""
    from lib.data.note_store import ADDED, NoteStore

    store = NoteStore.open(path)
    pieces = [{k: v for k, v in dataclasses.asdict(piece).items() if k not in ADDED} for piece in store.pieces]
    return store.notes.tobytes(), store.pedals.tobytes(), pieces


def check_facts(old, new):
    """(name -> whether it is the same, differences)."""
    data = old.work / "data"
    for archive in data.rglob("*.zip"):  # where the demo corpus is shipped as one
        shutil.unpack_archive(archive, data / "demo" / "midi")
    prints, arrays = zip(*(tree.facts(data, old.work) for tree in (old, new)))
    shared = prints[0].keys() & prints[1].keys() if not old.is_in_beats else prints[0].keys()
    corpora = [corpus_of(tree.work / "data" / "demo" / "notes.store") for tree in (old, new)]
    of_prints = [
        f"fingerprint of {name} is {prints[0][name][:12]} there, {prints[1].get(name, 'missing')[:12]} here"
        for name in sorted(shared)
        if prints[0][name] != prints[1].get(name)
    ]
    of_corpus = [] if corpora[0] == corpora[1] else ["demo corpus: its note stores differ"]
    of_rolls = compare_arrays("rolls", *arrays)
    facts = {
        "fingerprints": not of_prints,
        "demo_corpus": not of_corpus,
        "rolls": not of_rolls,
        "arrays": len(arrays[0]),
    }
    print(f"facts: {facts}", flush=True)
    return facts, of_prints + of_corpus + of_rolls


def check_stages(old, new, quick, data_dir):
    """(stage or variant -> whether it is identical, differences)."""
    half = 6 if quick else 20
    # saving begins a tenth of save_every early: a checkpoint falls on the middle, and on the end
    every = next(n for n in range(half, 2 * half) if n - max(1, n // 10) == half)
    common = [
        f"steps={2 * half}",
        f"save_every={every}",
        "log_every=1",
        f"validate_every={2 * half}",
        "keep_checkpoints=1000",
    ]
    results, differences, chosen = {}, [], QUICK["stages"] if old.is_in_beats else ("style_encoder",)
    tasks = [(name, *STAGES[name], None) for name in STAGES if " " not in name or not quick]
    tasks += [
        (f"{stage} {corpus}", stage, [f"corpora={corpus}"], data_dir)
        for stage, corpus in FROM_STORES.items()
        if data_dir and (data_dir / corpus).exists()
    ]
    for name, stage, settings, stores in tasks:
        if stage in IN_BEATS and not old.is_in_beats:
            continue
        runs, sources = old.work / "runs", {}
        where = runs / stage if name == stage else old.work / name.replace(" ", "-") / stage
        if name != stage and stage in ("diffusion", "fine_tune"):
            sources = {
                source: runs / source
                for source in ("vqvae", "style_encoder", "diffusion")[: 2 + (stage == "fine_tune")]
            }
        old.train(stage, where.parent, stores or old.work / "data", [*common, *settings], sources)
        if quick and name == stage and name not in chosen:
            continue  # the others build on it
        copy = new.work / name.replace(" ", "-")
        shutil.copytree(where.parent if name == stage else where, copy if name == stage else copy / stage)
        keep_first_half(copy / stage, half)
        trained = json.loads((where / "config.json").read_text(encoding="utf-8"))
        same = [f"{setting}={trained[setting]}" for setting in OTHER_DEFAULTS if setting in trained]
        new.train(stage, copy, stores or new.work / "data", [*common, *same, *settings], sources)
        found = compare_runs(name, where, copy / stage, (name_in_tree("RENAMED") or {}).get(MODELS[stage], {}))
        found += [] if resumed_at(copy / stage) == half else [f"{name}: was not resumed at step {half}"]
        results[name], differences = not found, differences + found
        print(f"stage {name}: {'identical' if not found else 'differs'}", flush=True)
    return results, differences


def keep_first_half(run, half):
    """What a crash soon after the checkpoint in the middle leaves of a run."""
    for folder in sorted((run / "checkpoints").glob("step-*")):
        if int(folder.name.removeprefix("step-")) > half:
            shutil.rmtree(folder)
    (run / "finished").unlink(missing_ok=True)
    for name in ("history.jsonl", "events.jsonl"):
        lines = (run / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (run / name).write_text("".join(line for line in lines if json.loads(line)["step"] <= half), encoding="utf-8")


def resumed_at(run):
    """The step of the newest start."""
    events = map(json.loads, (run / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [event["step"] for event in events if event["event"] == "start"][-1]


def check_out(commit, folder):
    """A clone of this repository at a commit."""
    subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", ROOT, folder], check=True)
    subprocess.run(["git", "-c", "advice.detachedHead=false", "checkout", "-q", commit], cwd=folder, check=True)
    return folder


def main():
    """Both trees, one part after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?")
    parser.add_argument("--quick", action="store_true", help="one seed, two stages, few steps")
    parser.add_argument("--data-dir", type=Path, help="train on the note stores of maestro and pijama there, too")
    parser.add_argument("--only", default="solos,facts,stages", help="parts, with commas")
    parser.add_argument("--facts-of", nargs=4, metavar=("TREE", "OUT", "DATA", "MIDI"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.facts_of:
        return write_facts(*words.facts_of)
    if not words.commit:
        parser.error("say which commit")
    began, parts = time.monotonic(), words.only.split(",")
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        old = Tree(check_out(words.commit, folder / "tree"), folder / "there")
        new, figures, differences = Tree(ROOT, folder / "here"), {}, []
        skipped = [] if old.is_in_beats else ["solos", "improvisers", *IN_BEATS]
        figures["not_compared"] = dict.fromkeys(skipped, IN_SECONDS)
        if not old.is_in_beats:
            ONLY_CLOSE.update({name: OTHER_OPTIMIZER for name, (stage, _) in STAGES.items() if stage not in IN_BEATS})
        for tree in (old, new):
            tree.run("-m", "lib", "data", "demo", "--data-dir", tree.work / "data")
        for part, check in {
            "solos": lambda: check_solos(old, new, words.quick),
            "facts": lambda: check_facts(old, new),
            "stages": lambda: check_stages(old, new, words.quick, words.data_dir),
        }.items():
            if part in parts and part not in skipped:
                figures[part], found = check()
                differences += found
    for line in differences:
        print(line)
    about = {"benchmark": "same_as", "commit": words.commit, "quick": words.quick, "identical": not differences}
    print(
        json.dumps(
            {
                **about,
                **figures,
                "only_close": ONLY_CLOSE,
                "differences": differences,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    raise SystemExit(1 if differences else 0)


if __name__ == "__main__":
    main()

"""The improviser: does it play like the pianist, does it follow chords and rules, what does it cost, does it copy?

    python tests/benchmarks/generate.py --data-dir data [--quick] [--run RUN --base RUN] [--split validation] [--only PART,...]

Clips of 32 beats from the released weights (or of RUN, fine-tuned, and BASE), against real ones of the pianist's held-out
albums, of whose tempo, metre and chords they are asked: 64 of each, with --quick 16. Parts: likeness, baselines, rules,
cost, paper, twelve, copying, seams, sanity, and, where it is asked for, earlier: the release from before music was coded
in beats plays the same requests, at its last commit. Rules are measured alone: the model is not told what they ask for,
but where a key says `told`. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
from overlap import overlapping_area  # noqa: E402
from same_as import Tree, check_out  # noqa: E402

from lib.apps.evaluate.clip_sets import NO_CHORDS, ClipSets, Size  # noqa: E402
from lib.apps.evaluate.clips import make_orders  # noqa: E402
from lib.apps.evaluate.copying import KEYS, WINDOW_BEATS, cells, nearest_passages, rows_of_beats, similarities  # noqa: E402
from lib.apps.evaluate.intervals import estimate  # noqa: E402
from lib.apps.evaluate.measures import ATTRIBUTES, agreements, attributes, rule_losses  # noqa: E402
from lib.apps.evaluate.mismatch import mismatch_figures  # noqa: E402
from lib.apps.evaluate.reference_classifier import log_probabilities, pianist_probability  # noqa: E402
from lib.apps.evaluate.transfer import TWELVE  # noqa: E402
from lib.config import GUIDED_CANDIDATES, LAST_COMMIT_IN_SECONDS, RELEASED  # noqa: E402
from lib.data.corpora import open_corpus  # noqa: E402
from lib.data.note_store import resolution_ms  # noqa: E402
from lib.diffusion.sampling import guided_steps  # noqa: E402
from lib.generation.generate import generate  # noqa: E402
from lib.generation.sliding_window import OVERLAP  # noqa: E402
from lib.music.hands import left_hand  # noqa: E402
from lib.music.metrics import PARTS_OF_BEAT, describe, longest_silence_s, phase_lock  # noqa: E402
from lib.music.notes import read_midi  # noqa: E402
from lib.music.piano_roll import LATENTS_PER_BEAT, WINDOW  # noqa: E402
from lib.music.rules import pitch_class_share  # noqa: E402
from lib.progress import progress_bar  # noqa: E402

PIANIST = "Brad Mehldau"
PARTS = ("likeness", "baselines", "rules", "cost", "paper", "twelve", "copying", "seams", "sanity")
PAPER_STEPS, PAPER_GUIDED, PAPER_CANDIDATES = 1000, 750, 16  # Huang et al. 2024: DDPM, candidates below step 750
OWN = {"own_changes": True}


class Bench(ClipSets):
    """What the parts share: models, real clips, generated ones."""

    def __init__(self, words):
        self.words, self.count = words, words.clips or (16 if words.quick else 64)
        size = Size(clips=self.count, guided=words.guided or self.count)
        names = {"base": words.base, "pianist": PIANIST, "corpus": "pijama"}
        super().__init__(words.run or RELEASED, words.data_dir, size=size, split=words.split, **names)

    def without_chords(self, count):
        """So many clips of the model without any chords."""
        return self.player.play_set("without chords", self.requests(count, **NO_CHORDS))

    def play(self, player, requests, name=""):
        """A Clip a request, seeds 1, 2, ..."""
        return player.play(make_orders(requests), name)


def overlap(clips, real):
    """Mean overlapping area over ATTRIBUTES, and each."""
    rows = [np.array([list(attributes(clip).values()) for clip in part]) for part in (clips, real)]
    areas = [overlapping_area(rows[0][:, i], rows[1][:, i]) for i in range(len(ATTRIBUTES))]
    means = {name: round(float(mean), 3) for name, mean in zip(ATTRIBUTES, rows[0].mean(0), strict=True)}
    by_name = {name: round(area, 3) for name, area in zip(ATTRIBUTES, areas, strict=True)}
    return {"oa": float(np.mean(areas)), "areas": by_name, "means": means}


def judge_mean(judge, clips):
    """The mean probability of the pianist."""
    return float(pianist_probability(judge, [clip.notes for clip in clips], PIANIST).mean())


def likeness(bench):
    """oa_mehldau, oa_real, oa_guided, judge_mehldau, judge_base, judge_real."""
    real, guided = bench["real"].clips, bench["guided"].clips
    figures = {"oa_real": overlap(bench["training"].clips, real), "oa_mehldau": overlap(bench["generated"].clips, real),
               "oa_guided": overlap(guided, real)}  # fmt: skip
    found = {name: value["oa"] for name, value in figures.items()}
    plain, judge = bench.without_chords(min(bench.count, 16)).clips, bench.reference_classifier
    found |= {"oa_without_changes": overlap(plain, real)["oa"], "judge_without_changes": judge_mean(judge, plain)}
    found |= {f"{name}_detail": {k: v for k, v in value.items() if k != "oa"} for name, value in figures.items()}
    found["oa_real_detail"]["means_test"] = overlap(real, real)["means"]
    found["judge_mehldau"] = judge_mean(judge, bench["generated"].clips)
    found["judge_guided"] = judge_mean(judge, guided)
    found["judge_base"] = judge_mean(judge, bench["base_clips"].clips)
    found["guided_clips"] = len(guided)
    return found | {"judge_real": judge_mean(judge, real), "judge_tuning": judge_mean(judge, bench["training"].clips)}


def baselines(bench):
    """The same of a Markov model, the base model and the codec's reconstructions."""
    sets = {"markov": bench["markov"].clips, "base": bench["base_clips"].clips, "codec": bench["codec"].clips,
            "flattened": bench["flattened"].clips}  # fmt: skip
    found = {f"oa_{name}": overlap(clips, bench["real"].clips)["oa"] for name, clips in sets.items()}
    return found | {f"judge_{name}": judge_mean(bench.reference_classifier, clips) for name, clips in sets.items()}


def rules(bench):
    """scg_density_drop, scg_pitch_drop, scg_chord_drop, each also where the model is told; chord_agreement."""
    found, real = {}, bench["real"].clips[: bench.words.guided]
    prompts = bench.prompts[: len(real)]
    plain, charts = bench.without_chords(len(real)).clips, bench.charts[: len(real)]
    wishes = {
        "density": [{"density": prompt["density"]} for prompt in prompts],
        "pitch": [{"pitch_classes": tuple(pitch_class_share(clip.piano_roll)[0].tolist())} for clip in real],
        "chord": [{"chords": prompt["chords"]} for prompt in prompts],
    }
    for name, of_clips in wishes.items():
        requests = [{**prompt, **NO_CHORDS, **wish} for prompt, wish in zip(prompts, of_clips)]
        before = losses_of(requests, plain)
        for label, told in (("scg", False), ("told", True)):
            if name == "pitch" and told:
                continue
            extra = {"num_candidates": GUIDED_CANDIDATES, "condition_model": told}
            clips = bench.play(bench.player, [{**request, **extra} for request in requests], f"{label} {name}")
            after = losses_of(requests, clips)
            found[f"{label}_{name}_drop"] = 1 - after.mean() / before.mean()
            found[f"{label}_{name}_losses"] = [round(float(before.mean()), 4), round(float(after.mean()), 4)]
            if name == "chord":
                found[f"chord_agreement_{label}"] = agreement(charts, clips)
    found["chord_agreement"] = found["chord_agreement_told"]
    found["chord_agreement_unguided"] = agreement(charts, plain)
    found["chord_agreement_real"] = agreement(charts, bench["codec"].clips[: len(real)])
    return found


def agreement(charts, clips):
    """Share of the beats of all clips that agree with their charts."""
    return float(np.concatenate([agreements(*pair) for pair in zip(charts, clips, strict=True)]).mean())


def losses_of(requests, clips):
    """float (N,): the loss of each clip under the rules of a request, where candidates would compete by them."""
    orders = make_orders([{**request, "num_candidates": 2} for request in requests])
    return np.array([sum(rule_losses(*pair).values()) for pair in zip(orders, clips, strict=True)])


def cost(bench):
    """guided_pflop, seconds_unguided, seconds_guided: one clip each, two cores."""
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(2)
    guided = {"density": 6.0, "chords": "Cmaj7 | Dm7 G7", "num_candidates": GUIDED_CANDIDATES}
    found = {}
    for name, wish in (("unguided", {}), ("guided", guided)):
        times = []
        for seed in range(3):
            began = time.perf_counter()
            bench.play(bench.player, [{**wish}], f"{name} {seed}")
            times.append(time.perf_counter() - began)
        found[f"seconds_{name}"] = float(np.median(times))
    with FlopCounterMode(display=False) as counter:
        bench.play(bench.player, [guided], "FLOPs")
    return found | {"guided_pflop": counter.get_total_flops() / 1e15}


def paper(bench):
    """scg_speedup: the paper's schedule on our model over ours, extrapolated from as many steps as there are latent frames
    (more would settle nothing), 16 candidates at each, no revisions; scg_paper_loss_ratio: our rule loss over that schedule's."""
    torch.set_num_threads(2)
    wishes = bench.requests(1 if bench.words.quick else 4)
    steps, losses = {}, {}
    for name, extra in (("paper", {"num_candidates": PAPER_CANDIDATES, "num_steps": WINDOW}), ("free", {"num_steps": WINDOW}),
                        ("ours", {"num_candidates": GUIDED_CANDIDATES})):  # fmt: skip
        times, lost = [], []
        for number, wish in enumerate(progress_bar(wishes, desc=name, unit="clip")):
            stamps = [time.perf_counter()]
            (order,) = make_orders([{**wish, **extra, "seed": number + 1}])
            stamp = lambda state, stamps=stamps: stamps.append(time.perf_counter())  # noqa: E731
            with steering(1, 0, 0) if name == "paper" else nullcontext():
                solo = generate(bench.tuned, order.request, stamp)
            times.append(np.diff(stamps))
            lost.append(sum(solo.rule_losses.values()))
        steps[name], losses[name] = np.concatenate(times), float(np.mean(lost))
    theirs = PAPER_GUIDED * np.median(steps["paper"]) + (PAPER_STEPS - PAPER_GUIDED) * np.median(steps["free"])
    ours = steps["ours"].sum() / len(wishes)
    return {"scg_speedup": float(theirs / ours), "scg_paper_seconds": float(theirs), "scg_our_seconds": float(ours),
            "scg_paper_steps_timed": len(steps["paper"]), "scg_paper_loss_ratio": losses["ours"] / losses["paper"],
            "scg_losses": {name: round(value, 4) for name, value in losses.items() if name != "free"}}  # fmt: skip


@contextmanager
def steering(share, first, revisions):
    """This share of the candidates competes from this share of the steps on, and so many revisions follow."""
    changed = {"STEP_CANDIDATES": share, "NUM_REVISIONS": revisions, "guided_steps": partial(guided_steps, first=first)}
    with patch.multiple("lib.diffusion.sampling", **changed):
        yield


def twelve(bench):
    """agreement_12: whether the judge names whom the base model was told to play like, among twelve; mismatch_12: the same
    over the music of another of them, and mismatch_12_source, whether it names that one instead; of his real clips, too."""
    each = max(1, bench.count // 12 + 1)
    names = [name for name in TWELVE for _ in range(each)]
    clips = bench.play(bench.base, [{"style": name, **OWN} for name in names], "twelve")
    plain = (bench["base_clips"].clips * 2)[: len(names)]
    sets = {"told": clips, "plain": plain}
    choice = {name: log_probabilities(bench.reference_classifier, [clip.notes for clip in part], TWELVE).argmax(1)
              for name, part in sets.items()}  # fmt: skip
    right = np.array([TWELVE.index(name) for name in names])
    mismatch = {key: {name: row.value for name, row in part.items()} for key, part in mismatch_figures(bench, each).items()}
    return {"mismatch_12": mismatch["generated"]["asked"], "mismatch_12_source": mismatch["generated"]["source"],
            "mismatch_12_real": mismatch["sources"], "agreement_12": float((choice["told"] == right).mean()),
            "agreement_12_unconditioned": float(np.mean([(choice["plain"] == t).mean() for t in range(12)]))}  # fmt: skip


def copying(bench):
    """copy_ratio, copy_beats_ratio and copy_run_ratio against the whole fine-tuning set: similarity of the nearest 16
    beats, most beats and notes in a row; copy_bot: the same of training clips at another tempo, which must be found."""
    sets = {name: bench[name].clips for name in ("generated", "real", "copy_bot")}
    nearest = {name: nearest_passages(clips, bench.training_pieces, name) for name, clips in sets.items()}
    columns = {name: {key: [row[key] for row in rows] for key in ("likeness", "beats", "run")} for name, rows in nearest.items()}
    found = {name: {"likeness": float(np.mean(row["likeness"])), "beats": float(np.percentile(row["beats"], 99)),
                    "run": float(np.percentile(row["run"], 99))} for name, row in columns.items()}  # fmt: skip
    ratios = {name: {key: value / found["real"][key] for key, value in row.items()} for name, row in found.items()}
    own = ratios["generated"]
    return {"copy_ratio": own["likeness"], "copy_beats_ratio": own["beats"], "copy_run_ratio": own["run"],
            "copy_bot": ratios["copy_bot"], "copy": found}  # fmt: skip


def seams(bench, solos=8, windows_each=16):
    """seam_f: how well a linear probe tells the borders of windows from the middles between them, cross-validated."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    solos = 3 if bench.words.quick else solos
    hop, first = (latents / LATENTS_PER_BEAT for latents in (WINDOW - OVERLAP, OVERLAP))  # beats
    request = {"bars": int(first + hop * windows_each) // 4, **OWN}
    rows, labels, groups = [], [], []
    for number, solo in enumerate(bench.play(bench.player, [request] * solos, "long")):
        for w in range(1, windows_each - 1):
            for label, beat in ((1, first + w * hop), (0, first + (w + 0.5) * hop)):
                rows.append(around(solo.notes, float(solo.tempo_map.to_seconds(beat))))
                labels.append(label), groups.append(number)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = GroupKFold(min(5, len(set(groups))))
    return {"seam_f": float(cross_val_score(probe, np.array(rows), labels, groups=groups, cv=folds).mean()),
            "seam_places": len(rows)}  # fmt: skip


def around(notes, time_s, reach_s=1.0):
    """What changes at a time: figures of the second before, the second after, and how they differ."""
    rows = []
    for start_s in (time_s - reach_s, time_s):
        part = notes.between(start_s, start_s + reach_s)
        share = np.bincount(part.pitch % 12, minlength=12) / max(1, len(part))
        rows.append((describe(part, reach_s), share))
    names = ("notes_per_s", "sounding_notes", "velocity_mean", "velocity_std", "pedal_share", "left_hand_share",
             "longest_silence_s")  # fmt: skip
    before, after = (np.array([row[0][name] for name in names]) for row in rows)
    near = [len(notes.between(time_s - w, time_s + w)) for w in (0.04, 0.1, 0.3)]
    return [*before, *after, *np.abs(after - before), np.abs(rows[0][1] - rows[1][1]).sum(), *near]


def sanity(bench):
    """Violations over 200 clips (quick: the clips of `likeness`)."""
    clips, real = bench["generated"].clips, bench["real"].clips
    if not bench.words.quick:
        more = [{"seed": 1000 + n, "bars": 8, **OWN} for n in range(200 - len(clips))]
        clips = clips + bench.play(bench.player, more, "more")
    rows, repeated = [rows_of_beats(clip.in_beats, clip.beats)[:WINDOW_BEATS] for clip in clips], 0
    for number in range(1, len(rows)):
        similarity, _ = similarities(cells(rows[number], KEYS), cells(np.concatenate(rows[:number])))
        repeated += similarity[..., ::WINDOW_BEATS].max() > 0.5
    found = {"clips": len(clips), "repetitions": int(repeated)}
    for prefix, part in (("", clips), ("real_", real)):
        left = [left_hand(clip.notes).mean() if len(clip.notes) else 0.0 for clip in part]
        plain = [describe(clip.notes, clip.seconds) for clip in part]
        held = [np.diff(clip.notes.pedal_s).max(initial=0.0) > clip.seconds - 0.2 for clip in part]
        found |= {
            f"{prefix}silent_3s": sum(longest_silence_s(clip.notes, clip.seconds) > 3 for clip in part),
            f"{prefix}over_25_notes_per_s": sum(row["notes_per_s"] > 25 for row in plain),
            f"{prefix}pedal_stuck": int(sum(held)),
            f"{prefix}one_hand": sum(not 0.05 <= share <= 0.95 for share in left),
        }
    return found


EARLIER = """
import json, sys
from pathlib import Path
from lib.config import build
from lib.generation.generate import Order, generate_many, load_improviser
from lib.generation.request import GenerateRequest
from lib.music.notes import write_midi

requests, improviser = json.loads(Path(sys.argv[1]).read_text()), load_improviser(released=True, device="cpu")
for first in range(0, len(requests), 8):
    orders = [Order(build(GenerateRequest, request)) for request in requests[first : first + 8]]
    for number, solo in enumerate(generate_many(improviser, orders), first):
        write_midi(solo.notes, Path(sys.argv[1]).with_name(f"{number}.mid"))
"""


def played_earlier(requests):
    """Notes of each request (a dict) by the release in seconds, at its own last commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(check_out(LAST_COMMIT_IN_SECONDS, Path(folder) / "tree"), Path(folder) / "work")
        (tree.work / "requests.json").write_text(json.dumps(requests))
        tree.run("-c", EARLIER, tree.work / "requests.json")
        return [read_midi(tree.work / f"{number}.mid") for number in range(len(requests))]


def earlier(bench):
    """oa_earlier, oa_difference with its paired interval: the release in seconds over the same charts, at the same tempos;
    of both, without rules, phase lock (pooled over the clips) and the share of beats with the chord that was asked for."""
    orders = make_orders(bench.requests(bench.count, density=None))
    requests = [
        {"chords": o.request.chords, "tempo_bpm": o.request.tempo_bpm, "seconds": clip.seconds, "seed": o.request.seed,
         "beats_per_bar": clip.beats_per_bar}
        for o, clip in zip(orders, bench["generated"].clips, strict=True)
    ]  # fmt: skip
    notes = played_earlier(requests)
    clips = [clip.with_notes(played) for clip, played in zip(bench["generated"].clips, notes, strict=True)]
    sides = [dataclasses.replace(bench["generated"], clips=clips), bench["generated"]]
    there, here = (bench.similarity(bench.measure(side)).statistics for side in sides)
    rows = {"oa": "overlapping_area", "divergence": "divergence", "frechet": "frechet_style"}
    figures = {
        name: estimate(
            lambda w, r, key=key: here[key](w, r) - there[key](w, r),
            range(bench.count),
            bench["real"].groups,
            centred=True,
        )
        for name, key in rows.items()
    }
    ones = np.ones(bench.count), np.ones(len(bench["real"].clips))
    found = {f"{name}_{when}": side[key](*ones) for name, key in rows.items()
             for when, side in (("earlier", there), ("now", here))}  # fmt: skip
    found |= {f"{name}_difference": [row.value, row.low, row.high] for name, row in figures.items()}
    for when, part in (("earlier", clips), ("now", bench["generated"].clips), ("real", bench["codec"].clips)):
        positions = np.concatenate([clip.in_beats.onset for clip in part])
        found |= {f"lock_{name}_{when}": phase_lock(positions, parts) for name, parts in PARTS_OF_BEAT.items()}
        found[f"chord_agreement_{when}"] = agreement(bench.charts, part)
        found[f"judge_{when}"] = judge_mean(bench.reference_classifier, part)
    return found


def main():
    """All parts, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", "--data", type=Path, default=ROOT / "data")
    parser.add_argument("--run", type=Path, help="fine-tuned; the released one by default")
    parser.add_argument("--base", type=Path, help="before fine-tuning; the released one by default")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--clips", type=int, help="of each set")
    parser.add_argument("--guided", type=int, help="so many clips where rules choose; as many as of the others by default")
    parser.add_argument("--only", default=",".join(PARTS))
    words = parser.parse_args()
    bench, figures = Bench(words), {}
    for name in words.only.split(","):
        found = globals()[name](bench)
        figures |= found
        print(json.dumps(found), file=sys.stderr, flush=True)
    figures = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    figures["time_resolution_ms"] = resolution_ms(open_corpus("pijama", words.data_dir))
    print(json.dumps({"benchmark": "generate", "clips": bench.count, "split": words.split, **figures}))


if __name__ == "__main__":
    main()

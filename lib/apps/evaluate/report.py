"""The report card of an evaluation: ten figures with their controls, as text, and as one HTML page with all details
folded below. The page (report.html, a Jinja template) needs no network, and no other file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lib.apps.evaluate import clip_sets
from lib.apps.evaluate import metric_descriptions as descriptions
from lib.apps.evaluate.clips import CLIP_BEATS, Clip
from lib.apps.evaluate.copying import passage_beside
from lib.apps.evaluate.metric_descriptions import ADHERENCE, COPYING, FORM, IN_TIME, SIMILARITY, TRANSFER
from lib.apps.evaluate.structure import plot_scapes
from lib.display.alt_text import described, picture_html
from lib.display.page import make_page
from lib.display.palette import GENERATED, HUES, PALE, QUIET, REAL, on_paper
from lib.display.player import music_json, page_of
from lib.music.audio import render_audio
from lib.storage.atomic_write import write_text

PLAYER_SLOTS = ("MUSIC_OF_THIS_PLAYER", "TITLE_OF_THIS_PLAYER")  # report.js fills them
TITLES = {**clip_sets.TITLES, "other_beats": "held-out, another's beats", "transfer.real": "learnt from real music"}
SAME_AS_MUSPY = ("pitch_range", "pitch_class_entropy", "polyphony")
OWN_SETS = ("generated", "solos")  # drawn in the colour of generated music
WIDTH, COLUMNS = 30, 3  # of names in the terminal; panels of a picture

# title -> the figure's path in evaluation.json, {} standing for the set; its Description; the sets: the model's, then
# what real music reaches, then where there is one a control that must do worse
CARD = {
    "overlapping area": ("likeness.{}.overlapping_area", SIMILARITY["overlapping_area"], "generated training shuffled"),
    "Fréchet music distance": ("likeness.{}.frechet_style", SIMILARITY["frechet_style"], "generated training markov"),
    "nearest neighbour, style": ("likeness.{}.nearest_style", SIMILARITY["nearest_style"], "generated training markov"),
    "judge": ("likeness.{}.judge", SIMILARITY["judge"], "generated flattened others"),
    "in time": ("in_time.{}.grid", IN_TIME["grid"], "generated real other_beats"),
    "self-similarity, 8 bars": (
        "form.{}.self_similarity_8", FORM["self_similarity_8"], "solos real_solos shuffled_solos"
    ),
    "chord agreement": ("obedience.chord_agreement.{}", ADHERENCE["chord_agreement"], "generated codec free"),
    "transfer, windows": ("transfer.{}.windows", TRANSFER, "generated real"),
    "copying, similarity": ("copying.{}.likeness", COPYING, "generated real copy_bot"),
    "copying, longest run": ("copying.{}.run", COPYING, "generated real copy_bot"),
}


def card(evaluation: dict) -> Iterator[tuple[str, descriptions.Description, dict[str, dict]]]:
    """(title, Description, title of set -> Figure as a dict) of each row of CARD with a figure, the model's first."""
    for title, (path, description, sets) in CARD.items():
        figures, section = {}, path.partition(".")[0]
        for name in sets.split():
            figure = evaluation
            for key in path.format(name).split("."):
                figure = figure.get(key, {})
            set_title = "the model" if name in OWN_SETS else TITLES.get(f"{section}.{name}") or TITLES[name]
            figures |= {set_title: figure} if figure else {}
        if "the model" in figures:
            yield title, description, figures


def format_card(evaluation: dict) -> str:
    """The card as text, for the terminal and for notebooks, and what could not be given."""
    lines = []
    for title, description, figures in card(evaluation):
        lines.append(f"{title} (ideal: {description.ideal})")
        for name, figure in figures.items():
            value, low, high = (figure[key] for key in ("value", "low", "high"))
            interval = "" if low is None else f" ({low:.2g} to {high:.2g})"
            lines.append(f"  {name:<{WIDTH}}{'-' if value is None else f'{value:.3g}'}{interval}")
    lines += [f"not given, {TITLES.get(name, name)}: {reason}" for name, reason in evaluation["missing"].items()]
    return "\n".join(lines)


def make_pairs(clips: Sequence[Clip], nearest: Sequence[dict], pieces: dict[int, Clip], sounding: int) -> list[tuple]:
    """Each clip and the training passage most similar to it, the most similar first, so many of them with a sound:
    (a sentence on them, dict name -> (Notes, Audio or None) of both). For `nearest` see copying.nearest_passages."""
    pairs = []
    for index in sorted(range(len(nearest)), key=lambda index: -nearest[index]["likeness"]):
        row, clip = nearest[index], clips[index]
        passage, start_s = passage_beside(clip, row, pieces)
        source = f"{row['title']}, {start_s:.0f} s"
        moved = f", {row['semitones']:+d} semitones" if row["semitones"] else ""
        text = f"Clip {index + 1}: similarity {row['likeness']:.2f} to {source}{moved}; {row['run']} notes in a row"
        render = render_audio if len(pairs) < sounding else lambda notes: None
        sides = {f"clip {index + 1}": clip.notes, source: passage}
        pairs.append((text, {name: (notes, render(notes)) for name, notes in sides.items()}))
    return pairs


def write_report(path: Path | str, evaluation: dict, pairs: Sequence[tuple] = ()) -> Path:
    """Write the page of an evaluation, with `make_pairs` to listen to."""

    def picture(plot):
        plt.close(figure := plot(evaluation))
        return picture_html(figure)

    subject = evaluation["subject"]
    name = f"{Path(subject['model']).name} ({subject['pianist'] or 'nobody in particular'})"
    check = evaluation.get("selfcheck", {"doses": (), "verdicts": {}, "control": {}})
    damages = [f"{row['damage']}, {row['dose']:g} {row['unit']}" for row in check["doses"]]
    verdicts = {
        SIMILARITY[key].title: {name: is_worse for name, (is_worse, _) in row.items()}
        | {"bars shuffled": check["control"].get(key)}
        for key, row in check["verdicts"].items()
    }
    smg = [key for row in evaluation.get("second_opinion", {}).values() for key in row]
    page = make_page(
        Path(__file__).parent,
        "report",
        f"Evaluation of {name}",
        **evaluation,
        **{name: value for name, value in vars(descriptions).items() if name.isupper()},
        number=format_number,
        card=card(evaluation),
        picture=picture,
        plot_similarity=plot_similarity,
        plot_selfcheck=plot_selfcheck,
        plot_scapes=lambda evaluation: plot_scapes({TITLES[name]: row for name, row in evaluation["scapes"].items()}),
        doses=dict(zip(["no damage (real against real)", *damages[1:]], (row["figures"] for row in check["doses"]))),
        verdicts=verdicts,
        verdict_columns={name: name for row in verdicts.values() for name in row},
        columns_of=columns_of,
        titles=defaultdict(str, TITLES),
        own_sets=OWN_SETS,
        clip_beats=CLIP_BEATS,
        shown_means={key: row for key, row in descriptions.MEANS.items() if key not in SAME_AS_MUSPY},
        smg_titles={key: key.removeprefix("smg_").replace("_", " ") for key in smg},
        pairs=pairs,
        sounding=sum(audio is not None for _, sides in pairs for _, audio in sides.values()) // 2,
        music=[music_json({name: take}, name) for _, sides in pairs for name, take in sides.items()],
        player=page_of(*PLAYER_SLOTS) if pairs else "",
    )
    write_text(path, page)
    return Path(path)


def format_number(value: float | None) -> str:
    """Three digits; a dash for none."""
    return "–" if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def columns_of(rows: dict[str, dict], columns: dict) -> dict:
    """Of these columns those that a row has."""
    return {key: column for key, column in columns.items() if any(key in row for row in rows.values())}


@on_paper
def plot_similarity(evaluation: dict) -> plt.Figure:
    """A panel a measure of `likeness`, a row a set: the value as a dot, its interval as a line, the ideal dotted."""
    sets, summary = evaluation["likeness"], []
    measures = [key for key in SIMILARITY if any(key in row for row in sets.values())]
    figure, panels = _panels(measures, 0.9 + 0.26 * len(sets), sharey=True)
    for measure, ax in panels.items():
        rows = {name: figures[measure] for name, figures in sets.items() if measure in figures}
        for name, row in rows.items():
            low, value, high = np.array([row["low"], row["value"], row["high"]], float)  # NaN, not drawn, for None
            at, colour = list(sets).index(name), GENERATED if name in OWN_SETS else REAL
            ax.plot([low, high], [at, at], color=colour, linewidth=1.5)
            ax.plot([value], [at], "o", color=colour, markersize=5)
        if measure.startswith("nearest"):
            ax.axvline(0.5, color=QUIET, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(sets)), [TITLES[name] for name in sets])
        ax.set_ylim(len(sets) - 0.5, -0.5)
        ax.grid(axis="x", linewidth=0.3, color=PALE)
        values = ", ".join(f"{TITLES[name]} {format_number(row['value'])}" for name, row in rows.items())
        summary.append(f"{SIMILARITY[measure].title}: {values}")
    return described(figure, f"Figures with 95 % confidence intervals. {'; '.join(summary)}")


@on_paper
def plot_selfcheck(evaluation: dict) -> plt.Figure:
    """A panel a measure of `selfcheck`: its value over the dose, of the largest one, a line for each kind of damage."""
    rows, summary = evaluation["selfcheck"]["doses"], []
    damages = list(dict.fromkeys(row["damage"] for row in rows[1:]))
    figure, panels = _panels(list(rows[0]["figures"]), 2.3)
    for measure, ax in panels.items():
        for colour, damage in zip(HUES, damages):
            own = [row for row in rows if row["damage"] in ("none", damage)]
            doses = np.array([row["dose"] for row in own]) / own[-1]["dose"]
            values = np.array([row["figures"].get(measure, {}).get("value") for row in own], float)
            ax.plot(doses, values, "o-", color=colour, markersize=3, linewidth=1, label=damage)
        ax.set_xlabel("dose, of the largest", fontsize=8)
        summary.append(f"{SIMILARITY[measure].title}: {values[0]:.3g} whole")
    next(iter(panels.values())).legend(fontsize=7)
    damage = ", ".join(damages)
    return described(figure, f"What measures say of music that is made worse by {damage}. {'; '.join(summary)}")


def _panels(measures, height, **shared):
    """(figure, dict measure -> axes with its title): rows of COLUMNS panels, so many inches high."""
    columns = min(COLUMNS, max(1, len(measures)))
    count = -(-len(measures) // columns) or 1
    size = (3.7 * columns, height * count)
    figure, axes = plt.subplots(count, columns, figsize=size, squeeze=False, layout="constrained", **shared)
    for ax in axes.flat[len(measures) :]:
        ax.set_visible(False)
    panels = dict(zip(measures, axes.flat))
    for measure, ax in panels.items():
        ax.set_title(SIMILARITY[measure].title, fontsize=9)
    return figure, panels

"""The report card of an evaluation: ten figures with their controls, as text, and as one HTML page with all details
below.

The page needs no network, and no other file.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from lib.apps.evaluate import metric_descriptions as descriptions
from lib.apps.evaluate.clips import CLIP_BEATS
from lib.apps.evaluate.copying import Pair
from lib.apps.evaluate.metric_descriptions import ADHERENCE_TITLES, SET_TITLES, SIMILARITY, Description
from lib.apps.evaluate.plots import OWN_SETS, plot_selfcheck, plot_similarity
from lib.display.alt_text import picture_html
from lib.display.page import fill_page, read_parts
from lib.display.player import music_json, page_of

FOLDER = Path(__file__).parent
MUSIC, TITLE = "MUSIC_OF_THIS_PLAYER", "TITLE_OF_THIS_PLAYER"  # report.js puts these there
LOOK_ONCE = (
    "These are the test recordings. Look at them once, when everything is chosen: each further look makes the figures "
    "a little better than they are."
)
VALIDATION = "Validation recordings: what was chosen by them looks a little better here than on unseen music."
WIDTH = 30


# --- The card --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CardRow:
    """One of the figures that matter first.

    Attributes
    ----------
    description : Description
    path : of the figure in evaluation.json, {} stands for the set
    model : the set whose figure it is
    controls : set -> title; the first is what real music reaches, a second what must do worse
    """

    description: Description
    path: str
    model: str
    controls: dict[str, str]

    def figure(self, evaluation: dict, name: str) -> dict | None:
        """The Figure of a set as a dict, or None."""
        value = evaluation
        for key in self.path.format(name).split("."):
            value = value.get(key, {})
        return value or None


def _similarity(key, *controls):
    return CardRow(SIMILARITY[key], f"likeness.{{}}.{key}", "generated", {name: SET_TITLES[name] for name in controls})


_passages = {"description": descriptions.COPYING, "model": "generated", "controls": {"real": SET_TITLES["real"]}}
CARD = {
    "overlapping area": _similarity("overlapping_area", "training", "shuffled"),
    "Fréchet music distance": _similarity("frechet_style", "training", "markov"),
    "nearest neighbour, style": _similarity("nearest_style", "training", "markov"),
    "judge": _similarity("judge", "flattened", "others"),
    "in time": CardRow(
        descriptions.IN_TIME["grid"],
        "in_time.{}.grid",
        "generated",
        {name: SET_TITLES[name] for name in ("real", "other_beats")},
    ),
    "self-similarity, 8 bars": CardRow(
        descriptions.FORM["self_similarity_8"],
        "form.{}.self_similarity_8",
        "solos",
        {name: SET_TITLES[name] for name in ("real_solos", "shuffled_solos")},
    ),
    "chord agreement": CardRow(
        descriptions.ADHERENCE["chord_agreement"],
        "obedience.chord_agreement.{}",
        "generated",
        {name: ADHERENCE_TITLES[name] for name in ("codec", "free")},
    ),
    "transfer, windows": CardRow(
        descriptions.TRANSFER, "transfer.{}.windows", "generated", {"real": "learnt from real music"}
    ),
    "copying, similarity": CardRow(path="copying.{}.likeness", **_passages),
    "copying, longest run": CardRow(path="copying.{}.run", **_passages),
}


def card(evaluation: dict) -> Iterator[tuple[str, CardRow, dict[str, dict]]]:
    """(title, row, title of set -> Figure as a dict) of each row of CARD that has a figure; the model's comes first."""
    for title, row in CARD.items():
        titles = {row.model: "the model", **row.controls}
        figures = {titles[name]: row.figure(evaluation, name) for name in titles}
        if figures["the model"] is not None:
            yield title, row, {name: figure for name, figure in figures.items() if figure is not None}


def format_card(evaluation: dict) -> str:
    """The card as text, for the terminal and for notebooks, and what could not be given.

    Parameters
    ----------
    evaluation : dict of evaluation.evaluate
    """
    lines = []
    for title, row, figures in card(evaluation):
        lines.append(f"{title} (ideal: {row.description.ideal})")
        lines += [f"  {name:<{WIDTH}}{format_figure(figure)}" for name, figure in figures.items()]
    missing = evaluation["missing"].items()
    return "\n".join([*lines, *(f"not given, {SET_TITLES.get(name, name)}: {reason}" for name, reason in missing)])


def format_figure(figure: dict) -> str:
    """Value and interval; a dash for none."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    return "-" if value is None else f"{value:.3g}" + ("" if low is None else f" ({low:.2g} to {high:.2g})")


def _card_html(evaluation):
    rows = []
    for title, row, figures in card(evaluation):
        cells = [f"<td{' class=own' if name == 'the model' else ''}>{cell(figure)}" for name, figure in figures.items()]
        names = ["", *list(figures)[1:]]
        cells = "".join(f"{text}<small>{html.escape(name)}</small></td>" for text, name in zip(cells, names))
        cells += "<td></td>" * (3 - len(figures)) + f"<td>{html.escape(row.description.ideal)}</td>"
        rows.append(f"<tr><th scope='row'>{html.escape(title)}</th>{cells}</tr>")
    columns = ("", "the model", "real music", "must be worse", "ideal")
    heads = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    return f"<div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


# --- The page --------------------------------------------------------------------------------------------------


def write_report(path: Path | str, evaluation: dict, pairs: Sequence[Pair] = ()) -> Path:
    """Write the page of an evaluation.

    Parameters
    ----------
    path : of the HTML file
    evaluation : dict of evaluation.evaluate
    pairs : list of copying.Pair, clips beside the passages most similar to them
    """
    parts = [_head(evaluation)]
    for name, (title, write, described) in WRITERS.items():
        if name in evaluation:
            parts.append(_section(title, write(evaluation[name]), described))
    if evaluation["missing"]:
        parts.append(_section("What can't be given here", _missing_parts(evaluation["missing"])))
    if pairs:
        parts.append(_section("Every clip beside the training passage most similar to it", _player_parts(pairs)))
    music = [music_json({name: (notes, audio)}, name) for pair in pairs for name, notes, audio in pair.sides]
    page = fill_page(
        read_parts(FOLDER, "report.html"),
        title=html.escape(f"Evaluation of {_name_of(evaluation)}"),
        style=read_parts(FOLDER, "report.css"),
        body="\n".join(parts),
        music=_in_script(music),
        player=_in_script(page_of(MUSIC, TITLE) if pairs else ""),
        script=read_parts(FOLDER, "report.js"),
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def _in_script(value):
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _name_of(evaluation):
    subject = evaluation["subject"]
    return f"{Path(subject['model']).name} ({subject['pianist'] or 'nobody in particular'})"


def _head(evaluation):
    """Title, the card, what was evaluated, and how to read it."""
    subject, size = evaluation["subject"], evaluation["size"]
    looks = LOOK_ONCE if evaluation["split"] == "test" else VALIDATION
    facts = (
        f"{subject['parameters']:,} parameters, weights {subject['weights']}; {size['clips']} clips of {CLIP_BEATS} beats "
        f"and {size['solos']} solos of {size['solo_beats']}; {evaluation['split']} split; made {evaluation['made']} in "
        f"{evaluation['seconds']:.0f} s."
    )
    return (
        f"<h1>Evaluation of {html.escape(_name_of(evaluation))}</h1><p>{facts}</p><p class='note'>{looks}</p>"
        f"{_card_html(evaluation)}<p>Below each value stands its 95 % bootstrap interval, drawn over recordings: a "
        "generated clip counts as a recording of its own. Where intervals overlap widely, nothing was found. No figure "
        "here says whether the music is good; for that, listen, best in a blind test.</p>"
    )


def _similarity_parts(section):
    yield (
        "Everything is measured against held-out recordings of the pianist; the second row, training recordings of the "
        "same pianist against them, is what real music reaches."
    )
    yield _picture(plot_similarity({"likeness": section}))
    yield table(section, SIMILARITY)


def _attribute_parts(section):
    for measure in ("overlapping_area", "divergence"):
        rows = {name: {key: pair[measure] for key, pair in row.items()} for name, row in section.items()}
        yield table(rows, descriptions.MEANS, SIMILARITY[measure].title)


def _adherence_parts(section):
    agreement = {ADHERENCE_TITLES[name]: {"chord_agreement": row} for name, row in section["chord_agreement"].items()}
    yield table(agreement, descriptions.ADHERENCE, "chord agreement")
    if "rule_losses" in section:
        losses = {name.replace("_", " "): row for name, row in section["rule_losses"].items()}
        yield table(losses, {"free": "without rules", "guided": "with rules", "drop": "lowered by"}, "rule losses")


def _transfer_parts(section):
    yield (
        f"{len(section['pianists'])} pianists, {section['clips_each']} clips each; chance is {section['chance']:.3f}. "
        f"Tested on {len(section['tested'])} of them. "
    )
    if section["judge_agrees"]:
        yield f"The judge names the intended style among these for {cell(section['judge_agrees'])} of the clips."
    rows = {"learnt from generated music": section["generated"], "learnt from real music": section["real"]}
    yield table(rows, {"windows": "windows", "recordings": "recordings"})


def _copying_parts(section):
    columns = {"likeness": "similarity to the nearest passage", "run": "longest shared run, notes"}
    for key, title in columns.items():
        if f"{key}_ratio" in section:
            yield f"Generated over real, {title}: {cell(section[f'{key}_ratio'])}. "
    yield table({name: section[name] for name in ("generated", "real") if name in section}, columns)


def _selfcheck_parts(section):
    doses = {
        f"{row['damage']}, {row['dose']:g} {row['unit']}" if row["dose"] else "no damage (real against real)": row[
            "figures"
        ]
        for row in section["doses"]
    }
    noticed = {}
    for key, verdicts in section["verdicts"].items():
        worse = {
            **{damage: worse for damage, (worse, _) in verdicts.items()},
            "bars shuffled": section["control"].get(key),
        }
        noticed[SIMILARITY[key].title] = {name: {True: "yes", False: "no"}.get(value) for name, value in worse.items()}
    columns = {name: name for row in noticed.values() for name in row}
    yield _picture(plot_selfcheck({"selfcheck": section}))
    yield table(doses, SIMILARITY, "dose and response")
    yield table(noticed, columns, "ranks the largest dose, and shuffled bars, lower than whole music")


def _second_opinion_parts(section):
    names = {key: key.removeprefix("smg_").replace("_", " ") for row in section.values() for key in row}
    yield table(section, names)


CODEC_COLUMNS = {"onset": "onset and pitch", "onset_offset": "and offset", "onset_velocity": "and velocity"}
EQUAL_TO_MUSPY = {"pitch_range", "pitch_class_entropy", "polyphony"}
SHOWN_MEANS = {key: row for key, row in descriptions.MEANS.items() if key not in EQUAL_TO_MUSPY}
# name in evaluation.json -> title, function of the section that gives text and HTML, descriptions at its end
WRITERS = {
    "likeness": ("Similarity to the pianist", _similarity_parts, SIMILARITY.values()),
    "attributes": ("Attribute by attribute", _attribute_parts, ()),
    "means": ("Means over clips", lambda section: (table(section, SHOWN_MEANS),), SHOWN_MEANS.values()),
    "in_time": (
        "In time",
        lambda section: (table(section, descriptions.IN_TIME),),
        (descriptions.IN_TIME["grid"],),
    ),
    "codec": (
        "What the codec loses",
        lambda section: (table({"codec": section}, CODEC_COLUMNS),),
        (descriptions.CODEC,),
    ),
    "form": (
        "Form of longer solos",
        lambda section: (table(section, descriptions.FORM),),
        descriptions.FORM.values(),
    ),
    "obedience": ("Chords and rules", _adherence_parts, descriptions.ADHERENCE.values()),
    "transfer": ("Synthetic transfer", _transfer_parts, (descriptions.TRANSFER,)),
    "copying": ("Copying", _copying_parts, (descriptions.COPYING,)),
    "selfcheck": ("The measures, measured", _selfcheck_parts, (descriptions.SELFCHECK,)),
    "second_opinion": ("A second opinion", _second_opinion_parts, (descriptions.SECOND_OPINION,)),
}


def _missing_parts(missing):
    """What is not in here, and the way to it."""
    yield "<ul>"
    for name, reason in missing.items():
        yield f"<li><b>{html.escape(SET_TITLES.get(name, name))}</b>: {html.escape(reason)}</li>"
    yield "</ul>"


def _player_parts(pairs):
    """Each clip beside the passage most similar to it."""
    sounding = sum(pair.sides[0][2] is not None for pair in pairs)
    sound = f"the first {sounding} have a sound" if sounding else "none has a sound"
    yield f"The most similar first. Open one to see both; {sound}."
    for number, pair in enumerate(pairs):
        frames = "".join(
            f"<iframe title='{html.escape(name, quote=True)}' data-music='{2 * number + side}' allow='autoplay'>"
            "</iframe>"
            for side, (name, _, _) in enumerate(pair.sides)
        )
        inside = f"<summary>{html.escape(pair.text)}</summary><div class='pair'>{frames}</div>"
        yield f"<details class='clip'>{inside}</details>"


# --- Parts of the page -----------------------------------------------------------------------------------------


def _section(title, parts, described=()):
    """A section of the page: text and HTML, then a paragraph a measure: what it is, and what it can't tell."""
    paragraphs = "".join(
        f"<p class='cant'><b>{html.escape(row.title)}.</b> {html.escape(row.means)} "
        f"<i>What it can't tell:</i> {html.escape(row.silent_on)}</p>"
        for row in described
    )
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}{paragraphs}</section>"


def _picture(figure):
    image = picture_html(figure)
    plt.close(figure)
    return f"<figure>{image}</figure>"


def cell(figure: dict | str | None) -> str:
    """A Figure (dict) with its interval; a word alone as it is, a dash for none."""
    if not isinstance(figure, dict):
        return "–" if figure is None else html.escape(figure)
    value, low, high = (
        "–" if number is None else f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"
        for number in (figure[key] for key in ("value", "low", "high"))
    )
    return f"{value} <small>{low} to {high}</small>"


def table(rows: dict[str, dict], columns: dict[str, Description | str], caption: str = "") -> str:
    """An HTML table: rows are sets, columns measures, the model's own rows are tinted.

    Parameters
    ----------
    rows : dict set (or any name) -> dict measure -> Figure as a dict
    columns : dict measure -> Description or title; those that no row has are left out
    caption : str
    """
    shown = {key: column for key, column in columns.items() if any(key in row for row in rows.values())}
    heads = "".join(f"<th scope='col'>{_column_title(column)}</th>" for column in shown.values())
    lines = []
    for name, row in rows.items():
        tint = " class='own'" if name in OWN_SETS else ""
        cells = "".join(f"<td{tint}>{cell(row.get(key))}</td>" for key in shown)
        lines.append(f"<tr><th scope='row'>{html.escape(SET_TITLES.get(name, name))}</th>{cells}</tr>")
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    inside = f"{title}<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class='scroll'><table>{inside}</table></div>"


def _column_title(column):
    if not isinstance(column, Description):
        return html.escape(column)
    small = "; ".join(filter(None, [column.unit, f"ideal: {column.ideal}"]))
    return f"{html.escape(column.title)}<br><small>{html.escape(small)}</small>"

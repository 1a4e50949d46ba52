"""The page of an evaluation: one HTML file that needs no network, and no other file."""

from __future__ import annotations

import html
import json
from pathlib import Path

import matplotlib.pyplot as plt

from lib.apps.evaluate import captions
from lib.apps.evaluate.captions import SET_TITLES
from lib.apps.evaluate.pictures import plot_likeness, plot_selfcheck
from lib.apps.evaluate.tables import cell, describe_caption, table, whole_number
from lib.display.alt_text import picture_html
from lib.display.page import fill_page, read_parts
from lib.display.player import music_json, page_of

FOLDER = Path(__file__).parent
MUSIC, TITLE = "MUSIC_OF_THIS_PLAYER", "TITLE_OF_THIS_PLAYER"  # report.js puts these there
LOOK_ONCE = ("These are the test recordings. Look at them once, when everything is chosen: each further look makes the figures "
             "a little better than they are.")  # fmt: skip
VALIDATION = "Validation recordings: what was chosen by them looks a little better here than on music that nobody has looked at."


def write_report(path, found, pairs=()):
    """Write the page of an evaluation.

    Parameters
    ----------
    path : of the HTML file
    found : dict of evaluation.evaluate
    pairs : list of copying.Pair, clips beside the passages most like them

    Returns
    -------
    Path
    """
    parts = [head(found), *(writer(found) for name, writer in WRITERS.items() if name in found), missing(found)]
    body = "\n".join([*parts, copying_players(found, pairs) if pairs else ""])
    music = [json_text for pair in pairs for json_text in _pair_music(pair)]
    page = fill_page(read_parts(FOLDER, "report.html"), title=html.escape(f"Evaluation of {name_of(found)}"),
                     style=read_parts(FOLDER, "report.css"), body=body, music=_in_script(music),
                     player=_in_script(page_of(MUSIC, TITLE) if pairs else ""), script=read_parts(FOLDER, "report.js"))  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def _in_script(value):
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _pair_music(pair):
    return [music_json({name: (notes, audio)}, name) for name, notes, audio in pair.sides]


def name_of(found):
    """What the page calls the model."""
    subject = found["subject"]
    return f"{Path(subject['model']).name} ({subject['pianist'] or 'nobody in particular'})"


def head(found):
    """Title, what was evaluated, and how to read it."""
    subject, size = found["subject"], found["size"]
    looks = LOOK_ONCE if found["split"] == "test" else VALIDATION
    facts = (f"{whole_number(subject['parameters'])} parameters, weights {subject['weights']}; {size['clips']} clips of 10.24 s "
             f"and {size['solos']} solos of {size['solo_s']:g} s; {found['split']} split; made {found['made']} in "
             f"{found['seconds']:.0f} s.")  # fmt: skip
    return (f"<h1>Evaluation of {html.escape(name_of(found))}</h1><p>{facts}</p><p class='note'>{looks}</p>"
            "<p>Below each value stands its 95 % bootstrap interval, drawn over recordings: a generated clip counts as a "
            "recording of its own. Where intervals overlap widely, nothing was found. No figure here says whether the music is "
            "good; for that, listen, best without knowing what you hear.</p>")  # fmt: skip


def likeness(found):
    """Likeness to the held-out recordings, of every set."""
    rows, known = found["likeness"], captions.LIKENESS
    return section("How like the pianist", "Everything is measured against held-out recordings of the pianist; the second row, "
                   "training recordings of the same pianist against them, is what real music reaches.",
                   _picture(plot_likeness(found)), table(rows, known), describe_caption(known))  # fmt: skip


def attributes(found):
    """Overlapping area and divergence by attribute."""
    parts = []
    for measure in ("overlapping_area", "divergence"):
        rows = {name: {key: pair[measure] for key, pair in row.items()} for name, row in found["attributes"].items()}
        parts.append(table(rows, captions.MEANS, captions.LIKENESS[measure].title))
    return section("Attribute by attribute", "", *parts)


def means(found):
    """What each set is like."""
    hidden = {"pitch_range", "pitch_class_entropy", "polyphony"}  # MusPy's stand there
    known = {key: caption for key, caption in captions.MEANS.items() if key not in hidden}
    return section("What the clips are like", "Means over clips.", table(found["means"], known), describe_caption(known))


def codec(found):
    """What the codec loses."""
    names = {"onset": "onset and pitch", "onset_offset": "and offset", "onset_velocity": "and velocity"}
    return section("What the codec loses", "", table({"codec": found["codec"]}, names), describe_caption({"codec": captions.CODEC}))


def form(found):
    """Solos of a minute or so."""
    return section("Form", "Of longer solos; the beat is found by one rule in all of them.", table(found["form"], captions.FORM),
                   describe_caption(captions.FORM))  # fmt: skip


def obedience(found):
    """Chords and rules."""
    titles = {"told": "told the chords", "guided": "told, and rules choose", "free": "told nothing", "codec": "codec alone"}
    agreement = {titles[name]: {"chord_agreement": figure} for name, figure in found["obedience"]["chord_agreement"].items()}
    losses = {name.replace("_", " "): row for name, row in found["obedience"].get("rule_losses", {}).items()}
    columns = {"free": "without rules", "guided": "with rules", "drop": "lowered by"}
    return section("Chords and rules", "", table(agreement, captions.OBEDIENCE, "chord agreement"),
                   table(losses, columns, "rule losses") if losses else "", describe_caption(captions.OBEDIENCE))  # fmt: skip


def transfer(found):
    """Twelve pianists, learnt from generated music."""
    part = found["transfer"]
    rows = {"learnt from generated music": part["generated"], "learnt from real music": part["real"]}
    judge = part["judge_agrees"]
    said = f"The judge names the asked style among these for {cell(judge)} of the clips. " if judge else ""
    words = (f"{len(part['pianists'])} pianists, {part['clips_each']} clips each; chance is {part['chance']:.3f}. "
             f"Tested on {len(part['tested'])} of them. {said}")  # fmt: skip
    return section("Synthetic transfer", words, table(rows, {"windows": "windows", "recordings": "recordings"}),
                   describe_caption({"transfer": captions.TRANSFER}))  # fmt: skip


def copying(found):
    """How much is taken from training music."""
    part = found["copying"]
    rows = {SET_TITLES[name]: part[name] for name in ("generated", "real") if name in part}
    ratios = " ".join(f"Generated over real, {key}: {cell(part[f'{key}_ratio'])}." for key in ("likeness", "run")
                      if f"{key}_ratio" in part)  # fmt: skip
    columns = {"likeness": "likeness to the nearest passage", "run": "longest shared run, notes"}
    return section("Copying", ratios, table(rows, columns), describe_caption({"copying": captions.COPYING}))


def copying_players(found, pairs):
    """Each clip beside the passage most like it."""
    lines = []
    for number, pair in enumerate(pairs):
        frames = "".join(f"<iframe title='{html.escape(name, quote=True)}' data-music='{2 * number + side}' allow='autoplay'>"
                         "</iframe>" for side, (name, _, _) in enumerate(pair.sides))  # fmt: skip
        inside = f"<summary>{html.escape(pair.words)}</summary><div class='pair'>{frames}</div>"
        lines.append(f"<details class='clip'>{inside}</details>")
    heard = sum(audio is not None for pair in pairs for _, _, audio in pair.sides[:1])
    words = f"The likest first. Open one to see both; {f'the first {heard} have a sound' if heard else 'none has a sound'}."
    return section("Every clip beside the training passage most like it", words, *lines)


def selfcheck(found):
    """Dose and response."""
    part, known = found["selfcheck"], captions.LIKENESS
    rows = {_dose_name(row): row["figures"] for row in part["doses"]}
    titles = {key: caption.title for key, caption in known.items()}
    said = {titles[key]: {damage: "yes" if worse else "no" for damage, (worse, _) in damages.items()}
            for key, damages in part["verdicts"].items()}  # fmt: skip
    for key, worse in part["control"].items():
        said[titles[key]]["control"] = "yes" if worse else "no"
    damages = [*next(iter(part["verdicts"].values()))]
    return section("The measures, measured", "", _picture(plot_selfcheck(found)),
                   table(rows, known, "dose and response"),
                   table(said, {**{damage: damage for damage in damages}, "control": "bars shuffled"},
                         "ranks the largest dose, and shuffled bars, lower than whole music"),
                   describe_caption({"selfcheck": captions.SELFCHECK}))  # fmt: skip


def _dose_name(row):
    return f"{row['damage']}, {row['dose']:g} {row['unit']}" if row["dose"] else "no damage (real against real)"


def second_opinion(found):
    """smg-metrics."""
    names = {key: key.removeprefix("smg_").replace("_", " ") for row in found["second_opinion"].values() for key in row}
    return section("A second opinion", "", table(found["second_opinion"], names),
                   describe_caption({"second": captions.SECOND_OPINION}))  # fmt: skip


def missing(found):
    """What is not in here, and the way to it."""
    if not found["missing"]:
        return ""
    lines = "".join(f"<li><b>{html.escape(SET_TITLES.get(name, name))}</b>: {html.escape(reason)}</li>"
                    for name, reason in found["missing"].items())  # fmt: skip
    return section("What can't be given here", "", f"<ul>{lines}</ul>")


def section(title, words, *parts):
    """A part of the page."""
    return f"<section><h2>{html.escape(title)}</h2>{f'<p>{words}</p>' if words else ''}{''.join(parts)}</section>"


def _picture(figure):
    page = picture_html(figure)
    plt.close(figure)
    return f"<figure>{page}</figure>"


WRITERS = {"likeness": likeness, "attributes": attributes, "means": means, "codec": codec, "form": form, "obedience": obedience,
           "transfer": transfer, "copying": copying, "selfcheck": selfcheck, "second_opinion": second_opinion}  # fmt: skip

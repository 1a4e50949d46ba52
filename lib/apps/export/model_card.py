"""The card of exported weights: README.md as the Hugging Face hub reads it, facts as YAML at its top, text below.

Format: https://huggingface.co/docs/hub/model-cards (fields:
https://github.com/huggingface/hub-docs/blob/main/modelcard.md).
"""

from __future__ import annotations

import yaml

from lib.config import REPOSITORY
from lib.data.corpora import CORPORA

STRICTEST_FIRST = ("cc-by-nc-sa-4.0", "cc-by-nc-4.0")
UNKNOWN = "music of one's own: whoever exported this states its licence"
TAGS = ["music", "midi", "piano", "jazz", "symbolic-music"]
WHAT = {
    "vqvae": "The codec: piano rolls as codes, and back.",
    "style_encoder": "The style encoder: embeds a passage and names who may be playing.",
    "improviser": "An improviser at the piano: a codec, a style encoder and a masked-diffusion transformer.",
}
USE = {
    "vqvae": "python -m lib reconstruct FILE.mid --run hf://OWNER/NAME\n"
    "python -m lib train diffusion --vqvae-run hf://OWNER/NAME",
    "style_encoder": "python -m lib train diffusion --style-encoder-run hf://OWNER/NAME",
    "improviser": "python -m lib generate --run hf://OWNER/NAME --out solo.mid",
}


def licence_of(corpora):
    """The front matter's fields on the licence of what was trained on these corpora: the strictest of theirs."""
    found = {CORPORA[name].licence for name in corpora if name in CORPORA}
    strange = [name for name in corpora if name not in CORPORA]
    if strange or found <= {None}:
        return {
            "license": "other",
            "license_name": "of-the-training-music" if strange else "demo-music-free-of-licence",
        }
    return {"license": next(name for name in STRICTEST_FIRST if name in found)}


def front_matter(what, corpora, figures=None, pianist=None, name=""):
    """dict of the YAML at a card's top.

    Parameters
    ----------
    what : a key of WHAT
    corpora : names of those it was trained on
    figures : None, or dict name -> number, of validation
    pianist : whom an improviser plays like, or None
    name : what the card calls it
    """
    tags = [*TAGS, what.replace("_", "-")] + ([pianist.lower().replace(" ", "-")] if pianist else [])
    values = {**licence_of(corpora), "library_name": "brad-mehldau-ai", "tags": tags, "datasets": list(corpora)}
    if figures:
        measured = [{"type": key, "name": key, "value": value} for key, value in figures.items()]
        dataset = {"type": corpora[0], "name": f"{', '.join(corpora)}, validation split"}
        result = {"task": {"type": "other", "name": what.replace("_", " ")}, "dataset": dataset, "metrics": measured}
        values |= {"metrics": list(figures), "model-index": [{"name": name or what, "results": [result]}]}
    return values


def card(what, corpora, facts=None, figures=None, pianist=None, name=""):
    """The text of README.md.

    Parameters
    ----------
    facts : None, or dict of what else is known of it (steps, parameters ...), a row each
    what, corpora, figures, pianist, name : see front_matter
    """
    head = yaml.safe_dump(front_matter(what, corpora, figures, pianist, name), sort_keys=False, allow_unicode=True)
    rows = {**(facts or {}), **({"plays like": pianist} if pianist else {})}
    rows |= {f"{key}, validation": f"{value:.6g}" for key, value in (figures or {}).items()}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    titles = [CORPORA[name].title if name in CORPORA else f"{name}: {UNKNOWN}" for name in corpora]
    sources = "\n".join(f"- {title}" for title in titles)
    limits = (
        "non-commercial use only" if licence_of(corpora)["license"] != "other" else "as far as the music above allows"
    )
    return f"""---
{head}---

# {name or what.replace("_", " ")}

{WHAT[what]} Made with [Brad Mehldau AI]({REPOSITORY}).

```bash
{USE[what]}
```

A folder with these files does as well as the name. `manifest.json` holds the sha256 of each file and is checked when
it is loaded; `config.json` says how it was trained.

| | |
|---|---|
{table}

Trained on:

{sources}

**Licence.** For {limits}.
"""

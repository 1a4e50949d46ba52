"""The card of exported weights: README.md as the Hugging Face hub reads it, facts as YAML at its top, text below.

Format: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
CARD = """---
{facts}
---

# {name}

{what} Made with [Brad Mehldau AI]({repository}).

```bash
{use}
```

A folder with these files does as well as the name. `manifest.json` holds the sha256 of each file and is checked when
it is loaded; `config.json` says how it was trained.

| | |
|---|---|
{rows}

Trained on:

{sources}

**Licence.** For {limits}.
"""


def licence_of(corpora: Sequence[str]) -> dict[str, str]:
    """The front matter's fields on the licence of what was trained on these corpora: the strictest of theirs."""
    licences = {CORPORA[name].licence if name in CORPORA else "unknown" for name in corpora}
    for name in STRICTEST_FIRST:
        if name in licences and "unknown" not in licences:
            return {"license": name}
    name = "of-the-training-music" if "unknown" in licences else "demo-music-free-of-licence"
    return {"license": "other", "license_name": name}


def card(
    name: str,
    what: str,
    corpora: Sequence[str],
    rows: Mapping[str, str],
    figures: Mapping[str, float],
    pianist: str | None = None,
) -> str:
    """The text of README.md.

    Parameters
    ----------
    what : a key of WHAT
    corpora : names of those it was trained on
    rows : what is known of it (steps, parameters ...)
    figures : of validation
    pianist : whom an improviser plays like
    """
    from huggingface_hub import EvalResult, ModelCardData

    kind, licence = what.replace("_", " "), licence_of(corpora)
    tags = [*TAGS, kind.replace(" ", "-"), *([pianist.lower().replace(" ", "-")] if pianist else [])]
    facts = {**licence, "library_name": "brad-mehldau-ai", "tags": tags, "datasets": list(corpora)}
    if figures:
        task = "other", corpora[0], f"{', '.join(corpora)}, validation split"
        measured = [
            EvalResult(*task, metric_type=key, metric_value=value, metric_name=key, task_name=kind)
            for key, value in figures.items()
        ]
        facts |= {"metrics": list(figures), "model_name": name, "eval_results": measured}
    rows = {**rows, **({"plays like": pianist} if pianist else {})}
    rows |= {f"{key}, validation": f"{value:.6g}" for key, value in figures.items()}
    titles = [CORPORA[name].title if name in CORPORA else f"{name}: {UNKNOWN}" for name in corpora]
    return CARD.format(
        facts=ModelCardData(**facts).to_yaml(),
        name=name,
        what=WHAT[what],
        repository=REPOSITORY,
        use=USE[what],
        rows="\n".join(f"| {key} | {value} |" for key, value in rows.items()),
        sources="\n".join(f"- {title}" for title in titles),
        limits="as far as the music above allows" if licence["license"] == "other" else "non-commercial use only",
    )

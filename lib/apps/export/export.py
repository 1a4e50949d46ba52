"""Trained weights as a folder for others: safetensors, config.json and a card (README.md), in the hub's layout.

What is exported loads back wherever a run can be named, by its folder or by its name on the hub
(run_dependencies.locate). The card has facts as YAML at its top: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib.checkpoints.checkpoint import CheckpointError, find
from lib.checkpoints.history import validation_figures
from lib.checkpoints.load import is_finished, load_improviser, save_improviser
from lib.checkpoints.run_dependencies import STAGE_FILE, locate, resolve_dependency
from lib.config import REPOSITORY, ConfigError
from lib.data.corpora import CORPORA
from lib.storage.manifest import MANIFEST, read_manifest, verify, write_manifest

LIBRARY = "library"  # the gallery of recordings beside a style encoder's weights
CONFIG, README = "config.json", "README.md"
MODEL_TYPE = "brad-mehldau-ai"
OF_STAGES = ("stage", "step", "config", "pianists", "sources", "source_sha256")  # what an export keeps of a manifest
SEALS = ("sha256", "manifest_sha256")
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


def export(run: Path | str, to: Path | str, half: bool = False, base: bool = False) -> Path:
    """Write a run of any stage (its best checkpoint, with what it builds on), or a finished folder, as one for others.

    Parameters
    ----------
    to : folder, new or an earlier export, which is replaced
    half : weights in half precision
    base : of a fine_tune run, take the model before it was adapted along

    Raises
    ------
    CheckpointError : nothing to export there; ConfigError : `to` is a folder with something else in it
    """
    run, to = locate(run), Path(to)
    if to.resolve() == run.resolve() or run.resolve() in to.resolve().parents:
        raise ConfigError(f"--to {to} is the run itself: name another folder.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())) and not _is_export(to):
        raise ConfigError(f"--to {to} holds something that is no export: name a new folder.")
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        what, manifest, figures = _gather(run, made, base)
        facts = {key: value for key, value in manifest.items() if key not in SEALS}
        configs, pianist = facts.get("configs") or {what: facts["config"]}, facts.get("pianist")
        config = {"model_type": MODEL_TYPE, "architectures": [what], "configs": configs, "pianist": pianist}
        corpora = sorted({corpus for values in configs.values() for corpus in values["corpora"]})
        (made / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
        rows = _convert(made, half, facts.get("step"))
        text = card(to.name, what, corpora, rows, figures, pianist)
        (made / README).write_text(text, encoding="utf-8")
        write_manifest(made, facts)
        _replace(made, to)
    verify(to)
    return to


def _is_export(folder):
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type") == MODEL_TYPE
    except (OSError, ValueError):
        return False


def _gather(run, made, base):
    """(what, manifest, validation figures); the weights are written into `made`."""
    if (run / LIBRARY).is_dir():
        shutil.copytree(run / LIBRARY, made / LIBRARY)
    if is_finished(run):
        manifest = verify(run)
        for file in manifest["sha256"]:
            if file.endswith(".safetensors"):
                shutil.copyfile(run / file, made / file)
        return "improviser", manifest, manifest.get("figures", {})
    checkpoint = find(run, "best")
    if checkpoint is None:
        raise CheckpointError(f"{run} has no checkpoint yet: there is nothing to export.")
    figures, stage = validation_figures(checkpoint.run, checkpoint.step), checkpoint.manifest["stage"]
    if stage in ("diffusion", "fine_tune"):
        improviser, before = load_improviser(checkpoint.path), None
        if base and stage == "fine_tune":
            before = load_improviser(resolve_dependency(checkpoint, "diffusion"), base=True)
        save_improviser(improviser, made, {"step": checkpoint.step}, base=before)
        return "improviser", read_manifest(made), figures
    weights = next(path for name in ("ema", "model") if (path := checkpoint.path / f"{name}.safetensors").exists())
    shutil.copyfile(weights, made / STAGE_FILE)  # the same bytes: runs check their hash
    kept = {key: checkpoint.manifest[key] for key in OF_STAGES if key in checkpoint.manifest}
    return stage, {"kind": "stage", **kept}, figures


def _convert(folder, half, step):
    """Halve the weights where that is asked for: what a card says of them."""
    rows = {"steps": f"{step:,}"} if step else {}
    dtypes = set()
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        if half:
            tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
            save_file(tensors, path)
        rows[f"numbers in {path.stem}"] = f"{sum(tensor.numel() for tensor in tensors.values()):,}"
        dtypes |= {tensor.dtype for tensor in tensors.values()}
    return {**rows, "precision": "half" if torch.float16 in dtypes else "single"}


def _replace(made, to):
    """Replace the target's files by those in `made`; the manifest comes last."""
    to.mkdir(parents=True, exist_ok=True)
    (to / MANIFEST).unlink(missing_ok=True)
    for old in [*to.glob("*.safetensors"), *to.glob("*.json")]:
        old.unlink()
    shutil.rmtree(to / LIBRARY, ignore_errors=True)
    for path in sorted(made.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
        shutil.move(path, to / path.name)


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
    """The text of README.md of one of WHAT, trained on these corpora.

    Parameters
    ----------
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

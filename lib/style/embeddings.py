"""The user's own styles, made from MIDI files, and projections of style vectors.

A user's style is FOLDER/NAME.FINGERPRINT.json: the embedding, the files it was made from and their folder, and the
fingerprint of the style encoder that made it (its first eight digits in the name). It means nothing to another encoder.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.checkpoints.load import Styles, fingerprint
from lib.config import ConfigError
from lib.music.notes import MIDI_SUFFIXES, MidiError, read_midi
from lib.storage.atomic_write import write_text
from lib.storage.manifest import DamageError, sealed, unsealed
from lib.style.classifier import StyleClassifier, TooShort

LONGEST_NAME = 80
log = logging.getLogger(__name__)


def principal_directions(rows: np.ndarray, count: int) -> np.ndarray:
    """The orthonormal directions in which rows are longest, the first one most; of centred rows, principal components.

    Parameters
    ----------
    rows : float (N, D)
    count : how many are wanted

    Returns
    -------
    float (D, count), or fewer columns where the rows have fewer directions
    """
    if len(rows) >= rows.shape[1]:
        return np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :count]
    length, axes = np.linalg.eigh(rows @ rows.T)  # as many directions, and a smaller matrix
    kept = length > 1e-9 * length[-1:]
    return (rows.T @ axes[:, kept] / np.sqrt(length[kept]))[:, ::-1][:, :count]


def project_to_plane(vectors: Tensor) -> np.ndarray:
    """Vectors (N, S) along the two directions in which they differ most: float (N, 2), for a map."""
    centred = vectors.double().numpy() - vectors.double().numpy().mean(0)
    return centred @ principal_directions(centred, 2)


def add_style(classifier, name, folder, styles_dir):
    """Make a style of a user's own MIDI files and keep it.

    Parameters
    ----------
    classifier : StyleClassifier
    name : what to call it
    folder : folder of MIDI files, or one file; a file is enough
    styles_dir : where styles are kept

    Returns
    -------
    (Path, list of str) : the file, and the MIDI files that were left out, with the reason

    Raises
    ------
    ConfigError : no usable file there, or a name that can't be one
    """
    valid = re.fullmatch(r"[^\\/:,\x00-\x1f]+", name.strip()) and not name.strip().startswith(".")
    if not valid or len(name) > LONGEST_NAME:
        limits = f"no slash, colon or comma, at most {LONGEST_NAME} characters"
        raise ConfigError(f"{name!r} can't be a style's name: {limits}.")
    folder, embeddings, left_out = Path(folder), {}, []
    base = folder.parent if folder.is_file() else folder
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.suffix.lower() in MIDI_SUFFIXES)
    for path in paths:
        try:
            embeddings[str(path.relative_to(base))] = torch.from_numpy(classifier.predict(read_midi(path)).style)
        except MidiError as error:
            left_out.append(str(error))
        except (TooShort, OSError) as error:
            left_out.append(f"{path}: {error}")
    if not embeddings:
        raise ConfigError(f"{folder} holds no usable MIDI file. {'; '.join(left_out)}".strip())
    vector = functional.normalize(torch.stack(list(embeddings.values())).mean(0), dim=-1)
    made_by = fingerprint(classifier.style_encoder)
    facts = {"name": name.strip(), "style": vector.tolist(), "files": sorted(embeddings), "style_encoder": made_by}
    facts["folder"] = str(folder.resolve())
    path = Path(styles_dir) / f"{name.strip()}.{made_by[:8]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, sealed(facts))
    return path, left_out


def with_own(styles: Styles, classifier: StyleClassifier, styles_dir: Path | str | None) -> Styles:
    """The pianists' Styles and those of the user; a user's own name comes first.

    A style from another style encoder is rebuilt if its MIDI files still exist. Otherwise it is unusable, and a request
    for it is refused with the reason.
    """
    own, older = {}, {}
    paths = sorted(Path(styles_dir).glob("*.json")) if styles_dir else []
    current = fingerprint(classifier.style_encoder) if paths else ""
    for path in paths:
        try:
            facts = unsealed(path.read_text(encoding="utf-8"), path)
            name, style, made_by = facts["name"], torch.tensor(facts["style"]), facts["style_encoder"]
        except (DamageError, KeyError, UnicodeDecodeError) as error:
            log.warning("left out a style: %s", error)
            continue
        if made_by == current:
            own[name] = style
        else:
            older[name] = facts.get("folder")
    unusable = {}
    for name in older.keys() - own.keys():
        try:
            own[name] = _made_anew(classifier, name, older[name], styles_dir)
        except ConfigError as error:
            unusable[name] = str(error)
            log.warning("%s", error)
    if not own:
        return dataclasses.replace(styles, unusable=unusable)
    kept = [i for i, name in enumerate(styles.names) if name not in own]
    vectors = torch.cat([styles.vectors[kept], styles.project(torch.stack(list(own.values())).to(styles.vectors))])
    return Styles((*(styles.names[i] for i in kept), *own), vectors, styles.projection, unusable)


def _made_anew(classifier, name, folder, styles_dir):
    """The vector (S,) of a style that another style encoder made, from the same MIDI files."""
    if not folder or not Path(folder).exists():
        missing = f"its MIDI files are no longer at {folder}" if folder else "it does not name its MIDI files"
        reason = f"style {name!r} was made by an earlier style encoder, and {missing}"
        raise ConfigError(f'{reason}. Make it again: python -m lib style add "{name}" --folder FOLDER')
    path, _ = add_style(classifier, name, folder, styles_dir)
    log.info("rebuilt the style %r from %s: it came from another style encoder", name, folder)
    return torch.tensor(unsealed(path.read_text(encoding="utf-8"), path)["style"])

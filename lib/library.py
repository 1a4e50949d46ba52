"""The recordings that an Ear has heard: what a new one is compared with, and how far the Ear can be trusted.

A library is a folder beside the style encoder's weights and means something with these alone: it keeps their fingerprint.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from lib.config import ConfigError
from lib.data.manifest import MANIFEST, verify, write_manifest
from lib.ear import Ear, TooShort
from lib.music.habits import habits
from lib.progress import progress_bar
from lib.training import trained
from lib.training.hub import locate
from lib.training.pieces import gather_labelled, gather_pieces
from lib.training.sources import require
from lib.training.trained import fingerprint

LIBRARY = "library"  # name of the folder


@dataclass(frozen=True)
class Library:
    """Recordings that an Ear has heard.

    Attributes
    ----------
    pianists, albums, titles : N strings
    styles : float (N, S) of length 1
    habits : float (N, len(HABITS))
    known : (threshold, steepness) of `probability_of_known`, or None where there were no strangers to learn it from
    """

    pianists: tuple
    albums: tuple
    titles: tuple
    styles: np.ndarray
    habits: np.ndarray
    known: tuple | None = None

    def by_pianist(self):
        """trained.Styles: each pianist's mean recording, length 1."""
        names, styles = tuple(sorted(set(self.pianists))), torch.from_numpy(self.styles).float()
        means = [styles[torch.from_numpy(np.array(self.pianists) == name)].mean(0) for name in names]
        return trained.Styles(names, functional.normalize(torch.stack(means), dim=-1))

    def familiarity(self, styles, names):
        """(N,) likeness of styles (N, S) to the nearest recording by one of these pianists."""
        return (styles @ self.styles[np.isin(self.pianists, names)].T).max(1)

    def probability_of_known(self, style, names):
        """How probably a style (S,) is that of one of these pianists; None where that was not learnt."""
        if self.known is None:
            return None
        threshold, steepness = self.known
        return float(1 / (1 + np.exp(-steepness * (self.familiarity(style[None], names)[0] - threshold))))

    def save(self, folder, ear):
        """Write FOLDER/library for the Ear that heard it, temperature and all: styles in half precision."""
        folder = Path(folder) / LIBRARY
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"styles": torch.from_numpy(self.styles).half(), "habits": torch.from_numpy(self.habits).float()}
        save_file(tensors, folder / "library.safetensors")
        names = {"pianists": self.pianists, "albums": self.albums, "titles": self.titles, "known": self.known}
        mark = fingerprint(ear.style_encoder)
        write_manifest(folder, {"kind": "library", "temperature": ear.temperature, "style_encoder": mark, **names})


def make_library(run, data_dir, device="cpu"):
    """Let a run of style_encoder hear its corpora, and keep what it hears in RUN/library.

    Returns
    -------
    (Ear, Library) : the Ear with its temperature, from validation pieces by pianists it knows; of these the library
        holds the training pieces, of all others every solo piece. From which likeness a player counts as known is what
        best separates the validation pieces from strangers with a single album

    Raises
    ------
    CheckpointError : not a run of style_encoder; CorpusError : a corpus is not there
    """
    config = trained.config_of(require(run, "style_encoder"))
    ear = Ear.of_run(run, device)
    strangers = [p for split in ("train", "validation", "test") for p in gather_pieces(config, data_dir, split)]
    strangers = [(s, i) for s, i in strangers if s.pieces[i].pianist not in ("", *ear.names) and not s.pieces[i].duet]
    shown = _heard(ear, gather_labelled(config, data_dir, "train") + strangers, "library")
    if not shown:
        raise ConfigError(f"{', '.join(config.corpora)} in {data_dir} hold no recording long enough for a library.")
    columns = [tuple(getattr(piece, name) for piece, _, _ in shown) for name in ("pianist", "album", "title")]
    figures = [list(habits(notes).values()) for _, notes, _ in shown]
    library = Library(*columns, np.stack([heard.style for _, _, heard in shown]), np.array(figures))
    ear, held_out = tempered(ear, config, data_dir)
    if held_out:
        library = dataclasses.replace(library, known=_known(ear, library, held_out, shown))
    library.save(run, ear)
    return ear, library


def tempered(ear, config, data_dir):
    """(Ear, [(Piece, Notes, Heard)]): at the temperature that suits its corpora's validation pieces by pianists it knows."""
    held_out = [p for p in gather_labelled(config, data_dir, "validation") if p[0].pieces[p[1]].pianist in ear.names]
    held_out = _heard(ear, held_out, "held out")
    if held_out:
        log_probability = np.stack([heard.log_probability for _, _, heard in held_out])
        ear = ear.calibrated(log_probability, [piece.pianist for piece, _, _ in held_out])
    return ear, held_out


def _heard(ear, pieces, what):
    """[(Piece, Notes, Heard)] of those that are long enough."""
    found = []
    for store, i in progress_bar(pieces, desc=what, unit="piece"):
        notes = store.piece_notes(i)
        try:
            found.append((store.pieces[i], notes, ear.hear(notes)))
        except TooShort:
            continue
    return found


def _known(ear, library, held_out, shown):
    """Library.known, or None where nobody strange has a single album, or strangers are as familiar."""
    albums = defaultdict(set)
    for piece, _, _ in shown:
        albums[piece.pianist].add(piece.album)
    single = [heard.style for piece, _, heard in shown if piece.pianist not in ear.names and len(albums[piece.pianist]) == 1]
    if not single:
        return None
    samples = [np.stack(styles) for styles in ([heard.style for _, _, heard in held_out], single)]
    return _boundary(*(library.familiarity(styles, ear.names) for styles in samples))


def _boundary(above, below):
    """(threshold, steepness) of the logistic curve between two samples, each counting as much; None where it falls."""
    x = torch.from_numpy(np.concatenate([above, below]).astype(np.float64))
    y = torch.cat([torch.ones(len(above)), torch.zeros(len(below))]).double()
    weight = torch.cat([torch.full((n,), 0.5 / n) for n in (len(above), len(below))]).double()
    centre, spread = x.mean(), x.std().clamp(min=1e-6)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        logits = line[0] * (x - centre) / spread + line[1]
        loss = functional.binary_cross_entropy_with_logits(logits, y, weight, reduction="sum") + 1e-4 * line.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, offset = line.tolist()
    return (float(centre - spread * offset / slope), float(slope / spread)) if slope > 1e-3 else None


def load_ear(folder, device="cpu"):
    """(Ear, Library) of released weights, or of a run of style_encoder with a library (see `make_library`).

    Raises
    ------
    ConfigError : there is no library, or it is another style encoder's; DamageError, CheckpointError : nothing usable
    """
    folder, way_out = locate(folder), "python -m lib identify --make-library --run RUN (of style_encoder) --data-dir data"
    if not (folder / LIBRARY / MANIFEST).exists():
        raise ConfigError(f"{folder} has no library of recordings to compare with. Make one: {way_out}")
    finished = trained.is_finished(folder)
    ear = Ear.of_improviser(trained.load_improviser(folder, device)) if finished else Ear.of_run(folder, device)
    manifest = verify(folder / LIBRARY)
    if manifest["style_encoder"] != fingerprint(ear.style_encoder):
        raise ConfigError(f"{folder / LIBRARY} was made with other weights than {folder} has now. Make it again: {way_out}")
    tensors = load_file(folder / LIBRARY / "library.safetensors")
    names = [tuple(manifest[name]) for name in ("pianists", "albums", "titles")]
    known = tuple(manifest["known"]) if manifest["known"] else None
    library = Library(*names, tensors["styles"].float().numpy(), tensors["habits"].numpy(), known)
    return dataclasses.replace(ear, temperature=manifest["temperature"]), library

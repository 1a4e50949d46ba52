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

from lib.checkpoints import load as trained
from lib.checkpoints.hub import locate
from lib.checkpoints.load import fingerprint
from lib.checkpoints.run_dependencies import require
from lib.config import ConfigError
from lib.data.selection import gather_labelled, gather_pieces
from lib.music.style_features import habits
from lib.progress import progress_bar
from lib.storage.manifest import MANIFEST, verify, write_manifest
from lib.style.classifier import Ear, TooShort
from lib.style.verification import Traits, Verifier

LIBRARY = "library"  # name of the folder


@dataclass(frozen=True)
class Library:
    """Recordings that an Ear has heard.

    Attributes
    ----------
    pianists, albums, titles : N strings
    styles : float (N, S) of length 1
    vectors : float (N, D) of length 1, of the verifier: their products say how alike recordings are
    verifier : Verifier
    habits : float (N, len(HABITS))
    known : (threshold, steepness) of `probability_of_known`, or None where there were no strangers to learn it from
    """

    pianists: tuple
    albums: tuple
    titles: tuple
    styles: np.ndarray
    vectors: np.ndarray
    verifier: Verifier
    habits: np.ndarray
    known: tuple | None = None

    def by_pianist(self):
        """trained.Styles: each pianist's mean recording, length 1."""
        names, styles = tuple(sorted(set(self.pianists))), torch.from_numpy(self.styles).float()
        means = [styles[torch.from_numpy(np.array(self.pianists) == name)].mean(0) for name in names]
        return trained.Styles(names, functional.normalize(torch.stack(means), dim=-1))

    def familiarity(self, vectors, names):
        """(N,) likeness of vectors (N, D) to the nearest recording by one of these pianists."""
        return (vectors @ self.vectors[np.isin(self.pianists, names)].T).max(1)

    def probability_of_known(self, vector, names):
        """How probably a vector (D,) is that of one of these pianists; None where that was not learnt."""
        if self.known is None:
            return None
        threshold, steepness = self.known
        return float(1 / (1 + np.exp(-steepness * (self.familiarity(vector[None], names)[0] - threshold))))

    def save(self, folder, ear):
        """Write FOLDER/library for the Ear that heard it, temperature and all: styles and vectors in half precision."""
        folder = Path(folder) / LIBRARY
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(getattr(self, name)).half() for name in ("styles", "vectors")}
        save_file({**tensors, "habits": torch.from_numpy(self.habits).float()}, folder / "library.safetensors")
        self.verifier.save(folder)
        names = {"pianists": self.pianists, "albums": self.albums, "titles": self.titles, "known": self.known}
        mark = fingerprint(ear.style_encoder)
        write_manifest(folder, {"kind": "library", "temperature": ear.temperature, "style_encoder": mark, **names})


def make_library(run, data_dir, device="cpu"):
    """Let a run of style_encoder hear its corpora, and keep what it hears in RUN/library: (Ear, Library).

    Raises
    ------
    CheckpointError : not a run of style_encoder; CorpusError : a corpus is not there
    """
    ear, library = hear_corpora(Ear.of_run(run, device), trained.config_of(require(run, "style_encoder")), data_dir)
    library.save(run, ear)
    return ear, library


def hear_corpora(ear, config, data_dir):
    """Let an Ear hear the corpora of its StyleEncoderConfig.

    Returns
    -------
    (Ear, Library) : the Ear with its temperature, from validation pieces by pianists it knows; of these the library
        holds the training pieces, on which the verifier is fitted, of all others every solo piece. From which likeness a
        player counts as known is what best separates the validation pieces from strangers with a single album, on neither
        of which anything was fitted

    Raises
    ------
    ConfigError : no training piece is long enough
    """
    strangers = [p for split in ("train", "validation", "test") for p in gather_pieces(config, data_dir, split)]
    strangers = [(s, i) for s, i in strangers if s.pieces[i].pianist not in ("", *ear.names) and not s.pieces[i].duet]
    shown = _heard(ear, gather_labelled(config, data_dir, "train") + strangers, "library")
    known = np.array([piece.pianist in ear.names for piece, _, _ in shown], bool)
    if not known.any():
        raise ConfigError(f"{', '.join(config.corpora)} in {data_dir} hold no training recording long enough for a library.")
    columns = [tuple(getattr(piece, name) for piece, _, _ in shown) for name in ("pianist", "album", "title")]
    figures, styles = [list(habits(notes).values()) for _, notes, _ in shown], np.stack([heard.style for _, _, heard in shown])
    traits, single = _traits(shown), _single_album(ear, shown)
    verifier = Verifier.fit(traits[known], np.array(columns[0])[known])
    library = Library(*columns, styles, verifier.vectors(traits), verifier, np.array(figures))
    ear, held_out = tempered(ear, config, data_dir)
    if held_out and single.any():
        samples = (verifier.vectors(_traits(held_out)), library.vectors[single])
        boundary = _boundary(*(library.familiarity(vectors, ear.names) for vectors in samples))
        library = dataclasses.replace(library, known=boundary)
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


def _single_album(ear, shown):
    """bool (N,): which are by a player whom the Ear does not know and of whom there is a single album."""
    albums = defaultdict(set)
    for piece, _, _ in shown:
        albums[piece.pianist].add(piece.album)
    return np.array([piece.pianist not in ear.names and len(albums[piece.pianist]) == 1 for piece, _, _ in shown], bool)


def _traits(rows):
    """Traits of [(Piece, Notes, Heard)]."""
    return Traits.of([heard for _, _, heard in rows], [notes for _, notes, _ in rows])


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
    if "vectors" not in tensors:
        raise ConfigError(f"{folder / LIBRARY} was made by an earlier version. Make it again: {way_out}")
    names = [tuple(manifest[name]) for name in ("pianists", "albums", "titles")]
    known = tuple(manifest["known"]) if manifest["known"] else None
    styles, vectors = (tensors[name].float().numpy() for name in ("styles", "vectors"))
    library = Library(*names, styles, vectors, Verifier.load(folder / LIBRARY), tensors["habits"].numpy(), known)
    return dataclasses.replace(ear, temperature=manifest["temperature"]), library

"""The diffusion model on all pianists, and adapted to one of them."""

from __future__ import annotations

import math

import torch

from lib.checkpoints.config_migration import differences, put_weights
from lib.checkpoints.history import validation_figures
from lib.checkpoints.load import (
    Styles,
    changes_tensors,
    load_changes,
    load_improviser,
    load_style_encoder,
    load_styles,
    load_vqvae,
    make_dit,
    save_improviser,
)
from lib.checkpoints.run_dependencies import require
from lib.data.selection import gather_pieces, pianists_of
from lib.diffusion.sampling import training_mask_ratio
from lib.keyed_random import uniform, uniforms
from lib.models.blocks import add_low_rank
from lib.models.conditions import Conditions, attributes
from lib.music.harmony import MOST_ROWS, Changes, read_changes
from lib.training.code_store import CodeStore
from lib.training.passages import embed_pianists
from lib.training.stages.stage import Stage
from lib.training.stream import Stream

RATIO, MASK = "share", "hidden {}"  # purposes of random numbers: data, see lib/keyed_random.py


class DiffusionStage(Stage):
    """Style, chords, density and register -> codes, by predicting those of masked latent frames."""

    pianist = None

    def __init__(self, config, data_dir, checkpoint, sources):
        train, held_out = (gather_pieces(config, data_dir, split, self.pianist) for split in ("train", "validation"))
        held_out = held_out or train
        super().__init__(config, Stream(train, config), Stream(held_out, config, augment=False))
        self.vqvae, _ = load_vqvae(sources["vqvae"])
        self.style_encoder, self.style_config, _ = load_style_encoder(sources["style_encoder"])
        self.model = make_dit(config, self.style_config, self.vqvae)
        if "diffusion" in sources:
            base = require(sources["diffusion"], "diffusion")
            put_weights(self.model, base.weights(), base.path, differences("diffusion", base.manifest["config"]))
        self.styles = load_styles(checkpoint) if checkpoint else self._embed(train)
        self.players = {id(self.stream): pianists_of(train), id(self.validation): pianists_of(held_out)}
        self.changes = load_changes(checkpoint) if checkpoint else None
        self.data_dir, self.stores = data_dir, {}

    def facts(self):
        """Whose vectors the checkpoint holds."""
        return {"styles": list(self.styles.names)}

    def tensors(self):
        """The pianists' vectors and their changes: going on changes nothing about them."""
        return {"styles": {"styles": self.styles.vectors}, "changes": changes_tensors(self.changes)}

    def _embed(self, train):
        return embed_pianists(self.style_encoder, self.style_config, train, self.config)

    def to(self, device):
        """Encode on this device what is not encoded yet."""
        frozen = (self.vqvae.to(device), self.style_encoder.to(device), self.style_config)
        for stream, encodings in ((self.stream, self.config.encodings), (self.validation, 0)):
            self.stores[id(stream)] = CodeStore(stream, self.data_dir, *frozen, encodings).build()
        if self.changes is None or not len(self.changes.rows):  # a new run, or one of before they were kept
            self.changes = self._read_changes()
        return super().to(device)

    def _read_changes(self):
        """How the harmony of the pianists moves whose styles are known."""
        return self._changes_of(self.styles.names, MOST_ROWS)

    def _changes_of(self, names, most):
        """Changes of these pianists in training pieces, about `most` rows of each."""
        store, found = self.stores[id(self.stream)], {name: [] for name in names}
        for item, player in enumerate(self.players[id(self.stream)]):
            if player in found and sum(map(len, found[player])) < most:
                found[player].append(read_changes(store.chords(item)))
        return Changes.of(found)

    def style(self, batch, stream):
        """(B, S): the pianist's vector, or (half of the time, and always for the unknown) that of another passage."""
        shares = uniform(self.config.seed, "style passage", batch.step, batch.indices).tolist()
        vectors = self.stores[id(stream)].styles(batch.items, shares, self.device)
        by_name = uniform(self.config.seed, "style source", batch.step, batch.indices) < 0.5
        players = self.players[id(stream)]
        for row, item in enumerate(batch.items):
            if by_name[row] and players[item] in self.styles.names:
                vectors[row] = self.styles.vector(players[item]).to(vectors)
        return vectors

    def conditions(self, batch, coded, stream):
        """Conditions of a batch with condition dropout, each part by its own probability."""
        config, draw = self.config, (batch.step, batch.indices, self.device)
        dropout = {
            "style": config.drop_style,
            "chords": config.drop_chords,
            "density": config.drop_attributes,
            "register": config.drop_attributes,
        }
        keep = {name: uniform(config.seed, f"drop {name}", *draw) >= share for name, share in dropout.items()}
        density, register = (
            torch.where(keep[name][:, None], values, torch.nan)
            for name, values in zip(("density", "register"), coded.density_and_register())
        )
        style = self.style(batch, stream) * keep["style"][:, None]
        return Conditions(style, coded.chords * keep["chords"][:, None, None], attributes(density, register))

    def mask(self, batch, frames):
        """bool (B, N), the latent frames to predict.

        Each example has its own mask ratio; those of a batch are spread evenly (Kingma et al. 2021). Some examples are masked only
        after a beginning (continuation), or only between a beginning and an end (infilling).
        """
        seed, step, indices = self.config.seed, batch.step, batch.indices
        size = self.config.batch_size * self.config.gradient_accumulation
        ratio = training_mask_ratio((uniform(seed, RATIO, step, [0]) + torch.tensor(indices) / size) % 1)
        uniforms_ = uniforms(seed, MASK.format(step), indices, (frames + 3,))
        chance, kind, start, length = uniforms_.split([frames, 1, 1, 1], 1)
        position = torch.arange(frames) / frames
        begin = 0.75 * start  # what comes before is given
        end = torch.where(kind < self.config.prefix_share / 2, begin + 0.1 + 0.6 * length, 1.0)
        maskable = (position >= begin) & (position < end) | (kind >= self.config.prefix_share)
        return ((chance < ratio[:, None]) & maskable).to(self.device)

    def losses(self, model, batch, stream=None):
        """Cross-entropy of masked latent frames, in nats a frame: a bound on all; accuracy of the most likely code."""
        stream = self.stream if stream is None else stream
        epoch = batch.step * self.config.batch_size * self.config.gradient_accumulation // stream.num_chunks
        coded = self.stores[id(stream)].read(batch.examples, epoch, self.device)
        mask = self.mask(batch, coded.codes.shape[1])
        context = model(coded.codes, mask, self.conditions(batch, coded, stream))
        nll_nats, accuracy = model.nll(context[mask], coded.codes[mask])  # (M,)
        weight = (1 / mask.sum(1).clamp(min=1) / len(mask))[:, None].expand(mask.shape)[mask]  # each example the same
        return {"loss": (nll_nats * weight).sum(), "accuracy": (accuracy * weight).sum()}

    def held_out_losses(self, model, batch):
        """Losses with the same frames masked every time."""
        return self.losses(model, batch, self.validation)


class FineTuneStage(DiffusionStage):
    """The diffusion model adapted to one pianist."""

    def __init__(self, config, data_dir, checkpoint, sources):
        self.pianist, self.sources = config.pianist, sources
        super().__init__(config, data_dir, checkpoint, sources)
        if config.lora_rank:
            add_low_rank(self.model, config.lora_rank)

    def _embed(self, train):
        """The base run's styles, with the pianist's own (known already, or not)."""
        base = load_styles(require(self.sources["diffusion"], "diffusion"))
        own = embed_pianists(self.style_encoder, self.style_config, train, self.config)
        others = [i for i, name in enumerate(base.names) if name not in own.names]
        names = (*(base.names[i] for i in others), *own.names)
        return Styles(names, torch.cat([base.vectors[others], own.vectors]))

    def _read_changes(self):
        """Those of the base run, with all that there are of the pianist."""
        base = load_changes(require(self.sources["diffusion"], "diffusion"))
        own = self._changes_of([name for name in self.styles.names if name in self.players[id(self.stream)]], math.inf)
        return Changes.in_order(self.styles.names, base, own)

    def finish(self, run):
        """Write the finished improviser beside the runs."""
        improviser = load_improviser(run)
        step = require(run, "fine_tune").step
        facts = {"step": step, "figures": validation_figures(run, step)}
        return save_improviser(improviser, run.parent / self.config.final_name, facts)

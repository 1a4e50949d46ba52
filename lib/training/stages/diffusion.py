"""The diffusion model on all pianists, and adapted to one of them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

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
    styles_tensors,
)
from lib.checkpoints.run_dependencies import require
from lib.config import DiffusionConfig, FineTuneConfig
from lib.data.corpora import gather_pieces, pianists_of
from lib.data.tempo_maps import tempo_maps_of
from lib.diffusion.sampling import training_mask_ratio
from lib.keyed_random import uniform, uniforms
from lib.models.blocks import add_low_rank
from lib.models.conditions import Conditions, attributes, feel, feel_condition, harmony, tempo
from lib.models.vqvae import GROUPS
from lib.music.harmony import MOST_ROWS, join_pieces, read_changes
from lib.music.piano_roll import WINDOW
from lib.music.tempo_map import UNKNOWN_CLOCK
from lib.training.code_store import CodeStore
from lib.training.coded_stream import Coded, CodedStream
from lib.training.stages.stage import Stage
from lib.training.stream import Batch, Stream

# Purposes of random numbers. They are data: with other texts a run could not be resumed.
STYLE_PASSAGE_PURPOSE, STYLE_SOURCE_PURPOSE = "style passage", "style source"
DROP_PURPOSE = "drop {condition}"
MASK_RATIO_PURPOSE, MASK_PURPOSE = "share", "hidden {step}"
TEMPO_PURPOSE, REFERENCE_PURPOSE = "tempo", "reference {step}"

TEMPO_SPREAD = 0.05  # of the tempo that conditions the model
MOST_REFERRED, REFERRED_SPREAD = 0.7, 0.2  # of a reference's frames are given, or up to so much fewer

BY_NAME = 0.5  # examples that get the mean style of their pianist, not that of a passage
LATEST_START = 0.75  # of a chunk: where what is to be played begins at the latest, after a prompt
SHORTEST_GAP, GAP_SPREAD = 0.1, 0.6  # of a chunk, for infilling: a gap is so long, and up to so much longer
CHUNKS_PER_STYLE = 16  # chunks a pianist's vector is the mean of


class DiffusionStage(Stage):
    """Style, chords, density and register -> codes, by predicting those of masked latent frames."""

    pianist: str | None = None
    tokens_per_example = WINDOW * GROUPS  # codes
    in_bfloat16 = True

    def __init__(self, config: DiffusionConfig, data_dir, checkpoint, sources):
        train, validation = (gather_pieces(config, data_dir, split, self.pianist) for split in ("train", "validation"))
        validation = validation or train
        super().__init__(
            config,
            CodedStream(train, tempo_maps_of(train), config, config.encodings),
            CodedStream(validation, tempo_maps_of(validation), config, 0, augment=False),
        )
        self.data_dir = data_dir
        self.vqvae, _ = load_vqvae(sources["vqvae"])
        self.style_encoder, self.style_config, _ = load_style_encoder(sources["style_encoder"])
        self.model = make_dit(config, self.style_config, self.vqvae)
        if "diffusion" in sources:
            base = require(sources["diffusion"], "diffusion")
            put_weights(self.model, base.weights(), base.path, differences("diffusion", base.manifest["config"]))
        self.styles = load_styles(checkpoint) if checkpoint else self._embed(train)
        self.changes = load_changes(checkpoint) if checkpoint else None

    def facts(self):
        """Whose vectors the checkpoint holds."""
        return {"styles": list(self.styles.names)}

    def tensors(self):
        """The pianists' vectors and their changes: resuming changes nothing about them."""
        return {"styles": styles_tensors(self.styles), "changes": changes_tensors(self.changes)}

    def _embed(self, train):
        return embed_pianists(self.style_encoder, self.style_config, train, self.config)

    # --- Before the first step -----------------------------------------------------------------------------------

    def prepare(self, device, mirror=None):
        """Encode on this device what is not encoded yet, and count how the pianists' chords move."""
        models = self.vqvae.to(device), self.style_encoder.to(device)
        CodeStore(self.data_dir, *models, self.style_config, mirror).encode(self.stream, self.validation)
        if not any(map(len, (self.changes or {}).values())):  # a new run, or one of before they were kept
            self.changes = self._read_changes()

    def to(self, device):
        """Move the model, and the pianists' vectors as the streams look them up."""
        for stream in (self.stream, self.validation):
            stream.set_pianist_styles(self.styles.names, self.styles.vectors.to(device))
        return super().to(device)

    def _read_changes(self):
        """How the harmony of the pianists moves whose styles are known."""
        return self._changes_of(self.styles.names, MOST_ROWS)

    def _changes_of(self, names, most_rows):
        """Changes of these pianists in training pieces, about `most_rows` rows of each."""
        rows = {name: [] for name in names}
        for item, pianist in enumerate(self.stream.pianists):
            if pianist in rows and sum(map(len, rows[pianist])) < most_rows:
                rows[pianist].append(read_changes(self.stream.chords(item)))
        return {name: join_pieces(pieces) for name, pieces in rows.items()}

    # --- A step --------------------------------------------------------------------------------------------------

    def losses(self, model, batch):
        """Cross-entropy of masked latent frames, in nats a frame: a bound on all; accuracy of the most likely code."""
        coded = batch.stream.read(batch)
        mask = self.mask(batch, coded.codes.shape[1])  # (B, N)
        context = model(coded.codes, mask, self.conditions(batch, coded))
        nll_nats, accuracy = model.nll(context[mask], coded.codes[mask])  # (M,)
        weight = (1 / mask.sum(1).clamp(min=1) / len(mask))[:, None].expand(mask.shape)[mask]  # each example the same
        return {"loss": (nll_nats * weight).sum(), "accuracy": (accuracy * weight).sum()}

    def mask(self, batch: Batch, num_frames: int) -> Tensor:
        """bool (B, N), the latent frames to predict: each masked with its example's mask ratio.

        In some examples they lie anywhere, in some only after a prompt (continuation), in some only between a beginning
        and an end (infilling). The mask ratios of a batch are spread evenly (Kingma et al. 2021).
        """
        seed, step, prefix_share = self.config.seed, batch.step, self.config.prefix_share
        spread = torch.tensor(batch.indices) / batch.stream.global_batch
        ratio = training_mask_ratio((uniform(seed, MASK_RATIO_PURPOSE, step, [0]) + spread) % 1)  # (B,)
        draws = uniforms(seed, MASK_PURPOSE.format(step=step), batch.indices, (num_frames + 3,))
        chance, kind, start, length = draws.split([num_frames, 1, 1, 1], 1)

        position = torch.arange(num_frames) / num_frames
        begin = LATEST_START * start
        end = begin + SHORTEST_GAP + GAP_SPREAD * length
        anywhere = torch.ones(1, num_frames, dtype=torch.bool)
        continuation = position >= begin
        infilling = continuation & (position < end)
        given_prefix = torch.where(kind < prefix_share / 2, infilling, continuation)
        editable = torch.where(kind < prefix_share, given_prefix, anywhere)
        return ((chance < ratio[:, None]) & editable).to(self.device)

    def conditions(self, batch: Batch, coded: Coded) -> Conditions:
        """What the model is conditioned on, each part dropped with its own probability; validation drops none."""
        config, (size, length) = self.config, coded.keys.shape
        draw = batch.step, batch.indices, self.device

        def kept(name, share):
            """bool (B,), the examples that keep a condition."""
            return uniform(config.seed, DROP_PURPOSE.format(condition=name), *draw) >= share

        density, register = (
            torch.where(kept(name, config.drop_attributes)[:, None], values, torch.nan)
            for name, values in zip(("density", "register"), coded.density_and_register(), strict=True)
        )
        keep_chords = kept("chords", config.drop_chords)
        keep_next = (keep_chords & kept("next chord", config.drop_next_chord))[:, None]
        following = coded.next_chords * keep_next[..., None]
        until = torch.where(keep_next, coded.beats_until, torch.inf)
        clock = torch.where(
            kept("clock", config.drop_clock)[:, None, None],
            coded.clock,
            torch.tensor(UNKNOWN_CLOCK, device=self.device),
        )
        spread = uniform(config.seed, TEMPO_PURPOSE, *draw)
        bpm = coded.tempo * torch.exp(TEMPO_SPREAD * (2 * spread - 1))[:, None]
        bpm = torch.where(kept("tempo", config.drop_tempo)[:, None], bpm, torch.nan)
        of_window = torch.where(
            kept("feel", config.drop_feel)[:, None], feel(coded.onsets, coded.clock[..., 0]), torch.nan
        )
        return Conditions(
            style=self.style(batch) * kept("style", config.drop_style)[:, None],
            chords=harmony(coded.chords * keep_chords[:, None, None], following, until),
            attributes=attributes(density, register),
            clock=clock,
            tempo=tempo(bpm),
            feel=feel_condition(of_window)[:, None].expand(size, length, -1),
            reference=coded.reference,
            referred=self._referred(batch, coded) & kept("reference", config.drop_reference)[:, None],
        )

    def _referred(self, batch, coded):
        """bool (B, N), the frames of the reference that the model is given: so many that it can't just be copied."""
        length = coded.keys.shape[1]
        purpose = REFERENCE_PURPOSE.format(step=batch.step)
        share, chance = uniforms(self.config.seed, purpose, batch.indices, (length + 1,)).split([1, length], 1)
        given = chance < MOST_REFERRED - REFERRED_SPREAD * share
        return given.to(self.device) & coded.referred[:, None]

    def style(self, batch: Batch) -> Tensor:
        """(B, S): the pianist's vector, or (half of the time, and always for the unknown) that of another passage."""
        seed, stream = self.config.seed, batch.stream
        shares = uniform(seed, STYLE_PASSAGE_PURPOSE, batch.step, batch.indices).tolist()
        of_passages = self.styles.project(stream.styles(batch.items, shares, self.device))
        of_pianists, is_known = stream.pianist_styles(batch.items)
        by_name = uniform(seed, STYLE_SOURCE_PURPOSE, batch.step, batch.indices, self.device) < BY_NAME
        return torch.where((by_name & is_known)[:, None], of_pianists, of_passages)


class FineTuneStage(DiffusionStage):
    """The diffusion model adapted to one pianist."""

    def __init__(self, config: FineTuneConfig, data_dir, checkpoint, sources):
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
        return Styles(names, torch.cat([base.vectors[others], base.project(own.vectors)]), base.projection)

    def _read_changes(self):
        """Those of the base run, with all of the pianist's."""
        known = load_changes(require(self.sources["diffusion"], "diffusion"))
        known |= self._changes_of([name for name in self.styles.names if name in self.stream.pianists], math.inf)
        return {name: known[name] for name in self.styles.names}

    def finish(self, run: Path):
        """Write the finished improviser beside the runs."""
        improviser = load_improviser(run)
        step = require(run, "fine_tune").step
        facts = {"step": step, "figures": validation_figures(run, step)}
        return save_improviser(improviser, run.parent / self.config.final_name, facts)


def embed_pianists(style_encoder, style_config, pieces: list, config: DiffusionConfig) -> Styles:
    """A style for each pianist: the mean over chunks of the given pieces, length 1.

    Parameters
    ----------
    style_encoder, style_config : frozen, and its config
    pieces : [(store, piece index)], the training split alone
    config : seeds the choice of chunks
    """
    pianists, vectors = pianists_of(pieces), []
    names = sorted(set(filter(None, pianists)))
    plain = dataclasses.replace(config, batch_size=CHUNKS_PER_STYLE, gradient_accumulation=1)
    with torch.inference_mode():
        for name in names:
            own = [piece for piece, pianist in zip(pieces, pianists, strict=True) if pianist == name]
            stream = Stream(own, plain, augment=False)
            passages = stream.style_inputs(style_config.reads, stream.batch(0).examples)
            vectors.append(style_encoder(passages)[0].mean(0))
    vectors = torch.stack(vectors) if vectors else torch.zeros(0, style_encoder.project.out_features)
    return Styles(tuple(names), functional.normalize(vectors, dim=-1))

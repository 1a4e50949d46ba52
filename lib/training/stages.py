"""What each stage trains: its model, its data, its losses, and what it leaves behind.

A stage is driven by loop.py and knows nothing of processes, checkpoints or progress bars. Each has: config, model,
stream, micro_batch, losses(model, batch) -> dict with "loss", validate(model) -> dict with "loss" (lower is better),
after_step(step, reduce, place) -> dict to log, forget() where a step does not count, facts() and tensors() for a
checkpoint, finish(run).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from lib.diffusion.schedule import training_share
from lib.models.codebook import perplexity
from lib.models.dit import Conditions, knobs
from lib.models.lora import add_low_rank
from lib.models.style_encoder import StyleEncoder
from lib.models.vqvae import VQVAE, frequent_patterns, reconstruction_loss, struck_bands
from lib.music.changes import MOST_ROWS, Changes, read_changes
from lib.music.metrics import note_f1
from lib.music.note_windows import note_windows
from lib.music.piano_roll import PianoRoll, decide, piano_roll_to_notes
from lib.training import trained
from lib.training.code_store import CodeStore
from lib.training.earlier import differences, put_weights
from lib.training.history import validation_figures
from lib.training.passages import embed_pianists, passages, vary
from lib.training.pieces import gather_labelled, gather_pieces, in_published_test, pianists_of
from lib.training.sources import require
from lib.training.stream import Stream, keyed_generator, uniform, uniforms

SIZES = 16  # different numbers of hidden latent frames that a step may have


class Stage:
    """What the four stages share."""

    def __init__(self, config, stream, validation):
        self.config, self.stream, self.validation = config, stream, validation
        self.device, self.micro_batch = "cpu", config.batch_size

    def to(self, device):
        """Where batches are made and frozen models live."""
        self.device = device
        return self

    def validation_batches(self):
        """The same chunks at every validation, as many at a time as training takes."""
        size, most = self.config.batch_size * self.config.gradient_accumulation, self.micro_batch
        for step in range(self.config.validation_batches):
            for first in range(0, size, most):
                yield self.validation.batch(step, first, min(first + most, size), self.device)

    def validate(self, model):
        """Mean losses over the validation batches."""
        totals, count = {}, 0
        for batch in self.validation_batches():
            count += len(batch)
            for name, value in self.held_out_losses(model, batch).items():
                totals[name] = totals.get(name, 0.0) + len(batch) * float(value)
        return {name: total / count for name, total in totals.items()}

    def held_out_losses(self, model, batch):
        """Losses of a validation batch."""
        return self.losses(model, batch)

    def after_step(self, step, reduce=None, place=(0, 1)):
        """Called when the optimizer has stepped; `place`: this process's share of the global batch, see Codebook.update."""
        return {}

    def forget(self):
        """Called instead where the step does not count: nothing that `losses` gathered may stay."""

    def facts(self):
        """For the manifest of a checkpoint."""
        return {}

    def tensors(self):
        """What else a checkpoint holds: dict NAME -> dict of tensors, for NAME.safetensors."""
        return {}

    def finish(self, run):
        """Called when the last step is done; returns the folder it has made, or None."""


class VQVAEStage(Stage):
    """Piano roll -> codes -> piano roll."""

    def __init__(self, config, data_dir, checkpoint, sources):
        chosen = {split: gather_pieces(config, data_dir, split) for split in ("train", "validation")}
        for split, pieces in chosen.items():
            chosen[split] = [(store, i) for store, i in pieces if not in_published_test(store.pieces[i])]
        train, held_out = chosen["train"], chosen["validation"] or chosen["train"]
        super().__init__(config, Stream(train, config), Stream(held_out, config, augment=False))
        self.model = VQVAE(config, None if checkpoint else frequent_patterns(train, config.codes))

    def losses(self, model, batch):
        """Reconstruction by lane, commitment; `loss` is their weighted sum."""
        bands = struck_bands(batch.piano_roll)
        logits, codes = model(bands)
        losses = reconstruction_loss(logits, bands)
        loss = sum(losses.values()) + self.config.commitment_weight * codes.commitment_loss
        rest = {**losses, "commitment": codes.commitment_loss}
        return {"loss": loss, **{name: value.detach() for name, value in rest.items()}}

    def after_step(self, step, reduce=None, place=(0, 1)):
        """Move the codebook."""
        generator = keyed_generator(self.config.seed, "codebook", step)
        return {"perplexity": self.model.codebook.update(generator, reduce, place)}

    def forget(self):
        """The codebook's statistics of this step."""
        self.model.codebook.forget()

    def validate(self, model):
        """Losses, and the F1 of decoded notes over the validation batches."""
        rows = super().validate(model)
        scores, use = [], 0
        for batch in self.validation_batches():
            codes = model.encode(batch.piano_roll)
            decoded = decide(model.decode(codes))
            pairs = zip(piano_roll_to_notes(batch.piano_roll), piano_roll_to_notes(decoded), strict=True)
            scores += [note_f1(original, estimate) for original, estimate in pairs if len(original)]
            pairs = codes[..., :-1].unflatten(-1, (-1, 2))
            how = pairs[..., 1][pairs[..., 0] > 0]
            use = use + functional.one_hot(how, self.config.codes).sum(0, keepdim=True)
        for name in ("onset", "onset_offset", "onset_velocity"):
            rows[f"{name}_f1"] = sum(getattr(score, name) for score in scores) / max(1, len(scores))
        return {**rows, "perplexity": perplexity(use.float())}


class StyleEncoderStage(Stage):
    """A passage -> who plays."""

    def __init__(self, config, data_dir, checkpoint, sources):
        train = gather_labelled(config, data_dir, "train")
        players = pianists_of(train)
        self.names = sorted(set(players))
        self.target = [self.names.index(name) for name in players]
        held_out = gather_labelled(config, data_dir, "validation")
        held_out = [(store, i) for store, i in held_out if store.pieces[i].pianist in self.names] or train
        self.held_out_target = [self.names.index(name) for name in pianists_of(held_out)]
        held_out = Stream(held_out, config, augment=False, balance=pianists_of(held_out))
        super().__init__(config, Stream(train, config, balance=players), held_out)
        self.model = StyleEncoder(config, len(self.names))

    def losses(self, model, batch, targets=None, varied=True):
        """Cross-entropy over pianists, in training with a margin (Wang et al. 2018, CosFace), and accuracy."""
        targets = self.target if targets is None else targets
        target = torch.tensor([targets[item] for item in batch.items], device=self.device)
        style, logits = model(self.varied(batch) if varied else passages(self.config, batch.stream, batch.examples, self.device))
        asked = logits - self.margin(model, target) if varied else logits
        loss = functional.cross_entropy(asked, target, label_smoothing=self.config.label_smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(-1) == target).float().mean()}

    def margin(self, model, target):
        """What the right pianist's logit must be ahead by: (B, P)."""
        return model.log_scale.exp() * self.config.margin * functional.one_hot(target, len(self.names))

    def varied(self, batch):
        """The batch as another machine might have written it down: see `vary`; a roll only loses notes."""
        generators = [keyed_generator(self.config.seed, "notes", batch.step, index) for index in batch.indices]
        if self.config.reads == "notes":
            windows = zip(batch.stream.passages(batch.examples), generators, strict=True)
            return note_windows([vary(values, generator, self.config) for values, generator in windows], self.device)
        roll = batch.piano_roll.roll
        keep = np.stack([generator.random(roll.shape[2:], dtype="float32") for generator in generators])
        keep = torch.from_numpy(keep).to(roll.device) >= self.config.dropout_notes
        return PianoRoll(roll * keep[:, None], batch.piano_roll.pedal)

    def held_out_losses(self, model, batch):
        """Losses of what was played, unvaried; held-out albums, each pianist as often."""
        return self.losses(model, batch, self.held_out_target, varied=False)

    def facts(self):
        """The names of the classes."""
        return {"pianists": self.names}


class DiffusionStage(Stage):
    """Style, chords and knobs -> codes, by naming those of hidden latent frames."""

    pianist = None

    def __init__(self, config, data_dir, checkpoint, sources):
        train, held_out = (gather_pieces(config, data_dir, split, self.pianist) for split in ("train", "validation"))
        held_out = held_out or train
        super().__init__(config, Stream(train, config), Stream(held_out, config, augment=False))
        self.vqvae, _ = trained.load_vqvae(sources["vqvae"])
        self.style_encoder, self.style_config, _ = trained.load_style_encoder(sources["style_encoder"])
        self.model = trained.make_dit(config, self.style_config, self.vqvae)
        if "diffusion" in sources:
            base = require(sources["diffusion"], "diffusion")
            put_weights(self.model, base.weights(), base.path, differences("diffusion", base.manifest["config"]))
        self.styles = trained.load_styles(checkpoint) if checkpoint else self._embed(train)
        self.players = {id(self.stream): pianists_of(train), id(self.validation): pianists_of(held_out)}
        self.changes = trained.load_changes(checkpoint) if checkpoint else None
        self.data_dir, self.stores = data_dir, {}

    def facts(self):
        """Whose vectors the checkpoint holds."""
        return {"styles": list(self.styles.names)}

    def tensors(self):
        """The pianists' vectors and their changes: going on changes nothing about them."""
        return {"styles": {"styles": self.styles.vectors}, "changes": trained.changes_tensors(self.changes)}

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
        """What the model is told, each part left out with its own probability."""
        config, draw = self.config, (batch.step, batch.indices, self.device)
        keep = {name: uniform(config.seed, f"drop {name}", *draw) >= share for name, share in (
            ("style", config.drop_style), ("chords", config.drop_chords),
            ("density", config.drop_knobs), ("register", config.drop_knobs))}  # fmt: skip
        told = (torch.where(keep[name][:, None], value, torch.nan)
                for name, value in zip(("density", "register"), coded.density_and_register()))  # fmt: skip
        style = self.style(batch, stream) * keep["style"][:, None]
        return Conditions(style, coded.chords * keep["chords"][:, None, None], knobs(*told))

    def hidden(self, batch, frames):
        """bool (B, N), the latent frames to name: each with its example's probability; for some only after a beginning, or
        only between a beginning and an end. The probabilities of a batch are spread evenly (Kingma et al. 2021)."""
        seed, step, indices = self.config.seed, batch.step, batch.indices
        size = self.config.batch_size * self.config.gradient_accumulation
        share = training_share((uniform(seed, "share", step, [0]) + torch.tensor(indices) / size) % 1)
        chance, kind, start, length = uniforms(seed, f"hidden {step}", indices, (frames + 3,)).split([frames, 1, 1, 1], 1)
        place = torch.arange(frames) / frames
        begin = 0.75 * start  # what comes before is given
        end = torch.where(kind < self.config.prefix_share / 2, begin + 0.1 + 0.6 * length, 1.0)
        asked = (place >= begin) & (place < end) | (kind >= self.config.prefix_share)
        return ((chance < share[:, None]) & asked).to(self.device)

    def losses(self, model, batch, stream=None):
        """Cross-entropy of hidden latent frames, in nats a frame: a bound on all; accuracy of the most likely code."""
        stream = self.stream if stream is None else stream
        epoch = batch.step * self.config.batch_size * self.config.gradient_accumulation // stream.num_chunks
        coded = self.stores[id(stream)].read(batch.examples, epoch, self.device)
        hidden = self.hidden(batch, coded.codes.shape[1])
        context = model(coded.codes, hidden, self.conditions(batch, coded, stream))
        share = hidden / hidden.sum(1, keepdim=True).clamp(min=1) / len(hidden)  # (B, N), each example the same
        places = rounded(hidden.flatten().nonzero()[:, 0], hidden.numel())
        nats, hit = model.nats(context.flatten(0, 1)[places], coded.codes.flatten(0, 1)[places])  # (M,)
        share = share.flatten()[places] * (torch.arange(len(places), device=places.device) < hidden.sum())
        return {"loss": (nats * share).sum(), "accuracy": (hit * share).sum()}

    def held_out_losses(self, model, batch):
        """Losses with the same codes hidden every time."""
        return self.losses(model, batch, self.validation)


def rounded(places, most):
    """Places with the first one again behind them, so that their number is one of few, and at least one: oneDNN keeps code and
    memory for each number it has seen, gigabytes after some hundred steps."""
    size = max(1, most // SIZES)
    wanted = size * max(1, math.ceil(len(places) / size))
    return functional.pad(places, (0, wanted - len(places)), value=int(places[0]) if len(places) else 0)


class FineTuneStage(DiffusionStage):
    """The diffusion model adapted to one pianist."""

    def __init__(self, config, data_dir, checkpoint, sources):
        self.pianist, self.sources = config.pianist, sources
        super().__init__(config, data_dir, checkpoint, sources)
        if config.lora_rank:
            add_low_rank(self.model, config.lora_rank)

    def _embed(self, train):
        """The base run's styles, with the pianist's own (known already, or not)."""
        base = trained.load_styles(require(self.sources["diffusion"], "diffusion"))
        own = embed_pianists(self.style_encoder, self.style_config, train, self.config)
        others = [i for i, name in enumerate(base.names) if name not in own.names]
        names = (*(base.names[i] for i in others), *own.names)
        return trained.Styles(names, torch.cat([base.vectors[others], own.vectors]))

    def _read_changes(self):
        """Those of the base run, with all that there are of the pianist."""
        base = trained.load_changes(require(self.sources["diffusion"], "diffusion"))
        own = self._changes_of([name for name in self.styles.names if name in self.players[id(self.stream)]], math.inf)
        return Changes.in_order(self.styles.names, base, own)

    def finish(self, run):
        """Write the finished improviser beside the runs."""
        improviser = trained.load_improviser(run)
        step = require(run, "fine_tune").step
        facts = {"step": step, "figures": validation_figures(run, step)}
        return trained.save_improviser(improviser, run.parent / self.config.final_name, facts)


STAGES = {
    "vqvae": VQVAEStage,
    "style_encoder": StyleEncoderStage,
    "diffusion": DiffusionStage,
    "fine_tune": FineTuneStage,
}

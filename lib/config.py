"""All settings of the suite: one frozen dataclass per stage, and the presets.

Conventions: sizes are counts, `_s` is seconds, `lr` is the peak learning rate, a `step` is one optimizer step
over a global batch of `batch_size * gradient_accumulation` windows of 32 beats (a style encoder's are passages of 256
notes or 10.24 s). The reason behind a number stands beside it; "start" marks a customary starting point that has not
been measured here.
"""

from __future__ import annotations

import dataclasses
import difflib
import subprocess
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

REPOSITORY = "https://github.com/brad-mehldau-ai/brad-mehldau-ai"  # bash colab_setup.sh address OWNER/NAME changes it
VERSION = "main"  # the branch that badges open and notebooks clone
LAST_COMMIT_IN_SECONDS = "ec7f6bbbde9969290853c8f647a23f0cc904ebbe"  # of generators before music was coded in beats
LAST_COMMIT_OF_OLD_LAYOUT = "919adb390cb6da5849439b6807498373bb863a78"  # for notebooks saved before: docs/FAQ.md
ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "data" / "released"
STYLES = "styles"  # folder of the user's own styles
OWN = "own"  # chords that the pianist invents
EXIT_STOPPED_EARLY = 75  # exit code of what stopped before it was done: run the same command again
GUIDED_CANDIDATES = 8  # of SCG, where a rule is asked for without saying how many
PRESETS = ("tiny", "demo", "laptop", "colab", "large")
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

T = TypeVar("T")
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]


class ConfigError(ValueError):
    """A setting that does not exist or can't have that value; the message names the nearest valid choice.

    Attributes
    ----------
    fields : dict field -> what is wrong with it; empty where the error concerns no single field
    """

    def __init__(self, message: str, fields: Mapping[str, str] | None = None):
        super().__init__(message)
        self.fields = dict(fields or {})


def nearest(name: object, choices: Iterable[object]) -> str:
    """' Did you mean X?' for a misspelt name, with the valid choices where they are few."""
    choices = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return hint + (f" Valid: {', '.join(choices)}." if len(choices) <= 30 else "")


def choose(kind: str, name: str, choices: Collection[str]) -> str:
    """The one of `choices` that `name` is, in whatever Unicode form; ConfigError naming the nearest one otherwise."""
    composed = unicodedata.normalize("NFC", name)
    name = next((choice for choice in choices if unicodedata.normalize("NFC", choice) == composed), name)
    if name not in choices:
        message = f"Unknown {kind} {name!r}.{nearest(name, choices)}"
        raise ConfigError(message, {kind: message})
    return name


def _words(value):
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StageConfig:
    """What all four stages share."""

    preset: str = "laptop"  # which row of presets it came from
    corpora: Words = ("maestro",)  # note stores under the data folder
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # everything random follows from it
    epochs: Count = 50  # start; passes over the training music
    steps: Count | None = None  # a limit in optimizer steps; None: epochs decide
    batch_size: Count = 16  # windows in one forward pass; start
    gradient_accumulation: Count = 1  # forward passes in one optimizer step
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: for the matrices inside, AdamW for the rest
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4  # peak; start
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01  # start
    warmup_steps: Annotated[int, Field(ge=0)] = 100  # linear rise of lr; start
    decay: Literal["constant", "cosine", "stable"] = "cosine"  # of lr: to a tenth; stable: to 0 in the last fifth
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0  # clipping; start
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0  # averaged weights; 0: none
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"  # auto: bf16 from capability 8, fp16 on older GPUs
    log_every: Count = 10  # steps
    validate_every: Count = 500  # steps
    validation_batches: Count = 8  # the same windows each time
    save_every: Count = 250  # steps; the most that a dead runtime can cost
    save_minutes: Annotated[float, Field(gt=0)] = 5.0  # or so long, whichever is over first
    mirror_minutes: Annotated[float, Field(ge=0)] = 20.0  # between two copies to the mirror: a Drive takes 50 GB a day
    keep_checkpoints: Count = 5  # the newest; the best is kept besides
    mirror_verify_minutes: Annotated[float, Field(ge=0)] | None = None  # None: each copy on a folder, hourly on rclone
    deterministic: bool = True  # algorithms that give the same bits each time; without them resuming is only close
    skips_in_a_row: Count = 10  # steps whose loss is no number, before training goes back to a checkpoint
    tracker: Literal["tensorboard", "none"] = "tensorboard"
    transpose_low: Annotated[int, Field(ge=-12, le=0)] = -5  # semitones: all twelve keys, no key twice
    transpose_high: Annotated[int, Field(ge=0, le=12)] = 6
    tempo_spread: Annotated[float, Field(ge=0, le=0.5)] = 0.1  # of a style encoder: tempo 0.9 to 1.1
    velocity_spread: Annotated[float, Field(ge=0, le=0.5)] = 0.15  # velocity scaled by 0.85 to 1.15


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VQVAEConfig(StageConfig):
    """Piano roll -> codes -> piano roll."""

    corpora: Words = ("maestro", "pijama")  # the generator codes both
    optimizer: Literal["adamw", "muon"] = "muon"  # measured: after 300 steps of laptop loss 2.54, AdamW 2.90
    channels: Count = 256  # width of the perceptrons, twice that within
    blocks: Count = 2  # residual layers of each
    codes: Count = 1024  # patterns of onsets, and codes for how they are played; measured: data/released/codec.md
    code_dim: Count = 8  # dimensions of the latter
    commitment_weight: Annotated[float, Field(ge=0)] = 0.25  # start (van den Oord et al. 2017)
    codebook_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99  # EMA of code means; start
    restart_below: Annotated[float, Field(ge=0)] = 0.5  # codes used less often a step (EMA) move onto data; even use: 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StyleEncoderConfig(StageConfig):
    """A passage -> who plays."""

    corpora: Words = ("pijama",)
    # notes by their relation to earlier ones, the same on any time grid; as before version 0.2; a piano roll
    reads: Literal["chords", "notes", "roll"] = "chords"
    benchmark: Literal["none", "album_0", "album_1", "album_2", "song"] = "album_0"  # of PiJAMA's splits of 30 pianists
    optimizer: Literal["adamw", "muon"] = "muon"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    batch_size: Count = 32  # start
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998  # the averaged weights count
    channels: Count = 192  # width of the 1-D convolutions; a 120-way choice needs less than a codec
    blocks: Count = 4  # residual blocks, dilated 1, 2, 4, 1: they hear 17 notes; a roll has its own
    lags: Count = 8  # earlier notes that a note is compared with
    style_dim: Count = 128  # size of the embedding; about as many as there are pianists
    label_smoothing: Share = 0.1  # transcriptions and labels err
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.1  # of cosines: embeddings of one player gather closer
    dropout_notes: Share = 0.1  # notes left out of a passage, at most: hear the player, not the transcriber
    dropout_pedal: Share = 0.2  # passages without their pedal
    jitter_s: Annotated[float, Field(ge=0, le=0.1)] = 0.005  # of onsets; transcribers err by 10 ms
    duration_spread: Annotated[float, Field(ge=0, le=1)] = 0.15  # of a passage's durations, logarithmic
    velocity_contrast: Share = 0.2  # of a passage's velocities: rooms and pianos differ
    augmentation: Annotated[float, Field(ge=0, le=2)] = 1.0  # strength of note_augmentation, where `reads` is chords
    # time grids on which a step reads each passage; two give steadier names, but fewer right ones: style.md
    views: Annotated[int, Field(ge=1, le=2)] = 1
    consistency: Annotated[float, Field(ge=0)] = 0.0  # weight of the divergence between two views


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DiffusionConfig(StageConfig):
    """DiT over the VQ-VAE's latents: style and chords -> music."""

    corpora: Words = ("maestro", "pijama")
    optimizer: Literal["adamw", "muon"] = "muon"
    width: Count = 256  # of the transformer; what two cores can train in an afternoon
    depth: Count = 6  # blocks; start
    heads: Count = 4  # 64 dimensions each, as is customary
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999  # the averaged weights play; start
    drop_style: Share = 0.15  # condition dropout, for classifier-free guidance (Ho & Salimans 2022: 0.1 to 0.2)
    drop_chords: Share = 0.3  # unknown chords are common in use
    drop_next_chord: Share = 0.3  # besides, where the chord is known
    drop_attributes: Share = 0.6  # density and register, each
    drop_clock: Share = 0.15  # place in beat and bar
    drop_tempo: Share = 0.3
    drop_feel: Share = 0.4
    drop_reference: Share = 0.25  # the whole passage; of the others a third to a half of the frames
    prefix_share: Share = 0.5  # examples whose beginning is given (continuation), half of them the end too (infilling)
    encodings: Count = 2  # times that each piece is encoded, each in another key, before training

    def __post_init__(self):
        """Heads share the width."""
        if self.width % self.heads:
            raise ConfigError(f"width={self.width} is no multiple of heads={self.heads}: change one of them.")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FineTuneConfig(DiffusionConfig):
    """The diffusion model, adapted to one pianist; the model's sizes come from its run."""

    corpora: Words = ("pijama",)
    encodings: Count = 12  # all keys: a few hours of music are soon encoded
    pianist: str = "Brad Mehldau"
    final_name: str = "brad_final"  # folder of the finished improviser, beside the runs
    lora_rank: Annotated[int, Field(ge=0, le=256)] = 0  # of additions to frozen weights; 0: all weights are trained
    lr: Annotated[float, Field(gt=0, le=1)] = 5e-6  # start
    warmup_steps: Annotated[int, Field(ge=0)] = 20  # the weights are good already, only AdamW's moments are not


STAGES = {
    "vqvae": VQVAEConfig,
    "style_encoder": StyleEncoderConfig,
    "diffusion": DiffusionConfig,
    "fine_tune": FineTuneConfig,
}

_DIT = ("width", "depth", "heads")
_TINY = {
    "corpora": ("demo",),
    "steps": 4,
    "batch_size": 4,
    "log_every": 1,
    "validate_every": 4,
    "save_every": 2,
    "mirror_minutes": 0.0,
    "validation_batches": 1,
    "warmup_steps": 0,
    "lr": 1e-3,
    "tracker": "none",
}
_DEMO = {
    "corpora": ("demo",),
    "batch_size": 8,
    "log_every": 5,
    "validate_every": 100,
    "save_every": 50,
    "validation_batches": 4,
    "warmup_steps": 10,
    "lr": 1e-3,
}
# the same batch on every GPU, so that a run moves from a T4 to an L4; where 32 don't fit, memory halves the passes
_COLAB = {"batch_size": 32, "epochs": 30, "save_every": 500}
_LARGE = {"batch_size": 8, "save_every": 500}  # never trained to the end: all of it is a start
_FINE_DEMO = {"pianist": "Cora Canonby"}  # a player of the demo corpus

# preset -> stage -> what differs from the class above
_PRESETS = {
    "tiny": {
        "vqvae": {**_TINY, "channels": 64, "blocks": 1, "codes": 128, "code_dim": 4},
        "style_encoder": {**_TINY, "channels": 32, "blocks": 1, "style_dim": 16},
        "diffusion": {**_TINY, "width": 64, "depth": 1, "heads": 2},
        "fine_tune": {**_TINY, **_FINE_DEMO},
    },
    "demo": {
        "vqvae": {**_DEMO, "steps": 450, "channels": 128, "codes": 512},
        "style_encoder": {**_DEMO, "steps": 120, "channels": 64, "blocks": 2, "style_dim": 64},
        "diffusion": {**_DEMO, "steps": 450, "width": 128, "depth": 4, "heads": 4},
        "fine_tune": {**_DEMO, **_FINE_DEMO, "steps": 60, "lr": 2e-4},
    },
    # lr, measured (tests/benchmarks/learning_rate.py, quantisers.py): vqvae after 300 steps of AdamW loss 2.90, at 1e-3
    # 3.69; style_encoder no difference after 100
    "laptop": {
        "vqvae": {"lr": 2e-3},
        # each passage on two grids of time: names that stay the same (data/released/style.md)
        "style_encoder": {"lr": 2e-3, "views": 2, "batch_size": 16, "consistency": 15.0, "ema_decay": 0.999},
        # jazz alone: hours, not days
        "diffusion": {"corpora": ("pijama",), "width": 320, "heads": 5, "encodings": 1, "batch_size": 32, "lr": 2e-3},
        "fine_tune": {"encodings": 4, "lr": 5e-4},
    },
    "colab": {
        "vqvae": {**_COLAB, "lr": 2e-3},  # the network of laptop
        "style_encoder": {**_COLAB, "channels": 256, "blocks": 6, "lr": 2e-3},  # start: as laptop
        # start: laptop's is 2e-3 at width 320
        "diffusion": {**_COLAB, "width": 512, "depth": 12, "heads": 8, "lr": 1e-3},
        "fine_tune": {**_COLAB},
    },
    "large": {
        "vqvae": {**_LARGE},
        "style_encoder": {**_LARGE, "channels": 384, "blocks": 8},
        "diffusion": {**_LARGE, "width": 1024, "depth": 19, "heads": 16},
        "fine_tune": {**_LARGE},
    },
}


def preset(stage: str, name: str = "laptop", **overrides: Any) -> StageConfig:
    """The config of a stage.

    Parameters
    ----------
    stage : one of STAGES
    name : one of PRESETS
    overrides : fields to set otherwise; None leaves the preset's value

    Raises
    ------
    ConfigError : names the stage, preset, field or value that is wrong, and what would be right
    """
    config_type = STAGES[choose("stage", stage, STAGES)]
    values = {"preset": name, **_PRESETS[choose("preset", name, PRESETS)][stage]}
    if overrides.get("epochs") is not None:
        values["steps"] = None  # whoever asks for epochs means them
    values.update({key: value for key, value in overrides.items() if value is not None})
    return build(config_type, values)


def build(config_type: type[T], values: Mapping[str, Any]) -> T:
    """A config from plain values (command line, JSON, notebook parameters), types and ranges checked."""
    names = [field.name for field in dataclasses.fields(config_type)]
    for name in values:
        choose(f"setting of {config_type.__name__}", name, names)
    try:
        return TypeAdapter(config_type).validate_python(values)
    except ValidationError as error:
        lines, fields = [], {}
        for e in error.errors():
            cause = e.get("ctx", {}).get("error")
            if isinstance(cause, ConfigError):
                lines.append(str(cause))
                fields |= cause.fields
                continue
            field, reason = str(e["loc"][0]) if e["loc"] else "value", e["msg"].removeprefix("Value error, ")
            if field not in fields:  # of the kinds that a field may have, the first
                fields[field] = f"{reason} (got {e['input']!r})"
                lines.append(f"{field}: {fields[field]}")
        raise ConfigError("; ".join(lines), fields) from None


def parse_settings(settings: Iterable[str]) -> dict[str, str | None]:
    """['key=value', ...] as a dict; the values stay text, `build` gives them their types."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set needs key=value, for example lr=1e-4; got {setting!r}.")
        parsed[key.strip()] = None if value.strip().lower() == "none" else value.strip()
    return parsed


def as_values(config: Any) -> dict[str, Any]:
    """The config as plain values for JSON."""
    return dataclasses.asdict(config)


def stage_of(config: StageConfig) -> str:
    """The stage a config belongs to."""
    return next(stage for stage, config_type in STAGES.items() if type(config) is config_type)


def inherit_model(config: DiffusionConfig, source: DiffusionConfig) -> DiffusionConfig:
    """A fine-tuning config with the sizes of the diffusion model it starts from."""
    return dataclasses.replace(config, **{name: getattr(source, name) for name in _DIT})


def commit() -> str | None:
    """The commit of this code; None where it is no clone of a repository."""
    try:
        words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None

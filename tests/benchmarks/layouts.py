"""Where the names that a benchmark needs are: in this tree, and in trees of before the move of modules."""

from __future__ import annotations

import importlib

# name -> where this tree has it, then where config.LAST_COMMIT_OF_OLD_LAYOUT had it; "" where it may be gone
NAMES = {
    "load_improviser": ("lib.checkpoints.load:load_improviser", "lib.training.trained:load_improviser"),
    "load_vqvae": ("lib.checkpoints.load:load_vqvae", "lib.training.trained:load_vqvae"),
    "fingerprint": ("lib.checkpoints.load:fingerprint", "lib.training.trained:fingerprint"),
    "load_reference_classifier": (
        "lib.apps.evaluate.reference_classifier:load_reference_classifier",
        "lib.judge:load_judge",
    ),
    "read_midi": ("lib.music.notes:read_midi", "lib.data.notes:read_midi"),
    "notes_to_piano_roll": ("lib.music.piano_roll:notes_to_piano_roll",),
    "piano_roll_to_notes": ("lib.music.piano_roll:piano_roll_to_notes",),
    **{  # once in a module of their own
        name: (f"lib.music.tempo_map:{name}", f"lib.music.beat_notes:{name}")
        for name in ("STEADY", "in_beats", "in_seconds")
    },
    "decide": ("lib.music.piano_roll:decide", ""),  # gone: what decode returns is decided already
    "RENAMED": ("lib.checkpoints.config_migration:RENAMED", ""),
    "generate": ("lib.generation.generate:generate", "lib.generate:generate"),
    "GenerateRequest": ("lib.generation.request:GenerateRequest", "lib.config:GenerateRequest"),
    "preset": ("lib.config:preset",),
    "Trainer": ("lib.training.trainer:Trainer", ""),
    "train": ("lib.training.loop:train",),
    "prepare": ("lib.data.prepare:prepare", "lib.data.preparation:prepare"),
}


def name_in_tree(name: str):
    """What NAMES calls so, wherever the tree on sys.path has it; None where it may be gone and is.

    Raises
    ------
    LookupError : it is at none of those places
    """
    for place in NAMES[name]:
        module, _, attribute = place.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute) if module else None
        except AttributeError:
            continue
        except ModuleNotFoundError as error:
            if not error.name.startswith("lib"):
                raise
    raise LookupError(f"{name} is at none of {NAMES[name]}: add where this tree has it to NAMES.")

"""Sizes of evaluations in tests, and whom they are about."""

from lib.apps.evaluate.clip_sets import Size

FEW = Size(clips=6, guided=0, each=0, solos=0)  # seconds
ALL = Size(clips=6, guided=1, each=1, solos=1, solo_beats=48)
PIANIST = "Cora Canonby"

"""Material, measured: what each set of clips is like, heard once and kept."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lib.apps.evaluate.attributes import ATTRIBUTES
from lib.apps.evaluate.clips import Missing
from lib.apps.evaluate.judging import embedded, judge_probability
from lib.apps.evaluate.likeness import Heard, widest_directions
from lib.apps.evaluate.measures import clip_measures, solo_measures, table_of

# attribute of Material -> what the set is, in the order of the report
SETS = {"real": "held-out recordings", "training": "training recordings", "generated": "the model",
        "base_clips": "base model", "others": "other pianists", "markov": "Markov, order 5", "codec": "codec alone",
        "shuffled": "shuffled bars"}  # fmt: skip
PAIRED = ("generated", "told", "guided", "solos")  # sets of the model whose clips answer the same prompts in every evaluation


class Measured:
    """Measures of a Material's sets.

    Parameters
    ----------
    material : Material
    """

    def __init__(self, material):
        self.material, self.missing, self._heard, self._tables, self._judged = material, {}, {}, {}, {}

    @cached_property
    def directions(self):
        """(S, D): see likeness.widest_directions."""
        return widest_directions(self.material.gallery.styles)

    def sets(self, names=SETS):
        """dict name -> ClipSet of those that can be had; why others can't is kept in `missing`."""
        found = {}
        for name in names:
            try:
                found[name] = getattr(self.material, name)
            except Missing as reason:
                self.missing[name] = str(reason)
        return found

    def table(self, name):
        """dict measure -> (N,) of a set."""
        if name not in self._tables:
            self._tables[name] = table_of(getattr(self.material, name), clip_measures)
        return self._tables[name]

    def heard(self, name):
        """Heard of a set."""
        if name not in self._heard:
            self._heard[name] = self.hear(getattr(self.material, name), self.table(name))
        return self._heard[name]

    def hear(self, clip_set, table=None):
        """Heard of any ClipSet."""
        table = table or table_of(clip_set, clip_measures)
        rows = np.stack([table[attribute] for attribute in ATTRIBUTES], 1)
        size = self.material.gallery.styles.shape[1]
        return Heard(rows, embedded(self.material.classifier, clip_set.clips, size), clip_set.groups)

    def judged(self, name):
        """(N,): the judge's probability of the pianist for each clip of a set; Missing where it does not know him."""
        if name not in self._judged:
            clips = getattr(self.material, name).clips
            self._judged[name] = judge_probability(self.material.judge, clips, self.material.pianist)
        return self._judged[name]

    def form(self, name):
        """dict measure -> (N,) of a set of solos."""
        if name not in self._tables:
            self._tables[name] = table_of(getattr(self.material, name), solo_measures)
        return self._tables[name]

    def clips(self):
        """For comparisons: dict set -> groups, prompts, values of every clip by measure, attributes and styles."""
        found = {}
        for name, clip_set in self.sets(("real", *PAIRED[:3])).items():
            heard = self.heard(name)
            values = dict(self.table(name))
            try:
                values["judge"] = self.judged(name)
            except Missing as reason:
                self.missing["judge"] = str(reason)
            found[name] = {"groups": clip_set.groups, "values": values, "styles": heard.styles.round(4)}
        for name, solos in self.sets(PAIRED[3:]).items():
            found[name] = {"groups": solos.groups, "values": self.form(name)}
        return found

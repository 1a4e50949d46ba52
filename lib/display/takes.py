"""Takes: what was asked for, what came of it, and the code that makes the same again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lib.config import GenerateRequest
from lib.display.jobs import length
from lib.music.audio import Audio
from lib.music.notes import Notes

ALWAYS_SHOWN = ("chords", "seconds", "seed")  # in code, though they may be the defaults


@dataclass(frozen=True)
class Call:
    """What to play: a solo, one that goes on from a take, or a passage of a take anew.

    Attributes
    ----------
    request : GenerateRequest
    take : Take to start from, or None
    from_s : where the passage begins; None: the take is gone on from
    to_s : where the passage ends, or where to go on from
    """

    request: GenerateRequest
    take: Take | None = None
    from_s: float | None = None
    to_s: float | None = None

    def play(self, improvise, infill, callback):
        """What `improvise`, or `infill` where it is a passage, gives; see controls.solo_controls."""
        if self.take is None:
            return improvise(self.request, callback)
        if self.from_s is None:
            return improvise(self.request, callback, before=self.take.notes.until(self.to_s))
        return infill(self.request, self.take.notes, self.from_s, self.to_s, callback)

    def with_seed(self, seed):
        """The same with another seed."""
        return dataclasses.replace(self, request=dataclasses.replace(self.request, seed=seed))

    @property
    def ancestors(self):
        """The takes it starts from, oldest first."""
        return [] if self.take is None else [*self.take.call.ancestors, self.take]

    @property
    def words(self):
        """What distinguishes it, in a few words."""
        seed = f"seed {self.request.seed}"
        if self.take is None:
            return seed
        if self.from_s is None:
            return f"{seed}, goes on from {self.take.number} at {self.to_s:.1f} s"
        return f"{seed}, {self.take.number} with {self.from_s:.1f} to {self.to_s:.1f} s anew"

    def line(self, name):
        """The line of code that plays it."""
        request = request_code(self.request)
        if self.take is None:
            return f"{name} = generate(improviser, {request})"
        source = f"take_{self.take.number}.notes"
        if self.from_s is None:
            return f"{name} = generate(improviser, {request}, before={source}.until({self.to_s!r}))"
        return f"{name} = infill(improviser, {request}, {source}, {self.from_s!r}, {self.to_s!r})"

    def code(self, name="solo"):
        """Everything that makes the same solo where there is an `improviser`: a line, and one for each take it starts from."""
        calls = [(f"take_{take.number}", take.call) for take in self.ancestors] + [(name, self)]
        used = "generate, infill" if any(call.from_s is not None for _, call in calls) else "generate"
        imports = f"from lib.config import GenerateRequest\nfrom lib.generation.generate import {used}\n\n"
        return imports + "\n".join(call.line(one) for one, call in calls)


def request_code(request):
    """The expression that makes this request; what is left at its default is left out."""
    default = GenerateRequest()
    values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    told = {name: value for name, value in values.items() if name in ALWAYS_SHOWN or value != getattr(default, name)}
    return f"GenerateRequest({', '.join(f'{name}={value!r}' for name, value in told.items())})"


@dataclass(frozen=True, eq=False)
class Take:
    """What was played.

    Attributes
    ----------
    number : from 1
    call : Call
    notes : Notes, what it starts from included
    chords : list of (time_s, symbol)
    audio : Audio or None
    begins_s : where the new music begins
    """

    number: int
    call: Call
    notes: Notes
    chords: list
    audio: Audio | None = None
    begins_s: float = 0.0

    @property
    def bars_from_s(self):
        """Where a bar begins: a chart begins where the music goes on; a passage that is played anew leaves the bars alone."""
        if self.call.take is None:
            return 0.0
        return self.begins_s if self.call.from_s is None else self.call.take.bars_from_s

    @property
    def name(self):
        """Number and seed: what the player calls it."""
        return f"{self.number}: {self.call.words}"

    @property
    def seconds(self):
        """Until the last release; a tenth at least."""
        return max(0.1, self.notes.end_s)

    @property
    def words(self):
        """What it is, for those who can't see its picture."""
        return f"Take {self.number}: {self.call.words}, {len(self.notes)} notes in {length(self.seconds)}"

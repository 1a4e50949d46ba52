"""Takes: the request, the notes that were generated, and the code that generates them again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lib.display.jobs import format_duration
from lib.music.audio import Audio
from lib.music.notes import Notes
from lib.music.tempo_map import TempoMap

ALWAYS_SHOWN = ("chords", "seed")  # in code, though they may be the defaults


@dataclass(frozen=True)
class Call:
    """What to generate: a solo, a continuation of a take, or a passage of a take.

    Attributes
    ----------
    request : GenerateRequest of lib.generation.request
    take : Take to start from, or None
    from_s : where the passage begins; None: the take is continued
    to_s : where the passage ends, or where the continuation begins
    """

    request: object
    take: Take | None = None
    from_s: float | None = None
    to_s: float | None = None

    def play(self, improvise, infill, callback):
        """What `improvise`, or `infill` where it is a passage, gives; see controls.solo_controls."""
        if self.take is None:
            return improvise(self.request, callback)
        if self.from_s is None:
            prompt = self.take.notes.until(self.to_s)
            return improvise(self.request, callback, prompt=prompt, tempo_map=self.take.tempo_map)
        return infill(self.request, self.take.notes, self.from_s, self.to_s, callback, tempo_map=self.take.tempo_map)

    def with_seed(self, seed):
        """The same with another seed."""
        return dataclasses.replace(self, request=dataclasses.replace(self.request, seed=seed))

    @property
    def ancestors(self):
        """The takes it starts from, oldest first."""
        return [] if self.take is None else [*self.take.call.ancestors, self.take]

    @property
    def summary(self):
        """What distinguishes it, in short."""
        seed = f"seed {self.request.seed}"
        if self.take is None:
            return seed
        if self.from_s is None:
            return f"{seed}, continues {self.take.number} from {self.to_s:.1f} s"
        return f"{seed}, {self.take.number} with {self.from_s:.1f} to {self.to_s:.1f} s resampled"

    def line(self, name):
        """The line of code that plays it."""
        request = request_code(self.request)
        if self.take is None:
            return f"{name} = generate(improviser, {request})"
        notes, tempo_map = (f"take_{self.take.number}.{part}" for part in ("notes", "tempo_map"))
        if self.from_s is None:
            prompt = f"{notes}.until({self.to_s!r})"
            return f"{name} = generate(improviser, {request}, prompt={prompt}, tempo_map={tempo_map})"
        passage = f"{self.from_s!r}, {self.to_s!r}"
        return f"{name} = infill(improviser, {request}, {notes}, {passage}, tempo_map={tempo_map})"

    def code(self, name="solo"):
        """The code that makes the same solo with an `improviser`: a line each for it and the takes it starts from."""
        calls = [(f"take_{take.number}", take.call) for take in self.ancestors] + [(name, self)]
        used = "generate, infill" if any(call.from_s is not None for _, call in calls) else "generate"
        imports = f"from lib.generation.generate import {used}\nfrom lib.generation.request import GenerateRequest\n\n"
        return imports + "\n".join(call.line(variable) for variable, call in calls)


def request_code(request):
    """The expression that makes this request; what is left at its default is left out."""
    default = type(request)()
    values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    shown = {name: value for name, value in values.items() if name in ALWAYS_SHOWN or value != getattr(default, name)}
    return f"GenerateRequest({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


@dataclass(frozen=True, eq=False)
class Take:
    """A take.

    Attributes
    ----------
    number : from 1
    call : Call
    notes : Notes, what it starts from included
    chords : list of (time_s, symbol)
    tempo_map : TempoMap of all notes
    audio : Audio or None
    begins_s : where the new music begins
    """

    number: int
    call: Call
    notes: Notes
    chords: list
    tempo_map: TempoMap
    audio: Audio | None = None
    begins_s: float = 0.0

    @property
    def name(self):
        """Number and seed: what the player calls it."""
        return f"{self.number}: {self.call.summary}"

    @property
    def seconds(self):
        """Until the last release; a tenth at least."""
        return max(0.1, self.notes.end_s)

    @property
    def description(self):
        """What it is, for those who can't see its picture."""
        return f"Take {self.number}: {self.call.summary}, {len(self.notes)} notes in {format_duration(self.seconds)}"

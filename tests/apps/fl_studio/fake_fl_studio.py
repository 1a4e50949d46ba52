"""A piano roll that runs scripts as FL Studio is documented to, and is stricter where the documentation leaves room.

After Image-Line's API stubs (github.com/IL-Group/FL-Studio-API-Stubs, src/piano_roll_scripting/flpianoroll: notes, markers,
score, dialog) and what public copies of FL Studio's own reference add (both spellings of the dialog's methods,
getTimelineSelection with an end of -1 where nothing is selected, repeats). FL Studio itself was not at hand.

Stricter: every value has a type and a range, unknown names are errors, a script may import nothing but flpianoroll and
open nothing, and ShowMessage within apply is an error, because apply runs at each turn of a knob. Before each run the
score is what it was when the dialog opened.
"""

import builtins
import copy
import math
import types

WHOLE, REAL, YES_NO, TEXT = "whole", "real", "yes or no", "text"
UNIT = (REAL, 0.0, 1.0)
NOTE = {"number": (WHOLE, 0, 127, 60), "time": (WHOLE, 0, 2**31 - 1, 0), "length": (WHOLE, 0, 2**31 - 1, 0),
        "group": (WHOLE, 0, 2**31 - 1, 0), "pan": (*UNIT, 0.5), "velocity": (*UNIT, 0.8), "release": (*UNIT, 0.5),
        "color": (WHOLE, 0, 15, 0), "fcut": (*UNIT, 0.5), "fres": (*UNIT, 0.5), "pitchofs": (WHOLE, -120, 120, 0),
        "repeats": (WHOLE, 0, 14, 0), "slide": (YES_NO, 0, 1, False), "porta": (YES_NO, 0, 1, False),
        "muted": (YES_NO, 0, 1, False), "selected": (YES_NO, 0, 1, False)}  # fmt: skip
MARKER = {"time": (WHOLE, 0, 2**31 - 1, 0), "name": (TEXT, 0, 100, "Marker"), "mode": (WHOLE, 0, 12, 0),
          "tsnum": (WHOLE, 0, 99, 4), "tsden": (WHOLE, 0, 99, 4), "scale_root": (WHOLE, 0, 11, 0),
          "scale_helper": (TEXT, 0, 100, "")}  # fmt: skip
TYPES = {WHOLE: int, REAL: float, YES_NO: bool, TEXT: str}
REFUSED = ("open", "input", "exec", "eval", "compile", "breakpoint", "help", "exit", "quit")


class ScriptError(Exception):
    """What FL Studio would not do, or not as the script hopes."""


def checked(name, value, kind, low, high):
    if type(value) is not TYPES[kind]:
        raise ScriptError(f"{name} wants {TYPES[kind].__name__}, not {value!r}")
    size = len(value) if kind == TEXT else value
    if kind == REAL and not math.isfinite(value) or not low <= size <= high:
        raise ScriptError(f"{name} = {value!r} is not within {low} to {high}")
    return value


class Thing:
    """Something with documented properties, and no others."""

    FIELDS = {}

    def __init__(self, **values):
        object.__setattr__(self, "_values", {name: field[3] for name, field in self.FIELDS.items()})
        for name, value in values.items():
            setattr(self, name, value)

    def __getattr__(self, name):
        if name.startswith("_") or name not in self.FIELDS:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return self._values[name]

    def __setattr__(self, name, value):
        if name not in self.FIELDS:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        kind, low, high, _ = self.FIELDS[name]
        self._values[name] = checked(name, value, kind, low, high)

    def __deepcopy__(self, memo):
        return type(self)(**self._values)


class Note(Thing):
    FIELDS = NOTE

    def clone(self):
        return copy.deepcopy(self)


class Marker(Thing):
    FIELDS = MARKER


class Score:
    """What flpianoroll.score offers; what FL Studio keeps stands in the host."""

    __slots__ = ("_host",)

    def __init__(self, host):
        object.__setattr__(self, "_host", host)

    def __setattr__(self, name, value):
        raise AttributeError(f"score.{name} can't be set")

    PPQ = property(lambda self: self._host.ppq)
    tsnum = property(lambda self: self._host.metre[0])
    tsden = property(lambda self: self._host.metre[1])
    length = property(lambda self: max([note.time + note.length for note in self._host.notes], default=0))
    noteCount = property(lambda self: len(self._host.notes))
    markerCount = property(lambda self: len(self._host.markers))

    def addNote(self, note):
        self._add(Note, note, self._host.notes)

    def addMarker(self, marker):
        self._add(Marker, marker, self._host.markers)

    def getNote(self, index):
        return self._host.notes[self._place(index, self._host.notes)]

    def getMarker(self, index):
        return self._host.markers[self._place(index, self._host.markers)]

    def deleteNote(self, index):
        del self._host.notes[self._place(index, self._host.notes)]

    def deleteMarker(self, index):
        del self._host.markers[self._place(index, self._host.markers)]

    def clear(self, all=False):
        self.clearNotes(all)
        self.clearMarkers(all)

    def clearNotes(self, all=False):
        checked("all", all, YES_NO, 0, 1)
        selected = [note.selected for note in self._host.notes]
        whole = all or not any(selected)
        self._host.notes[:] = [] if whole else [note for note in self._host.notes if not note.selected]

    def clearMarkers(self, all=False):
        checked("all", all, YES_NO, 0, 1)
        self._host.markers[:] = []

    def getDefaultNoteProperties(self):
        return Note()

    def getNextFreeGroupIndex(self):
        return max([note.group for note in self._host.notes], default=0) + 1

    def _add(self, kind, thing, things):
        if type(thing) is not kind:
            raise ScriptError(f"{thing!r} is no {kind.__name__}")
        if kind is Note and thing.length == 0:
            raise ScriptError("a note of no length is never heard")
        things.append(copy.deepcopy(thing))  # what the script does to its own copy later changes nothing

    def _place(self, index, things):
        return checked("index", index, WHOLE, 0, len(things) - 1)


class NewScore(Score):
    """As of the versions that know of a time selection."""

    __slots__ = ()

    def getTimelineSelection(self):
        return self._host.selection


class ScriptDialog:
    def __init__(self, title, description):
        checked("title", title, TEXT, 1, 100)
        checked("description", description, TEXT, 0, 1000)
        self._kinds, self._values = {}, {}

    def _add(self, name, kind, value, low, high):
        checked("a control's name", name, TEXT, 1, 60)
        if name in self._kinds:
            raise ScriptError(f"there are two controls {name!r}")
        self._kinds[name] = (kind, low, high)
        self.turn(name, value)

    def turn(self, name, value):
        """What the user does."""
        kind, low, high = self._kinds[name]
        self._values[name] = checked(name, value, kind, low, high)

    def AddInputKnob(self, name, value, min, max):
        self._add(name, REAL, value, min, max)

    def AddInputKnobInt(self, name, value, min, max):
        self._add(name, WHOLE, value, min, max)

    def AddInputCheckbox(self, name, value):
        self._add(name, YES_NO, value, 0, 1)

    def AddInputText(self, name, value):
        self._add(name, TEXT, value, 0, 1000)

    def AddInputCombo(self, name, options, value):
        for option in options:  # FL Studio takes a list, or one string parted by commas
            if "," in checked("an option", option, TEXT, 1, 100):
                raise ScriptError(f"the comma parts the option {option!r}")
        self._add(name, WHOLE, value, 0, len(options) - 1)

    def GetInputValue(self, name):
        return self._values[name]

    def Execute(self):
        raise ScriptError("FL Studio itself shows the dialog that createDialog gives")

    addInputKnob, addInputKnobInt, addInputCheckbox = AddInputKnob, AddInputKnobInt, AddInputCheckbox
    addInputText, addInputCombo, getInputValue, execute = AddInputText, AddInputCombo, GetInputValue, Execute


class FLStudio:
    """The program around the script.

    Parameters
    ----------
    notes, markers : what is in the piano roll
    ppq : ticks a quarter
    selection : (first tick, last tick) of the time selection; an end of -1: none
    old : a version that knows of no time selection
    metre : the project's time signature
    """

    def __init__(self, notes=(), markers=(), ppq=96, selection=(0, -1), old=False, metre=(4, 4)):
        self.metre = metre
        self.ppq, self.selection, self.applying, self.logged = ppq, selection, False, []
        self.notes, self.markers = list(notes), list(markers)
        self.module = types.ModuleType("flpianoroll")
        self.module.score = (Score if old else NewScore)(self)
        self.module.Note, self.module.Marker, self.module.ScriptDialog = Note, Marker, ScriptDialog
        self.module.Utils = types.SimpleNamespace(log=self._log, ShowMessage=self._show, ProgressMsg=self._progress)

    def _log(self, message):
        self.logged.append(checked("message", message, TEXT, 0, 10_000))

    def _progress(self, message, position, total):
        checked("message", message, TEXT, 0, 1000)
        checked("position", position, WHOLE, 0, checked("total", total, WHOLE, 0, 2**31))

    def _show(self, message):
        if self.applying:
            raise ScriptError("a message at each turn of a knob")
        self._log(message)

    def _import(self, name, *rest):
        if name != "flpianoroll":
            raise ScriptError(f"the script imports {name}")
        return self.module

    def open(self, text):
        """The user chooses the script: its dialog."""
        allowed = {name: value for name, value in vars(builtins).items() if name not in REFUSED}
        self.script = {"__builtins__": {**allowed, "__import__": self._import}, "__name__": "script"}
        exec(compile(text, "solo.pyscript", "exec", dont_inherit=True), self.script)
        self.before = copy.deepcopy((self.notes, self.markers))
        self.form = self.script["createDialog"]()
        if type(self.form) is not ScriptDialog:
            raise ScriptError("createDialog gives no dialog")
        return self

    def preview(self, **knobs):
        """The user turns knobs ("Take" as Take=1, blanks as _): the notes as tuples (time, length, number, velocity, color)."""
        for name, value in knobs.items():
            self.form.turn(name.replace("_", " "), value)
        self.notes[:], self.markers[:] = copy.deepcopy(self.before)
        self.applying = True
        self.script["apply"](self.form)
        self.applying = False
        return self.rows

    @property
    def rows(self):
        return [(note.time, note.length, note.number, note.velocity, note.color) for note in self.notes]

    @property
    def metres(self):
        return [(marker.time, marker.tsnum, marker.tsden) for marker in self.markers if marker.mode == 8]

    @property
    def chords(self):
        return [(marker.time, marker.name) for marker in self.markers if marker.mode == 0]


def one_key_at_a_time(rows):
    """Whether no note begins while the same key is down."""
    free = {}
    for time, length, pitch, *_ in sorted(rows):
        if time < free.get(pitch, 0):
            return False
        free[pitch] = time + length
    return True

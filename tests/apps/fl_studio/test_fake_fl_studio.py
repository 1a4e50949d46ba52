"""The piano roll of these tests lets nothing pass that FL Studio, as documented, would not."""

import pytest
from fake_fl_studio import FLStudio, ScriptDialog, ScriptError


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("note = flp.Note()\n    note.pitch = 60", "no pitch"),
        ("note = flp.Note()\n    note.time = 1.5", "wants int"),
        ("note = flp.Note()\n    note.time = -1", "not within"),
        ("note = flp.Note()\n    note.velocity = 64.0", "not within"),
        ("note = flp.Note()\n    note.velocity = 1", "wants float"),
        ("note = flp.Note()\n    note.muted = 1", "wants bool"),
        ("note = flp.Note()\n    note.color = 16", "not within"),
        ("flp.score.addNote(flp.Note())", "no length"),
        ("flp.score.addNote(flp.Marker())", "no Note"),
        ("flp.score.getNote(0)", "not within"),
        ("flp.score.PPQ = 4", "can't be set"),
        ("flp.score.tempo", "no attribute"),
        ("form.GetInputValue('Tempo')", "Tempo"),
        ("flp.Utils.ShowMessage('hello')", "each turn"),
        ("open('notes.json')", "open"),
        ("import os", "imports os"),
    ],
)
def test_the_piano_roll_of_these_tests_lets_nothing_pass(body, said):
    text = f"import flpianoroll as flp\ndef createDialog():\n    return flp.ScriptDialog('A', 'B')\ndef apply(form):\n    {body}\n"
    with pytest.raises((ScriptError, AttributeError, KeyError, NameError), match=said):
        FLStudio().open(text).preview()


def test_its_dialog_is_as_strict():
    form = ScriptDialog("A", "B")
    for wrong in (lambda: form.AddInputCombo("Take", ["a, b"], 0), lambda: form.AddInputKnobInt("N", 1.0, 0, 2),
                  lambda: form.AddInputKnob("V", 3.0, 0.0, 2.0), lambda: form.AddInputCheckbox("Yes", 1)):  # fmt: skip
        with pytest.raises(ScriptError):
            wrong()

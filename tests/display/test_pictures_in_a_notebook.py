"""A notebook shows every picture once, with its words."""

import nbformat
from nbclient import NotebookClient

CELLS = (
    "from lib.music.notes import Notes\nfrom lib.display.plots import plot_piano_roll\n"
    "notes = Notes.from_arrays([0.0], [1.0], [60], [64])\nplot_piano_roll(notes, title='first');",
    "picture = plot_piano_roll(notes, title='second')",
)


def test_each_cell_shows_its_picture():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, timeout=60).execute()
    for cell, title in zip(notebook.cells, ("first", "second")):
        (output,) = cell.outputs
        assert output.data["text/html"].startswith(f'<img alt="{title}. Piano roll: 1 notes in 1.0 s, C4 to C4')
        assert "image/png" in output.data

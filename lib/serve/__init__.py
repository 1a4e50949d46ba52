"""Ways out of the notebook: a server, a duet partner over live MIDI, a DAW."""

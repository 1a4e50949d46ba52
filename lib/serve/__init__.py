"""Ways out of the notebook."""

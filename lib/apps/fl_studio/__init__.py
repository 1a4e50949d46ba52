"""FL Studio: solos as a script for its piano roll, and the folder where it looks for scripts."""

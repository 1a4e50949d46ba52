"""What this machine has, and the fix for what it lacks: the end of every bug report."""

"""What a training will cost, and on which machine: hours, dollars, memory, disk."""

"""What a training will cost, on which machine, and what it did cost: hours, dollars, memory, disk."""

"""Estimates the cost of a training on each machine: hours, dollars, memory, disk."""

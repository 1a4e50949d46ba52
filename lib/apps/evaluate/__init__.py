"""Evaluation: clips of a model beside clips of real pianists and of baselines, measured, and reported as a page."""

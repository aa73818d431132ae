"""Bias against the number of negatives, and its limits."""

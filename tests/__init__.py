"""Tests; `tests.oracles` are plain NumPy and mpmath, and import nothing of nce_bias."""

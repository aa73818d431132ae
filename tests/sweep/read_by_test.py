"""A module of a user's own that a proposal reads by its name."""

FACTOR = 2.0

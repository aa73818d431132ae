"""The share of hard negatives, and two ways of mixing."""

"""Where hard negatives have less bias than random ones."""

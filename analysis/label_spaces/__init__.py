"""Two real label spaces: bias along training with the negatives themselves."""

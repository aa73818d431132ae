"""What hard negatives do to recall on real text, and whether their bias explains it."""

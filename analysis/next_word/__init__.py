"""A real label space: the next word of dictionary definitions."""

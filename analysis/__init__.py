"""The questions asked with the library: one folder each, with its prediction, run and answer."""

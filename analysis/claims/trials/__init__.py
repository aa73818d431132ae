"""One module for each claim: its words, and how it is weighed."""

"""One file per figure: each draws from the tables of the analysis of the same name."""

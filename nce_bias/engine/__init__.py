"""How it is answered: exact integrals and honest sampling, in score space and over parameters."""

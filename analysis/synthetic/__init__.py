"""The synthetic experiment of Zhang & Stratos (2021), exactly."""

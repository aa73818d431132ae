"""The negatives of least bias."""

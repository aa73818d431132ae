"""The batch size at which bias overtakes noise."""

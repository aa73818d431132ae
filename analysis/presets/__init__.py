"""Published conventions in bias and variance."""

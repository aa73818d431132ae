"""Two labels, in closed form."""

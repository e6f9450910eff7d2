"""A network that can be put in trouble."""

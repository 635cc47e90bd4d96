"""A bundle as an online service: groups are registered by a few answers and predicted at once."""

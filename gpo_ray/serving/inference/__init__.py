"""Predictions of the service: the language model, the bundle, and the turns in which requests use them."""

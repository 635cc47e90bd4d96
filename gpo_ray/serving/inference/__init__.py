"""Predictions of the service, and what they wait for."""

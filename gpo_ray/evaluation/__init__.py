"""Protocols, baselines, metrics' tables and the report."""

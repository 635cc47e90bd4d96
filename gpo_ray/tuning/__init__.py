"""Hyperparameter search with HyperOpt on Ray Tune; job.py runs a whole search."""

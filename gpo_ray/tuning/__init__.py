"""Hyperparameter search with HyperOpt on Ray Tune."""

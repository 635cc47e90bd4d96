"""Meta-training of the transformer: the loop, and the ways to run it in one process or on a Ray cluster."""

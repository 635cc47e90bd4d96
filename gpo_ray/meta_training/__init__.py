"""Meta-training: the loop and the ways to run it."""

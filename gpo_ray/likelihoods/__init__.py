"""From the transformer's outputs to shares, and their likelihoods."""

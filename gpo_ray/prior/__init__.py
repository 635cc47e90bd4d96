"""The prior of a new group: a Gaussian process fitted to the answers of the meta-train groups."""

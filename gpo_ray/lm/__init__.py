"""The language model: where its files are, and how it is loaded."""

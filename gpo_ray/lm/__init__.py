"""The frozen language model: finding and loading its files, and reading texts with it."""

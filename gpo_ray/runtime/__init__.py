"""The package's interface to its surroundings: Ray, files, locks, threads, signals and the terminal."""

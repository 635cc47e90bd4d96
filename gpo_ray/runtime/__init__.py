"""What runs on: Ray, files, locks, threads, signals and the terminal."""

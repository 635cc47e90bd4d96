"""``python -m gpo_ray COMMAND``: the command line where the console script is not on the path."""

from gpo_ray.cli import main

main()

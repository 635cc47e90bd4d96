"""A process of its own that uses a database: ``python registry_worker.py ACTION URL``.

It says ``ready``, waits for a line, and acts, so that several can be started and set off together.
"""

import itertools
import sys

from gpo_ray.serving.registry.database import open_database

if sys.argv[1] != "migrate":  # which needs none of it, and this takes seconds
    from gpo_ray.model.texts import AnsweredSlate
    from gpo_ray.serving.registry.groups import Registry, VersionConflict

    CONTEXT = (AnsweredSlate(prompt="Tea?", responses=("yes", "no"), choice=0),)
TIMES = 40


def say(text):
    """One line to whoever started this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def migrate(url):
    """Open the database."""
    open_database(url).dispose()


def increment(registry):
    """Count a shared number up, optimistically."""
    for _ in range(TIMES):
        while True:
            group = registry.get("t", "counter")
            try:
                more = str(int(group.description) + 1)
                registry.put("t", "counter", more, CONTEXT, expected_version=group.version)
                break
            except VersionConflict:
                continue


def claim(registry):
    """Try to be the first with many groups; say which were won."""
    for i in range(TIMES):
        try:
            registry.put("t", f"g{i}", "", CONTEXT, must_be_new=True)
        except VersionConflict:
            continue
        say(f"g{i}")


def register(registry):
    """Register groups until killed; say each when it is stored."""
    for i in itertools.count():
        registry.put("t", f"g{i}", f"number {i}", CONTEXT)
        say(f"g{i}")


if __name__ == "__main__":
    action, url = sys.argv[1:]
    # all that can be done before the start is, so that they truly meet
    engine = None if action == "migrate" else open_database(url)
    subject = url if engine is None else Registry(engine)
    say("ready")
    sys.stdin.readline()
    {f.__name__: f for f in (migrate, increment, claim, register)}[action](subject)
    if engine is not None:
        engine.dispose()

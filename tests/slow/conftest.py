"""Helpers of the tests that start the command line and kill what it started."""

import pytest
from command import Command


@pytest.fixture
def gpo(tmp_path):
    """Start ``gpo`` commands; whatever is left of them is killed at the end."""
    started = []

    def start(*arguments):
        command = Command(*arguments, log=tmp_path / f"log-{len(started)}.txt")
        started.append(command)
        return command

    yield start
    for command in started:
        command.kill_all()

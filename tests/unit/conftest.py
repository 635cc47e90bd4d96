"""The command line, run in this process."""

import re

import pytest
from opinionqa_waves import write_wave
from synthetic import survey, write_store

from gpo_ray import cli


@pytest.fixture
def gpo(monkeypatch, capsys):
    """Run ``gpo`` in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["gpo", *map(str, arguments)])
        capsys.readouterr()  # what was printed before, as by a fixture that was made just now, is not its
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def fails(gpo):
    """Run ``gpo``, expecting one error line with these words and exit code 2."""

    def run(*arguments, words, code=2):
        got, out, err = gpo(*arguments)
        assert got == code, err
        assert out == ""
        *steps, line = err.strip().splitlines()
        assert all(re.match(r"\w+ \d/\d: ", step) for step in steps), err
        assert line.startswith("error: ")
        for word in words:
            assert word in line

    return run


@pytest.fixture
def folders(tmp_path):
    """A survey and its embedding store."""
    dataset = survey()
    dataset.save(tmp_path / "survey")
    write_store(tmp_path / "store", list(dataset.iter_questions()))
    return tmp_path


@pytest.fixture
def wave(tmp_path):
    """The folder of an OpinionQA wave without answers."""
    return write_wave(tmp_path)


@pytest.fixture(scope="session")
def guessed(tmp_path_factory):
    """Folder of :func:`guessed_survey.write_bundles`; do not change it."""
    from guessed_survey import write_bundles

    folder = tmp_path_factory.mktemp("guessed")
    write_bundles(folder)
    return folder

"""Messages of errors, which may repeat what others wrote."""

import pickle

import pytest

from gpo_ray.errors import (
    MAX_MESSAGE_CHARACTERS,
    DataError,
    GPOError,
    QuestionTooLongError,
    shortened,
)
from gpo_ray.preferences.readers.common import finite_number


def test_a_short_text_stays():
    assert shortened("abc", 3) == "abc"


@pytest.mark.parametrize("most", [30, 80, 1_000])
def test_a_long_text_keeps_its_beginning_and_its_end(most):
    cut = shortened("begin" + "x" * 30_000 + "end", most)
    assert len(cut) == most
    assert cut.startswith("begin")
    assert cut.endswith("end")
    assert " [...] " in cut


@pytest.mark.parametrize("kind", [GPOError, DataError])
def test_every_message_is_bounded(kind):
    label = "l" * 30_000
    error = kind(f"answers.csv: row 3: {label!r} is not a number; write it like 0.5")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert len(str(each)) == MAX_MESSAGE_CHARACTERS
        assert str(each).startswith("answers.csv: row 3: 'lll")
        assert str(each).endswith("; write it like 0.5")


def test_labels_are_cut_where_they_are_repeated():
    assert str(QuestionTooLongError("p" * 30_000, "too long")).endswith("': too long")
    assert len(str(QuestionTooLongError("p" * 30_000, "too long"))) < 100
    with pytest.raises(DataError) as error:
        finite_number("v" * 30_000, "row 3:")
    assert len(str(error.value)) < 200

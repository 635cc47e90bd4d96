"""Guesses in memory and on disk: what a table refuses, and that shares follow labels."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from guess_files import BUSES, PARKS, city
from synthetic import flip_byte

from gpo_ray.errors import DataError
from gpo_ray.guesses.features import guess_features
from gpo_ray.guesses.summary import summarize
from gpo_ray.guesses.table import Guess, GuessTable, Way

PLAIN, ROLE = Way("big", "distribution", "none"), Way("big", "distribution", "bio")


@pytest.fixture
def table():
    guesses = [
        Guess(PLAIN, None, PARKS, [0.5, 0.3, 0.2]),
        Guess(PLAIN, None, BUSES, None, "reply: a refusal", "I would rather not."),
        Guess(ROLE, "SEX=Male", PARKS, [0.2, 0.6, 0.2]),
    ]
    return GuessTable.build(guesses, notes=[("here", "said")], models={"big": "big@1/float32"})


def test_a_stored_table_is_read_as_it_was(tmp_path, table):
    table.save(tmp_path / "g")
    found = GuessTable.load(tmp_path / "g")
    assert found.guesses.equals(table.guesses)
    assert found.notes.equals(table.notes)
    assert dict(found.models) == {"big": "big@1/float32"}
    assert found.ways == (ROLE, PLAIN)
    assert found.without() == {"reply: a refusal": 1}
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    assert (manifest["kind"], manifest["guesses"], manifest["without"]) == (
        "guesses",
        2,
        {"reply: a refusal": 1},
    )


def test_another_table_replaces_the_first(tmp_path, table):
    table.save(tmp_path / "g")
    GuessTable.build([Guess(PLAIN, None, BUSES, [0.25, 0.75])]).save(tmp_path / "g")
    assert GuessTable.load(tmp_path / "g").guesses["question_id"].to_pylist() == ["BUSES"]
    assert len(list((tmp_path / "g").glob("guesses-*.parquet"))) == 1


def test_shares_follow_the_labels_of_the_question(table):
    turned = replace(PARKS, prompt="build  PARKS?", responses=("don’t care", "YES", "no"), ordinal=None)
    np.testing.assert_array_equal(table.share(PLAIN, None, turned), [0.2, 0.5, 0.3])
    assert table.share(PLAIN, None, BUSES) is None  # a refusal is no guess
    assert table.share(ROLE, None, PARKS) is None
    assert table.share(PLAIN, "SEX=Male", PARKS) is None


@pytest.mark.parametrize(
    ("share", "reason", "words"),
    [
        ([0.5, 0.5], None, "2 shares for 3 responses"),
        ([0.5, 0.4, 0.2], None, "sum to 1.1"),
        ([1.5, -0.5, 0.0], None, "negative"),
        ([float("nan"), 0.5, 0.5], None, "finite"),
        (None, None, "exactly one"),
        ([0.5, 0.3, 0.2], "prose", "exactly one"),
    ],
)
def test_a_row_that_is_no_guess_is_refused(share, reason, words):
    with pytest.raises(DataError, match=words):
        GuessTable.build([Guess(PLAIN, None, PARKS, share, reason)])


def test_the_same_question_twice_is_refused():
    both = [Guess(PLAIN, None, PARKS, [0.5, 0.3, 0.2]), Guess(PLAIN, None, PARKS, [0.3, 0.5, 0.2])]
    with pytest.raises(DataError, match=r"row 1 .*PARKS.* occurs twice"):
        GuessTable.build(both)


def test_a_folder_that_is_damaged_or_something_else_is_refused(tmp_path, table):
    with pytest.raises(DataError, match="gpo guess"):
        GuessTable.load(tmp_path / "nothing")
    city().save(tmp_path / "survey")
    with pytest.raises(DataError, match="holds 'preferences'"):
        GuessTable.load(tmp_path / "survey")
    with pytest.raises(DataError, match="another folder"):
        table.save(tmp_path / "survey")
    table.save(tmp_path / "g")
    (shard,) = (tmp_path / "g").glob("guesses-*.parquet")
    flip_byte(shard)
    with pytest.raises(DataError, match=shard.name):
        GuessTable.load(tmp_path / "g")


def test_the_summary_compares_roles_with_their_groups_and_plain_guesses_with_all(table):
    bio, plain = summarize(table, city())
    assert (bio.roles, bio.questions, bio.compared) == (1, 1, 1)
    assert bio.total_variation == pytest.approx(0)
    assert bio.alignment == pytest.approx(1)
    assert (plain.roles, plain.guesses, plain.without, plain.compared) == (0, 1, 1, 3)
    assert plain.total_variation == pytest.approx((0 + 0.3 + 0.4) / 3)
    share = np.array([0.5, 0.3, 0.2])
    assert plain.entropy == pytest.approx(-(share * np.log(share)).sum() / np.log(3))
    assert summarize(table)[1].alignment is None


def repeated(table, times):
    """A table with the first row many times, which takes a few kilobytes on disk."""
    return replace(table, guesses=table.guesses.take([0] * times))


def test_a_row_that_is_there_a_million_times_is_refused_soon(tmp_path, table):
    started = time.process_time()
    with pytest.raises(DataError, match=r"guesses row 999999 .*: occurs twice"):
        repeated(table, 1_000_000).check("g")
    with pytest.raises(DataError, match="1,000,001 guesses, at most 1,000,000 are read"):
        repeated(table, 1_000_001).check("g")
    assert time.process_time() - started < 10


def test_features_take_a_time_that_grows_with_the_guesses(table):
    """Not with ways times roles times questions, of which a small file can have any number."""
    made = [Guess(Way("m", f"w{i}", "x"), f"G={i}", PARKS, [0.5, 0.3, 0.2]) for i in range(400)]
    started = time.process_time()
    found = guess_features(GuessTable.build(made), [PARKS, BUSES])
    assert found.log_share.shape == (400, 5, 400)
    assert time.process_time() - started < 5
    made = [Guess(Way("m", f"w{i}", "x"), f"G={i}", PARKS, [0.5, 0.3, 0.2]) for i in range(4000)]
    with pytest.raises(DataError, match=r"4000 ways of asking, 4000 roles .* at most 50,000,000 are held"):
        guess_features(GuessTable.build(made), [PARKS, BUSES])

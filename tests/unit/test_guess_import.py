"""Tables of guesses that were made elsewhere, and what ``gpo guess`` says of them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from guess_files import BUSES, HEAD, PARKS, city, lines, write
from survey_sources import DATA

from gpo_ray.errors import DataError
from gpo_ray.guesses.reading import ALL_ZERO, ELSEWHERE, NO_SHARE, NOT_ALL, read_guesses
from gpo_ray.guesses.table import Way

PLAIN = Way("big", "distribution", "none")
GOOD = {"Yes": 0.5, "No": 0.3, "Don't care": 0.2}
REAL = DATA / "llm_guesses" / "guesses.csv.gz"


def read(tmp_path, text, name="g.csv", **options):
    return read_guesses(write(tmp_path / name, text), city(), **options)


def notes(table):
    return " / ".join(n["note"] for n in table.notes.to_pylist())


def unused(table):
    return {(e["what"], e["label"]): e["rows"] for e in table.not_used.to_pylist()}


@pytest.mark.parametrize("name", ["g.csv", "g.csv.gz"])
def test_labels_are_found_by_id_prompt_spelling_and_level(tmp_path, name):
    text = HEAD + lines(GOOD)
    text += lines({"no ": 0.25, "YES": 0.75}, "should  buses be free?", told="persona", group="SEX,Female")
    text += lines({"Yes": 1, "No": 0}, "BUSES", told="persona", group=",Green")
    text += lines({"Yes": 0, "No": 1}, "BUSES", told="persona", group=",SEX=Male")
    table = read(tmp_path, text, name)
    persona = Way("big", "distribution", "persona")
    assert table.ways == (PLAIN, persona)
    np.testing.assert_allclose(table.share(PLAIN, None, PARKS), [0.5, 0.3, 0.2])
    for group, share in {"SEX=Female": [0.75, 0.25], "PARTY=Green": [1, 0], "SEX=Male": [0, 1]}.items():
        np.testing.assert_allclose(table.share(persona, group, BUSES), share)
    assert table.models == {"big": None}


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ({"Yes": 0, "No": 0, "Don't care": 0}, ALL_ZERO),
        ({"Yes": 0.5, "No": "", "Don't care": 0.2}, NO_SHARE),
        ({"Yes": 0.5, "No": "nan", "Don't care": 0.5}, NO_SHARE),
        ({"Yes": 0.5, "No": 0.3}, NOT_ALL),
        ({"Yes": 0.5, "No": 0.3, "Dont' mind": 0.2}, NOT_ALL),
        ({"Yes": 0, "No": 0, "Don't care": 0, "Refused": 1}, ELSEWHERE),
    ],
)
def test_what_is_no_distribution_is_named_and_not_guessed(tmp_path, shares, reason):
    table = read(tmp_path, HEAD + lines(shares) + lines({"Yes": 1, "No": 0}, "BUSES"))
    assert table.without() == {reason: 1}
    assert table.share(PLAIN, None, PARKS) is None
    assert table.counts()["guesses"] == 1


def test_sums_are_scaled_and_counted(tmp_path):
    text = (
        HEAD + lines({"Yes": 0.7, "No": 0.42, "Don't care": 0.28}) + lines({"Yes": 0.5, "No": 0.51}, "BUSES")
    )
    table = read(tmp_path, text)
    np.testing.assert_allclose(table.share(PLAIN, None, PARKS), [0.5, 0.3, 0.2])
    assert "1 distributions summed to 1.4 to 1.4 and were scaled" in notes(table)
    assert "1 distributions missed 1 by 0.02" in notes(table)


def test_percent_is_read_too(tmp_path):
    text = HEAD.replace("share", "percent") + lines({"Yes": 50, "No": 30, "Don't care": 20})
    table = read(tmp_path, text)
    np.testing.assert_allclose(table.share(PLAIN, None, PARKS), [0.5, 0.3, 0.2])
    assert "scaled" not in notes(table)


def test_a_response_that_the_survey_lacks_is_left_out_with_a_note(tmp_path):
    table = read(tmp_path, HEAD + lines({"Yes": 0.4, "No": 0.2, "Don't care": 0.2, "Refused": 0.2}))
    np.testing.assert_allclose(table.share(PLAIN, None, PARKS), [0.5, 0.25, 0.25])
    assert unused(table) == {("response", "Refused"): 1}
    assert "1 distributions had up to 0.2 on responses" in notes(table)
    assert "summed" not in notes(table)


def test_a_response_without_a_row_is_0_where_the_others_make_up_the_whole(tmp_path):
    table = read(tmp_path, HEAD + lines({"Yes": 0.4, "No": 0.6}))
    np.testing.assert_allclose(table.share(PLAIN, None, PARKS), [0.4, 0.6, 0])
    assert "1 shares are taken as 0" in notes(table)


def test_unknown_labels_are_listed_with_their_rows(tmp_path):
    text = HEAD + lines(GOOD) + lines(GOOD, "Q99") + lines(GOOD, told="persona", group="SEX,Other")
    assert unused(read(tmp_path, text)) == {("question", "Q99"): 3, ("group", "SEX=Other"): 3}


def test_a_table_without_a_column_model_needs_one_and_with_it_is_filtered(tmp_path):
    text = HEAD.removeprefix("model,") + lines(GOOD).replace("big,", "")
    with pytest.raises(DataError, match=r"'model' is missing.*--model"):
        read(tmp_path, text)
    assert read(tmp_path, text, model="mine").ways == (Way("mine", "distribution", "none"),)
    both = HEAD + lines(GOOD) + lines(GOOD, model="small")
    assert [w.model for w in read(tmp_path, both, model="small").ways] == ["small"]
    with pytest.raises(DataError, match="no rows of model 'other'"):
        read(tmp_path, both, model="other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            HEAD + lines(GOOD) + lines({"yes": 0.5}),
            "row 5: response 'yes' of question 'PARKS' is there twice",
        ),
        (HEAD + lines({"Yes": -0.5}), "row 2: share -0.5 is negative"),
        (HEAD + lines({"Yes": "much"}), "row 2: share 'much' is not a number"),
        (HEAD + lines(GOOD, group="SEX,Female"), "row 2: group 'Female' is named, but the column 'as'"),
        (HEAD + lines(GOOD, asked=""), "row 2: asked is empty"),
        (HEAD + lines(GOOD, "Q99"), "no guess is about this survey"),
        (HEAD.replace(",share", ",weight") + lines(GOOD), "column 'share' is missing"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_place(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)


def test_a_cut_gzip_file_is_refused(tmp_path):
    whole = write(tmp_path / "g.csv.gz", HEAD + lines(GOOD)).read_bytes()
    (tmp_path / "g.csv.gz").write_bytes(whole[:-12])
    with pytest.raises(DataError, match=r"g\.csv\.gz: not a complete gzip file"):
        read_guesses(tmp_path / "g.csv.gz", city())


def test_a_parquet_table_is_read(tmp_path):
    rows = [
        {"asked": "logprobs", "question": "BUSES", "response": r, "share": s}
        for r, s in (("Yes", 0.9), ("No", 0.1))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "g.parquet")
    table = read_guesses(tmp_path / "g.parquet", city(), "mine")
    np.testing.assert_allclose(table.share(Way("mine", "logprobs", "none"), None, BUSES), [0.9, 0.1])


def test_the_commands_say_what_was_read(tmp_path, gpo, fails):
    city().save(tmp_path / "survey")
    file = write(
        tmp_path / "g.csv", HEAD + lines(GOOD) + lines(GOOD, "Q99") + lines({"Yes": 0, "No": 0}, "BUSES")
    )
    arguments = ("--from", file, "--survey", tmp_path / "survey", "--out", tmp_path / "g")
    code, out, err = gpo("guess", "import", *arguments)
    assert (code, err) == (0, "")
    for line in ("1 guesses for 1 questions", f"1 without a guess: {ALL_ZERO}", "'Q99' (3 rows)"):
        assert line in out
    found = json.loads(gpo("guess", "import", *arguments, "--json")[1])
    assert found["not_used"] == {"questions": {"the survey has no such question": {"Q99": 3}}}
    assert (found["guesses"], found["without"], found["out"]) == (1, {ALL_ZERO: 1}, str(tmp_path / "g"))
    shown = json.loads(gpo("guess", "show", tmp_path / "g", "--survey", tmp_path / "survey", "--json")[1])
    (way,) = shown["ways"]
    assert (way["model"], way["as"], way["compared"]) == ("big", "none", 3)
    assert way["total_variation"] == pytest.approx((0 + 0.3 + 0.4) / 3)
    assert "big, distribution, none" in gpo("guess", "show", tmp_path / "g")[1]
    fails("guess", "show", tmp_path / "survey", words=["holds 'preferences'"])
    fails("guess", "import", "--from", tmp_path / "no.csv", *arguments[2:], words=["no.csv: no such file"])


@pytest.mark.minutes
@pytest.mark.skipif(not REAL.is_file(), reason="the leaderboard's guesses are not on this machine")
def test_the_leaderboard_is_read_and_scores_as_it_was_measured(tmp_path):
    from gpo_ray.guesses.summary import summarize
    from gpo_ray.preferences.readers import read_survey

    survey = read_survey("opinionqa", DATA / "opinionqa")
    table = read_guesses(REAL, survey)
    assert (len(table.ways), table.counts()["questions"], table.counts()["roles"]) == (48, 34, 8)
    assert {e["label"] for e in table.not_used.to_pylist() if e["what"] == "response"} == {
        "Refused",
        "Not sure",
    }
    assert sum(table.without().values()) == 111
    found = {(s.model, s.asked, s.style): s for s in summarize(table, survey)}
    assert found["anthropic_opus", "distribution", "few-shot"].total_variation == pytest.approx(
        0.150, abs=0.001
    )
    assert found["gpt-4", "logprobs", "persona"].total_variation == pytest.approx(0.553, abs=0.001)

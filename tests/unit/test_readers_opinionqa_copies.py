"""OpinionQA folders with crossed attributes and with copies of an attribute."""

import numpy as np
import pytest
from opinionqa_waves import METADATA, WAVE, drops, read, write_counts, write_responses
from survey_sources import SHARED, prefs, write_csv

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey

LEVELS = {"Male": {"Very": 30, "Somewhat": 11, "Refused": 2}, "Female": {"Very": 9, "Isn't": 40}}


def counts(levels, *keys):
    return {key: {"MC_options": [], "question_text": "?"} | levels for key in keys or ("SAFE_W26",)}


def groups(data):
    return data.groups["group_id"].to_pylist()


CROSSED = "counts of crossed attributes; the groups of each attribute are read from its own file"


@pytest.mark.parametrize("name", ["RELIG_SEX", "RELIGSEX", "SEX_RELIG"])
def test_crossed_attributes_are_listed_and_left_out(wave, name):
    write_counts(wave, counts(LEVELS))
    alone = read(wave)
    inner = {"Atheist": {"Male": {"Very": 4}, "Female": {}}, "Jewish": {"Male": {"Very": 1}}}
    write_counts(wave, counts(inner, "SAFE_W26", "GUN_W26"), name)
    data = read(wave)
    assert data.fingerprint() == alone.fingerprint()
    assert drops(data, CROSSED) == [f"{WAVE}/{name}_data.json: 2 questions, first SAFE_W26"]


def test_an_underscore_does_not_make_a_crossing(wave):
    write_counts(wave, counts({"A": {"Very": 4}, "B": {"Isn't": 9}}), "MY_ATTR")
    data = read(wave)
    assert groups(data) == ["MY_ATTR=A", "MY_ATTR=B"]
    assert drops(data, CROSSED) == []


def test_only_crossed_attributes_are_nothing_to_read(wave):
    write_counts(wave, counts({"Atheist": {"Male": {"Very": 4}}}), "RELIG_SEX")
    with pytest.raises(DataError, match=r"left out most often: .*crossed attributes"):
        read(wave)


def test_counts_beside_levels_are_refused(wave):
    write_counts(wave, counts({"Atheist": {"Male": {"Very": 4}, "Very": 3}}), "RELIG_SEX")
    with pytest.raises(DataError, match="Atheist: count of 'Male' of type dict is not a number"):
        read(wave)


def same_as(copy, original):
    return f"attribute {copy} has the same answers as {original} throughout"


@pytest.mark.parametrize("copy", ["NONE", "A_COPY", "ZZ"])
def test_a_copied_file_is_listed_and_left_out(wave, copy):
    write_counts(wave, counts(LEVELS))
    alone = read(wave)
    write_counts(wave, counts(LEVELS), copy)
    data = read(wave)
    assert data.fingerprint() == alone.fingerprint()
    assert drops(data, same_as(copy, "SEX")) == [f"{copy}=Male", f"{copy}=Female"]


def test_of_several_copies_one_is_kept(wave):
    for name in ("GENDER", "MARITAL", "SEX", "ANY"):
        write_counts(wave, counts(LEVELS), name)
    data = read(wave)
    assert groups(data) == ["MARITAL=Male", "MARITAL=Female"]
    assert sum(data.dropped_by_reason()[same_as(c, "MARITAL")] for c in ("GENDER", "SEX", "ANY")) == 6


def test_a_copy_with_other_levels_or_of_some_questions_is_a_copy(wave):
    write_counts(wave, counts(LEVELS, "SAFE_W26", "GUN_W26") | {"GUN_W26": {"Male": {"No": 3}}})
    write_counts(wave, counts({"Men": LEVELS["Male"], "Women": LEVELS["Female"]}), "GENDER")
    data = read(wave)
    assert groups(data) == ["SEX=Male", "SEX=Female"]
    assert len(drops(data, same_as("GENDER", "SEX"))) == 2


@pytest.mark.parametrize(
    "levels",
    [
        {"Men": LEVELS["Male"], "Women": LEVELS["Female"] | {"Very": 10}},
        {"Men": LEVELS["Male"]},  # one level may be the same people by chance
    ],
)
def test_attributes_that_differ_somewhere_are_both_read(wave, levels):
    write_counts(wave, counts(LEVELS))
    write_counts(wave, counts(levels), "GENDER")
    assert len(groups(read(wave))) == 2 + len(levels)


def test_of_a_copy_with_another_level_the_greater_is_kept(wave):
    write_counts(wave, counts(LEVELS))
    write_counts(wave, counts(LEVELS | {"Diverse": {"Very": 1}}), "GENDER")
    assert groups(read(wave)) == ["GENDER=Male", "GENDER=Female", "GENDER=Diverse"]


def test_few_answers_are_the_same_by_chance(wave):
    write_counts(wave, counts({"Male": {"Very": 1}, "Female": {"Isn't": 1}}))
    write_counts(wave, counts({"A": {"Very": 1}, "B": {"Isn't": 1}}), "RACE")
    assert len(groups(read(wave))) == 4


def test_a_copied_column_of_respondents_is_left_out(wave):
    write_csv(wave / "metadata.csv", [*METADATA, {"key": "COPY", "options": "['Male', 'Female']"}])
    rows = [("Very", "No", s, "Atheist", s, 1) for s in ("Male", "Female", "Male")]
    write_responses(wave, *rows, columns="SAFE_W26,GUN_W26,SEX,RELIG,COPY,WEIGHT_W26")
    data = read(wave)
    assert set(groups(data)) == {"SEX=Male", "SEX=Female", "RELIG=Atheist"}
    assert len(drops(data, same_as("COPY", "SEX"))) == 2


@pytest.mark.parametrize(("case", "left_out"), [("12-oqa", 0), ("12c-oqa-cross", 1)])
def test_the_publishers_folder_with_crossed_attributes(case, left_out):
    folder = SHARED / "cases" / case
    if not folder.is_dir():
        pytest.skip("the cases are not on this machine")
    data = read_survey("opinionqa", folder)
    assert sorted(groups(data)) == ["POLPARTY=Democrat", "POLPARTY=Republican", "SEX=Female", "SEX=Male"]
    assert len(drops(data, CROSSED)) == left_out
    democrat = prefs(data)["POLPARTY=Democrat", "POOL_W99"]
    np.testing.assert_allclose(democrat["share"], [40 / 61, 20 / 61, 1 / 61])

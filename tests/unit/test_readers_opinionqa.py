"""The OpinionQA reader: counts, and a row per respondent."""

import numpy as np
import pytest
from opinionqa_waves import SCALE, WAVE, YESNO, drops, read, write_counts, write_responses
from survey_sources import prefs, write_csv

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey


def test_counts(wave):
    write_counts(
        wave,
        {
            "SAFE_W26": {
                "MC_options": ["ignored"],
                "question_text": "ignored",
                "Female": {"Very": 6, "isn’t": 2.0, "Not sure": 5, "Refused": 1, "Maybe": 3},
                "Male": {"Refused": 2},
                "Refused": {"Very": 2},
            },
            "LOST_W26": {"Female": {"Yes": 1}},
        },
    )
    data = read(wave)
    assert data.questions.to_pylist() == [
        {
            "question_id": "SAFE_W26",
            "source": "opinionqa",
            "topic": WAVE,
            "prompt": "How safe?",
            "responses": ["Very", "Somewhat", "Isn't"],
            "ordinal": [1.0, 2.0, 3.0],
        }
    ]
    assert data.groups.to_pylist() == [
        {"group_id": "SEX=Female", "kind": "attribute", "description": "US adults whose sex is Female"}
    ]
    assert prefs(data)["SEX=Female", "SAFE_W26"] == {
        "group_id": "SEX=Female",
        "question_id": "SAFE_W26",
        "share": [0.75, 0, 0.25],
        "choice": None,
        "n": 8.0,
    }
    assert data.dropped_by_reason() == {
        "answer has no scale value": 1,
        "answer is none of the question's options": 1,
        "answers to a question that is not listed": 1,
        "level is not a group (refusal, unknown or other)": 1,
        "no answer counts for this question": 1,
        "no answers of this group to this question": 1,
        "refusal": 1,
    }
    assert drops(data, "refusal") == [f"{WAVE}/SEX_data.json: SAFE_W26, 'Refused' (3 answers)"]
    assert drops(data, "no answer counts for this question") == [f"{WAVE}/info.csv: GUN_W26"]


def test_the_human_resp_folder_itself_is_a_source(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    assert read_survey("opinionqa", wave.parent).fingerprint() == read(wave).fingerprint()


def test_repeated_key_keeps_its_first_wording(wave):
    write_csv(wave / "info.csv", [YESNO, YESNO | {"question": "Another?"}])
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    data = read(wave)
    assert data.questions["prompt"].to_pylist() == ["A gun?"]
    assert drops(data, "question listed before; its first row is used") == [
        f"{WAVE}/info.csv: row 3, GUN_W26"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"references": "['Yes', 'Refused']", "option_ordinal": "[1.0]"},
        {"references": "['Yes', 'No']", "option_ordinal": "[1.0, 2.0, 3.0]"},
        {"references": "['Yes', 'yes ']"},
    ],
)
def test_question_without_a_slate_is_logged(change, wave):
    write_csv(wave / "info.csv", [SCALE, YESNO | change])
    write_counts(wave, {"SAFE_W26": {"Male": {"Very": 1}}, "GUN_W26": {"Male": {"Yes": 1}}})
    data = read(wave)
    assert data.questions["question_id"].to_pylist() == ["SAFE_W26"]
    assert list(data.dropped_by_reason().values()) == [1]


def test_contentious(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}, "SAFE_W26": {"Male": {"Very": 1}}})
    with pytest.raises(DataError, match="disagreement_500"):
        read(wave, contentious=True)
    write_csv(wave.parent / "Pew_American_Trends_Panel_disagreement_500" / "info.csv", [YESNO])
    data = read(wave, contentious=True)
    assert data.questions["question_id"].to_pylist() == ["GUN_W26"]
    assert data.dropped_by_reason() == {"not one of the contentious questions": 1}


def test_responses_are_weighted(wave):
    write_responses(
        wave,
        ("Very", "Yes, I do", "Female", "Atheist", 3.0),
        ("Somewhat", "No", "Female", "Other", 1.0),
        (" VERY", "", "Female", "Atheist", 0.5),
        ("Refused", "No", "Female", "", 9.0),
        ("Not sure", "No", "Male", "Atheist", 9.0),
        ("Perhaps", "no", "Male", "Atheist", 1.0),
        ("Isn't", "No", "Refused", "Atheist", 2.0),
        ("Isn't", "No", "Male", "Atheist", ""),
    )
    write_counts(wave, {"GUN_W26": {"Male": {"No": 100}}})  # the respondents' rows go first
    data = read(wave)
    found = prefs(data)
    female = found["SEX=Female", "SAFE_W26"]
    np.testing.assert_allclose(female["share"], [3.5 / 4.5, 1 / 4.5, 0])
    assert female["n"] == 3
    np.testing.assert_allclose(found["SEX=Female", "GUN_W26"]["share"], [3 / 13, 10 / 13])
    atheist = found["RELIG=Atheist", "SAFE_W26"]
    np.testing.assert_allclose(atheist["share"], [3.5 / 5.5, 0, 2 / 5.5])
    assert atheist["n"] == 3
    assert found["SEX=Male", "GUN_W26"]["share"] == [0, 1]
    assert ("SEX=Male", "SAFE_W26") not in found
    assert set(data.groups["group_id"].to_pylist()) == {"SEX=Female", "SEX=Male", "RELIG=Atheist"}
    assert data.dropped_by_reason() == {
        "answer has no scale value": 1,
        "answer is none of the question's options": 1,
        "answers carry no survey weight": 1,
        "level is not a group (refusal, unknown or other)": 3,
        "no answers of this group to this question": 1,
        "refusal": 1,
    }
    assert drops(data, "answers carry no survey weight") == [f"{WAVE}/responses.csv: row 9"]


def test_responses_and_counts_of_the_same_people_agree(wave):
    rows = [("Very", "No", "Male", "Atheist", 1)] * 3 + [("Somewhat", "No", "Male", "Atheist", 1)]
    write_counts(wave, {"SAFE_W26": {"Male": {"Very": 3, "Somewhat": 1}}, "GUN_W26": {"Male": {"No": 4}}})
    counted = read(wave)
    write_responses(wave, *rows)
    by_row = prefs(read(wave))
    assert all(by_row[key] == row for key, row in prefs(counted).items())


def test_paper_groups_in_responses(wave):
    write_responses(wave, ("Very", "No", "Male", "Atheist", 1), ("Very", "No", "Male", "Buddhist", 1))
    data = read(wave, groups="paper")
    assert set(data.groups["group_id"].to_pylist()) == {"SEX=Male", "RELIG=Atheist"}
    assert drops(data, "not a group of the paper") == [f"{WAVE}/responses.csv: RELIG=Buddhist"]


def test_responses_without_some_columns(wave):
    write_responses(wave, ("Very", "Male", 1), columns="SAFE_W26,SEX,WEIGHT_W26")
    data = read(wave)
    assert drops(data, "attribute has no column in responses.csv") == [f"{WAVE}/responses.csv: RELIG"]
    assert drops(data, "no answer counts for this question") == [f"{WAVE}/info.csv: GUN_W26"]

"""The OpinionQA readers: counts, a row per respondent, individuals."""

import csv
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.opinionqa_items import PAPER_GROUPS

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = Path(os.environ.get("GPO_RAY_DATA", SHARED / "data"))
REFERENCE = SHARED / "reference" / "oqa_questions.jsonl"
real = pytest.mark.skipif(not (DATA / "opinionqa").is_dir(), reason="OpinionQA is not on this machine")

WAVE = "American_Trends_Panel_W26"
METADATA = [
    {"key": "SEX", "options": "['Male', 'Female']"},
    {"key": "RELIG", "options": "['Atheist', 'Other']"},
]
SCALE = {
    "key": "SAFE_W26",
    "question": "How safe?",
    "references": "['Very', 'Somewhat', \"Isn't\", 'Not sure', 'Refused']",
    "option_ordinal": "[1.0, 2.0, 3.0]",
    "option_mapping": "{}",
}
YESNO = SCALE | {
    "key": "GUN_W26",
    "question": "A gun?",
    "references": "['Yes, I do', 'No', 'Refused']",
    "option_ordinal": "[1.0, 2.0]",
}


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def wave(tmp_path):
    folder = tmp_path / "human_resp" / WAVE
    write_csv(folder / "info.csv", [SCALE, YESNO])
    write_csv(folder / "metadata.csv", METADATA)
    return folder


def write_counts(wave, content, attribute="SEX"):
    (wave / f"{attribute}_data.json").write_text(json.dumps(content), encoding="utf-8")


def write_responses(wave, *rows, columns="SAFE_W26,GUN_W26,SEX,RELIG,WEIGHT_W26"):
    names = columns.split(",")
    write_csv(wave / "responses.csv", [dict(zip(names, r, strict=True)) for r in rows])


def prefs(dataset):
    return {(p["group_id"], p["question_id"]): p for p in dataset.preferences.to_pylist()}


def drops(dataset, reason):
    return [d["where"] for d in dataset.dropped.to_pylist() if d["reason"] == reason]


def read(wave, **options):
    return read_survey("opinionqa", wave.parents[1], ReadOptions(**options))


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


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        ("-1", "negative"),
        ("heavy", "not a number"),
        ("inf", "not finite"),
        ("1_0", "not a number"),
        ("True", "not a number"),
    ],
)
def test_bad_weight(weight, problem, wave):
    write_responses(wave, ("Very", "No", "Male", "Atheist", weight))
    with pytest.raises(DataError, match=rf"responses.csv: row 2: WEIGHT_W26 .*{problem}"):
        read(wave)


def test_missing_weight_column(wave):
    write_responses(wave, ("Very", "Male", 1), columns="SAFE_W26,SEX,WEIGHT")
    with pytest.raises(DataError, match="column 'WEIGHT_W26' is missing; found"):
        read(wave)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("info.csv", "", "the file is empty"),
        ("info.csv", "key,question\na,b\n", "column 'references' is missing"),
        (
            "info.csv",
            "key,question,references,option_ordinal\nA,b,[c,[1]\n",
            "row 2, A: references: cannot read",
        ),
        ("info.csv", "key,question,references,option_ordinal\nA,b,['c'],[x]\n", "row 2, A: option_ordinal"),
        ("SEX_data.json", "", "the file is empty"),
        ("SEX_data.json", "{", "not a readable JSON file"),
        ("SEX_data.json", "[]", "expected an object of question keys"),
        ("SEX_data.json", '{"GUN_W26": 3}', "GUN_W26: expected an object"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": -1}}}', "GUN_W26: Male: count of 'No' -1 is negative"),
        (
            "SEX_data.json",
            '{"GUN_W26": {"Male": {"No": "1"}}}',
            "GUN_W26: Male: count of 'No' '1' is not a number",
        ),
        ("SEX_data.json", '{"GUN_W26": {"Male": 3}}', "GUN_W26: Male: expected an object"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1%s}}}' % ("0" * 400), "count of 'No' .*too large"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1%s}}}' % ("0" * 5000), "not a readable JSON file"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": true}}}', "count of 'No' True is not a number"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": NaN}}}', "count of 'No' is nan, not finite"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1e999}}}', "count of 'No' is inf, not finite"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1e308, "Yes": 1e308}}}', "add up to infinity"),
        ("SEX_data.json", '{"GUN_W26": ' * 100_000, "not a readable JSON file"),
        (
            "info.csv",
            "key,question,references,option_ordinal\nA,b,[],[True]\n",
            "value 0 True is not a number",
        ),
        ("info.csv", "key,question,references,option_ordinal\nA,b,[None],[]\n", "value 0 None is not a num"),
        (
            "info.csv",
            "key,question,references,option_ordinal,key\nA,b,[],[],B\n",
            "column 'key' is there twice",
        ),
        ("responses.csv", "SEX,SEX,WEIGHT_W26\nMale,Male,1\n", "column 'SEX' is there twice"),
        ("responses.csv", "SEX,WEIGHT_W26\nMa\0le,1\n", "line 2 holds a NUL byte"),
        ("responses.csv", "", "the file is empty"),
        ("responses.csv", "SEX,WEIGHT_W26\n", "(no rows|not a readable CSV)"),
        ("responses.csv", "SEX,WEIGHT_W26\nMale,1,3\n", "not a readable CSV"),
    ],
)
def test_unusable_file_is_named(name, content, message, wave):
    (wave / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as e:
        read(wave)
    assert str(wave / name) in str(e.value)


@pytest.mark.parametrize("name", ["info.csv", "metadata.csv", "responses.csv", "SEX_data.json"])
def test_folder_in_place_of_a_file(name, wave):
    if name != "SEX_data.json":
        write_responses(wave, ("Very", "No", "Male", "Atheist", 1))
    (wave / name).unlink(missing_ok=True)
    (wave / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: a folder where a file is expected"):
        read(wave)


def test_file_in_place_of_a_folder(wave, tmp_path):
    other = wave.with_name("American_Trends_Panel_W27")
    other.write_text("x")
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    with pytest.raises(DataError, match="_W27: a file where a folder is expected"):
        read(wave)
    with pytest.raises(DataError, match="_W27: a file where a folder is expected"):
        read_survey("opinionqa", other)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "human_resp").write_text("x")
    with pytest.raises(DataError, match="human_resp: a file where a folder is expected"):
        read_survey("opinionqa", tmp_path / "a")


def test_nothing_left_names_source_and_reasons(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"Refused": 1}, "Other": {"No": 1}}, "LOST": {"Male": {"No": 1}}})
    with pytest.raises(DataError, match="no questions, groups or preferences are left") as e:
        read(wave)
    assert str(wave.parent) in str(e.value)
    assert "left out most often: " in str(e.value)
    assert "refusal (1)" in str(e.value)


def test_weights_that_overflow(wave):
    row = ("Very", "No", "Male", "Atheist", "1e308")
    write_responses(wave, row, row)
    with pytest.raises(DataError, match=r"responses.csv: the survey weights add up to infinity"):
        read(wave)


def test_half_a_character(wave):
    write_counts(wave, {"GUN_W26": {"\ud800": {"No": 1}}})
    with pytest.raises(DataError, match=r"SEX_data\.json: .*a text holds half a character"):
        read(wave)


def test_folder_without_waves(tmp_path):
    with pytest.raises(DataError, match="no folder American_Trends_Panel"):
        read_survey("opinionqa", tmp_path)


@pytest.fixture(scope="module")
def opinionqa():
    start = time.perf_counter()
    data = read_survey("opinionqa", DATA / "opinionqa")
    assert time.perf_counter() - start < 10
    return data


@real
def test_real_sizes(opinionqa):
    assert opinionqa.questions.num_rows == 684
    reasons = opinionqa.dropped_by_reason()
    assert reasons["no answer counts for this question"] == 1494 - 684
    assert opinionqa.preferences.num_rows + reasons["no answers of this group to this question"] == 684 * 34
    assert "answer is none of the question's options" not in reasons
    levels = [g.partition("=") for g in opinionqa.groups["group_id"].to_pylist()]
    sizes = {a: sum(x[0] == a for x in levels) for a in sorted({x[0] for x in levels})}
    assert sizes == {
        "AGE": 4,
        "CREGION": 4,
        "EDUCATION": 6,
        "INCOME": 5,
        "POLIDEOLOGY": 5,
        "POLPARTY": 3,
        "RACE": 5,
        "SEX": 2,
    }


@real
@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference questions are not on this machine")
def test_real_questions_equal_the_reference(opinionqa):
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    reference = {r["id"]: r for r in map(json.loads, lines)}
    for q in opinionqa.iter_questions():
        r = reference[q.question_id]
        assert (q.prompt, list(q.responses), list(q.ordinal), q.topic) == (
            r["question"],
            r["options"],
            r["ordinal"],
            r["wave"],
        )


@real
def test_real_counts_of_one_question(opinionqa):
    """SAFECRIME_W26 of women, from the file: 62, 289, 1243 and 510 answers, 6 refusals."""
    women = prefs(opinionqa)["SEX=Female", "SAFECRIME_W26"]
    assert women["n"] == 2104
    np.testing.assert_allclose(np.array(women["share"]) * 2104, [510, 1243, 289, 62])
    assert ("SEX=Female", "POLICY3_W42") in prefs(opinionqa)


@real
def test_real_paper_groups_and_contentious():
    data = read_survey("opinionqa", DATA / "opinionqa", ReadOptions(groups="paper", contentious=True))
    found = set(data.groups["group_id"].to_pylist())
    assert len(PAPER_GROUPS) == 22
    assert PAPER_GROUPS - found == {
        f"RELIG={r}" for r in ("Atheist", "Hindu", "Jewish", "Muslim", "Protestant")
    }
    assert found <= PAPER_GROUPS
    assert 0 < data.questions.num_rows < 494


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

"""The reader of files of respondents: shares, weights, groups, individuals, and what is no answer."""

import numpy as np
import pandas as pd
import pytest
from survey_people import WRITERS, as_labels, draw_people, expected, write_sav

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

OPTIONS = ReadOptions(groups="sex,party,sex*party,age", min_respondents=1)


@pytest.fixture(scope="module")
def people():
    return draw_people()


CODEBOOK = """
weight: wt
id: caseid
demographics:
  sex: {label: Sex, levels: [Male, Female]}
  party: {label: Party identification, levels: [Republican, Democrat, Independent, Something else]}
  age: {label: Age, bins: [18, 30, 50, 65]}
questions:
  econ:
    prompt: How would you rate economic conditions in this country today?
    responses: [Excellent, Good, Only fair, Poor]
    missing: [Don't know, Refused]
    ordered: true
  color: {prompt: "Which color should the new flag have?", responses: [Red, Green, Blue], missing: [Refused]}
  split: {prompt: "Should the city build more parks?", responses: ["Yes", "No"], missing: [Refused]}
"""


def check(dataset, people):
    want = expected(people)
    slates = {q.question_id: q for q in dataset.iter_questions()}
    got = {(p["group_id"], p["question_id"]): p for p in dataset.preferences.to_pylist()}
    assert got.keys() == want.keys()
    for key, (shares, n) in want.items():
        found = dict(zip(slates[key[1]].responses, got[key]["share"], strict=True))
        assert found.keys() == shares.keys()
        assert all(abs(found[r] - shares[r]) < 1e-9 for r in shares), key
        assert got[key]["n"] == pytest.approx(n, rel=1e-9)
    return slates


@pytest.mark.parametrize("name", WRITERS)
def test_shares_are_the_weighted_tables(tmp_path, people, name):
    WRITERS[name](tmp_path / name, people)
    codebook = None
    if name not in ("p.sav", "p.zsav", "p.dta"):
        (tmp_path / "book.yaml").write_text(CODEBOOK)
        codebook = str(tmp_path / "book.yaml")
    dataset = read_survey("respondents", tmp_path / name, OPTIONS.model_copy(update={"codebook": codebook}))
    slates = check(dataset, people)
    assert slates["econ"].ordinal == (1.0, 2.0, 3.0, 4.0)
    assert slates["color"].ordinal is None
    assert slates["split"].responses == ("Yes", "No")
    groups = {g["group_id"]: g for g in dataset.groups.to_pylist()}
    assert (
        groups["sex=Female & party=Democrat"]["description"] == "Sex: Female; Party identification: Democrat"
    )
    notes = {
        n["where"].split(": ")[-1]: n["note"] for n in dataset.notes.to_pylist() if "refused" in n["note"]
    }
    refused, unasked = (people.split == 99).sum(), people.split.isna().sum()
    assert notes["split"].startswith(f"{refused} refused or did not know; {unasked} were not asked")
    assert any("weighted by wt" in n["note"] for n in dataset.notes.to_pylist())


def test_without_weight_n_is_the_count(tmp_path, people):
    write_sav(tmp_path / "p.sav", people.drop(columns="wt"))
    dataset = read_survey("respondents", tmp_path / "p.sav", OPTIONS)
    want = ((people.sex == 2) & people.econ.isin([1, 2, 3, 4])).sum()
    found = [
        p["n"]
        for p in dataset.preferences.to_pylist()
        if (p["group_id"], p["question_id"]) == ("sex=Female", "econ")
    ]
    assert found == [want]


def test_proposal_of_labels_without_codes(tmp_path, people):
    """In a CSV the labels are the values; headers are the prompts."""
    data = as_labels(people).rename(columns={"econ": "How is the economy?", "split": "More parks?"})
    data.to_csv(tmp_path / "p.csv", index=False)
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    slates = {q.question_id: q for q in dataset.iter_questions()}
    assert set(slates) == {"How is the economy?", "More parks?"}  # "color" may be of anything
    assert slates["How is the economy?"].responses in (
        ("Excellent", "Good", "Only fair", "Poor"),
        ("Poor", "Only fair", "Good", "Excellent"),
    )
    assert slates["How is the economy?"].ordinal == (1.0, 2.0, 3.0, 4.0)
    groups = set(dataset.groups["group_id"].to_pylist())
    assert {"sex=Male", "party=Democrat", "age=65+"} <= groups
    assert any("weighted by wt" in n["note"] for n in dataset.notes.to_pylist())


def test_zero_and_missing_weights_are_left_out_and_negative_ones_refused(tmp_path, people):
    data = people.copy()
    data.loc[[0, 1], "wt"] = [0.0, np.nan]
    write_sav(tmp_path / "p.sav", data)
    dataset = read_survey("respondents", tmp_path / "p.sav", OPTIONS)
    assert dataset.dropped_by_reason()["answers carry no survey weight"] == 2
    check(dataset, data[data.wt > 0])
    data.loc[4, "wt"] = -1.0
    write_sav(tmp_path / "n.sav", data)
    (tmp_path / "b.yaml").write_text(
        CODEBOOK.split("demographics")[0]
        + "questions:\n  color: {prompt: Which, responses: {1: Red, 2: Green}}\n"
    )
    with pytest.raises(DataError, match=r"n.sav: row 5: weight wt is negative"):
        read_survey(
            "respondents", tmp_path / "n.sav", ReadOptions(groups="sex", codebook=str(tmp_path / "b.yaml"))
        )


def test_individuals_and_both(tmp_path, people):
    write_sav(tmp_path / "p.sav", people)
    single = read_survey("respondents", tmp_path / "p.sav", ReadOptions(units="individuals"))
    answered = (
        people[["econ", "color", "split"]].where(~people[["econ", "color", "split"]].isin([98, 99])).notna()
    )
    assert single.groups.num_rows == (answered.sum(axis=1) == 3).sum()
    assert set(single.groups["kind"].to_pylist()) == {"individual"}
    row = {(p["group_id"], p["question_id"]): p["choice"] for p in single.preferences.to_pylist()}
    who = int(people.caseid[answered.all(axis=1)].iloc[0])
    assert row[f"respondent={who}", "econ"] == people.econ[who - 1] - 1
    both = read_survey("respondents", tmp_path / "p.sav", OPTIONS.model_copy(update={"units": "both"}))
    assert set(both.groups["kind"].to_pylist()) == {"attribute", "individual"}
    assert both.preferences.num_rows == single.preferences.num_rows + len(expected(people))
    from gpo_ray.evaluation.protocols import PROTOCOLS
    from gpo_ray.preferences.splits import draw_split

    split = draw_split(both, 0.6, 0, PROTOCOLS["individuals"])
    assert all(g.startswith("respondent=") for g in split.test_groups)
    assert "sex=Female" in split.train_groups


def test_groups_and_bins(tmp_path, people):
    write_sav(tmp_path / "p.sav", people)

    def groups(**options):
        found = read_survey("respondents", tmp_path / "p.sav", ReadOptions(min_respondents=1, **options))
        return set(found.groups["group_id"].to_pylist())

    assert groups(groups="AGE", bins=("AGE=40,60",)) == {"age=under 40", "age=40-59", "age=60+"}
    assert len(groups(groups="Sex*Party")) == 8
    assert {"sex=Male", "party=Democrat", "age=18-29"} <= groups()
    few = read_survey("respondents", tmp_path / "p.sav", ReadOptions(groups="sex*party", min_respondents=125))
    assert few.dropped_by_reason()["fewer respondents than min_respondents"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": "AGES"}, "--groups AGES: p.sav has no such variable; demographics: sex, party, age"),
        ({"groups": "wt"}, "--groups wt: its values have no labels"),
        ({"groups": "sex*sex"}, "cannot be crossed with itself"),
        ({"groups": "sex", "bins": ("age=18,30",)}, "--bins age: it is not among --groups sex"),
        ({"bins": ("age",)}, "write it as AGE=18,30,50,65"),
        ({"bins": ("age=30,18",)}, "the numbers must ascend"),
        ({"bins": ("age=x",)}, "are not numbers"),
        ({"units": "individuals", "min_respondents": 5}, "does not apply to units='individuals'"),
        ({"contentious": True}, "does not apply to 'respondents'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, people, options, message):
    write_sav(tmp_path / "p.sav", people[:100])
    with pytest.raises(ConfigError, match=message.replace("*", r"\*")):
        read_survey("respondents", tmp_path / "p.sav", ReadOptions(**options))


def test_a_scale_with_labelled_ends(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"trust": rng.choice([0.0, 1, 2, 4, 10, 88], 300), "sex": rng.choice([1.0, 2], 300)})
    pyreadstat.write_sav(
        data,
        str(tmp_path / "e.sav"),
        column_labels={"trust": "Trust in parliament", "sex": "Sex"},
        variable_value_labels={
            "trust": {0: "No trust", 10: "Complete trust", 88: "Don't know"},
            "sex": {1: "M", 2: "F"},
        },
    )
    dataset = read_survey("respondents", tmp_path / "e.sav")
    question = next(dataset.iter_questions())
    assert question.responses == ("0: No trust", *map(str, range(1, 10)), "10: Complete trust")
    assert question.ordinal == tuple(map(float, range(11)))


def test_values_without_a_label_are_counted_and_equal_labels_merged(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"q": rng.choice([1.0, 2, 3, 7], 400), "sex": rng.choice([1.0, 2], 400)})
    pyreadstat.write_sav(
        data,
        str(tmp_path / "e.sav"),
        column_labels={"q": "Which way?", "sex": "Sex"},
        variable_value_labels={"q": {1: "Left", 2: "Right", 3: " Left"}, "sex": {1: "M", 2: "F"}},
    )
    dataset = read_survey("respondents", tmp_path / "e.sav")
    question = next(dataset.iter_questions())
    assert question.responses == ("Left", "Right")
    stray = int((data.q == 7).sum())
    assert f"e.sav: q=7 ({stray} respondents)" in dataset.dropped["where"].to_pylist()
    assert any("codes 1, 3 are one response" in n["note"] for n in dataset.notes.to_pylist())

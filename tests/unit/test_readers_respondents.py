"""The reader of files of respondents: shares, weights, groups, individuals, and what is no answer."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

LABELS = {
    "econ": {1: "Excellent", 2: "Good", 3: "Only fair", 4: "Poor", 98: "Don't know", 99: "Refused"},
    "color": {1: "Red", 2: "Green", 3: "Blue", 99: "Refused"},
    "split": {1: "Yes", 2: "No", 99: "Refused"},
    "sex": {1: "Male", 2: "Female"},
    "party": {1: "Republican", 2: "Democrat", 3: "Independent", 4: "Something else"},
}
VARIABLES = {
    "caseid": "Case ID",
    "econ": "How would you rate economic conditions in this country today?",
    "color": "Which color should the new flag have?",
    "split": "Should the city build more parks?",
    "sex": "Sex",
    "party": "Party identification",
    "age": "Age of respondent",
    "wt": "Weight",
}
OPTIONS = ReadOptions(groups="sex,party,sex*party,age", min_respondents=1)


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(1)
    n = 1000
    split = rng.choice([1.0, 2.0, 99.0], n, p=[0.6, 0.35, 0.05])
    split[rng.random(n) < 0.5] = np.nan
    return pd.DataFrame(
        {
            "caseid": np.arange(1, n + 1, dtype=float),
            "econ": rng.choice([1.0, 2, 3, 4, 98, 99], n, p=[0.1, 0.3, 0.3, 0.2, 0.05, 0.05]),
            "color": rng.choice([1.0, 2, 3, 99], n),
            "split": split,
            "sex": rng.choice([1.0, 2.0], n),
            "party": rng.choice([1.0, 2, 3, 4], n),
            "age": rng.integers(16, 91, n).astype(float),
            "wt": rng.lognormal(0, 0.7, n),
        }
    )


MISSING = {"econ": [98, 99], "color": [99], "split": [99]}


def write_sav(path, people, **more):
    pyreadstat.write_sav(
        people,
        str(path),
        compress=path.suffix == ".zsav",
        column_labels=VARIABLES,
        variable_value_labels={k: {float(c): t for c, t in v.items()} for k, v in LABELS.items()},
        missing_ranges={"econ": [{"lo": 98, "hi": 99}], "color": [99], "split": [99]},
        variable_measure={"econ": "ordinal", "color": "nominal"},
        **more,
    )


def write_dta(path, people):
    data = people.copy()
    special = {98: "d", 99: "r"}
    labels = {}
    for name, values in LABELS.items():
        labels[name] = {special.get(c, c): t for c, t in values.items()}
        cells = [None if np.isnan(v) else special.get(int(v), int(v)) for v in people[name]]
        data[name] = pd.Series(cells, dtype=object)
    pyreadstat.write_dta(
        data,
        str(path),
        column_labels=VARIABLES,
        variable_value_labels=labels,
        missing_user_values={"econ": ["d", "r"], "color": ["r"], "split": ["r"]},
    )


def as_labels(people):
    data = people.copy()
    for name, values in LABELS.items():
        data[name] = [None if np.isnan(v) else values[int(v)] for v in people[name]]
    return data


def write_csv(path, people):
    as_labels(people).to_csv(path, index=False, sep=";")


def write_parquet(path, people):
    pq.write_table(pa.Table.from_pandas(as_labels(people), preserve_index=False), path)


def write_xlsx(path, people):
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("people")
    data = as_labels(people)
    sheet.append(list(data.columns))
    for row in data.itertuples(index=False):
        sheet.append([None if isinstance(v, float) and np.isnan(v) else v for v in row])
    book.save(path)


WRITERS = {
    "p.sav": write_sav,
    "p.zsav": write_sav,
    "p.dta": write_dta,
    "p.csv": write_csv,
    "p.parquet": write_parquet,
    "p.xlsx": write_xlsx,
}


def expected(people):
    """An explicit weighted table: for (group, question) the shares by response, and Kish's n."""
    levels = {
        "sex": people.sex.map(LABELS["sex"]),
        "party": people.party.map(LABELS["party"]),
        "age": pd.cut(
            people.age,
            [0, 18, 30, 50, 65, 200],
            right=False,
            labels=["under 18", "18-29", "30-49", "50-64", "65+"],
        ),
    }
    groups = {f"{a}={v}": levels[a] == v for a in levels for v in levels[a].unique()}
    for s in levels["sex"].unique():
        for p in levels["party"].unique():
            groups[f"sex={s} & party={p}"] = (levels["sex"] == s) & (levels["party"] == p)
    found = {}
    for group, member in groups.items():
        for q in ("econ", "color", "split"):
            answers = people[member & people[q].notna() & ~people[q].isin([98, 99])]
            weight = answers.wt.sum()
            shares = {
                LABELS[q][int(code)]: answers.wt[answers[q] == code].sum() / weight
                for code in sorted(LABELS[q])
                if code < 98
            }
            found[group, q] = shares, weight**2 / (answers.wt**2).sum()
    return found


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
    assert set(slates) == {"How is the economy?", "color", "More parks?"}
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


@pytest.mark.parametrize("blank", [True, False])
def test_mark_all_that_apply(tmp_path, blank):
    rng = np.random.default_rng(0)
    n = 400
    marks = rng.random((n, 4)) < 0.4
    asked = rng.random(n) < 0.7
    columns = {}
    for i in range(4):
        column = np.where(marks[:, i], 1.0, np.nan if blank else 0.0)
        columns[f"Q5_{i + 1}"] = np.where(asked, column, np.nan)
    data = pd.DataFrame({**columns, "sex": rng.choice([1.0, 2], n)})
    labels = {1: "Selected"} if blank else {0: "Not selected", 1: "Selected"}
    pyreadstat.write_sav(
        data,
        str(tmp_path / "m.sav"),
        column_labels={
            **{
                f"Q5_{i + 1}": f"Sources of news: {t}" for i, t in enumerate(("TV", "Radio", "Papers", "Web"))
            },
            "sex": "Sex",
        },
        variable_value_labels={**dict.fromkeys(columns, labels), "sex": {1: "Male", 2: "Female"}},
    )
    dataset = read_survey("respondents", tmp_path / "m.sav", ReadOptions(min_respondents=1))
    questions = {q.question_id: q for q in dataset.iter_questions()}
    assert next(q.prompt for q in questions.values()) == "Sources of news: TV"
    assert set(questions["Q5_1"].responses) == {"Yes", "No"}
    seen = asked & (marks.any(axis=1) if blank else True)
    for p in dataset.preferences.to_pylist():
        member = seen & (data.sex == (1 if p["group_id"] == "sex=Male" else 2)).to_numpy()
        mark = marks[:, int(p["question_id"][-1]) - 1]
        yes = questions[p["question_id"]].responses.index("Yes")
        assert p["n"] == member.sum()
        assert p["share"][yes] == pytest.approx(mark[member].mean())
    assert any("mark all that apply" in note["note"] for note in dataset.notes.to_pylist())


def test_damaged_and_foreign_files(tmp_path, people):
    write_sav(tmp_path / "p.sav", people)
    whole = (tmp_path / "p.sav").read_bytes()
    (tmp_path / "cut.sav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.dta").write_text("a,b\n1,2\n")
    (tmp_path / "empty.sav").write_bytes(b"")
    for name, message in (
        ("cut.sav", "not a readable .sav file"),
        ("foreign.dta", "not a readable .dta file"),
        ("empty.sav", "the file is empty"),
        ("none.sav", "no such file"),
    ):
        with pytest.raises(DataError, match=message) as e:
            read_survey("respondents", tmp_path / name)
        assert name in str(e.value)
        assert "\n" not in str(e.value)


def test_without_pyreadstat(tmp_path, monkeypatch, people):
    import sys

    write_sav(tmp_path / "p.sav", people[:10])
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpo-ray\[surveys\]'"):
        read_survey("respondents", tmp_path / "p.sav")


def test_portable_and_transport_files_hold_no_labels_and_need_a_codebook(tmp_path, people):
    upper = people.rename(columns=str.upper)
    pyreadstat.write_por(
        upper, str(tmp_path / "p.por"), column_labels={k.upper(): v for k, v in VARIABLES.items()}
    )
    pyreadstat.write_xport(people, str(tmp_path / "p.xpt"), column_labels=VARIABLES)
    book = """
weight: wt
demographics:
  sex: {label: Sex, levels: {1: Male, 2: Female}}
questions:
  econ:
    prompt: How is the economy?
    responses: {1: Excellent, 2: Good, 3: Only fair, 4: Poor}
    missing: {98: DK, 99: Refused}
    ordered: true
"""
    want = expected(people)["sex=Female", "econ"]
    for name, text in (
        ("p.por", book.replace("wt", "WT").replace("sex:", "SEX:").replace("econ:", "ECON:")),
        ("p.xpt", book),
    ):
        (tmp_path / "b.yaml").write_text(text)
        dataset = read_survey("respondents", tmp_path / name, ReadOptions(codebook=str(tmp_path / "b.yaml")))
        found = next(p for p in dataset.preferences.to_pylist() if p["group_id"].endswith("Female"))
        np.testing.assert_allclose(
            found["share"], list(want[0].values()), atol=1e-6 if name == "p.por" else 1e-9
        )
        with pytest.raises(DataError, match="no variable looks like a question"):
            read_survey("respondents", tmp_path / name)


def test_texts_in_another_encoding(tmp_path):
    data = pd.DataFrame({"q": ["Größer", "Kleiner"] * 100, "sex": ["m", "w"] * 100})
    data.to_csv(tmp_path / "p.csv", index=False, encoding="cp1252")
    with pytest.raises(DataError, match="--encoding cp1252"):
        read_survey("respondents", tmp_path / "p.csv")
    dataset = read_survey(
        "respondents", tmp_path / "p.csv", ReadOptions(encoding="cp1252", min_respondents=1)
    )
    assert next(dataset.iter_questions()).responses == ("Größer", "Kleiner")


def test_case_alone(tmp_path):
    data = pd.DataFrame({"Better parks?": ["Yes", "yes", "No", "No"] * 50, "sex": ["Male", "Female"] * 100})
    data.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(DataError, match="differ in case alone"):
        read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1, merge_case=True))
    assert next(dataset.iter_questions()).responses == ("Yes", "No")
    assert any("'yes' is taken as 'Yes'" in n["note"] for n in dataset.notes.to_pylist())


def test_a_file_that_ends_the_process_which_reads_it(tmp_path, people, monkeypatch):
    from gpo_ray.preferences.readers.respondents import statistical

    write_sav(tmp_path / "p.sav", people[:10])
    monkeypatch.setattr(statistical, "_TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(DataError, match=r"p.sav: the file is damaged"):
        read_survey("respondents", tmp_path / "p.sav")


@pytest.mark.parametrize(("name", "advice"), [("a.xls", "save it as .xlsx"), ("a.rds", "haven::write_sav")])
def test_files_of_other_programs(tmp_path, name, advice):
    (tmp_path / name).write_bytes(b"\0\1\2")
    with pytest.raises(DataError, match=advice):
        read_survey("respondents", tmp_path / name)


def test_factors_and_types_of_parquet(tmp_path):
    levels = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, None] * 50), ["Low", "Mid", "High"], ordered=True
    )
    table = pa.table(
        {
            "How much?": levels,
            "sex": pa.array(["m", "w"] * 100),
            "flag": pa.array([True, False] * 100),
            "when": pa.array([0] * 200, pa.date32()),
            "list": pa.array([[1]] * 200),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    dataset = read_survey("respondents", tmp_path / "p.parquet", ReadOptions(min_respondents=1))
    question = next(q for q in dataset.iter_questions() if q.question_id == "How much?")
    assert question.responses == ("Low", "Mid", "High")
    assert question.ordinal == (1.0, 2.0, 3.0)
    assert any("list<" in reason for reason in dataset.dropped_by_reason())


def test_decimal_commas_of_weights(tmp_path):
    rows = "\n".join(f"{'Yes' if i % 3 else 'No'};{'m' if i % 2 else 'w'};{1 + i % 4},5" for i in range(120))
    (tmp_path / "p.csv").write_text("Better parks?;sex;weight\n" + rows + "\n")
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    weight = np.array([1.5 + i % 4 for i in range(120)])
    man = np.arange(120) % 2 == 1
    found = next(p for p in dataset.preferences.to_pylist() if p["group_id"] == "sex=m")
    assert found["n"] == pytest.approx(weight[man].sum() ** 2 / (weight[man] ** 2).sum())
    question = next(dataset.iter_questions())
    yes = question.responses.index("Yes")
    said = man & (np.arange(120) % 3 != 0)
    assert found["share"][yes] == pytest.approx(weight[said].sum() / weight[man].sum())

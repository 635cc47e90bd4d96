"""Multiple-response sets that a file declares, and the same shares in every kind of file."""

import numpy as np
import pandas as pd
import pytest
from sas_files import write_sas
from spss_sets import categories, declare_sets, marks

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.respondents.document import codebook_text
from gpo_ray.preferences.readers.respondents.loading import load_codebook
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of

pyreadstat = pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

EVERYBODY = ReadOptions(min_respondents=1)
THINGS = ("Television", "Radio", "Newspapers", "Podcasts")


@pytest.fixture(scope="module")
def media():
    """What 300 people use, of whom a part was not asked; NaN for these."""
    rng = np.random.default_rng(1)
    used = (rng.random((300, len(THINGS))) < 0.4).astype(float)
    used[rng.random(300) < 0.2] = np.nan
    sex = rng.choice([1.0, 2.0], 300)
    return pd.DataFrame({f"u{i}": used[:, i] for i in range(len(THINGS))} | {"sex": sex})


def write(path, data, labels, values=None, **more):
    values = {"sex": {1.0: "Male", 2.0: "Female"}} | (values or {})
    pyreadstat.write_sav(
        data,
        str(path),
        compress=path.suffix == ".zsav",
        column_labels={"sex": "Sex", **labels},
        variable_value_labels=values,
        **more,
    )


def yes_of(dataset, question):
    """The share of Yes in each group."""
    asked = next(q for q in dataset.iter_questions() if q.question_id == question)
    assert set(asked.responses) == {"Yes", "No"}
    at = asked.responses.index("Yes")
    rows = [p for p in dataset.preferences.to_pylist() if p["question_id"] == question]
    return {p["group_id"]: (p["share"][at], p["n"]) for p in rows}


def expected(used, sex, groups=("sex=Male", "sex=Female")):
    known = ~np.isnan(used)
    members = {g: known & (sex == code) for g, code in zip(groups, (1.0, 2.0), strict=True)}
    return {g: (pytest.approx(used[m].mean()), m.sum()) for g, m in members.items()}


@pytest.mark.parametrize("suffix", [".sav", ".zsav"])
@pytest.mark.parametrize("subtype", [7, 19])
def test_a_declared_set_without_labels_of_values(tmp_path, media, suffix, subtype):
    path = tmp_path / f"m{suffix}"
    write(path, media, {f"u{i}": t for i, t in enumerate(THINGS)})
    declare_sets(
        path, marks("use", "1", "Which of these do you use?", "u0", "u1", "u2", "u3"), subtype=subtype
    )
    dataset = read_survey("respondents", path, EVERYBODY)
    prompts = [q.prompt for q in dataset.iter_questions()]
    assert prompts == [f"Which of these do you use?: {t}" for t in THINGS]
    for i in range(len(THINGS)):
        assert yes_of(dataset, f"u{i}") == expected(media[f"u{i}"].to_numpy(), media.sex.to_numpy())
    assert sum("mark all that apply" in n["note"] for n in dataset.notes.to_pylist()) == len(THINGS)


def test_counted_values_that_are_labelled_with_the_thing(tmp_path, media):
    """Each variable holds its own code for its thing, and nothing else."""
    path = tmp_path / "m.sav"
    asked = media.dropna()
    coded = asked.assign(**{f"u{i}": asked[f"u{i}"].where(asked[f"u{i}"] == 1) for i in range(4)})
    write(path, coded, {}, {f"u{i}": {1.0: t} for i, t in enumerate(THINGS)})
    declare_sets(path, marks("use", "1", "Which do you use?", "u0", "u1", "u2", "u3"))
    dataset = read_survey("respondents", path, EVERYBODY)
    assert [q.prompt for q in dataset.iter_questions()] == [f"Which do you use?: {t}" for t in THINGS]
    some = asked[asked[["u0", "u1", "u2", "u3"]].sum(axis=1) > 0]
    assert yes_of(dataset, "u2") == expected(some.u2.to_numpy(), some.sex.to_numpy())


def test_a_value_that_is_counted_though_it_is_not_one(tmp_path, media):
    path = tmp_path / "m.sav"
    coded = media.assign(**{f"u{i}": media[f"u{i}"] + 1 for i in range(4)})  # 1 no, 2 yes, 9 refused
    coded.loc[0, "u1"] = 9.0
    labels = {f"u{i}": {1.0: "Not this one", 2.0: "This one", 9.0: "Refused"} for i in range(4)}
    write(path, coded, {f"u{i}": f"Uses {t.lower()}" for i, t in enumerate(THINGS)}, labels)
    declare_sets(path, marks("use", "2", "", "u0", "u1", "u2", "u3"))
    dataset = read_survey("respondents", path, EVERYBODY)
    used = media.u1.to_numpy(copy=True)
    used[0] = np.nan
    assert yes_of(dataset, "u1") == expected(used, media.sex.to_numpy())


def test_sets_of_categories_become_a_question_for_each_thing(tmp_path):
    path = tmp_path / "c.sav"
    rng = np.random.default_rng(2)
    first = rng.integers(1, 6, 240).astype(float)
    second = rng.integers(1, 6, 240).astype(float)
    second[(second == first) | (rng.random(240) < 0.3)] = np.nan
    first[:40] = second[:40] = np.nan  # not asked
    first[40:50], second[40:50] = 99.0, np.nan  # refused
    sex = rng.choice([1.0, 2.0], 240)
    problems = {1.0: "Jobs", 2.0: "Crime", 3.0: "Schools", 4.0: "Climate", 5.0: "Housing", 99.0: "Refused"}
    data = pd.DataFrame({"p1": first, "p2": second, "sex": sex})
    write(path, data, {"p1": "First mention", "p2": "Second mention"}, {"p1": problems, "p2": problems})
    declare_sets(path, categories("prob", "What are the most important problems?", "p1", "p2"))
    dataset = read_survey("respondents", path, EVERYBODY)
    prompts = {q.question_id: q.prompt for q in dataset.iter_questions()}
    assert prompts["prob=2"] == "What are the most important problems?: Crime"
    assert list(prompts) == [f"prob={i}" for i in range(1, 6)]
    named = ((first == 2) | (second == 2)).astype(float)
    named[:50] = np.nan
    assert yes_of(dataset, "prob=2") == expected(named, sex)
    assert any("a mention of prob" in reason for reason in dataset.dropped_by_reason())
    table = read_table_of(path, EVERYBODY)
    book = tmp_path / "b.yaml"
    book.write_text(codebook_text(propose(table), table), encoding="utf-8")
    again = read_survey("respondents", path, ReadOptions(min_respondents=1, codebook=str(book)))
    assert again.preferences.equals(dataset.preferences)
    assert load_codebook(book, table) == propose(table).codebook


def test_a_thing_that_nobody_marked_is_left_out(tmp_path, media):
    path = tmp_path / "m.sav"
    data = media.assign(u3=np.nan)
    write(path, data, {f"u{i}": t for i, t in enumerate(THINGS)})
    declare_sets(path, marks("use", "1", "Which?", "u0", "u1", "u2", "u3"))
    dataset = read_survey("respondents", path, EVERYBODY)
    assert [q.question_id for q in dataset.iter_questions()] == ["u0", "u1", "u2"]
    assert any("nobody marked it" in reason for reason in dataset.dropped_by_reason())


BOOK = """demographics:
  SEX: {label: Sex, levels: {1: Male, 2: Female}}
questions:
"""


def test_every_kind_of_file_gives_the_shares_of_the_sav(tmp_path, media):
    upper = media.rename(columns=str.upper)
    names = [n for n in upper if n != "SEX"]
    labels = dict(zip(names, THINGS, strict=True))
    write(tmp_path / "m.sav", upper, labels, {"SEX": {1.0: "Male", 2.0: "Female"}})
    pyreadstat.write_sav(upper, str(tmp_path / "m.zsav"), compress=True, column_labels=labels)
    pyreadstat.write_dta(upper, str(tmp_path / "m.dta"), column_labels=labels)
    pyreadstat.write_por(upper, str(tmp_path / "m.por"), column_labels=labels)
    pyreadstat.write_xport(upper, str(tmp_path / "m.xpt"), column_labels=labels)
    write_sas(tmp_path / "m.sas7bdat", upper, labels)
    upper.to_csv(tmp_path / "m.csv", index=False)
    book = BOOK + "".join(
        f"  {n}: {{prompt: {t}, responses: {{1: Yes, 0: No}}}}\n" for n, t in labels.items()
    )
    (tmp_path / "b.yaml").write_text(book)
    options = ReadOptions(min_respondents=1, codebook=str(tmp_path / "b.yaml"))
    want = {n: expected(upper[n].to_numpy(), upper.SEX.to_numpy(), ("SEX=Male", "SEX=Female")) for n in names}
    for suffix in ("sav", "zsav", "dta", "por", "xpt", "sas7bdat", "csv"):
        dataset = read_survey("respondents", tmp_path / f"m.{suffix}", options)
        for n in names:
            assert yes_of(dataset, n) == want[n], (suffix, n)


def test_files_of_sas_with_texts_weights_and_nothing(tmp_path):
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {
            "better": rng.choice(["Agree", "Disagree", ""], 200),
            "sex": rng.choice(["m", "w"], 200),
            "wt": rng.lognormal(0, 0.5, 200),
            "rating": rng.choice([1.0, 2.0, 3.0, np.nan], 200),
        }
    )
    path = tmp_path / "p.sas7bdat"
    write_sas(path, data, {"better": "Parks are better", "wt": "Weight"})
    dataset = read_survey("respondents", path, EVERYBODY)
    asked = next(dataset.iter_questions())
    assert (asked.prompt, asked.responses) == ("Parks are better", ("Disagree", "Agree"))
    for p in dataset.preferences.to_pylist():
        member = (data.sex == p["group_id"][-1]) & (data.better != "")
        weight = data.wt[member]
        share = weight[data.better[member] == "Agree"].sum() / weight.sum()
        assert p["share"][1] == pytest.approx(share, abs=1e-9)
        assert p["n"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"p\.sas7bdat: ") as e:
        read_survey("respondents", path)
    assert "\n" not in str(e.value)

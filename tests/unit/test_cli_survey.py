"""The commands ``gpo survey ...``: bad input leaves nothing behind."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import (
    GOOD,
    LONG,
    flip_byte,
    survey,
)

from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.preferences.readers import READERS, read_survey


@pytest.mark.parametrize("kind", [k for k in READERS if k != "gss"])
def test_missing_source(fails, tmp_path, kind):
    fails(
        "survey", "import", kind, "--from", tmp_path / "no.csv", "--out", tmp_path / "out", words=["no.csv"]
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["table", "globalopinionqa"])
def test_empty_source(fails, tmp_path, kind):
    source = tmp_path / "empty.csv"
    source.touch()
    fails("survey", "import", kind, "--from", source, "--out", tmp_path / "out", words=["empty.csv"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grp,prompt,response,count\na,Tea?,yes,1\n", ["group"]),
        (LONG + "a,Tea?,yes,3\na,Tea?,no,nan\n", ["row"]),
        (LONG + "a,Tea?,yes,3\na,Tea?,no,-1\n", ["row"]),
        (LONG + "a,Tea?,yes,3\na,Tea?,yes,1\n", ["row"]),
        (LONG + "a,Tea?,yes,3\na,Tea?,no,many\n", ["row"]),
    ],
    ids=["wrong column", "NaN", "negative", "duplicate", "not a number"],
)
def test_bad_table(fails, tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    fails(
        "survey",
        "import",
        "table",
        "--from",
        tmp_path / "t.csv",
        "--out",
        tmp_path / "out",
        words=["t.csv", *words],
    )
    assert not (tmp_path / "out").exists()


def test_failed_import_leaves_an_earlier_result_whole(gpo, fails, tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    arguments = ("survey", "import", "table", "--from", tmp_path / "t.csv", "--out", tmp_path / "out")
    assert gpo(*arguments, "--json")[0] == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "t.csv").write_text(LONG)
    fails(*arguments, words=["t.csv"])
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_import_ends_with_one_json_object(gpo, tmp_path):
    (tmp_path / "t.csv").write_text(GOOD)
    code, out, _ = gpo(
        "survey", "import", "table", "--from", tmp_path / "t.csv", "--out", tmp_path / "o", "--json"
    )
    assert code == 0
    result = json.loads(out.strip().splitlines()[-1])
    assert result == {
        "questions": 1,
        "groups": 2,
        "preferences": 2,
        "dropped": {},
        "notes": {"separated by a comma, encoded as UTF-8": 1},
        "out": str(tmp_path / "o"),
    }


def table(folder, name, text):
    """A survey read from a table with these rows."""
    (folder / f"{name}.csv").write_text(LONG + text)
    read_survey("table", folder / f"{name}.csv").save(folder / name)
    return folder / name


def test_merged_surveys_share_their_questions(gpo, tmp_path):
    first = table(tmp_path, "first", "a,Tea?,yes,3\na,Tea?,no,1\na,Milk?,yes,1\na,Milk?,no,1\n")
    second = table(tmp_path, "second", "a,Tea?,yes,1\na,Tea?,no,1\nb,Rum?,yes,1\nb,Rum?,no,4\n")
    arguments = ("survey", "merge", first, second, "--out", tmp_path / "o")
    code, out, _ = gpo(*arguments, "--json")
    assert code == 0
    assert json.loads(out.strip().splitlines()[-1]) == {
        "questions": 3,
        "groups": 3,
        "preferences": 4,
        "dropped": {},
        "notes": {
            "separated by a comma, encoded as UTF-8": 2,
            "the first survey has a group of this id: they are kept apart": 1,
        },
        "same_questions": 1,
        "out": str(tmp_path / "o"),
    }
    merged = PreferenceDataset.load(tmp_path / "o")
    assert [q.prompt for q in merged.iter_questions()] == ["Tea?", "Milk?", "Rum?"]
    assert merged.groups["group_id"].to_pylist() == ["a", "other:a", "b"]
    code, out, _ = gpo(*arguments)
    assert code == 0
    assert "3 questions, 3 groups, 4 preferences" in out
    assert out.splitlines()[-1].startswith("1 questions of")


@pytest.mark.parametrize("place", ["first", "second"])
@pytest.mark.parametrize("damage", ["absent", "byte changed", "another kind"])
def test_merge_of_a_bad_survey(fails, folders, place, damage):
    bad = folders / "bad"
    word = str(bad)
    if damage == "byte changed":
        survey(seed=1).save(bad)
        flip_byte(bad / "groups.parquet")
        word = "groups.parquet"
    elif damage == "another kind":
        bad, word = folders / "store", "'embeddings'"
    surveys = [folders / "survey", bad] if place == "second" else [bad, folders / "survey"]
    fails("survey", "merge", *surveys, "--out", folders / "new", words=[word])
    assert not (folders / "new").exists()


def test_merge_writes_over_no_other_result(gpo, fails, folders):
    surveys = (folders / "survey", folders / "survey")
    before = (folders / "store" / "manifest.json").read_bytes()
    fails("survey", "merge", *surveys, "--out", folders / "store", words=["'embeddings'"])
    fails("survey", "merge", *surveys, "--out", "", words=["empty path"])
    fails("survey", "merge", folders / "survey", "--out", folders / "new", words=["second"])
    assert (folders / "store" / "manifest.json").read_bytes() == before
    assert not (folders / "new").exists()
    assert gpo("survey", "merge", *surveys, "--out", folders / "survey", "--json")[0] == 0
    assert PreferenceDataset.load(folders / "survey").groups.num_rows == 2 * survey().groups.num_rows


def test_unknown_kind_and_inapplicable_option(fails, tmp_path):
    fails("survey", "import", "nope", "--out", tmp_path / "o", words=["nope", "globalopinionqa"])
    fails("survey", "import", "gss", "--contentious", "--out", tmp_path / "o", words=["contentious"])
    fails("survey", "import", "gss", "--units", "towns", "--out", tmp_path / "o", words=["units"])


def test_survey_show_lists_every_reason(gpo, tmp_path):
    (tmp_path / "t.csv").write_text(GOOD + "c,Tea?,yes,0\nc,Tea?,no,0\n")
    assert (
        gpo("survey", "import", "table", "--from", tmp_path / "t.csv", "--out", tmp_path / "o", "--json")[0]
        == 0
    )
    code, out, _ = gpo("survey", "show", tmp_path / "o")
    reasons = set(pq.read_table(tmp_path / "o" / "dropped.parquet")["reason"].to_pylist())
    assert code == 0
    assert len(reasons) == 1
    assert " ".join(reasons.pop().split()[:2]) in out
    assert isinstance(pq.read_schema(tmp_path / "o" / "dropped.parquet"), pa.Schema)


def test_markup_in_survey_texts_is_shown_as_it_is(gpo, tmp_path):
    (tmp_path / "t.csv").write_text(
        LONG + "a,Is [/i] [red]tea[/red] fine?,[/b],3\na,Is [/i] [red]tea[/red] fine?,no,1\n"
    )
    code, out, _ = gpo("survey", "import", "table", "--from", tmp_path / "t.csv", "--out", tmp_path / "o")
    assert code == 0
    assert "[red]tea[/red]" in out
    assert "[/b]" in out

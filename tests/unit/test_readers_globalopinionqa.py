"""The GlobalOpinionQA reader."""

import csv
import re
import sys
import types

import numpy as np
import pytest
from survey_sources import DATA, prefs, write_csv

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.globalopinionqa import PAPER_COUNTRIES

CSV = DATA / "globalopinionqa" / "global_opinions.csv"
real = pytest.mark.skipif(not CSV.is_file(), reason="GlobalOpinionQA is not on this machine")


def wrapped(text):
    return f"defaultdict(<class 'list'>, {text})"


def row(selections, options="['Good', 'Bad']", question="Good?", source=""):
    return {"question": question, "selections": wrapped(selections), "options": options, "source": source}


def write(folder, *rows):
    path = folder / "opinions.csv"
    write_csv(path, rows)
    return path


def read(folder, *rows, **options):
    return read_survey("globalopinionqa", write(folder, *rows), ReadOptions(**options))


def test_shares_are_normalised_and_options_become_text(tmp_path):
    data = read(
        tmp_path, row("{'Chile': [0.6, 0.2, 0.2], 'Peru': [0.5, 0.5, 0.1]}", "[1.0, 2.0, 'DK']", source="WVS")
    )
    assert data.questions.to_pylist() == [
        {
            "question_id": "goqa-0",
            "source": "globalopinionqa",
            "topic": "WVS",
            "prompt": "Good?",
            "responses": ["1.0", "2.0", "DK"],
            "ordinal": None,
        }
    ]
    np.testing.assert_allclose(prefs(data)["Peru", "goqa-0"]["share"], np.array([5, 5, 1]) / 11)
    assert prefs(data)["Peru", "goqa-0"]["n"] is None
    assert data.groups.to_pylist()[0] == {
        "group_id": "Chile",
        "kind": "country",
        "description": "People in Chile",
    }
    assert data.dropped.num_rows == 0


def test_what_is_left_out_is_named(tmp_path):
    data = read(
        tmp_path,
        row(
            "{'A': [0.5, 0.5], 'B': [0, 0.0], 'C': [1.0], 'D': [nan, 1.0], "
            "'E': [-0.1, 1.1], '': [0.5, 0.5], ' ': [1, 0]}"
        ),
        row("{}"),
        row("{'A': [1.0], 'B': [1.0]}", "['Only']"),
        row("{'A': [0.5, 0.5]}", "['Same', 'Same']"),
        row("{'A': [0.5, 0.5]}", question=" "),
        row("{'A': [0.5, 0.5]}", "['Good', '']"),
        row("{'A': [0.0, 0.0]}"),
    )
    log = [(d["where"].removeprefix("opinions.csv: "), d["reason"]) for d in data.dropped.to_pylist()]
    assert log == [
        ("row 0, B", "all shares are zero"),
        ("row 0, C", "number of shares differs from number of options"),
        ("row 0, D", "share is negative or not finite"),
        ("row 0, E", "share is negative or not finite"),
        ("row 0, ", "country has no name"),
        ("row 0,  ", "country has no name"),
        ("row 1", "no country answered"),
        ("row 2, A", "question has fewer than two distinct options"),
        ("row 2, B", "question has fewer than two distinct options"),
        ("row 3, A", "question has fewer than two distinct options"),
        ("row 4, A", "question has no text"),
        ("row 5, A", "question has an empty option"),
        ("row 6, A", "all shares are zero"),
        ("goqa-6", "no group's answers to this question are left"),
    ]
    assert data.preferences.num_rows == 1


def test_options_of_the_same_text_are_merged(tmp_path):
    data = read(tmp_path, row("{'A': [0.5, 0.25, 0.25]}", "['Good', 'Bad', 'Good']"))
    assert data.questions["responses"].to_pylist() == [["Good", "Bad"]]
    assert prefs(data)["A", "goqa-0"]["share"] == [0.75, 0.25]


def test_paper_countries(tmp_path):
    data = read(tmp_path, row("{'Chile': [0.5, 0.5], 'Nigeria': [0.5, 0.5]}"), groups="paper")
    assert data.groups["group_id"].to_pylist() == ["Nigeria"]
    assert data.dropped_by_reason() == {"not a group of the paper": 1}


@pytest.mark.parametrize(
    ("selections", "options", "message"),
    [
        ("{'A': [0.5,", "['a', 'b']", "row 0: selections: cannot read"),
        ("[1, 2]", "['a', 'b']", "row 0: selections: expected a dict"),
        ("{'A': 3}", "['a', 'b']", "must map a country to a list"),
        ("{'A': [0.5, 0.5]}", "a or b", "row 0: options: cannot read"),
        ("{'A': [0.5, 0.5]}", "['a', ['b']]", "row 0: options: value 1 of type list is not a number"),
        ("{'A': [0.5, 'x']}", "['a', 'b']", "row 0: selections, A: share 1 'x' is not a number"),
        ("{'A': [True, False]}", "['a', 'b']", "row 0: selections, A: share 0 True is not a number"),
        ("{'A': [1, 1%s]}" % ("0" * 400), "['a', 'b']", "share 1 is a number too large"),
        ("{'A': [1, 0x%s]}" % ("f" * 6000), "['a', 'b']", "share 1 is a number too large"),
        ("{'A': %s}" % ("[" * 20_000), "['a', 'b']", "row 0: selections: cannot read"),
        ("{'A': %s1}" % ("-" * 20_000), "['a', 'b']", "row 0: selections: cannot read"),
        ("{'A': [%s1]}" % ("1+" * 20_000), "['a', 'b']", "row 0: selections: cannot read"),
        ("{'A': [0.5, 0.5]}", "[0x%s, 'b']" % ("f" * 6000), "options: value 0 is a number too large"),
    ],
)
def test_malformed_text(selections, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(tmp_path, row(selections, options))


def test_shares_that_overflow_are_left_out(tmp_path):
    data = read(tmp_path, row("{'A': [1e308, 1e308], 'B': [0.5, 0.5]}"))
    assert data.dropped_by_reason() == {"share is negative or not finite": 1}


def test_nothing_left_names_source_and_reasons(tmp_path):
    with pytest.raises(DataError, match=r"opinions.csv: no questions, .*often: country has no name \(1\)"):
        read(tmp_path, row("{'': [0.5, 0.5]}"))


def test_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(DataError, match="a folder where a file is expected"):
        read_survey("globalopinionqa", tmp_path)


def test_hub_row_that_is_not_text(monkeypatch):
    fake = types.ModuleType("datasets")
    fake.load_dataset = lambda name, split: Rows([row("{}") | {"selections": {"Chile": [1.0]}}])
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(DataError, match="some-org/opinions: row 0: selections is not text"):
        read_survey("globalopinionqa", "some-org/opinions")


def test_missing_column(tmp_path):
    with pytest.raises(DataError, match="column 'selections' is missing"):
        read(tmp_path, {"question": "a", "options": "[]"})


def test_hub_id_without_the_datasets_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"some-org/opinions: no such file; .*pip install datasets"):
        read_survey("globalopinionqa", "some-org/opinions")


class Rows(list):
    column_names = ("question", "selections", "options", "source")


def test_hub_id(monkeypatch):
    def load_dataset(name, split):
        if name != "some-org/opinions":
            raise FileNotFoundError("not on the Hub")
        return Rows([row("{'Chile': [0.25, 0.75]}")])

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    data = read_survey("globalopinionqa", "some-org/opinions")
    assert prefs(data)["Chile", "goqa-0"]["share"] == [0.25, 0.75]
    with pytest.raises(DataError, match="not on the Hub"):
        read_survey("globalopinionqa", "some-org/others")


PAIR = re.compile(r"global_opinions\.csv: row \d+, ")


@real
@pytest.mark.parametrize("groups", ["all", "paper"])
def test_real_pairs_add_up(groups):
    data = read_survey("globalopinionqa", CSV, ReadOptions(groups=groups))
    log = data.dropped.to_pylist()
    assert data.preferences.num_rows + sum(bool(PAIR.match(d["where"])) for d in log) == 13_812
    assert data.dropped_by_reason()["no country answered"] == 650
    if groups == "paper":
        assert set(data.groups["group_id"].to_pylist()) == PAPER_COUNTRIES
        assert len(PAPER_COUNTRIES) == 14
    else:
        assert (data.questions.num_rows, data.groups.num_rows) == (1906, 132)


@real
def test_real_first_row():
    data = read_survey("globalopinionqa", CSV)
    np.testing.assert_allclose(prefs(data)["Belgium", "goqa-0"]["share"], [0.21, 0.07, 0.69, 0.03])


def test_countries_with_few_questions_are_left_out_and_logged(tmp_path):
    source = tmp_path / "answers.csv"
    rows = [
        ("Q0", "A", {"X": [1.0, 0.0], "Y": [0.5, 0.5]}),
        ("Q1", "B", {"X": [0.2, 0.8]}),
        ("Q2", "C", {"Z": [0, 1.0]}),
    ]
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "selections", "options"])
        for text, _, shares in rows:
            writer.writerow([text, f"defaultdict(<class 'list'>, {shares})", "['yes', 'no']"])
    dataset = read_survey("globalopinionqa", source, ReadOptions(min_questions=2))
    assert dataset.groups["group_id"].to_pylist() == ["X"]
    assert dataset.questions["question_id"].to_pylist() == ["goqa-0", "goqa-1"]
    assert dataset.dropped_by_reason() == {
        "group answered fewer questions than min_questions": 2,
        "no group's answers to this question are left": 1,
    }
    with pytest.raises(DataError, match=r"answered 3 questions, the most is 2.*min_questions"):
        read_survey("globalopinionqa", source, ReadOptions(min_questions=3))

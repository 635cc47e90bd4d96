"""Rows of totals in tables: left out where the numbers say so, else noted or refused."""

import pytest
from table_files import HEADER, drops, n, notes, one, read, shares, table

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers.totals import names_total


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("Total", "sure"),
        ("TOTAL (unweighted)", "sure"),
        ("Total respondents", "sure"),
        ("Gesamt", "sure"),
        ("Basis (ungewichtet)", "sure"),
        ("Unweighted N", "sure"),
        ("Weighted base", "sure"),
        ("Effectif pondéré", "sure"),
        ("Effectifs non pondérée", "sure"),
        ("Ogółem", "sure"),
        ("Итого", "sure"),
        ("Base: n=1012", "sure"),
        ("All", "perhaps"),
        ("All adults", "perhaps"),
        ("Alle Befragten", "perhaps"),
        ("Tous", "perhaps"),
        ("n =", "perhaps"),
        ("All of them", None),
        ("All the time", None),
        ("Total ban", None),
        ("The number of parties", None),
        ("Base 2", None),
        ("ñ", None),
        ("ñ ñ", None),
        ("No", None),
        ("42", None),
    ],
)
def test_names_of_totals(label, found):
    assert names_total(label) == found


def rows(*lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("name", ["Total", "All", "Gesamt", "Base", "N", "Unweighted base", "Ensemble"])
def test_a_response_that_is_the_sum_is_left_out(name, tmp_path):
    text = rows("A,Tea?,Yes,10", "A,Tea?,Perhaps,20", "A,Tea?,No,30", f"A,Tea?,{name},60")
    data = table(tmp_path, text)
    assert one(data) == {"Yes": 1 / 6, "Perhaps": 1 / 3, "No": 0.5}
    assert n(data) == [60]
    assert [x for x in drops(data) if f"{name}: response is the total of the others" in x]
    assert [x for x in notes(data) if f"response '{name}' is the sum of the others and is left out" in x]


@pytest.mark.parametrize(("unit", "whole", "off"), [("percent", 100, 1), ("share", 1, 0)])
def test_a_total_of_shares_is_left_out(unit, whole, off, tmp_path):
    text = rows(
        f"A,Tea?,Yes,{whole / 4}", f"A,Tea?,No,{whole * 3 / 4 + off}", f"A,Tea?,Total,{whole}"
    ).replace("count", unit)
    found = one(table(tmp_path, text))
    assert set(found) == {"Yes", "No"}


@pytest.mark.parametrize(
    ("unit", "numbers"),
    [("count", [50, 30, 21]), ("percent", [50, 30, 20]), ("share", [0.5, 0.3, 0.2]), ("count", [5, 90, 300])],
)
def test_a_response_all_is_kept(unit, numbers, tmp_path):
    lines = [f"A,Which?,{r},{x}" for r, x in zip(("All", "Some", "None"), numbers, strict=True)]
    data = table(tmp_path, rows(*lines).replace("count", unit))
    assert one(data)["All"] == numbers[0] / sum(numbers)
    assert [x for x in notes(data) if "response 'All' is read as a response" in x]


def test_initials_are_no_totals(tmp_path):
    data = table(tmp_path, rows("A,Tea?,Y,10", "A,Tea?,N,15", "A,Tea?,D,5"))
    assert one(data)["N"] == 0.5


@pytest.mark.parametrize(
    ("name", "total"), [("Total", 66), ("Gesamt", 55), ("Unweighted base", 1012), ("Base (weighted)", 59.2)]
)
def test_a_total_that_does_not_add_up_is_refused(name, total, tmp_path):
    text = rows("A,Tea?,Yes,10", "A,Tea?,Perhaps,20", "A,Tea?,No,30", f"A,Tea?,{name},{total}")
    with pytest.raises(DataError, match=f"seems to be a total, but is {total:g} for 'A', where the others"):
        table(tmp_path, text)


def test_a_base_among_percentages_is_told_apart(tmp_path):
    text = rows("A,Tea?,Yes,40", "A,Tea?,No,60", "A,Tea?,Base,1012").replace("count", "percent")
    with pytest.raises(DataError, match=r"row 4: percent 1012 is more than 100; .*column 'n'"):
        table(tmp_path, text)


@pytest.mark.parametrize("name", ["Total", "All", "Alle Befragten", "Todos"])
def test_a_group_that_is_the_sum_is_left_out(name, tmp_path):
    text = rows(
        "A,Tea?,Yes,10",
        "A,Tea?,No,20",
        "B,Tea?,Yes,5",
        "B,Tea?,No,7",
        f"{name},Tea?,Yes,15",
        f"{name},Tea?,No,27",
    )
    data = table(tmp_path, text)
    assert data.groups["group_id"].to_pylist() == ["A", "B"]
    assert [x for x in drops(data) if f"{name}: group is the total of the others" in x]
    assert [x for x in notes(data) if "is all the others together and is left out" in x]


def test_a_total_of_two_ways_to_divide_everybody(tmp_path):
    numbers = {"Men": (10, 20), "Women": (30, 5), "Young": (25, 5), "Old": (15, 20), "Total": (40, 25)}
    lines = [f"{g},Tea?,{r},{x}" for g, v in numbers.items() for r, x in zip(("Yes", "No"), v, strict=True)]
    assert "Total" not in table(tmp_path, rows(*lines)).groups["group_id"].to_pylist()


def test_a_group_that_is_the_mean_of_the_others(tmp_path):
    head = "group,prompt,response,percent,n\n"
    lines = "A,Tea?,Yes,40,100\nA,Tea?,No,60,100\nB,Tea?,Yes,80,300\nB,Tea?,No,20,300\n"
    total = "Total,Tea?,Yes,70,400\nTotal,Tea?,No,30,400\n"
    assert table(tmp_path, head + lines + total).groups["group_id"].to_pylist() == ["A", "B"]
    data = table(tmp_path, head + lines + total.replace("70", "50").replace("30", "50"))
    assert data.groups["group_id"].to_pylist() == ["A", "B", "Total"]
    assert [x for x in notes(data) if "the group named 'Total' is read as a group" in x]


def test_a_total_without_respondents_lies_between_the_others(tmp_path):
    text = "group,prompt,response,percent\n" + "".join(
        f"{g},Tea?,Yes,{v}\n{g},Tea?,No,{100 - v}\n" for g, v in [("A", 40), ("B", 80), ("{}", 60)]
    )
    assert len(table(tmp_path, text.format("Total", "Total")).groups) == 2
    kept = table(tmp_path, text.format("All", "All"))
    assert len(kept.groups) == 3
    assert [x for x in notes(kept) if "the group named 'All' is read as a group" in x]


@pytest.mark.parametrize("name", ["Total", "All"])
def test_a_group_that_does_not_add_up_is_noted(name, tmp_path):
    data = table(
        tmp_path,
        rows(
            "A,Tea?,Yes,10",
            "A,Tea?,No,20",
            "B,Tea?,Yes,5",
            "B,Tea?,No,7",
            f"{name},Tea?,Yes,9",
            f"{name},Tea?,No,9",
        ),
    )
    assert len(data.groups) == 3
    assert [x for x in notes(data) if f"the group named '{name}' is read as a group: its numbers" in x]
    alone = table(tmp_path, rows(f"{name},Tea?,Yes,9", f"{name},Tea?,No,9"))
    assert [x for x in notes(alone) if "no other group to compare it with" in x]


def test_totals_of_both_kinds(tmp_path):
    numbers = {"A": (10, 20, 5), "B": (3, 4, 2), "Gesamt": (13, 24, 7)}
    lines = [
        f"{g},Tee?,{r},{x}"
        for g, v in numbers.items()
        for r, x in zip(("Ja", "Nein", "Egal", "Gesamt"), (*v, sum(v)), strict=True)
    ]
    found = shares(table(tmp_path, rows(*lines)))
    assert len(found) == 6
    assert found["A", "Tee?", "Ja"] == 10 / 35


@pytest.mark.parametrize(
    ("last", "kept"), [("Total,3,2", False), ("Base,2,1", False), ("N,12%,40%", False), ("All,Yes,No", True)]
)
def test_a_row_of_totals_below_the_people(last, kept, tmp_path):
    text = f"id,Tea?,Milk?\np1,Yes,No\np2,No,\np3,Yes,Yes\n{last}\n"
    data = table(tmp_path, text, units="individuals")
    assert (last.split(",")[0] in data.groups["group_id"].to_pylist()) == kept
    assert set(data.questions["responses"].to_pylist()[0]) == {"Yes", "No"}
    assert any(
        ("is read as a person" if kept else "holds numbers in place of answers") in x for x in notes(data)
    )


def test_people_without_answers_are_listed(tmp_path):
    data = table(tmp_path, "id,Tea?,Milk?\np1,Yes,No\np2,No,Yes\nSource: us,,\n", units="individuals")
    assert [x for x in drops(data) if "row 4, 'Source: us': row holds no answers" in x]


def test_empty_columns_of_people_are_no_questions(tmp_path):
    data = table(tmp_path, "id;Tea?;;\np1;Yes;;\np2;No;;\n", units="individuals")
    assert data.questions["prompt"].to_pylist() == ["Tea?"]
    with pytest.raises(DataError, match="column 3 has no name"):
        table(tmp_path, "id;Tea?;\np1;Yes;\np2;No;5\n", units="individuals")


def test_a_total_of_a_factor_is_no_level(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    levels = ["Low", "Mid", "High", "Total"]
    response = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3], pa.int8()), pa.array(levels), ordered=True
    )
    rows = {"group": ["A"] * 4, "prompt": ["How?"] * 4, "response": response, "count": [1, 2, 3, 6]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").questions.to_pylist()[0]["responses"] == levels[:3]

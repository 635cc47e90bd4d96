"""Tables whose sums are another unit's, or whose labels are typed with other signs: noted or refused."""

import pytest
from table_files import HEADER, n, notes, one, shares, table

from gpo_ray.errors import DataError


@pytest.mark.parametrize(
    ("unit", "rows", "message"),
    [
        (
            "share",
            ["A,Yes,400", "A,No,600"],
            "share 400 is more than 1; if these are per mille, divide",
        ),
        ("percent", ["A,Yes,400", "A,No,600"], "percent 400 is more than 100; if these are per mille"),
        ("percent", ["A,Yes,50‰", "A,No,950‰"], "row 2: percent '50‰' is in per mille; divide the numbers"),
        (
            "percent",
            [f"A,r{i},50" for i in range(20)],
            "adds up to 1000 .*; if these are per mille",
        ),
        ("share", ["A,Yes,0.4", "A,No,0.6", "B,Yes,40", "B,No,60"], "share 40 is more than 1"),
        (
            "count",
            ["A,Yes,0.4", "A,No,0.6", "B,Yes,40", "B,No,71"],
            "adds up to 1 for 'A' and to more",
        ),
        ("count", ["A,Yes,.25", "A,No,.75", "B,Yes,7", "B,No,9"], "that it seems to hold shares there"),
        ("percent", ["A,Yes,40", "A,No,60", "B,Yes,.4", "B,No,.6"], "of 'B' adds up to 1 .*not to 100"),
    ],
)
def test_sums_of_another_unit(unit, rows, message, tmp_path):
    lines = [row.replace(",", ",Tea?,", 1) for row in rows]
    with pytest.raises(DataError, match=message):
        table(tmp_path, "\n".join([f"group,prompt,response,{unit}", *lines]))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            [400, 600, 250, 750],
            "every group adds up to 1000: read as counts of so many people; if these",
        ),
        ([30.5, 969.5, 10, 990], "if these are per mille, divide them by 10 and name the column 'percent'"),
        ([40, 60, 300, 700], "A: adds up to 100: read as counts of so many people; if these are percentages"),
        ([40.5, 59.5, 301, 700], "A: adds up to 100: read as counts"),
        ([41, 60, 301, 700], None),
    ],
)
def test_round_sums_of_counts_are_noted(numbers, said, tmp_path):
    labels = [f"{g},Tea?,{r}" for g in "AB" for r in ("Yes", "No")]
    data = table(tmp_path, HEADER + "\n".join(f"{x},{v}" for x, v in zip(labels, numbers, strict=True)))
    assert n(data) == [sum(numbers[:2]), sum(numbers[2:])]
    found = [x for x in notes(data) if "adds up" in x]
    assert any(said in x for x in found) if said else not found


@pytest.mark.parametrize("numbers", [[39.9, 60], [40.4, 60.6], [33, 66]])
def test_rounded_percentages_are_scaled_with_a_note(numbers, tmp_path):
    rows = [f"A,Tea?,{r},{v}\n" for r, v in zip(("Yes", "No"), numbers, strict=True)]
    data = table(tmp_path, HEADER.replace("count", "percent") + "".join(rows))
    assert one(data)["Yes"] == numbers[0] / sum(numbers)
    assert any(f"adds up to {sum(numbers):.6g} for 'Tea?', scaled to 1" in x for x in notes(data))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["A,Don't you?,Yes,1", "A,Don’t you?,No,3"], "'Don’t you?' is read as \"Don't you?\""),
        (["A,Is it “big”?,Yes,1", 'A,"Is it ""big""?",No,3'], "is read as 'Is it “big”?'"),
        (["18–24,Tea?,Yes,1", "18-24,Tea?,No,3"], "'18-24' is read as '18–24'"),
        (["A,And…,Yes,1", "A,And...,No,3"], "'And...' is read as 'And…'"),
    ],
)
def test_typographic_spellings_are_one_text(rows, said, tmp_path):
    data = table(tmp_path, HEADER + "\n".join(rows))
    assert [*one(data).values()] == [0.25, 0.75]
    assert any(said in x for x in notes(data))


def test_typographic_spellings_of_a_response(tmp_path):
    rows = "A,Tea?,Don't know,1\nA,Tea?,follow-up,3\nB,Tea?,Don’t know,1\nB,Tea?,follow\u2011up,1\n"
    data = table(tmp_path, HEADER + rows)
    assert data.questions["responses"].to_pylist() == [["Don't know", "follow-up"]]
    assert shares(data)["B", "Tea?", "follow-up"] == 0.5
    with pytest.raises(DataError, match="differs in case alone"):
        table(tmp_path, HEADER + "A,Tea?,Don't know,1\nA,Tea?,Don’t Know,3\n")


@pytest.mark.parametrize("second", ["tea?", "Tea ?", "TEA?"])
def test_columns_of_people_that_are_one_question(second, tmp_path):
    text = f"id,Tea?,{second}\np1,Yes,No\np2,No,Yes\n"
    if second == "Tea ?":
        assert len(table(tmp_path, text, units="individuals").questions) == 2
        return
    with pytest.raises(DataError, match=r"columns 2 and 3 are one question, 'Tea\?' and"):
        table(tmp_path, text, units="individuals")


@pytest.mark.parametrize("text", ["1,5%|20", "1.234,5|1,234.5", "1,2|1.5", "1,234,567|1.234.567"])
def test_messages_name_the_file_once(text, tmp_path):
    rows = [f'A,Tea?,r{i},"{cell}"' for i, cell in enumerate(text.split("|"))]
    with pytest.raises(DataError) as caught:
        table(tmp_path, HEADER + "\n".join(rows))
    assert str(caught.value).count("mine.csv") == 1

"""The table reader: each kind of input that people have is read as it is meant, or refused; never changed."""

import datetime
import os
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpo_ray.errors import ConfigError, DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey

CASES = Path(os.environ.get("GPO_RAY_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
case = pytest.mark.skipif(not CASES.is_dir(), reason="the inputs of ../shared/cases are not on this machine")
HEADER = "group,prompt,response,count\n"


def read(path, **options):
    return read_survey("table", path, ReadOptions(**options))


def table(folder, text, name="mine.csv", encoding="utf-8", **options):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return read(path, **options)


def shares(dataset):
    """The share of each group, prompt and response."""
    questions = {q["question_id"]: q for q in dataset.questions.to_pylist()}
    return {
        (p["group_id"], questions[p["question_id"]]["prompt"], response): pytest.approx(share)
        for p in dataset.preferences.to_pylist()
        for response, share in zip(questions[p["question_id"]]["responses"], p["share"], strict=True)
    }


def n(dataset):
    return [p["n"] for p in dataset.preferences.to_pylist()]


def notes(dataset):
    return [f"{x['where']}: {x['note']}" for x in dataset.notes.to_pylist()]


def drops(dataset):
    return [f"{x['where']}: {x['reason']}" for x in dataset.dropped.to_pylist()]


def one(dataset):
    """The shares of the only group and question by response."""
    return {response: share for (_, _, response), share in shares(dataset).items()}


@case
@pytest.mark.parametrize(
    ("name", "options", "expected", "note"),
    [
        ("01a-semicolon.csv", {}, {"Ja": 412.5 / 516, "Nein": 103.5 / 516}, "separated by a semicolon"),
        ("01b-sep-line.csv", {}, {"Ja": 0.8, "Nein": 0.2}, "separated by a semicolon"),
        ("01c-decimal-comma.csv", {}, {"Ja": 412.5 / 516, "Nein": 103.5 / 516}, "',' before decimals"),
        (
            "01d-thousand-us.csv",
            {"thousands": ","},
            {"Yes": 1412 / 4515, "No": 3103 / 4515},
            "between thousands",
        ),
        ("01e-thousand-nnbsp.csv", {}, {"Oui": 1412 / 4515, "Non": 3103 / 4515}, "' ' between thousands"),
        ("01f-thousand-dot.csv", {"thousands": "."}, {"Ja": 1412 / 2399, "Nein": 987 / 2399}, "'.' between"),
        ("01f-thousand-dot.csv", {"decimal": ","}, {"Ja": 1412 / 2399, "Nein": 987 / 2399}, "'.' between"),
        (
            "01f-thousand-dot.csv",
            {"decimal": "."},
            {"Ja": 1.412 / 988.412, "Nein": 987 / 988.412},
            "'.' before",
        ),
        ("01g-tab.tsv", {}, {"Ja": 0.8, "Nein": 0.2}, "separated by a tab"),
        ("02a-percent-sign.csv", {}, {"Reds": 0.227, "Blues": 0.773}, "a percent sign"),
        ("14h-utf16.csv", {}, {"Yes": 0.8, "No": 0.2}, "UTF-16-LE"),
        ("14i-cp1252.csv", {"encoding": "cp1252"}, {"Ja": 0.8, "Nein": 0.2}, "CP1252"),
        ("14k-header-case.csv", {}, {"Yes": 0.8, "No": 0.2}, "UTF-8"),
    ],
)
def test_case_is_read(name, options, expected, note):
    data = read(CASES / name, **options)
    assert one(data) == expected
    assert any(note in x for x in notes(data))


@case
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("01d-thousand-us.csv", "row 2: count '1,412' is ambiguous.* --decimal , or --thousands ,"),
        ("01f-thousand-dot.csv", r"row 2: count '1.412' is ambiguous.* --decimal \. or --thousands \."),
        (
            "02b-not-available.csv",
            "row 5: count 'Not Available' is not a number; leave the row out or give a number",
        ),
        ("02c-below.csv", "row 3: count '<1' is not a number; leave the row out or give a number"),
        ("03a-rounded-100.csv", "looks like percentages.* rename it 'percent'"),
        ("03b-fractions.csv", "looks like shares.* rename it 'share'"),
        (
            "04a-revote-same.csv",
            "row 4: 'p01' answers .* again with 'agree', after 'agree' in row 2.*--repeated last",
        ),
        ("04b-revote-changed.csv", "row 4: 'p01' answers .* again with 'disagree', after 'agree' in row 2"),
        (
            "08-case-space.csv",
            "row 4: response 'Strongly Agree' differs in case alone from 'Strongly agree' in row 2",
        ),
        ("11f-count-null.parquet", "row 2: count is empty; leave the row out or give a number"),
        ("14a-stray-quote.csv", "line 2: the quote that opens here, .* is never closed"),
        (
            "14b-two-stray-quotes.csv",
            "line 2: a quote that opens here closes on line 4, and lines between look like",
        ),
        (
            "14d-text-after-quote.csv",
            "line 2: the quote that opens here, .* closes on line 2 before more text",
        ),
        ("14i-cp1252.csv", "line 2 is not UTF-8 .*--encoding cp1252"),
        (
            "14p-open-quote-each.csv",
            "line 8: the quote that opens here, .* closes on line 9 before more text",
        ),
        ("14q-cut-file.csv", "line 5: the quote that opens here, .* is never closed"),
    ],
)
def test_case_is_refused(name, message):
    with pytest.raises(DataError, match=message):
        read(CASES / name)


@case
def test_case_of_published_shares(tmp_path):
    text = (CASES / "03a-rounded-100.csv").read_text().replace("count", "percent", 1)
    fractions = (CASES / "03b-fractions.csv").read_text().replace("count", "share", 1)
    data = table(tmp_path, text)
    assert shares(data) == shares(table(tmp_path, fractions))
    assert shares(data)["Ost", "Heat the pool?", "Not sure"] == 43 / 101
    assert n(data) == [None, None]
    assert [x for x in notes(data) if "adds up to 101" in x and "Ost" in x]
    assert [x for x in notes(data) if "adds up to 99" in x and "West" in x]


@case
@pytest.mark.parametrize(("name", "first"), [("04a-revote-same.csv", 1.0), ("04b-revote-changed.csv", 0.0)])
def test_case_of_a_second_answer_keeps_the_last(name, first):
    data = read(CASES / name, repeated="last")
    assert shares(data)["p01", "More benches by the lake", "agree"] == first
    assert drops(data)[0] == f"{name}: row 2: answered again in a later row, which is used"
    assert n(data) == [1.0, 1.0] * (2 if data.questions.num_rows == 2 else 1)


@case
def test_case_of_spellings_merged():
    data = read(CASES / "08-case-space.csv", merge_case=True)
    found = shares(data)
    assert data.questions["responses"].to_pylist() == [["Strongly agree", "Disagree"]]
    assert found["Kiel", "Heat the pool?", "Strongly agree"] == 10 / 15
    assert found["Lund", "Heat the pool?", "Strongly agree"] == 12 / 15
    assert found["Oulu", "Heat the pool?", "Strongly agree"] == 10 / 14
    assert any("'Strongly Agree' is merged with 'Strongly agree'" in x for x in notes(data))


@case
@pytest.mark.parametrize(
    ("name", "responses", "ordinal", "graz"),
    [
        ("11c-codes-double.parquet", ["1", "2"], None, [2 / 3, 1 / 3]),
        ("11d-bool.parquet", ["Yes", "No"], None, [2 / 3, 1 / 3]),
        ("11e-count-text.parquet", ["Yes", "No"], None, [2 / 3, 1 / 3]),
        ("11k-ordered-levels.parquet", ["No", "Yes"], [1.0, 2.0], [1 / 3, 2 / 3]),
    ],
)
def test_case_of_parquet_types(name, responses, ordinal, graz):
    data = read(CASES / name)
    question = data.questions.to_pylist()[0]
    assert (question["responses"], question["ordinal"]) == (responses, ordinal)
    assert data.preferences["share"].to_pylist()[0] == pytest.approx(graz)


@case
def test_case_of_the_same_question_in_another_order():
    first, second = (read(CASES / name) for name in ("18a-wave1.csv", "18b-wave2-sorted.csv"))
    assert first.questions["question_id"].to_pylist() == second.questions["question_id"].to_pylist()
    assert shares(first)["Town 1", "Buses should be free", "Neither"] == 12 / 36
    assert shares(second)["Village 1", "Buses should be free", "Neither"] == 12 / 36


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("group|prompt|response|count\nA|Tea?|Yes|3\nA|Tea?|No|1\n", {}, {"Yes": 0.75, "No": 0.25}),
        (
            'sep=\t\ngroup\tprompt\tresponse\tcount\nA\t"Tea, or\tnot?"\tYes\t3\nA\t"Tea, or\tnot?"\tNo\t1\n',
            {},
            None,
        ),
        (
            "GROUP ; prompt;Response;COUNT\nA;Tea, or not, or milk?;Yes;1.234,5\nA;Tea, or not, or "
            "milk?;No;1\n",
            {},
            None,
        ),
        (HEADER + 'A,Tea?,Yes,"1,412,000"\nA,Tea?,No,"1,412"\n', {}, {"Yes": 1000 / 1001, "No": 1 / 1001}),
        (HEADER + "A,Tea?,Yes,1'412\nA,Tea?,No,1’412\n", {}, {"Yes": 0.5, "No": 0.5}),
        (HEADER + "A,Tea?,Yes,1 412\nA,Tea?,No,1\u00a0412\n", {}, {"Yes": 0.5, "No": 0.5}),
        (HEADER + 'A,Tea?,Yes,"1,412"\nA,Tea?,No,0.5\n', {}, {"Yes": 1412 / 1412.5, "No": 0.5 / 1412.5}),
        (HEADER + 'A,Tea?,Yes,"22,7 %"\nA,Tea?,No,"77,3 %"\n', {}, {"Yes": 0.227, "No": 0.773}),
        (
            "group,prompt,response,percent\nA,Tea?,Yes,22.712\nA,Tea?,No,77.288\n",
            {},
            {"Yes": 0.22712, "No": 0.77288},
        ),
        ("group,prompt,response,share\nA,Tea?,Yes,22%\nA,Tea?,No,78%\n", {}, {"Yes": 0.22, "No": 0.78}),
        (
            HEADER + 'A,"Tea?\nOr, rather, milk?",Yes,3\nA,"Tea?\nOr, rather, milk?",No,1\n',
            {},
            {"Yes": 0.75, "No": 0.25},
        ),
        (
            HEADER + 'A,"Tea, as ""they"" say?",Yes,3\nA,"Tea, as ""they"" say?",No,1\n',
            {},
            {"Yes": 0.75, "No": 0.25},
        ),
    ],
)
def test_dialects_are_read(text, options, expected, tmp_path):
    found = one(table(tmp_path, text, **options))
    assert len(found) == 2
    assert expected is None or found == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends(encoding, end, tmp_path):
    text = (HEADER + "Zürich,Tée?,Yes,3\nZürich,Tée?,No,1\n").replace("\n", end)
    assert shares(table(tmp_path, text, encoding=encoding)) == {
        ("Zürich", "Tée?", "Yes"): 0.75,
        ("Zürich", "Tée?", "No"): 0.25,
    }


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ((HEADER + "A,Tea?,Yes,1\n").encode("utf-16-le"), {}, "NUL byte.*--encoding utf-16-le"),
        ((HEADER + "Å,Tea?,Yes,1\n").encode("cp1252"), {}, "line 2 is not UTF-8 .*--encoding cp1252"),
        (
            HEADER.encode("utf-16"),
            {"encoding": "cp1252"},
            "contradicts the file's byte order mark, which says UTF-16",
        ),
        (HEADER.encode(), {"encoding": "klingon"}, "there is no encoding 'klingon'"),
        (HEADER.encode(), {"encoding": "rot13"}, "there is no encoding 'rot13'"),
        (
            "group,Zürich\n".encode(),
            {"encoding": "cp1252"},
            "the file is UTF-8, not CP1252; leave --encoding out",
        ),
        (
            "group,„x“\n".encode("cp1252"),
            {"encoding": "latin-1"},
            "line 1 holds a control character.*such as cp1252",
        ),
        (b"sep=;\n", {}, "has a line 'sep=;' and no header"),
        (b"\n\n \n", {}, "the file is empty"),
        (b"group,prompt;response,count;x\nA,b;c,1;2\n", {}, "column 'group' is missing|separated by"),
    ],
)
def test_text_that_cannot_be_understood(content, options, message, tmp_path):
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "mine.csv", **options)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('A,"Tea?,Yes,1\nA,Tea?,No,2\n', "line 2: the quote that opens here.* never closed"),
        ('A,Tea?,Yes,1\nA,Tea?,"No,2', "line 3: the quote that opens here.* never closed"),
        ('A,Tea?,Yes,"1\nA,Tea?",No,2\n', "line 2: a quote that opens here closes on line 3"),
        ('A,Tea?,"Yes,1\nB,Tea?,No",2\n', "line 2: a quote that opens here closes on line 3"),
        ('A,Tea?,"Yes,1\nB,Tea?,No,2\nC,Tea?,No,3\nD,Tea?,Yes",2\n', "line 2: .* closes on line 5"),
        ('A,"Tea" or milk?,Yes,1\n', "line 2: the quote .* closes on line 2 before more text"),
        (
            'A,Tea or "milk"?,Yes,1\n',
            "line 2: a quote within a cell that does not begin with one, at 'Tea or \"milk",
        ),
        ('A, "Tea?",Yes,1\n', "line 2: a quote within a cell that does not begin with one"),
        ('A,"Tea?" ,Yes,1\n', "line 2: the quote .* closes on line 2 before more text"),
        ('A,"Te\na?",Yes,1\nB,"Tea?"x,Yes,1\n', "line 4: the quote .* closes on line 4 before more text"),
        ('A,"Te\na?",Yes,1\nB,Tea?,1\n', r"row 3: 3 cells, the header has 4 \(line 4\)"),
    ],
)
def test_quotes_are_strict(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, HEADER + rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('A,Tea?,Yes,"1,412"\nA,Tea?,No,987\n', "row 2: count '1,412' is ambiguous"),
        ("A,Tea?,Yes,12.500\nA,Tea?,No,7\n", "row 2: count '12.500' is ambiguous"),
        ('A,Tea?,Yes,"1,5"\nA,Tea?,No,1.5\n', "different decimal signs"),
        (
            'A,Tea?,Yes,"1,412,000"\nA,Tea?,No,"1,5"\n',
            "has ',' before its decimals, but .* between thousands",
        ),
        ("A,Tea?,Yes,1 41\nA,Tea?,No,1\n", "row 2: count '1 41' is not a number with"),
        ("A,Tea?,Yes,12\nA,Tea?,No,88%\n", "row 2: count has no percent sign, but .*row 3"),
        (
            "A,Tea?,Yes,12\nA,Tea?,No,-\n",
            "row 3: count '-' is not a number; leave the row out or give a number",
        ),
        (
            "A,Tea?,Yes,12\nA,Tea?,No,n/a\n",
            "row 3: count 'n/a' is not a number; leave the row out or give a number",
        ),
    ],
)
def test_numbers_that_are_not_certain(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, HEADER + rows)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("share", ["0.4", "0.4"], "adds up to 0.8 for 'Tea.', not to 1"),
        ("share", ["40", "60"], "row 2: share 40 is more than 1; name the column 'percent'"),
        ("percent", ["0.4", "0.6"], "adds up to 1 for 'Tea.', not to 100; name the column 'share'"),
        ("percent", ["70", "70"], "adds up to 140"),
        ("count", ["22.7", "77.3"], "looks like percentages"),
        ("count", ["0.227", "0.773"], "looks like shares"),
        ("share,n", ["0.4,100", "0.6,90"], "n of 'A' for 'Tea.' is 100.0 before and 90.0 here"),
        ("share,n", ["0.4,0", "0.6,0"], "n 0 is not above 0"),
        ("count,share", ["4,.4", "6,.6"], "columns 'count' and 'share' are both there"),
    ],
)
def test_amounts_that_contradict_their_column(header, rows, message, tmp_path):
    lines = [f"A,Tea?,{r},{x}" for r, x in zip(("Yes", "No"), rows, strict=True)]
    with pytest.raises(DataError, match=message):
        table(tmp_path, "\n".join([f"group,prompt,response,{header}", *lines]))


def test_percentages_with_a_row_left_out_are_no_counts(tmp_path):
    text = HEADER + "A,Vote?,Reds,22.7\nA,Vote?,Blues,77.3\nB,Vote?,Reds,40\n"
    with pytest.raises(DataError, match="looks like percentages"):
        table(tmp_path, text)


@pytest.mark.parametrize("rows", [["60", "40"], ["512", "488"], ["0.5", "312.5"]])
def test_counts_stay_counts(rows, tmp_path):
    data = table(tmp_path, HEADER + f"A,Tea?,Yes,{rows[0]}\nA,Tea?,No,{rows[1]}\n")
    assert n(data) == [sum(map(float, rows))]


def test_respondents_beside_the_amounts(tmp_path):
    head = "group,prompt,response,{},n\n"
    rows = 'A,Tea?,Yes,60,"1,5e2"\nA,Tea?,No,40,150\nB,Tea?,Yes,10,\nB,Tea?,No,90,\n'
    data = table(tmp_path, head.format("percent") + rows)
    assert n(data) == [150, None]
    assert n(table(tmp_path, head.format("count") + rows)) == [150, 100]
    with pytest.raises(DataError, match=r"--min-respondents needs to know.* column 'n'"):
        table(tmp_path, head.format("percent") + rows, min_respondents=10)


def test_fewest_respondents_of_a_table(tmp_path):
    rows = "A,Tea?,Yes,60\nA,Tea?,No,41\nB,Tea?,Yes,3\nB,Tea?,No,4\n"
    data = table(tmp_path, HEADER + rows, min_respondents=50)
    assert data.groups["group_id"].to_pylist() == ["A"]
    assert [x for x in drops(data) if "B, q-" in x and "fewer respondents than min_respondents" in x]


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ("a,Tea?,Yes,1\nA,Tea?,No,2\n", "group 'A' differs in case alone from 'a' in row 2"),
        ("A,tea?,Yes,1\nA,Tea?,No,2\n", "prompt 'Tea.' differs in case alone from 'tea.' in row 2"),
        ("A,Tea?,STRASSE,1\nA,Tea?,Straße,2\n", "response 'Straße' differs in case alone from 'STRASSE'"),
    ],
)
def test_case_alone(rows, column, tmp_path):
    with pytest.raises(DataError, match=f"row 3: {column}.*--merge-case"):
        table(tmp_path, HEADER + rows)


def test_spaces_and_unicode_forms_are_one_text(tmp_path):
    rows = "Cafe\u0301,Tea  or\u00a0milk?,Yes,1\nCafé , Tea or milk?,No,3\n"
    data = table(tmp_path, HEADER + rows)
    assert shares(data) == {("Café", "Tea or milk?", "Yes"): 0.25, ("Café", "Tea or milk?", "No"): 0.75}
    assert any("is read as 'Tea or milk?'" in x for x in notes(data))


def test_rows_that_differ_in_spaces_alone_are_added_up(tmp_path):
    data = table(tmp_path, HEADER + "A,Tea?,Yes,1\nA,Tea?,Yes ,2\nA,Tea?,No,3\n")
    assert one(data) == {"Yes": 0.5, "No": 0.5}
    assert any("row 3: added to a row of the same labels" in x for x in notes(data))


def test_responses_without_a_row(tmp_path):
    head, rows = HEADER, "A,Tea?,Yes,1\nA,Tea?,No,3\nB,Tea?,Yes,2\n"
    data = table(tmp_path, head + rows)
    assert [x for x in notes(data) if "taken as 0" in x and "B: 'Tea?', 'No'" in x]
    rows = "A,Tea?,Yes,1,x\nA,Tea?,No,3,x\nB,Tea?,Yes,2,x\nC,Tea?,Yes,2,y\n"
    data = table(tmp_path, head.replace("count", "count,source") + rows)
    assert [x.rpartition("row: ")[2] for x in notes(data) if "taken as 0" in x] == ["C: 'Tea?', 'No'"]
    many = "".join(f"g{i},Tea?,Yes,{i + 1}\n" for i in range(30))
    data = table(tmp_path, head + "A,Tea?,No,3\n" + many)
    assert len([x for x in notes(data) if "taken as 0" in x]) == 21
    assert any("and 11 more" in x for x in notes(data))


@pytest.mark.parametrize(
    ("columns", "rows", "responses", "ordinal"),
    [
        ("position", ["Yes,3,2", "No,1,1"], ["No", "Yes"], None),
        ("scale", ["Yes,3,5", "No,1,-1.5"], ["Yes", "No"], [5.0, -1.5]),
        ("ordered", ["Low,3,true", "High,1,TRUE"], ["Low", "High"], [1.0, 2.0]),
        ("ordered", ["Low,3,false", "High,1,No"], ["Low", "High"], None),
        ("ordered,position", ["High,3,yes,9", "Low,1,yes,7"], ["Low", "High"], [1.0, 2.0]),
    ],
)
def test_order_and_scale(columns, rows, responses, ordinal, tmp_path):
    text = f"group,prompt,response,count,{columns}\n" + "".join(f"A,Tea?,{row}\n" for row in rows)
    question = table(tmp_path, text).questions.to_pylist()[0]
    assert (question["responses"], question["ordinal"]) == (responses, ordinal)


def test_order_of_a_scale_is_that_of_all_groups(tmp_path):
    head = HEADER.replace("count", "count,ordered")
    rows = ["A,Tea?,Low,1", "A,Tea?,High,2", "B,Tea?,Low,1", "B,Tea?,Middle,3", "B,Tea?,High,2"]
    data = table(tmp_path, head + "".join(f"{row},true\n" for row in rows))
    assert data.questions["responses"].to_pylist() == [["Low", "Middle", "High"]]
    assert any("Low = 1, Middle = 2, High = 3" in x for x in notes(data))
    with pytest.raises(
        DataError, match=r"do not say whether .* comes first; give the order in a column 'position'"
    ):
        table(
            tmp_path,
            head + "".join(f"{row},true\n" for row in [*rows[:2], "B,Tea?,Low,1", "B,Tea?,Middle,2"]),
        )
    with pytest.raises(DataError, match="different orders"):
        table(tmp_path, head + "".join(f"{row},true\n" for row in [*rows, "C,Tea?,High,1", "C,Tea?,Low,2"]))


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ("position", ["Yes,3,1", "No,1,1"], "responses 'Yes' and 'No' have the same position"),
        ("position", ["Yes,3,1", "No,1,"], "response 'No' has no position, but others have"),
        ("scale", ["Yes,3,x", "No,1,1"], "row 2: scale 'x' is not a number"),
        ("scale,ordered", ["Yes,3,1,no", "No,1,2,no"], "ordered is false, but the responses have values"),
        ("ordered", ["Yes,3,maybe", "No,1,no"], "row 2: ordered 'maybe' is neither true nor false"),
        ("ordered", ["Yes,3,yes", "No,1,no"], "row 3: ordered is True in a row before and False here"),
    ],
)
def test_order_and_scale_that_contradict(columns, rows, message, tmp_path):
    text = f"group,prompt,response,count,{columns}\n" + "".join(f"A,Tea?,{row}\n" for row in rows)
    with pytest.raises(DataError, match=message):
        table(tmp_path, text)


def test_position_of_a_response_is_one(tmp_path):
    text = HEADER.replace("count", "count,position") + "A,Tea?,Yes,1,1\nA,Tea?,No,1,2\nB,Tea?,Yes,1,2\n"
    with pytest.raises(DataError, match="row 4: position of response 'Yes' is 1 before and 2 here"):
        table(tmp_path, text)


def test_long_table_of_peoples_choices(tmp_path):
    text = "group,prompt,response\np1,Tea?,Yes\np1,Milk?,No\np2,Tea?,No\np2,Milk?,Yes\n"
    data = table(tmp_path, text, units="individuals")
    assert set(data.groups["kind"].to_pylist()) == {"individual"}
    assert shares(data)["p1", "Tea?", "Yes"] == 1
    assert not [x for x in notes(data) if "taken as 0" in x]
    with pytest.raises(DataError, match=r"'p1' answers 'Tea.' again with 'No'"):
        table(tmp_path, text + "p1,Tea?,No\n", units="individuals")
    last = table(tmp_path, text + "p1,Tea?,No\n", units="individuals", repeated="last")
    assert shares(last)["p1", "Tea?", "No"] == 1
    with pytest.raises(DataError, match="column 'count' is missing"):
        table(tmp_path, text)


def test_wide_table_of_people(tmp_path):
    text = "Age;Respondent;Is tea good?;Is milk good?\n30;p1;Yes;No\n40;p2;No;\n50;p3;NA;No\n60;p4; Yes;Yes\n"
    data = table(tmp_path, text, units="individuals")
    found = shares(data)
    assert {p for _, p, _ in found} == {"Age", "Is tea good?", "Is milk good?"}
    assert found["p4", "Is tea good?", "Yes"] == 1
    assert ("p2", "Is milk good?", "Yes") not in found
    assert ("p3", "Is tea good?", "Yes") not in found
    assert any("'NA' (1 cells): cell says that there is no answer" in x for x in drops(data))
    assert any("column 'Respondent' names the person" in x for x in notes(data))


def test_wide_table_whose_first_column_names_the_person(tmp_path):
    rows = "".join(f"2026-01-01 10:{i},{'Yes' if i % 3 else 'No'},said {i}\n" for i in range(40))
    data = table(tmp_path, "Timestamp,Tea?,Comment\n" + rows, units="individuals")
    assert data.questions["prompt"].to_pylist() == ["Tea?"]
    assert [x for x in drops(data) if "'Comment': column has too many different answers" in x]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,Tea?\np1,Yes\np1,No\n", "row 3: id 'p1' is in row 2 too"),
        ("id,Tea?,Tea? \np1,Yes,No\n", "columns 2 and 3 are both named 'Tea.'"),
        ("id,,Tea?\np1,x,No\n", "column 2 has no name"),
        ("id\np1\n", "has the one column 'id'"),
        ("id,Tea?\np1,Yes\np2,yes\n", "differs in case alone"),
    ],
)
def test_wide_table_that_is_not_certain(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table(tmp_path, text, units="individuals")


def test_wide_table_without_the_option(tmp_path):
    with pytest.raises(DataError, match=r"column 'group' is missing.*--units individuals"):
        table(tmp_path, "id,Tea?\np1,Yes\np2,No\n")
    with pytest.raises(ConfigError, match="units='both' does not apply"):
        table(tmp_path, "id,Tea?\np1,Yes\np2,No\n", units="both")


def workbook(folder, *sheets, name="mine.xlsx"):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, rows in enumerate(sheets):
        sheet = book.create_sheet(f"s{i}")
        for row in rows:
            sheet.append(row)
    book.save(folder / name)
    return folder / name


LONG = [["Group", "prompt", "response", "count"], ["A", "Tea?", "Yes", 1.412], ["A", "Tea?", "No", 987]]


def test_workbook(tmp_path):
    data = read(workbook(tmp_path, [], [[], *LONG, [], []], [["other"], [1]]))
    assert one(data) == {"Yes": 1.412 / 988.412, "No": 987 / 988.412}
    assert any("sheet 's1' is read" in x for x in notes(data))
    assert any("not read: 's2'" in x for x in notes(data))


def test_workbook_with_codes_and_percentages(tmp_path):
    path = workbook(
        tmp_path, [["group", "prompt", "response", "share"], [1, "Tea?", 4.0, 0.25], [1, "Tea?", 5, 0.75]]
    )
    book = openpyxl.load_workbook(path)
    for cell in ("D2", "D3"):
        book["s0"][cell].number_format = "0.0%"
    book.save(path)
    assert shares(read(path)) == {("1", "Tea?", "4"): 0.25, ("1", "Tea?", "5"): 0.75}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["A", "Tea?", datetime.date(2026, 2, 1), 3], "cell C4 holds a date"),
        (["A", "Tea?", "Perhaps", "=1+1"], "cell D4 holds a formula"),
        (
            ["A", "Tea?", "Perhaps", "#N/A"],
            "cell D4 holds the error #N/A|row 4: count '#N/A' is not a number",
        ),
        (["A", "Tea?", "Perhaps", None], "row 4: count is empty; leave the row out or give a number"),
        ([None, "Tea?", "Perhaps", 1], "row 4: group is empty"),
        (["A", "Tea?", "Perhaps", True], "row 4: count True is not a number"),
    ],
)
def test_workbook_cell_without_a_value(row, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(workbook(tmp_path, [*LONG, row]))


def test_date_in_a_column_that_is_not_used(tmp_path):
    rows = [[*row, datetime.date(2026, 2, 1) if i else "when"] for i, row in enumerate(LONG)]
    assert len(one(read(workbook(tmp_path, rows)))) == 2


@pytest.mark.parametrize(
    ("name", "message"), [("a.xlsx", "not a readable .xlsx"), ("a.xls", "save it as .xlsx")]
)
def test_no_workbook(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"PK\3\4 nothing of the kind")
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def parquet(folder, **columns):
    rows = {
        "group": ["A", "A", "B"],
        "prompt": ["Tea?"] * 3,
        "response": ["Yes", "No", "No"],
        "count": [1, 2, 3],
    }
    pq.write_table(pa.table(rows | columns), folder / "mine.parquet")
    return folder / "mine.parquet"


def factor(values, levels):
    indices = pa.array([levels.index(v) for v in values], pa.int8())
    return pa.DictionaryArray.from_arrays(indices, pa.array(levels), ordered=True)


def test_parquet_levels_without_a_row_were_offered(tmp_path):
    path = parquet(tmp_path, response=factor(["Yes", "No", "No"], ["No", "Maybe", "Yes"]))
    data = read(path)
    assert data.questions.to_pylist()[0]["responses"] == ["No", "Maybe", "Yes"]
    assert data.questions.to_pylist()[0]["ordinal"] == [1.0, 2.0, 3.0]
    assert data.preferences["share"].to_pylist()[0] == pytest.approx([2 / 3, 0, 1 / 3])
    assert any("Maybe" in x and "offered" in x for x in notes(data))


def test_parquet_levels_of_several_questions(tmp_path):
    response = factor(["Yes", "No", "Low", "High"], ["No", "Yes", "Low", "High"])
    path = parquet(
        tmp_path, group=["A"] * 4, prompt=["Tea?"] * 2 + ["How?"] * 2, response=response, count=[1, 2, 3, 4]
    )
    assert read(path).questions["responses"].to_pylist() == [["No", "Yes"], ["Low", "High"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"response": [1.5, 2.0, 2.0]}, "column 'response' is of type double, .* row 1 holds 1.5"),
        ({"response": ["Yes", None, "No"]}, "row 2: response is empty"),
        ({"group": ["A", None, "B"]}, "row 2: group is empty"),
        ({"group": [True, True, False]}, "column 'group' is of type bool, expected text or whole numbers"),
        ({"count": ["1", "1,412", "3"]}, "row 2: count '1,412' is ambiguous"),
        ({"count": [1, None, 3]}, "row 2: count is empty; leave the row out or give a number"),
    ],
)
def test_parquet_values_that_are_not_certain(columns, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(parquet(tmp_path, **columns))


def test_parquet_column_names_without_case(tmp_path):
    rows = {
        "Group": ["A", "A"],
        "PROMPT": ["Tea?"] * 2,
        " response": ["Yes", "No"],
        "Count": [1, 3],
        "x": [[1], [2]],
    }
    pq.write_table(pa.table(rows), tmp_path / "mine.parquet")
    assert one(read(tmp_path / "mine.parquet")) == {"Yes": 0.25, "No": 0.75}


def test_parquet_wide_table(tmp_path):
    pq.write_table(
        pa.table({"id": [1, 2], "Tea?": [True, False], "Milk?": [1.0, 2.0]}), tmp_path / "w.parquet"
    )
    found = shares(read(tmp_path / "w.parquet", units="individuals"))
    assert found["1", "Tea?", "Yes"] == 1
    assert found["2", "Milk?", "2"] == 1

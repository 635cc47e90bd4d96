"""The table reader: each kind of input that people have is read as it is meant, or refused; never changed."""

import os
from pathlib import Path

import pytest
from table_files import HEADER, drops, n, notes, one, read, shares, table

from gpo_ray.errors import DataError

CASES = Path(os.environ.get("GPO_RAY_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
case = pytest.mark.skipif(not CASES.is_dir(), reason="the inputs of ../shared/cases are not on this machine")


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

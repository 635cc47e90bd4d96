"""OpinionQA files that cannot be used are named, with what is wrong."""

import pytest
from opinionqa_waves import read, write_counts, write_responses

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import read_survey


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        ("-1", "negative"),
        ("heavy", "not a number"),
        ("inf", "not finite"),
        ("1_0", "not a number"),
        ("True", "not a number"),
    ],
)
def test_bad_weight(weight, problem, wave):
    write_responses(wave, ("Very", "No", "Male", "Atheist", weight))
    with pytest.raises(DataError, match=rf"responses.csv: row 2: WEIGHT_W26 .*{problem}"):
        read(wave)


def test_missing_weight_column(wave):
    write_responses(wave, ("Very", "Male", 1), columns="SAFE_W26,SEX,WEIGHT")
    with pytest.raises(DataError, match="column 'WEIGHT_W26' is missing; found"):
        read(wave)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("info.csv", "", "the file is empty"),
        ("info.csv", "key,question\na,b\n", "column 'references' is missing"),
        (
            "info.csv",
            "key,question,references,option_ordinal\nA,b,[c,[1]\n",
            "row 2, A: references: cannot read",
        ),
        ("info.csv", "key,question,references,option_ordinal\nA,b,['c'],[x]\n", "row 2, A: option_ordinal"),
        ("SEX_data.json", "", "the file is empty"),
        ("SEX_data.json", "{", "not a readable JSON file"),
        ("SEX_data.json", "[]", "expected an object of question keys"),
        ("SEX_data.json", '{"GUN_W26": 3}', "GUN_W26: expected an object"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": -1}}}', "GUN_W26: Male: count of 'No' -1 is negative"),
        (
            "SEX_data.json",
            '{"GUN_W26": {"Male": {"No": "1"}}}',
            "GUN_W26: Male: count of 'No' '1' is not a number",
        ),
        ("SEX_data.json", '{"GUN_W26": {"Male": 3}}', "GUN_W26: Male: expected an object"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1%s}}}' % ("0" * 400), "count of 'No' .*too large"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1%s}}}' % ("0" * 5000), "not a readable JSON file"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": true}}}', "count of 'No' True is not a number"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": NaN}}}', "count of 'No' is nan, not finite"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1e999}}}', "count of 'No' is inf, not finite"),
        ("SEX_data.json", '{"GUN_W26": {"Male": {"No": 1e308, "Yes": 1e308}}}', "add up to infinity"),
        ("SEX_data.json", '{"GUN_W26": ' * 100_000, "not a readable JSON file"),
        (
            "info.csv",
            "key,question,references,option_ordinal\nA,b,[],[True]\n",
            "value 0 True is not a number",
        ),
        ("info.csv", "key,question,references,option_ordinal\nA,b,[None],[]\n", "value 0 None is not a num"),
        (
            "info.csv",
            "key,question,references,option_ordinal,key\nA,b,[],[],B\n",
            "column 'key' is there twice",
        ),
        ("responses.csv", "SEX,SEX,WEIGHT_W26\nMale,Male,1\n", "column 'SEX' is there twice"),
        ("responses.csv", "SEX,WEIGHT_W26\nMa\0le,1\n", "line 2 holds a NUL byte"),
        ("responses.csv", "", "the file is empty"),
        ("responses.csv", "SEX,WEIGHT_W26\n", "(no rows|not a readable CSV)"),
        ("responses.csv", "SEX,WEIGHT_W26\nMale,1,3\n", "not a readable CSV"),
    ],
)
def test_unusable_file_is_named(name, content, message, wave):
    (wave / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as e:
        read(wave)
    assert str(wave / name) in str(e.value)


@pytest.mark.parametrize("name", ["info.csv", "metadata.csv", "responses.csv", "SEX_data.json"])
def test_folder_in_place_of_a_file(name, wave):
    if name != "SEX_data.json":
        write_responses(wave, ("Very", "No", "Male", "Atheist", 1))
    (wave / name).unlink(missing_ok=True)
    (wave / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: a folder where a file is expected"):
        read(wave)


def test_file_in_place_of_a_folder(wave, tmp_path):
    other = wave.with_name("American_Trends_Panel_W27")
    other.write_text("x")
    write_counts(wave, {"GUN_W26": {"Male": {"No": 1}}})
    with pytest.raises(DataError, match="_W27: a file where a folder is expected"):
        read(wave)
    with pytest.raises(DataError, match="_W27: a file where a folder is expected"):
        read_survey("opinionqa", other)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "human_resp").write_text("x")
    with pytest.raises(DataError, match="human_resp: a file where a folder is expected"):
        read_survey("opinionqa", tmp_path / "a")


def test_nothing_left_names_source_and_reasons(wave):
    write_counts(wave, {"GUN_W26": {"Male": {"Refused": 1}, "Other": {"No": 1}}, "LOST": {"Male": {"No": 1}}})
    with pytest.raises(DataError, match="no questions, groups or preferences are left") as e:
        read(wave)
    assert str(wave.parent) in str(e.value)
    assert "left out most often: " in str(e.value)
    assert "refusal (1)" in str(e.value)


def test_weights_that_overflow(wave):
    row = ("Very", "No", "Male", "Atheist", "1e308")
    write_responses(wave, row, row)
    with pytest.raises(DataError, match=r"responses.csv: the survey weights add up to infinity"):
        read(wave)


def test_half_a_character(wave):
    write_counts(wave, {"GUN_W26": {"\ud800": {"No": 1}}})
    with pytest.raises(DataError, match=r"SEX_data\.json: .*a text holds half a character"):
        read(wave)


def test_folder_without_waves(tmp_path):
    with pytest.raises(DataError, match="no folder American_Trends_Panel"):
        read_survey("opinionqa", tmp_path)

"""Scales of which a code is out of order, or beside the scale, in several languages."""

import numpy as np
import pandas as pd
import pytest
from survey_files import V, demographic, scale, write

from gpo_ray.errors import DataError
from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.respondents.arrange import arrange

BESIDE = """
Strongly agree|Agree|Disagree|Strongly disagree|It depends (volunteered)
Excellent|Good|Only fair|Poor|Not sure
Very likely|Somewhat likely|Not too likely|Not at all likely|Haven't decided
Very favorable|Mostly favorable|Mostly unfavorable|Very unfavorable|Never heard of
Very important|Somewhat important|Not too important|Neither of these
Yes, definitely|Yes, probably|No, probably not|No, definitely not|Not sure
Sehr zufrieden|Eher zufrieden|Eher unzufrieden|Sehr unzufrieden|Kommt darauf an
Très satisfait|Assez satisfait|Peu satisfait|Pas du tout satisfait|Ça dépend (NE PAS LIRE)
Muy de acuerdo|De acuerdo|En desacuerdo|Muy en desacuerdo|Depende (NO LEER)
Molto d'accordo|Abbastanza d'accordo|Poco d'accordo|Per niente d'accordo|Dipende
Concordo totalmente|Concordo|Discordo|Discordo totalmente|Depende (ESPONTÂNEA)
Helemaal mee eens|Mee eens|Mee oneens|Helemaal mee oneens|Hangt ervan af
Mycket nöjd|Ganska nöjd|Inte särskilt nöjd|Inte alls nöjd|Det beror på"""

MOVED = """
Better|Worse|About the same
Increased|Decreased|Stayed the same
Favor|Oppose|Neither favor nor oppose
Much better|Better|Worse|Much worse|(VOL.) Same
Besser|Schlechter|Gleich
Zugenommen|Abgenommen|Gleich geblieben
Augmenté|Diminué|Resté le même
Ha aumentado|Ha disminuido|Se ha mantenido igual
Migliorata|Peggiorata|Rimasta uguale
Aumentou|Diminuiu|Ficou igual
Verbeterd|Verslechterd|Gelijk gebleven
Bättre|Sämre|Oförändrat"""

NOMINAL = """
Increase taxes|Cut spending|Neither
Yes|No|Maybe
Yes|No|Depends
Agree|Disagree|Depends
The Republicans|The Democrats|Neither of these
Leave|Stay|Neither
Men|Women|No difference|Depends
Red|Green|Blue|Not sure
Catholic|Protestant|No religion|None of these
Good for the rich|Good for the poor|Bad for everyone|Depends
The economy|Health|Schools|Not sure"""


@pytest.mark.parametrize("line", BESIDE.strip().splitlines())
def test_the_last_is_beside_the_scale(line):
    labels = line.split("|")
    found = arrange(labels)
    assert (found.scale, found.aside, found.moved) == (tuple(labels[:-1]), (labels[-1],), False)
    turned = arrange([labels[-1], *labels[-2::-1]])
    assert (turned.scale, turned.aside) == (tuple(labels[-2::-1]), (labels[-1],))


@pytest.mark.parametrize("line", MOVED.strip().splitlines())
def test_the_last_is_the_middle(line):
    *sides, middle = line.split("|")
    half = len(sides) // 2
    want = (*sides[:half], middle, *sides[half:])
    assert arrange([*sides, middle]).scale == want
    assert arrange([*sides, middle]).moved
    assert arrange([middle, *sides]).scale == want
    assert not arrange(want).moved
    texts = [arrange(each, coded=False).scale for each in ([*sides, middle], [middle, *sides[::-1]])]
    assert len(sides) > 2 or texts[0] == texts[1]  # the rows of a spreadsheet do not say which end is first
    assert texts[0] in (want, want[::-1])


@pytest.mark.parametrize("line", NOMINAL.strip().splitlines())
def test_what_is_no_scale_is_not_ordered(line):
    assert arrange(line.split("|")) is None


def test_none_with_a_code_apart():
    agree = ["Agree strongly", "Agree", "Disagree", "Disagree strongly", "None"]
    assert arrange(agree, {"None"}).aside == ("None",)
    assert arrange(agree) is None
    assert arrange(["A lot", "Some", "A little", "None"], {"None"}).aside == ()
    important = ["Very important", "Somewhat important", "Not too important", "Kein"]
    assert arrange(important, {"Kein"}).aside == ("Kein",)


def test_ends_that_stand_first():
    often = ["Never", "Daily", "Weekly", "Monthly", "Less often"]
    assert arrange(often).scale == (*often[1:], "Never")
    proud = ["Not at all proud", "Very proud", "Fairly proud", "Not very proud"]
    assert arrange(proud).scale == (*proud[1:], proud[0])


def test_undecided_is_the_middle_where_no_code_tells():
    labels = ["Agree strongly", "Agree", "Disagree", "Disagree strongly", "Undecided"]
    assert arrange(labels).aside == ("Undecided",)
    assert arrange(labels, coded=False).scale[2] == "Undecided"


def test_shares_and_scales_of_a_file(tmp_path):
    variables = {
        "q1": scale("Are parks good?", "Agree strongly", "Agree", "Disagree", "Disagree strongly", "Depends"),
        "q2": scale("How is life?", "Better", "Worse", "About the same", missing={8: "Don't know"}),
        "q3": V(
            "Where on it?",
            {0: "Low", 10: "High", 97: "None"},
            [],
            lambda r, n: r.choice([*range(11), 97.0], n),
        ),
        "q4": scale("And so?", "High", "Middling", "Low", "Not sure", measure="ordinal"),
        "sex": demographic("Sex", "Male", "Female"),
    }
    data = write(tmp_path / "s.sav", variables, n=400)
    dataset = read_survey("respondents", tmp_path / "s.sav", ReadOptions(min_respondents=1))
    asked = {q.question_id: q for q in dataset.iter_questions()}
    assert asked["q1"].responses == ("Agree strongly", "Agree", "Disagree", "Disagree strongly")
    assert asked["q1"].ordinal == (1, 2, 3, 4)
    assert asked["q2"].responses == ("Better", "About the same", "Worse")
    assert asked["q2"].ordinal == (1, 2, 3)
    assert asked["q3"].ordinal == tuple(range(11))
    assert asked["q4"].responses == ("High", "Middling", "Low")
    man = data[data.sex == 1]
    for name, codes in (("q1", (1, 2, 3, 4)), ("q2", (1, 3, 2)), ("q3", range(11))):
        row = next(
            p
            for p in dataset.preferences.to_pylist()
            if p["question_id"] == name and p["group_id"] == "sex=Male"
        )
        known = man[name][man[name].isin(codes)]
        np.testing.assert_allclose(row["share"], [(known == c).mean() for c in codes], atol=1e-9)
        assert row["n"] == len(known)
    notes = {
        n["where"].split(": ")[-1]: n["note"]
        for n in dataset.notes.to_pylist()
        if "beside the scale" in n["note"]
    }
    assert "guessed to be beside the scale: 5 'Depends'" in notes["q1"]
    assert "97 'None'" in notes["q3"]
    assert any("gave an answer beside the responses" in n["note"] for n in dataset.notes.to_pylist())


def test_texts_beside_a_scale(tmp_path):
    rng = np.random.default_rng(0)
    answers = ["Not sure", "Strongly agree", "Agree", "Disagree", "Strongly disagree"]
    data = pd.DataFrame({"Is it right?": rng.choice(answers, 200), "sex": rng.choice(["m", "w"], 200)})
    data.to_csv(tmp_path / "p.csv", index=False)
    dataset = read_survey("respondents", tmp_path / "p.csv", ReadOptions(min_respondents=1))
    question = next(dataset.iter_questions())
    assert question.responses == ("Strongly disagree", "Disagree", "Agree", "Strongly agree")


@pytest.mark.parametrize("suffix", ["sav", "dta", "xpt", "por", "zsav", "sas7bdat", "parquet", "xlsx", "csv"])
def test_bytes_that_are_no_such_file(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    for content in (np.random.default_rng(3).bytes(5000), bytes(2000), b"\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"x\.{suffix}: ") as e:
            read_survey("respondents", path)
        assert "\n" not in str(e.value)


def test_files_that_are_too_wide_or_cut(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"Q{i}" for i in range(100_000)) + "\n" + ",".join(["1"] * 100_000) + "\n")
    with pytest.raises(DataError, match="columns, at most"):
        read_survey("respondents", path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({f"Q{i}": [1] for i in range(20_001)}), tmp_path / "w.parquet")
    with pytest.raises(DataError, match="holds 20,001 variables, and 20,000 are read at most"):
        read_survey("respondents", tmp_path / "w.parquet")
    whole = (tmp_path / "w.parquet").read_bytes()
    (tmp_path / "w.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"w\.parquet: not a readable Parquet file"):
        read_survey("respondents", tmp_path / "w.parquet")


def test_a_trial_that_takes_too_much_memory(tmp_path, monkeypatch):
    from gpo_ray.preferences.readers.respondents import trial

    write(tmp_path / "s.sav", {"q1": scale("Is it?", "Yes", "No")}, n=10)
    monkeypatch.setattr(trial, "_TRIAL", "raise SystemExit(77)")
    with pytest.raises(DataError, match=r"s\.sav: reading it takes too much memory"):
        read_survey("respondents", tmp_path / "s.sav")


def test_long_labels_and_many_labels_do_not_take_long(tmp_path):
    import time

    labels = {float(i): f"Place number {i}" for i in range(1, 30_001)}
    variables = {
        "q1": scale("Is it right?", "Agree", "Disagree"),
        "place": V("Which place is best?", labels, [], lambda r, n: r.integers(1, 30_000, n) * 1.0),
        "sex": demographic("Sex", "Male", "Female"),
    }
    write(tmp_path / "s.dta", variables)
    began = time.process_time()
    dataset = read_survey("respondents", tmp_path / "s.dta", ReadOptions(min_respondents=1))
    assert time.process_time() - began < 20
    assert [q.question_id for q in dataset.iter_questions()] == ["q1"]

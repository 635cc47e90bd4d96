"""What is proposed of files in the layouts of large surveys."""

import numpy as np
import pytest
from survey_files import FOLDER, demographic, read_layout, scale, write

pytest.importorskip("pyreadstat", reason="the surveys extra is not installed")

from gpo_ray.preferences.readers.options import ReadOptions
from gpo_ray.preferences.readers.respondents.kinds import kind_of
from gpo_ray.preferences.readers.respondents.proposal import propose
from gpo_ray.preferences.readers.respondents.reader import read_table_of

LAYOUTS = sorted(p.name.removesuffix(".txt") for p in FOLDER.iterdir())


@pytest.mark.parametrize("name", LAYOUTS)
def test_proposal_of_layout(tmp_path, name):
    variables, path = read_layout(name), tmp_path / name
    write(path, variables)
    proposal = propose(read_table_of(path, ReadOptions()))
    found = {f.name: f for f in proposal.findings}
    questions = set(proposal.codebook.questions)
    attitudes = {n for n, v in variables.items() if v.role == "question"}
    demographics = {n for n, v in variables.items() if v.role == "demographic"}
    assert questions - attitudes == set(), [(n, variables[n].label) for n in questions - attitudes]
    assert attitudes - questions == set(), [found[n] for n in attitudes - questions]
    assert demographics - {*proposal.codebook.demographics} == set(), [
        found[n] for n in demographics - {*proposal.codebook.demographics}
    ]
    weight = [n for n, v in variables.items() if v.role == "weight"]
    assert proposal.codebook.weight == ("pspwght" if name == "ess.sav" else weight[0])
    assert proposal.codebook.id == next(n for n, v in variables.items() if v.role == "id")


ATTITUDES = """How much do you trust the federal government to do what is right?
Men make better political leaders than women do
Should the age of retirement be raised?
Religious leaders should not influence how people vote in elections
Do you think the income gap between rich and poor is a problem?
How satisfied are you with your household income?
Trust in people of another religion
Being a housewife is just as fulfilling as working for pay
Confidence in: the armed forces
Important to have been born in country
Would you mind having neighbours of a different race?
Getting ahead: importance of coming from a wealthy family
Voting should be compulsory
Frauen sollten zu Hause bleiben
Confiance dans les partis politiques
Confianza en los partidos políticos
Fiducia nella chiesa
Zaufanie do rządu"""

FACTS = """How old are you?
What is the highest level of school you have completed?
In politics today, do you consider yourself a Republican, Democrat, Independent or something else?
As of today, do you lean more to the Republican Party or more to the Democratic Party?
Aside from weddings and funerals, how often do you attend religious services?
Last year, what was your total family income from all sources, before taxes?
Do you own or rent your home?
Number of children under 18 in household
Höchster Bildungsabschluss
Welche Partei haben Sie bei der letzten Bundestagswahl gewählt?
Situation matrimoniale
Situación laboral
Titolo di studio
Renda familiar
Opleidingsniveau
Utbildning
Kjønn
Płeć"""


@pytest.mark.parametrize("label", ATTITUDES.splitlines())
def test_a_question_that_mentions_a_demographic_is_none(label):
    assert kind_of("q1", label, ["Yes", "No"]) is None


@pytest.mark.parametrize("label", FACTS.splitlines())
def test_a_fact_about_the_respondent_is_a_demographic(label):
    assert kind_of("q1", label, ["A", "B"]) == "demographic"


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ("Mann|Frau|Divers", "demographic"),
        ("Soltero|Casado|Viudo|Divorciado", "demographic"),
        ("18-29|30-49|50-64|65+", "demographic"),
        ("Less than $30,000|$30,000 to $50,000|$50,000 to $75,000|$75,000 or more", "demographic"),
        ("Roman Catholic|Protestant|Jewish|Muslim|None", "demographic"),
        ("Republican Party|Democratic Party|Both|Neither", None),
        ("Men|Women|No difference", None),
        ("0|10|20|30|40|50|60|70|80|90|100", None),
        ("White people|Black people|No difference", None),
    ],
)
def test_levels_tell_a_demographic(levels, kind):
    assert kind_of("v17", "Item 17", levels.split("|")) == kind


def test_a_form_with_texts_and_no_labels(tmp_path):
    """A form's answers as a CSV: e-mail addresses and comments are no ids, an age is cut."""
    rng = np.random.default_rng(0)
    asked = "What is your gender?,How old are you?,Do you like the policy?,How satisfied are you?"
    rows = [f"Timestamp,Email,{asked},Any comments?"]
    satisfied = ("Dissatisfied", "Very satisfied", "Satisfied", "Very dissatisfied")
    for i in range(200):
        answers = (
            rng.choice(["Female", "Male"]),
            rng.integers(18, 80),
            rng.choice(["Yes", "No", "Don't know"]),
        )
        cells = (
            f"2024-01-{i % 28 + 1:02d} 10:{i % 60:02d}",
            f"a{i}@b.c",
            *answers,
            rng.choice(satisfied),
            f"text {i}",
        )
        rows.append(",".join(map(str, cells)))
    (tmp_path / "form.csv").write_text("\n".join(rows) + "\n")
    proposal = propose(read_table_of(tmp_path / "form.csv", ReadOptions()))
    book = proposal.codebook
    assert book.id is None
    assert book.weight is None
    assert set(book.demographics) == {"What is your gender?", "How old are you?"}
    assert book.demographics["How old are you?"].bins == (18, 30, 50, 65)
    assert set(book.questions) == {"Do you like the policy?", "How satisfied are you?"}
    assert book.questions["How satisfied are you?"].slate() == (
        "Very dissatisfied",
        "Dissatisfied",
        "Satisfied",
        "Very satisfied",
    )
    assert "Don't know" in book.questions["Do you like the policy?"].missing


def test_texts_in_an_encoding_that_the_file_does_not_state(tmp_path):
    variables = {
        "q": scale("Ist es groesser?", "XXer", "Nein"),
        "sex": demographic("Geschlecht", "Mann", "Frau"),
    }
    write(tmp_path / "s.sav", variables)
    content = (tmp_path / "s.sav").read_bytes()
    (tmp_path / "s.sav").write_bytes(content.replace(b"XXer", "größ".encode("cp1252")))
    table = read_table_of(tmp_path / "s.sav", ReadOptions())
    assert table.columns["q"].labels[1.0] == "größ"
    assert any("WINDOWS-1252" in note for _, note in table.notes)
    assert (
        read_table_of(tmp_path / "s.sav", ReadOptions(encoding="iso8859-15")).columns["q"].labels[1.0]
        == "größ"
    )

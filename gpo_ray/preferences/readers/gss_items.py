"""The items of the 2018 GSS extracts in this project's own words, and the attributes of the respondents.

gss.py reads the extracts.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpo_ray.preferences.dataset import Question

SPENDING_RESPONSES = ("Too little", "About right", "Too much")
SPENDING_CODES = {1.0: 0, 0.0: 1, -1.0: 2}
"""Response of each code of the extract, in which 1 means "too little" and so support for more spending."""

ABORTION_RESPONSES = ("Yes", "No")
ABORTION_CODES = {1.0: 0, 0.0: 1}

SPENDING = {
    "natspac": "exploring space",
    "natenvir": "looking after the natural environment",
    "natheal": "the health of the population",
    "natcity": "helping large cities with their difficulties",
    "natcrime": "fighting crime",
    "natdrug": "preventing and treating addiction to drugs",
    "nateduc": "schools and education",
    "natrace": "better living conditions for Black Americans",
    "natarms": "the armed forces and weapons",
    "nataid": "aid to other countries",
    "natfare": "support for people in poverty, such as welfare",
    "natroad": "roads and bridges",
    "natsoc": "Social Security pensions",
    "natmass": "public transport such as buses and trains",
    "natpark": "parks and places for leisure",
    "natchld": "help for parents who need child care",
    "natsci": "research in science",
    "natenrgy": "new sources of energy such as wind and sun",
}

ABORTION = {
    "abany": "whatever her reason is",
    "abdefect": "if the fetus is very likely to have a severe impairment",
    "abnomore": "if she has a husband and wishes for no further child",
    "abhlth": "if going on would put her own health at grave risk",
    "abpoor": "if her family has too little money for another child",
    "abrape": "if the pregnancy is the result of rape",
    "absingle": "if she has no husband and does not wish to marry the father",
}


def spending_question(item: str) -> Question:
    """Make the question whether the country spends too little or too much on something."""
    return Question(
        question_id=f"gss-{item}",
        source="gss",
        topic="spending",
        prompt=f"Think of the money that the United States spends on {SPENDING[item]}. "
        "Is it too little, about right or too much?",
        responses=SPENDING_RESPONSES,
        ordinal=(1.0, 0.0, -1.0),
    )


def abortion_question(item: str) -> Question:
    """Make the question whether abortion should be legal in a circumstance."""
    return Question(
        question_id=f"gss-{item}",
        source="gss",
        topic="abortion",
        prompt=f"Should the law allow a pregnant woman to have an abortion {ABORTION[item]}?",
        responses=ABORTION_RESPONSES,
        ordinal=(1.0, 0.0),
    )


@dataclass(frozen=True)
class Level:
    """A level of an attribute: the respondents with a ``column`` from ``low`` to ``high``, both included."""

    attribute: str
    name: str
    phrase: str
    column: str
    low: float
    high: float
    crossed: bool = True
    """Whether it is crossed with other attributes; crossing all would give many small, similar groups."""

    @property
    def key(self) -> str:
        """The group id of the level, ``attribute=name``."""
        return f"{self.attribute}={self.name}"


LEVELS = (
    Level("sex", "female", "are women", "sex", 1, 1),
    Level("sex", "male", "are men", "sex", 0, 0),
    Level("race", "White", "are White", "race", 1, 1),
    Level("race", "Black", "are Black", "race", 2, 2),
    Level("age", "18-29", "are 18 to 29 years old", "age", 18, 29),
    Level("age", "30-49", "are 30 to 49 years old", "age", 30, 49),
    Level("age", "50-64", "are 50 to 64 years old", "age", 50, 64),
    Level("age", "65+", "are 65 years old or older", "age", 65, 120),
    Level("degree", "less than high school", "did not finish high school", "degree", 0, 0, crossed=False),
    Level("degree", "high school", "finished high school", "degree", 1, 1, crossed=False),
    Level("degree", "junior college", "have a junior college degree", "degree", 2, 2, crossed=False),
    Level("degree", "bachelor", "have a bachelor's degree", "degree", 3, 3, crossed=False),
    Level("degree", "graduate", "have a graduate degree", "degree", 4, 4, crossed=False),
    Level("party", "Democrat", "identify as Democrats", "partyid", 0, 1),
    Level("party", "Independent", "identify as Independents", "partyid", 2, 4),
    Level("party", "Republican", "identify as Republicans", "partyid", 5, 6),
    Level("ideology", "liberal", "call their views liberal", "polviews", 1, 3),
    Level("ideology", "moderate", "call their views moderate", "polviews", 4, 4),
    Level("ideology", "conservative", "call their views conservative", "polviews", 5, 7),
    Level("work", "full time", "work full time", "wrkstat", 1, 1, crossed=False),
    Level("work", "part time", "work part time", "wrkstat", 2, 2, crossed=False),
    Level("work", "out of work", "are out of work or away from it for now", "wrkstat", 3, 4, crossed=False),
    Level("work", "retired", "are retired", "wrkstat", 5, 5, crossed=False),
    Level("work", "student", "are in school", "wrkstat", 6, 6, crossed=False),
    Level("work", "homemaker", "keep house", "wrkstat", 7, 7, crossed=False),
    Level("place", "large city", "live in a large city", "xnorcsiz", 1, 1, crossed=False),
    Level("place", "medium city", "live in a medium-sized city", "xnorcsiz", 2, 2, crossed=False),
    Level("place", "suburb", "live in a suburb", "xnorcsiz", 3, 4, crossed=False),
    Level(
        "place", "outskirts", "live in an unincorporated area near a city", "xnorcsiz", 5, 6, crossed=False
    ),
    Level(
        "place",
        "small town or country",
        "live in a small town or the country",
        "xnorcsiz",
        7,
        10,
        crossed=False,
    ),
)

NOT_LEVELS = {
    "race=other": ("race", 3.0),
    "party=other": ("partyid", 7.0),
    "work=other": ("wrkstat", 8.0),
}
"""Codes that do not name a particular group of people, by the id that such a group would have."""

"""How every group of every real survey is told to a language model: by its own name, and by no other's."""

import re

import pytest
from survey_sources import DATA

from gpo_ray.guesses.roles import STYLES, describe_all
from gpo_ray.preferences.dataset import Group
from gpo_ray.preferences.readers import ReadOptions, read_survey

SURVEYS = {
    "opinionqa": ("opinionqa", "opinionqa", {}),
    "opinionqa, the paper's groups": ("opinionqa", "opinionqa", {"groups": "paper"}),
    "globalopinionqa": ("globalopinionqa", "globalopinionqa/global_opinions.csv", {}),
    "gss-panel": ("gss-panel", "gss_panel", {}),
    "opinionqa-individuals": ("opinionqa-individuals", "opinionqa_individuals", {}),
}


def levels_of(group):
    """The levels that a group's id names, such as Female in SEX=Female; its whole id if it names none."""
    parts = group.split(" & ") if "=" in group else [group]
    return [part.partition("=")[2] or part for part in parts]


def named(text, level):
    """Whether a text names a level, as whole words: Male is not named by Female, Niger not by Nigeria."""
    return re.search(rf"(?<!\w){re.escape(level.casefold())}(?!\w)", text.casefold()) is not None


def without(text, level):
    return re.sub(re.escape(level), " ", text, flags=re.IGNORECASE)


@pytest.mark.parametrize("survey", SURVEYS)
def test_every_style_names_the_groups_own_level_and_no_other_groups(survey):
    kind, place, options = SURVEYS[survey]
    if not (DATA / place).exists():
        pytest.skip("this survey is not on this machine")
    groups = [
        Group(**row) for row in read_survey(kind, DATA / place, ReadOptions(**options)).groups.to_pylist()
    ]
    roles = describe_all(groups)
    assert roles.keys() == {g.group_id for g in groups if g.kind != "individual"}
    levels = {group: levels_of(group) for group in roles}
    every = {level for mine in levels.values() for level in mine}
    for group, role in roles.items():
        for style in STYLES[1:]:
            text = rest = role.text(style)
            for level in levels[group]:
                assert named(text, level), f"{group}, {style}: {level!r} is not in {text!r}"
                rest = without(rest, level)
            others = [level for level in every - set(levels[group]) if named(rest, level)]
            assert not others, f"{group}, {style}: {others} are in {text!r}"

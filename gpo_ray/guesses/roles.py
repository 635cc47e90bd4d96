"""How a language model is told who a group is: texts for every level of every attribute, in a file to edit.

The three styles are those of Santurkar et al. (2023, arXiv 2303.17548): a question about the attribute and
its answer, a sentence of biography, and the request to portray the group.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from gpo_ray.config import StrictConfig, parse, read_yaml
from gpo_ray.errors import ConfigError, DataError, reason_of
from gpo_ray.preferences.attributes import CROSSED
from gpo_ray.preferences.dataset import Group
from gpo_ray.runtime.documents import YAML_BYTES
from gpo_ray.runtime.local_files import replacing

STYLES = ("none", "qa", "bio", "portray")
"""The ways to tell a language model who a group is; ``none`` says nothing."""

_ATTRIBUTES: tuple[tuple[str, str, str], ...] = (
    ("age|agegroup|age group|ageband|agecat", "How old are you?", "My age: {}."),
    ("sex|gender|sex gender", "What is your sex or gender?", "My sex or gender: {}."),
    (
        "cregion|region",
        "In which part of the country do you live?",
        "I live in this part of the country: {}.",
    ),
    (
        "educ|education|degree",
        "What is the highest level of education you have completed?",
        "My education: {}.",
    ),
    ("income", "What is the income of your household?", "The income of my household: {}."),
    ("polideology|ideology", "How would you describe your political views?", "My political views: {}."),
    ("polparty|party|partyid", "Which political party do you lean to?", "My political party: {}."),
    ("race|ethnicity|racethn", "What is your race or ethnicity?", "My race or ethnicity: {}."),
    ("relig|religion", "What is your religion?", "My religion: {}."),
    ("religattend|attend", "How often do you attend religious services?", "I attend religious services: {}."),
    ("hispanic", "What is your ethnicity?", "My ethnicity: {}."),
    ("work|employment", "What is your work status?", "My work status: {}."),
    ("place", "In what kind of place do you live?", "I live in this kind of place: {}."),
    ("marital", "What is your marital status?", "My marital status: {}."),
    ("citizen", "Are you a citizen of the country you live in?", "Citizen of the country I live in: {}."),
    ("country", "In which country do you live?", "I live in this country: {}."),
    ("community", "Which community do you belong to?", "I belong to this community: {}."),
)
"""Names of attributes in lower case, how one is asked for its level, and how one says it."""
_KNOWN = {name: (asked, said) for names, asked, said in _ATTRIBUTES for name in names.split("|")}

_HEAD = """\
# How each group is told to a language model by gpo guess --roles THIS_FILE; edit the texts, or remove groups.
# qa: questions about the group and its answers; bio: what one of the group says of itself; portray: the
# group, after "Answer as if you were one of these people:".
"""


class Told(StrictConfig):
    """A question about a group, and the group's answer."""

    question: str
    answer: str


class Role(StrictConfig):
    """The texts that tell a language model who a group is."""

    qa: tuple[Told, ...]
    """For style ``qa``."""
    bio: str
    """For style ``bio``."""
    portray: str
    """For style ``portray``."""

    def text(self, style: str) -> str:
        """Return the text of a style, which comes before the question."""
        if style == "qa":
            return "\n\n".join(f"Question: {t.question}\nAnswer: {t.answer}" for t in self.qa)
        if style == "bio":
            return f"Answer as the person who says this:\n{self.bio}"
        return f"Answer as if you were one of these people: {self.portray}"


class _RoleFile(StrictConfig):
    """The file of roles."""

    roles: dict[str, Role]


def describe(group: Group) -> Role | None:
    """Return the texts for a group, made from its id and description; None for a single person.

    Nothing that a survey holds of a single person names that person to a language model.
    """
    if group.kind == "individual":
        return None
    levels = _levels(group)
    told = [Told(question=_asked(name), answer=level) for name, level in levels]
    bio = " ".join(_said(name).format(level) for name, level in levels)
    described = " ".join((group.description or "").split())
    named = ", ".join(f"{_words(name)}: {level}" for name, level in levels)
    # a description that does not name the level, such as "Women" for SEX=Female, is told beside it
    whole = all(level.casefold() in described.casefold() for _, level in levels)
    portray = described if whole else f"{described} ({named})" if described else f"people, {named}"
    return Role(qa=tuple(told), bio=bio, portray=portray)


def describe_all(groups: Iterable[Group]) -> dict[str, Role]:
    """Return the texts of all groups that are no single people, by group id."""
    found = ((g.group_id, describe(g)) for g in groups)
    return {group: role for group, role in found if role is not None}


def write_roles(roles: Mapping[str, Role], path: str | os.PathLike[str]) -> None:
    """Write roles as a YAML file for editing.

    Raises:
        DataError: if there are no roles, or more than such a file may hold.
        ConfigError: if the file cannot be written.
    """
    if not roles:
        raise DataError("the survey has single people alone, who cannot be told to a language model")
    body = {"roles": {group: role.model_dump(mode="json") for group, role in roles.items()}}
    text = _HEAD + yaml.safe_dump(body, allow_unicode=True, sort_keys=False, width=110)
    if len(text.encode()) > YAML_BYTES:
        raise DataError(
            f"{len(roles)} groups are too many for one file of {YAML_BYTES >> 20} MiB; give --groups"
        )
    try:
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {reason_of(e, path)}") from e


def read_roles(path: str | os.PathLike[str], group_ids: Sequence[str]) -> dict[str, Role]:
    """Read a file of roles.

    Args:
        path: the file.
        group_ids: the groups of the survey.

    Raises:
        ConfigError: naming the first key that is wrong, or that is no group of the survey.
    """
    roles = parse(_RoleFile, read_yaml(path), str(path)).roles
    unknown = sorted(roles.keys() - set(group_ids))
    if unknown:
        raise ConfigError(
            f"{path}: roles.{unknown[0]}: the survey has no such group; remove it or mend its id"
        )
    for group, role in roles.items():
        texts = [role.bio, role.portray, *(t for told in role.qa for t in (told.question, told.answer))]
        if not role.qa or not all(t.strip() for t in texts):
            raise ConfigError(f"{path}: roles.{group}: a text is empty; write it, or remove the group")
    return roles


def chosen_roles(roles: Mapping[str, Role], wanted: Sequence[str] | None) -> dict[str, Role]:
    """Return the roles of some groups: ids, or attributes, all of whose levels are meant; None for all.

    Raises:
        ConfigError: naming what is neither.
    """
    if wanted is None:
        return dict(roles)
    found: dict[str, Role] = {}
    for name in wanted:
        levels = (
            [name] if name in roles else [g for g in roles if g.startswith(f"{name}=") and CROSSED not in g]
        )
        if not levels:
            raise ConfigError(
                f"--groups {name!r} is neither a group nor an attribute that can be told; there are "
                f"{', '.join(sorted(roles)[:5])} ..."
            )
        found |= {g: roles[g] for g in levels}
    return found


def _levels(group: Group) -> list[tuple[str, str]]:
    """Return the attributes and levels that a group's id names; its kind and id if it names none."""
    parts = group.group_id.split(CROSSED)
    if "=" not in parts[0]:
        name = {"attribute": "group"}.get(group.kind, group.kind)
        return [(name, group.group_id)]
    levels: list[tuple[str, str]] = []
    for part in parts:
        name, mark, level = part.partition("=")
        if mark:
            levels.append((name, level))
        else:  # a level's name may hold the separator
            levels[-1] = (levels[-1][0], f"{levels[-1][1]}{CROSSED}{part}")
    return levels


def _words(attribute: str) -> str:
    """Return an attribute's name as words: ``POLPARTY`` and ``marital_status`` in lower case with spaces."""
    words = " ".join(re.split(r"[\s_]+", attribute.strip()))
    return words.lower() if words.isupper() or words.istitle() else words


def _asked(attribute: str) -> str:
    known = _KNOWN.get(_words(attribute).lower())
    return known[0] if known else f"Which is true of you: {_words(attribute)}?"


def _said(attribute: str) -> str:
    known = _KNOWN.get(_words(attribute).lower())
    return known[1] if known else f"What is true of me: {_escaped(_words(attribute))}: {{}}."


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")

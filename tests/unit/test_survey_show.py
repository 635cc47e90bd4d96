"""The command ``gpo survey show``: what it lists, within which width, and as a page."""

import json
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from synthetic import one_topic_each, survey

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.page import MAX_GROUPS_SHOWN, MAX_QUESTIONS
from gpo_ray.preferences.readers import read_survey

HOSTILE = "<script>alert(\"x\")</script>\x1b]0;gone\x07\u202e\n[red]& 'quoted'"


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def hostile():
    asked = [
        Question(HOSTILE, "test", HOSTILE * 5, (HOSTILE, "no"), HOSTILE),
        Question("q2", "test", "早" * 100, ("はい" * 60, "いいえ"), "", (1.0, 2.0)),
    ]
    groups = [Group(HOSTILE, "attribute", HOSTILE), Group("a" * 200, "country"), Group("b", "community")]
    rows = {
        "group_id": [HOSTILE, "a" * 200, "b", "b"],
        "question_id": [HOSTILE, HOSTILE, HOSTILE, "q2"],
        "share": [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.25, 0.75]],
    }
    logs = {"dropped": [(HOSTILE, HOSTILE)], "notes": [(HOSTILE, HOSTILE + " noted")]}
    return PreferenceDataset.build(asked, groups, rows, **logs)


def width(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


SURVEYS = {
    "groups": lambda: survey(groups=15, count=30, answered=0.4),
    "people": lambda: one_topic_each(),
    "hostile": hostile,
}


@pytest.mark.parametrize("options", [(), ("--all",)])
@pytest.mark.parametrize("kind", SURVEYS)
def test_fits_80_columns_and_obeys_no_text(gpo, tmp_path, monkeypatch, kind, options):
    SURVEYS[kind]().save(tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    code, out, err = gpo("survey", "show", "s", *options)
    assert (code, err) == (0, "")
    assert max(map(width, out.splitlines())) <= 80
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_lists_are_bounded_unless_all_is_asked_for(gpo, tmp_path):
    survey(groups=15, count=30, answered=0.4).save(tmp_path / "s")
    short, every = (gpo("survey", "show", tmp_path / "s", *o)[1] for o in ((), ("--all",)))
    assert "... and 5 more" in short  # groups
    assert "... and 20 more" in short  # questions of the most divisive
    assert "g14" not in short.split("questions by topic")[0]
    assert "more" not in every
    assert all(re.search(rf"\bg{i}\b", every) for i in range(15))
    assert "15 questions have" not in every
    assert "20 questions have a scale, 10 are nominal" in every


def test_all_sections_are_there(gpo, tmp_path):
    hostile().save(tmp_path / "s")
    _, out, _ = gpo("survey", "show", tmp_path / "s")
    for words in (
        "2 questions, 3 groups, 4 preferences",
        "1 questions have a scale, 1 are nominal",
        "coverage",
        "median n",
        "questions by topic",
        "(no topic)",
        "most divisive questions",
        "2 of 6 pairs of a group and a question have no answer",
        "dropped",
        "notes.parquet",
    ):
        assert words in out, words
    assert "<script>" in out  # shown as it is
    assert r"\x1b]0;gone\x07\u202e" in out.replace("\n", "")


def test_complete_survey_says_that_nothing_is_missing(gpo, tmp_path):
    survey().save(tmp_path / "s")
    _, out, _ = gpo("survey", "show", tmp_path / "s")
    for words in ("nothing is missing", "nothing was dropped", "there are no notes"):
        assert words in out


def test_json_has_the_counts_and_everything_that_is_shown(gpo, tmp_path):
    hostile().save(tmp_path / "s")
    code, out, _ = gpo("survey", "show", tmp_path / "s", "--json")
    assert code == 0
    told = json.loads(out)
    assert {k: told[k] for k in ("questions", "groups", "preferences", "dropped", "notes", "out")} == {
        "questions": 2,
        "groups": 3,
        "preferences": 4,
        "dropped": {HOSTILE: 1},
        "notes": {HOSTILE + " noted": 1},
        "out": str(tmp_path / "s"),
    }
    assert (told["scale"], told["nominal"], told["missing"]) == (1, 1, 2)
    assert told["missing_by_question"] == {"q2": 2}
    assert told["by_group"][2] == {
        "group_id": "b",
        "kind": "community",
        "answered": 2,
        "coverage": 1.0,
        "median_n": None,
    }
    assert [t["questions"] for t in told["by_topic"]] == [1, 1]
    assert [q["question_id"] for q in told["divisive"]] == [HOSTILE]


def test_notes_are_seen_after_an_import(gpo, tmp_path, monkeypatch):
    def read(*arguments):
        return hostile()

    monkeypatch.setattr("gpo_ray.preferences.readers.read_survey", read)
    arguments = ("survey", "import", "table", "--from", "t.csv", "--out", tmp_path / "o")
    code, out, _ = gpo(*arguments)
    assert code == 0
    assert "noted" in out
    assert json.loads(gpo(*arguments, "--json")[1])["notes"] == {HOSTILE + " noted": 1}


class Page(HTMLParser):
    """The elements of a page, its text, and the bars of each question as (name, shares)."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.attributes = [], [], []
        self.bars = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.attributes += found
        if tag == "section":
            self.bars.append([])
        if found.get("class") == "bar":
            self.bars[-1].append([])
        if tag == "span" and "title" in found:
            self.bars[-1][-1].append(float(re.search(r"width:([\d.]+)%", found["style"])[1]) / 100)

    def handle_data(self, data):
        self.text.append(data)


def page(gpo, tmp_path, dataset, *options):
    dataset.save(tmp_path / "s")
    code, out, err = gpo("survey", "show", tmp_path / "s", "--html", tmp_path / "p.html", *options)
    assert (code, err) == (0, "")
    assert f"page: {tmp_path / 'p.html'}" in out
    return (tmp_path / "p.html").read_text()


def test_page_holds_no_script_and_asks_for_nothing(gpo, tmp_path):
    text = page(gpo, tmp_path, hostile())
    read = Page(text)
    assert "script" not in read.tags
    assert not {"src", "href", "onload", "onerror"} & set(read.attributes)
    assert not re.search(r"https?:|url\(|@import", text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert '<script>alert("x")</script>' in "".join(read.text)  # as a text
    assert not re.search("&lt;(?!script|/script)|&amp;(?:lt|amp)", text)  # nothing is escaped twice
    assert read.tags.count("table") == 5 + 2  # notes, groups, topics, missing, dropped, and the bars
    assert "prefers-color-scheme: dark" in text
    # the most divisive question first: the mean of its three groups, then these; the other has one group
    assert read.bars[0] == [[0.5, 0.5], [1.0], [1.0], [0.5, 0.5]]
    assert read.bars[1] == [[0.25, 0.75]]


def test_page_is_bounded_unless_all_is_asked_for(gpo, tmp_path):
    made = survey(groups=MAX_GROUPS_SHOWN + 3, count=MAX_QUESTIONS + 2)
    short = Page(page(gpo, tmp_path, made))
    assert (len(short.bars), {len(b) for b in short.bars}) == (MAX_QUESTIONS, {1 + MAX_GROUPS_SHOWN})
    assert "".join(short.text).count("and 3 more groups") == MAX_QUESTIONS
    every = Page(page(gpo, tmp_path, made, "--all"))
    assert (len(every.bars), {len(b) for b in every.bars}) == (MAX_QUESTIONS + 2, {1 + MAX_GROUPS_SHOWN + 3})
    assert " more" not in "".join(every.text)


def test_page_of_people_has_a_bar_of_their_mean_alone(gpo, tmp_path):
    read = Page(page(gpo, tmp_path, one_topic_each(groups=12, count=30)))
    assert len(read.bars) == 30
    assert {len(b) for b in read.bars} == {1}
    assert "mean of the people (6)" in read.text


@pytest.mark.parametrize(
    ("name", "words"),
    [("p.pdf", [".html"]), ("no/p.html", ["no folder"]), ("s", [".html"]), ("", [".html"])],
)
def test_page_that_cannot_be_written(fails, tmp_path, name, words):
    survey().save(tmp_path / "s")
    fails("survey", "show", tmp_path / "s", "--html", f"{tmp_path}/{name}" if name else "", words=words)


def test_table_of_a_user_is_shown(gpo, tmp_path):
    (tmp_path / "t.csv").write_text(
        "group,prompt,response,count,topic\na,Tea?,yes,3,drinks\na,Tea?,no,1,drinks\n"
        "b,Tea?,yes,1,drinks\nb,Tea?,no,4,drinks\n"
    )
    read_survey("table", tmp_path / "t.csv").save(tmp_path / "s")
    _, out, _ = gpo("survey", "show", tmp_path / "s")
    plain = re.sub(r"[│┃]", "|", out)
    assert re.search(r"\| a +\| community \| +1 \| +100.0% \| +4 \|", plain)
    assert re.search(r"\| drinks +\| +1 \| +2 \|", plain)
    assert re.search(r"\| yes +\| 0.750 \| 0.200 \|", plain)

"""The OpinionQA reader on the data itself."""

import json

import numpy as np
import pytest
from survey_sources import DATA, SHARED, prefs

from gpo_ray.preferences.readers import ReadOptions, read_survey
from gpo_ray.preferences.readers.opinionqa_items import PAPER_GROUPS

REFERENCE = SHARED / "reference" / "oqa_questions.jsonl"


real = pytest.mark.skipif(not (DATA / "opinionqa").is_dir(), reason="OpinionQA is not on this machine")


@pytest.fixture(scope="module")
def opinionqa():
    return read_survey("opinionqa", DATA / "opinionqa")


@real
def test_real_sizes(opinionqa):
    assert opinionqa.questions.num_rows == 684
    reasons = opinionqa.dropped_by_reason()
    assert reasons["no answer counts for this question"] == 1494 - 684
    assert opinionqa.preferences.num_rows + reasons["no answers of this group to this question"] == 684 * 34
    assert "answer is none of the question's options" not in reasons
    levels = [g.partition("=") for g in opinionqa.groups["group_id"].to_pylist()]
    sizes = {a: sum(x[0] == a for x in levels) for a in sorted({x[0] for x in levels})}
    assert sizes == {
        "AGE": 4,
        "CREGION": 4,
        "EDUCATION": 6,
        "INCOME": 5,
        "POLIDEOLOGY": 5,
        "POLPARTY": 3,
        "RACE": 5,
        "SEX": 2,
    }


@real
@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference questions are not on this machine")
def test_real_questions_equal_the_reference(opinionqa):
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    reference = {r["id"]: r for r in map(json.loads, lines)}
    for q in opinionqa.iter_questions():
        r = reference[q.question_id]
        assert (q.prompt, list(q.responses), list(q.ordinal), q.topic) == (
            r["question"],
            r["options"],
            r["ordinal"],
            r["wave"],
        )


@real
def test_real_counts_of_one_question(opinionqa):
    """SAFECRIME_W26 of women, from the file: 62, 289, 1243 and 510 answers, 6 refusals."""
    women = prefs(opinionqa)["SEX=Female", "SAFECRIME_W26"]
    assert women["n"] == 2104
    np.testing.assert_allclose(np.array(women["share"]) * 2104, [510, 1243, 289, 62])
    assert ("SEX=Female", "POLICY3_W42") in prefs(opinionqa)


@real
def test_real_paper_groups_and_contentious():
    data = read_survey("opinionqa", DATA / "opinionqa", ReadOptions(groups="paper", contentious=True))
    found = set(data.groups["group_id"].to_pylist())
    assert len(PAPER_GROUPS) == 22
    assert PAPER_GROUPS - found == {
        f"RELIG={r}" for r in ("Atheist", "Hindu", "Jewish", "Muslim", "Protestant")
    }
    assert found <= PAPER_GROUPS
    assert 0 < data.questions.num_rows < 494

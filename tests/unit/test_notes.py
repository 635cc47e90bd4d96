"""The notes of a survey: what was read in a way to know of."""

import json

import pytest
from synthetic import survey

from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question
from gpo_ray.preferences.join import join_surveys, merge_surveys


def noted(*notes, group="g"):
    return PreferenceDataset.build(
        [Question("q", "test", "Heat the pool?", ("Yes", "No"))],
        [Group(group, "community")],
        {"group_id": [group], "question_id": ["q"], "choice": [0]},
        notes=notes,
    )


NOTE = ("polls.csv: row 3", "share: sums to 1.01: scaled to sum to 1")


def test_notes_are_saved_and_loaded(tmp_path):
    noted(NOTE).save(tmp_path / "s")
    found = PreferenceDataset.load(tmp_path / "s").notes.to_pylist()
    assert found == [{"where": NOTE[0], "note": NOTE[1]}]


def test_notes_are_not_part_of_the_contents():
    assert noted(NOTE).fingerprint() == noted().fingerprint()


@pytest.mark.parametrize("unite", [merge_surveys, lambda *two: join_surveys(*two)[0]])
def test_notes_of_both_surveys_are_kept(unite):
    other = ("wave2.csv", "separated by ;")
    found = unite(noted(NOTE), noted(other, group="h")).notes.to_pylist()
    assert [(n["where"], n["note"]) for n in found] == [NOTE, other]


def test_a_choice_of_groups_keeps_them():
    assert noted(NOTE).select_groups(["g"]).notes.num_rows == 1


def test_a_survey_of_an_earlier_version_has_none(tmp_path):
    dataset = survey(groups=3, count=4)
    dataset.save(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["files"]["notes.parquet"]
    path.write_text(json.dumps(manifest))
    (tmp_path / "s" / "notes.parquet").unlink()
    again = PreferenceDataset.load(tmp_path / "s")
    assert again.notes.num_rows == 0
    assert again.fingerprint() == dataset.fingerprint()

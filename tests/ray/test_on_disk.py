"""Surveys whose answers stay on disk: sorted by Ray Data, and trained on as if they were in memory."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from synthetic import embeddings, questions, survey, tiny_config, write_store
from typer.testing import CliRunner

from gpo_ray.cli import app
from gpo_ray.embedding.arrays import PreferenceArrays
from gpo_ray.errors import DataError, GPOError
from gpo_ray.meta_training.local import train_local
from gpo_ray.meta_training.run import TrainJob
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.preferences.job import sort_answers
from gpo_ray.preferences.large import COLUMNS, SortedAnswers, contents_id, write_survey
from gpo_ray.preferences.splits import draw_split
from gpo_ray.preferences.tables import PREFERENCES
from gpo_ray.runtime.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
COUNT = 12


def mixed():
    """Groups with shares, people with choices, and one who answered nothing."""
    base = survey(10, COUNT, seed=2, answered=0.7)
    rows = base.preferences.to_pylist()
    sizes = dict(zip(base.questions["question_id"].to_pylist(), base.slate_sizes(), strict=True))
    for i, row in enumerate(rows):
        if row["group_id"] >= "g4":
            row |= {"share": None, "choice": i % int(sizes[row["question_id"]])}
        if i % 3:
            row["n"] = 5.0 + i
    order = np.random.default_rng(0).permutation(len(rows))
    table = pa.Table.from_pylist([rows[i] for i in order], PREFERENCES)
    groups = [Group(f"g{g}", "individual" if g >= 4 else "attribute") for g in range(11)]
    return questions(COUNT, 2), groups, table


def batches(table, count=5):
    cuts = np.linspace(0, len(table), count + 1).astype(int)
    return [table.slice(a, b - a) for a, b in itertools.pairwise(cuts)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("large")
    asked, groups, table = mixed()
    write_survey(root / "survey", asked, groups, batches(table))
    write_store(root / "store", asked)
    return root


@pytest.fixture(scope="module")
def in_order(sources, cluster):
    """A folder of sorted answers; do not change it."""
    sort_answers(str(sources / "survey"), Folder(sources / "answers", DataError))
    return sources / "answers"


def opened(sources, place):
    dataset = PreferenceDataset.load(sources / "survey", answers=False)
    return dataset, SortedAnswers.open(Folder(place, DataError), dataset.slate_sizes())


@pytest.mark.parametrize("remote", [False, pytest.param(True, marks=pytest.mark.minutes)])
def test_answers_on_disk_are_those_of_the_survey(sources, in_order, remote, request):
    place = in_order
    if remote:
        place = f"s3://{request.getfixturevalue('s3').bucket()}/answers"
        sort_answers(str(sources / "survey"), Folder(place, DataError))
    whole = PreferenceDataset.load(sources / "survey")
    dataset, answers = opened(sources, place)
    assert dataset.preferences.num_rows == 0
    assert sorted(Folder(place, DataError).names()) == sorted([*COLUMNS, "manifest.json"])
    got = PreferenceArrays.build(dataset, embeddings(dataset), answers)
    want = PreferenceArrays.build(whole, embeddings(whole))
    for g in range(11):
        np.testing.assert_array_equal(got.answered[g], want.answered[g])
        np.testing.assert_array_equal(got.shares[g], want.shares[g])
        some = want.answered[g][1::2]
        np.testing.assert_array_equal(got.shares_of(g, some), want.shares_of(g, some))
    assert len(want.answered[10]) == 0


def job(sources, tmp_path, name, on_disk):
    whole = PreferenceDataset.load(sources / "survey")
    return TrainJob(
        survey=str(sources / "survey"),
        embeddings=str(sources / "store"),
        out=str(tmp_path / name),
        storage=str(tmp_path / "runs"),
        name=name,
        config=tiny_config(standardize=True, model={"prior": "memory", "width": 16, "heads": 2}),
        split=draw_split(whole, 0.8, 0),
        on_disk=on_disk,
    )


@pytest.mark.minutes
def test_training_takes_the_same_steps(sources, tmp_path):
    results = {}
    for name, on_disk in (("memory", False), ("disk", True)):
        mine = job(sources, tmp_path, name, on_disk)
        results[name] = train_local(mine)
        provenance = json.loads((tmp_path / name / "provenance.json").read_text())
        assert (provenance["survey"]["fingerprint"] == contents_id(mine.survey)) == on_disk
    for name in ("model.safetensors", "memory.safetensors", "memory.json"):
        assert (tmp_path / "disk" / name).read_bytes() == (tmp_path / "memory" / name).read_bytes()
    same = ("steps", "best_step", "validation_alignment")
    assert [results["disk"][k] for k in same] == [results["memory"][k] for k in same]


@pytest.mark.minutes
def test_workers_on_answers_on_disk_from_the_command_line(sources, tmp_path):
    config = tmp_path / "base.yaml"
    config.write_text(yaml.safe_dump(tiny_config(steps=8).model_dump(mode="json")))
    places = ["--survey", sources / "survey", "--embeddings", sources / "store", "--config", config]
    weights = []
    for where in ("--on-disk", "--in-memory"):
        out = tmp_path / where.strip("-")
        command = ["train", *places, "--out", out, "--fraction", 0.8, "--workers", 2, where, "--json"]
        done = CliRunner().invoke(app, [str(a) for a in command], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def wrong(root, change):
    asked, groups, table = mixed()
    rows = table.to_pylist()
    rows = change(rows) or rows
    write_survey(root / "survey", asked, groups, batches(pa.Table.from_pylist(rows, PREFERENCES)))


def again(rows):
    return [*rows, rows[0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].update(group_id="nobody"), "'nobody' is not known"),
        (again, "occurs twice"),
        *(
            pytest.param(change, message, marks=pytest.mark.minutes)
            for change, message in [
                (lambda rows: rows[3].update(question_id="nothing"), "'nothing' is not known"),
                (lambda rows: rows[5].update(share=None, choice=9), "choice is not the index of a response"),
                (lambda rows: rows[5].update(share=[0.5, 0.6], choice=None), "share"),
            ]
        ),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_is_complete(tmp_path, change, message):
    wrong(tmp_path, change)
    with pytest.raises(DataError, match=message):
        sort_answers(str(tmp_path / "survey"), Folder(tmp_path / "answers", DataError))
    assert not (tmp_path / "answers" / "manifest.json").exists()
    assert list((tmp_path / "answers").iterdir()) == []


def test_a_file_that_is_no_parquet_is_said_so(tmp_path):
    wrong(tmp_path, lambda rows: rows)
    file = next((tmp_path / "survey").glob("preferences-*"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"preferences-.*does not match its manifest: it has .* bytes"):
        sort_answers(str(tmp_path / "survey"), Folder(tmp_path / "answers", DataError))
    file.write_bytes(file.read_bytes() + 20 * b"x")
    with pytest.raises(DataError, match="survey: its answers cannot be read"):
        sort_answers(str(tmp_path / "survey"), Folder(tmp_path / "answers", DataError))
    assert not (tmp_path / "answers" / "manifest.json").exists()


def test_another_number_of_answers_than_the_manifest_says_is_refused(tmp_path):
    wrong(tmp_path, lambda rows: rows)
    manifest = tmp_path / "survey" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"preferences": 8', '"preferences": 9'))
    with pytest.raises(DataError, match="answers, its manifest says 9"):
        sort_answers(str(tmp_path / "survey"), Folder(tmp_path / "answers", DataError))
    assert not (tmp_path / "answers" / "manifest.json").exists()


def test_what_is_wrong_is_said_before_anything_is_sorted(sources, tmp_path):
    good = job(sources, tmp_path, "run", True)
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    PreferenceDataset.load(sources / "survey").save(tmp_path / "other")
    for change, message in (
        ({"storage": str(tmp_path / "file" / "runs")}, "file"),
        ({"embeddings": str(tmp_path / "none")}, "none: no such folder"),
        ({"out": str(tmp_path / "other")}, "holds 'preferences'"),
    ):
        with pytest.raises(GPOError, match=message):
            train_local(dataclasses.replace(good, **change))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["question", "starts"])
def test_a_cut_file_is_named(sources, in_order, tmp_path, name):
    copy = shutil.copytree(in_order, tmp_path / "answers")
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name}: missing or cut"):
        opened(sources, copy)


def test_answers_not_sorted_yet_are_not_opened(tmp_path):
    with pytest.raises(DataError, match="train again"):
        SortedAnswers.open(Folder(tmp_path / "answers", DataError), np.asarray([2]))


def test_a_survey_in_parts_is_that_in_one_file(sources, tmp_path):
    asked, groups, table = mixed()
    PreferenceDataset.build(asked, groups, table).save(tmp_path / "one")
    parts, one = (PreferenceDataset.load(p) for p in (sources / "survey", tmp_path / "one"))
    assert parts.fingerprint() == one.fingerprint()
    assert len(list(Path(sources / "survey").glob("preferences-*.parquet"))) == 5


def test_batches_without_answers_or_with_other_columns_are_refused(tmp_path):
    asked, groups, table = mixed()
    with pytest.raises(DataError, match="no answers were given"):
        write_survey(tmp_path / "survey", asked, groups, [])
    with pytest.raises(DataError, match="batch 1: columns must be"):
        write_survey(tmp_path / "survey", asked, groups, [table, table.drop_columns("choice")])
    assert not (tmp_path / "survey" / "manifest.json").exists()


def test_questions_of_a_large_survey_are_checked_at_once(tmp_path):
    asked, groups, table = mixed()
    asked = [*asked[:-1], dataclasses.replace(asked[-1], prompt=" ")]
    with pytest.raises(DataError, match="the prompt is empty"):
        write_survey(tmp_path / "survey", asked, groups, [table])
    assert not (tmp_path / "survey").exists()

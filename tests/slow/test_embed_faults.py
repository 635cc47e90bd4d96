"""kill -9 of an embedding actor, and of the driver, with the real language model."""

import json
import os
import signal

import pyarrow.parquet as pq
import pytest

from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.preferences.dataset import Group, PreferenceDataset, Question

pytestmark = [pytest.mark.slow, pytest.mark.minutes]
QUESTIONS = 140


@pytest.fixture
def survey(tmp_path):
    """As many distinct questions as keep two actors busy for some seconds."""
    topics = ("schools", "parks", "taxes", "trains", "doctors", "farms", "rivers", "ports")
    questions = [
        Question(
            f"q{i}",
            "made",
            f"Thinking of the year {1930 + i}, how much should be spent on {topics[i % 8]} in your town?",
            ("Far too little", "Too little", "About the right amount", "Too much"),
        )
        for i in range(QUESTIONS)
    ]
    preferences = {"group_id": ["g"], "question_id": ["q0"], "choice": [0]}
    dataset = PreferenceDataset.build(questions, [Group("g", "community")], preferences)
    dataset.save(tmp_path / "survey")
    return dataset


def shards(folder):
    return sorted(folder.glob("shard-*.parquet"))


def check_complete(folder, dataset):
    """Every row is in the store exactly once, and the store loads."""
    rows = [
        pair
        for p in shards(folder)
        for pair in zip(
            *(pq.read_table(p)[c].to_pylist() for c in ("question_id", "response_index")), strict=True
        )
    ]
    assert sorted(rows) == sorted((q.question_id, i) for q in dataset.iter_questions() for i in range(4))
    assert EmbeddingStore(folder).load(dataset).vectors.shape == (4 * QUESTIONS, 576)


def test_killed_actor_costs_nothing_but_time(gpo, survey, tmp_path):
    store = tmp_path / "store"
    run = gpo(
        "embed",
        "--survey",
        tmp_path / "survey",
        "--out",
        store,
        "--actors",
        2,
        "--batch-tokens",
        1024,
        "--no-readings",
        "--json",
    )
    run.wait_until(lambda: len(shards(store)) >= 2, 180, "second shard")
    actors = run.workers("_EmbeddingActor")
    assert len(actors) == 2
    os.kill(actors[0].pid, signal.SIGKILL)
    result = run.result()
    assert result["embedded"] == QUESTIONS
    assert len(result["workers"]) >= 2
    check_complete(store, survey)


def test_killed_driver_is_continued_by_the_same_command(gpo, survey, tmp_path):
    store = tmp_path / "store"
    places = ("--survey", tmp_path / "survey", "--out", store)
    command = ("embed", *places, "--batch-tokens", 1024, "--no-readings", "--json")
    run = gpo(*command)
    run.wait_until(lambda: len(shards(store)) >= 3, 180, "third shard")
    run.kill_all()
    assert not (store / "manifest.json").exists()
    kept = {p.name: p.read_bytes() for p in shards(store)}
    result = gpo(*command).result()
    assert result["reused"] == sum(_questions(data) for data in kept.values())
    assert result["embedded"] == QUESTIONS - result["reused"] < QUESTIONS
    assert all((store / name).read_bytes() == data for name, data in kept.items())
    assert set(json.loads((store / "manifest.json").read_text())["files"]) == {p.name for p in shards(store)}
    check_complete(store, survey)


def _questions(data):
    import io

    return len(set(pq.read_table(io.BytesIO(data))["question_id"].to_pylist()))

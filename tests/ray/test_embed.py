"""The Ray Data job with a real, tiny language model."""

import shutil
import time

import pyarrow.parquet as pq
import pytest
import ray
from synthetic import flip_byte, survey, truncate

from gpo_ray.embedding.job import EmbedConfig, embed, plan_units
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import EmbeddingError, ResourceError
from gpo_ray.planning.preflight import examine
from gpo_ray.preferences.dataset import PreferenceDataset
from gpo_ray.runtime.ray_session import cluster_capacity, machine_capacity
from gpo_ray.runtime.resources import train_request

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


@pytest.fixture(scope="module")
def dataset():
    return survey(groups=3, count=60)


@pytest.fixture(scope="module")
def config(tiny_language_model):
    return EmbedConfig(model=str(tiny_language_model), actors=2, batch_tokens=512)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset, config):
    """A store and what the job that made it returned."""
    folder = tmp_path_factory.mktemp("embed") / "store"
    return folder, embed(dataset, folder, config)


@pytest.fixture
def store(tmp_path, finished):
    """A copy of the finished store, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "store")


def rows(folder):
    """(question_id, response_index) of every row of every shard, sorted."""
    tables = [pq.read_table(p) for p in folder.glob("shard-*.parquet")]
    return sorted(
        pair
        for t in tables
        for pair in zip(t["question_id"].to_pylist(), t["response_index"].to_pylist(), strict=True)
    )


def every_row(dataset: PreferenceDataset):
    return sorted((q.question_id, i) for q in dataset.iter_questions() for i in range(len(q.responses)))


def test_both_actors_work_and_every_row_is_there_once(finished, dataset):
    folder, result = finished
    assert len(result["workers"]) == 2
    assert min(result["workers"].values()) > 0
    assert rows(folder) == every_row(dataset)
    assert result["embedded"] == result["questions"] == 60
    assert result["responses"] == len(every_row(dataset))
    assert result["tokens"] == sum(result["workers"].values()) > 0


def test_vectors_do_not_depend_on_how_the_work_was_divided(tmp_path, store, dataset, config):
    embed(dataset, tmp_path / "one", config.model_copy(update={"actors": 1, "batch_tokens": 4096}))
    two, one = (EmbeddingStore(f).load(dataset, "last").vectors for f in (store, tmp_path / "one"))
    assert abs(two - one).max() < 1e-4


def test_rerun_embeds_nothing_and_changes_nothing(store, dataset, config):
    before = {p.name: p.read_bytes() for p in store.iterdir()}
    result = embed(dataset, store, config)
    assert (result["embedded"], result["reused"]) == (0, 60)
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


@pytest.mark.minutes
def test_interrupted_run_is_continued_with_only_what_is_missing(store, dataset, config):
    (store / "manifest.json").unlink()
    victim = sorted(store.glob("shard-*.parquet"))[0]
    lost = set(pq.read_table(victim)["question_id"].to_pylist())
    victim.unlink()
    with pytest.raises(EmbeddingError, match=r"manifest\.json"):
        EmbeddingStore(store).load(dataset)
    result = embed(dataset, store, config)
    assert result["embedded"] == len(lost)
    assert rows(store) == every_row(dataset)
    EmbeddingStore(store).load(dataset)


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_byte],
    ids=["truncated", "one byte changed"],
)
@pytest.mark.minutes
def test_damaged_shard_is_named_and_made_again(store, dataset, config, damage):
    victim = sorted(store.glob("shard-*.parquet"))[1]
    damage(victim)
    with pytest.raises(EmbeddingError, match=victim.name):
        EmbeddingStore(store).load(dataset)
    result = embed(dataset, store, config)
    assert list(result["damaged"]) == [victim.name]
    assert rows(store) == every_row(dataset)
    EmbeddingStore(store).load(dataset)


@pytest.mark.minutes
def test_another_survey_adds_to_the_store(store, dataset, config):
    longer = survey(groups=3, count=70)
    result = embed(longer, store, config)
    assert (result["embedded"], result["reused"]) == (10, 60)
    EmbeddingStore(store).load(longer)
    EmbeddingStore(store).load(dataset)


def test_store_of_another_model_is_refused(store, dataset, config, tiny_base_model):
    before = {p.name: p.read_bytes() for p in store.iterdir()}
    with pytest.raises(EmbeddingError, match="choose another folder"):
        embed(dataset, store, config.model_copy(update={"model": str(tiny_base_model)}))
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


def test_impossible_resources_fail_at_once_with_numbers(tmp_path, dataset, config):
    begun = time.monotonic()
    with pytest.raises(ResourceError, match="2 actors with 10 GPU each: 20 GPU in all, the cluster has 0"):
        embed(dataset, tmp_path / "store", config.model_copy(update={"gpus_per_actor": 10.0}))
    assert time.monotonic() - begun < 10
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_preflight_shows_the_cluster_and_what_fits(tmp_path):
    needs = [lambda _: train_request(4), lambda _: train_request(5)]
    found = examine(needs, str(tmp_path / "runs"))
    (node,) = found["nodes"]
    have = ray.cluster_resources()
    assert (node["alive"], node["cpus"], node["gpus"]) == (True, have["CPU"], have.get("GPU", 0))
    assert (node["memory"], node["object_store"]) == (have["memory"], have["object_store_memory"])
    assert node["versions"] == found["versions"]
    assert found["versions"]["ray"] == ray.__version__
    assert found["versions_match"] is True
    assert found["unused"]["cpus"] == 4
    assert [s["fits"] for s in found["stages"]] == [True, False]
    assert found["problems"] == ["train: 5 workers with 1 CPU each: 5 CPU in all, the cluster has 4"]
    assert found["storage"]["problem"] is None
    assert not list(tmp_path.iterdir())


def test_a_local_cluster_has_the_gpus_that_were_counted_before_it_started():
    assert machine_capacity().gpus == cluster_capacity().gpus


@pytest.mark.minutes
def test_error_of_the_encoder_reaches_the_user_as_itself(tmp_path, config):
    huge = survey(groups=2, count=2)
    question = next(iter(huge.iter_questions()))
    long_text = "word " * 500
    table = huge.questions.to_pylist()
    table[0]["prompt"] = long_text
    broken = PreferenceDataset(
        huge.questions.from_pylist(table, huge.questions.schema), huge.groups, huge.preferences, huge.dropped
    )
    assert question.question_id == table[0]["question_id"]
    with pytest.raises(EmbeddingError, match="reads at most 512"):
        embed(broken, tmp_path / "store", config)


@pytest.mark.parametrize("actors", [1, 2, 7, 60])
def test_units_cover_every_question_once_and_feed_every_actor(dataset, actors):
    questions = list(dataset.iter_questions())
    units = plan_units(questions, actors, batch_tokens=4096)
    assert sorted(q.question_id for u in units for q in u) == sorted(q.question_id for q in questions)
    assert len(units) >= actors
    assert all(units)

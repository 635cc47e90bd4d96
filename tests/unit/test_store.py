"""The embedding store: what is written is found again, and damage is named."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic
from synthetic import FINGERPRINT, encoded, flip_byte, questions, truncate, write_store

from gpo_ray.embedding.encoder import POOLINGS
from gpo_ray.embedding.store import EmbeddingStore
from gpo_ray.errors import EmbeddingError
from gpo_ray.preferences.dataset import Group, PreferenceDataset
from gpo_ray.runtime.storage import MANIFEST, Folder, parquet_bytes

ASKED = questions(7)


def survey(asked):
    rows = {"group_id": ["g"], "question_id": [asked[0].question_id], "choice": [0]}
    return PreferenceDataset.build(asked, [Group("g", "attribute")], rows)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", ASKED, shards=3)


def shards(store):
    return sorted(store.folder.local_path.glob("shard-*"))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("uri", [False, True])
def test_round_trip_in_the_surveys_order(tmp_path, pooling, uri):
    write_store(f"file://{tmp_path}/s" if uri else tmp_path / "s", ASKED, shards=3)
    order = np.random.default_rng(0).permutation(len(ASKED))
    found = EmbeddingStore(tmp_path / "s").load(survey([ASKED[i] for i in order]), pooling)
    written = encoded(ASKED)
    np.testing.assert_array_equal(
        found.vectors, np.concatenate([getattr(written[i], pooling) for i in order])
    )
    np.testing.assert_array_equal(
        found.letter_logprob, np.concatenate([written[i].letter_logprob for i in order])
    )
    sizes = [len(ASKED[i].responses) for i in order]
    np.testing.assert_array_equal(found.offsets, np.concatenate([[0], np.cumsum(sizes)]))
    assert (found.fingerprint, found.pooling, found.width) == (FINGERPRINT, pooling, 6)
    assert found.vectors.dtype == np.float32


def test_part_of_the_questions_can_be_loaded(store):
    found = store.load(survey(ASKED[2:4]))
    np.testing.assert_array_equal(found.vectors, np.concatenate([e.mean for e in encoded(ASKED)[2:4]]))


def test_half_precision_store_gives_float32_rounded_to_half(tmp_path):
    found = write_store(tmp_path, ASKED, dtype="float16").load(survey(ASKED))
    want = np.concatenate([e.mean for e in encoded(ASKED)])
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, want.astype(np.float16).astype(np.float32))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_vector_that_half_precision_cannot_hold_is_refused(tmp_path):
    results = encoded(ASKED)
    results[1].mean[0, 0] = 1e6
    with pytest.raises(EmbeddingError, match=r"not finite in float16; use .*float32"):
        EmbeddingStore(tmp_path).write_shard(ASKED, results, FINGERPRINT, "float16")
    assert list(tmp_path.iterdir()) == []


def test_unknown_store_dtype_is_named(tmp_path):
    with pytest.raises(EmbeddingError, match="store dtype 'int8' is not one of"):
        EmbeddingStore(tmp_path).write_shard(ASKED, encoded(ASKED), FINGERPRINT, "int8")


@pytest.mark.parametrize("together", [True, False])
def test_two_questions_of_the_same_words_are_both_found(tmp_path, together):
    asked = [ASKED[0], dataclasses.replace(ASKED[0], question_id="twin"), ASKED[1]]
    found = write_store(tmp_path, asked, shards=1 if together else 3).load(survey(asked))
    size = len(ASKED[0].responses)
    assert len(found.vectors) == 2 * size + len(ASKED[1].responses)
    np.testing.assert_array_equal(found.vectors[:size], found.vectors[size : 2 * size])
    np.testing.assert_array_equal(found.vectors[2 * size :], encoded(asked)[2].mean)


def test_vectors_are_found_by_content_under_another_id(store):
    renamed = [dataclasses.replace(q, question_id=f"new-{q.question_id}") for q in ASKED]
    want = np.concatenate([e.mean for e in encoded(ASKED)])
    np.testing.assert_array_equal(store.load(survey(renamed)).vectors, want)


@pytest.mark.parametrize(
    "changes", [{"prompt": "Other words?"}, {"responses": ("Yes", "No"), "ordinal": None}]
)
def test_missing_question_is_named(store, changes):
    asked = [*ASKED[:3], dataclasses.replace(ASKED[3], **changes), ASKED[4]]
    with pytest.raises(EmbeddingError, match=r"lacks 1 of 5 questions of .*\(first: 'q3'\).*gpo embed"):
        store.load(survey(asked))


def test_unknown_pooling_is_named(store):
    with pytest.raises(EmbeddingError, match="pooling 'first' is not one of"):
        store.load(survey(ASKED), "first")


def test_store_without_the_readings_serves_the_other_poolings(tmp_path):
    store = EmbeddingStore(tmp_path)
    name, entry = store.write_shard(ASKED, encoded(ASKED, readings=False), FINGERPRINT)
    store.commit(FINGERPRINT, {name: entry}, model="tiny", dtype="float32")
    assert store.contents(FINGERPRINT, readings=False).shards == {name: entry}
    assert np.isfinite(store.load(survey(ASKED), "last+mean").vectors).all()
    with pytest.raises(EmbeddingError, match=r"made without the readings .*another --out, or train"):
        store.load(survey(ASKED), "last+mean+opinion+person")
    with pytest.raises(EmbeddingError, match=r"made without the readings .*add --no-readings, or"):
        store.contents(FINGERPRINT)


def test_store_with_the_readings_is_not_continued_without(store):
    with pytest.raises(EmbeddingError, match=r"made with the readings .*leave out --no-readings, or"):
        store.contents(FINGERPRINT, readings=False)


@pytest.mark.parametrize("wanted", [None, [], [1, 4], list(range(7))])
def test_one_shard_by_itself(store, wanted):
    written, manifest = dict(zip([q.slate_key for q in ASKED], encoded(ASKED), strict=True)), store.manifest()
    keys = None if wanted is None else pa.array([ASKED[i].slate_key for i in wanted], pa.string())
    found = {}
    for name in manifest["files"]:
        part = store.read_shard(name, manifest, "last+mean", keys)
        assert not set(part) & set(found)
        found |= part
    assert set(found) == {q.slate_key for i, q in enumerate(ASKED) if wanted is None or i in wanted}
    for key, (vectors, letters) in found.items():
        np.testing.assert_array_equal(vectors, written[key].pooled("last+mean"))
        np.testing.assert_array_equal(letters, written[key].letter_logprob)


def test_missing_manifest_says_what_to_do(store):
    store.folder.remove(MANIFEST)
    with pytest.raises(EmbeddingError, match=r"no manifest.json.*gpo embed"):
        store.load(survey(ASKED))


def test_another_kind_of_folder_is_refused(tmp_path):
    Folder(tmp_path).write_manifest("bundle", {})
    for call in (lambda s: s.load(survey(ASKED)), lambda s: s.contents(FINGERPRINT)):
        with pytest.raises(EmbeddingError, match="holds 'bundle', expected 'embeddings'"):
            call(EmbeddingStore(tmp_path))


@pytest.mark.parametrize("damage", [flip_byte, truncate])
def test_damaged_shard_is_named_on_loading(store, damage):
    damage(shards(store)[1])
    with pytest.raises(EmbeddingError, match=f"/{shards(store)[1].name}: does not match its manifest"):
        store.load(survey(ASKED))


def test_missing_shard_is_named_on_loading(store):
    name = shards(store)[1].name
    store.folder.remove(name)
    with pytest.raises(EmbeddingError, match=f"/{name}: no such file"):
        store.load(survey(ASKED))


def test_contents_of_a_whole_store(store):
    contents = store.contents(FINGERPRINT)
    assert contents.keys == {(q.question_id, q.slate_key) for q in ASKED}
    assert contents.shards == store.folder.read_manifest("embeddings")["files"]
    assert contents.damaged == {}


def test_contents_of_no_store_are_empty(tmp_path):
    contents = EmbeddingStore(tmp_path / "nothing").contents(FINGERPRINT)
    assert (contents.keys, contents.shards, contents.damaged) == (frozenset(), {}, {})


def test_shards_left_without_a_manifest_are_found_and_can_be_committed(store):
    whole = store.load(survey(ASKED))
    store.folder.remove(MANIFEST)
    contents = store.contents(FINGERPRINT)
    assert contents.keys == {(q.question_id, q.slate_key) for q in ASKED}
    store.commit(FINGERPRINT, contents.shards)
    np.testing.assert_array_equal(store.load(survey(ASKED)).vectors, whole.vectors)


def test_shard_written_after_the_manifest_is_found(tmp_path):
    store = write_store(tmp_path, ASKED[:3], shards=1)
    name, entry = store.write_shard(ASKED[3:], encoded(ASKED[3:]), FINGERPRINT)
    contents = store.contents(FINGERPRINT)
    assert contents.shards[name] == entry
    assert contents.keys == {(q.question_id, q.slate_key) for q in ASKED}


@pytest.mark.parametrize("listed", [True, False])
def test_truncated_shard_is_listed_as_damaged_and_the_rest_is_kept(store, listed):
    bad = shards(store)[0]
    truncate(bad)
    if not listed:
        store.folder.remove(MANIFEST)
    contents = store.contents(FINGERPRINT)
    assert list(contents.damaged) == [bad.name]
    assert bad.name in contents.damaged[bad.name]
    assert set(contents.shards) == {p.name for p in shards(store)[1:]}
    assert 0 < len(contents.keys) < len(ASKED)


def test_shard_missing_from_disk_is_listed_as_damaged(store):
    name = shards(store)[0].name
    store.folder.remove(name)
    contents = store.contents(FINGERPRINT)
    assert contents.damaged == {name: "is listed in the manifest but missing"}
    assert name not in contents.shards


@pytest.mark.parametrize("complete", [True, False])
def test_another_models_store_is_refused(store, complete):
    if not complete:
        store.folder.remove(MANIFEST)
    with pytest.raises(EmbeddingError, match=f"embeddings of model {FINGERPRINT}, not of other@1/float32"):
        store.contents("other@1/float32")


def test_shard_of_another_model_is_refused_on_loading(store):
    files = store.folder.read_manifest("embeddings")["files"]
    store.commit("other@1/float32", files)
    with pytest.raises(EmbeddingError, match=f"holds embeddings of model {FINGERPRINT}"):
        store.load(survey(ASKED))


def test_another_template_is_refused(store, monkeypatch):
    monkeypatch.setattr("gpo_ray.embedding.store.TEMPLATE", "survey-v2")
    with pytest.raises(EmbeddingError, match="was made with template survey-v1, not survey-v2"):
        store.contents(FINGERPRINT)


def test_repeating_a_shard_replaces_it(store):
    before = [p.name for p in shards(store)]
    store.write_shard(ASKED[0::3], encoded(ASKED)[0::3], FINGERPRINT)
    assert [p.name for p in shards(store)] == before


def shard_with(folder, change):
    """A complete store of one shard that was changed, and its hash with it."""
    store = write_store(folder, questions(8), shards=1)
    (name,) = store.manifest()["files"]
    table = pq.read_table(folder / name)
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    store.commit(FINGERPRINT, {name: store.folder.write(name, parquet_bytes(changed))})
    return store


def replaced(table, name, values):
    return table.set_column(table.column_names.index(name), name, [values])


def vectors(table, value):
    return pa.FixedSizeListArray.from_arrays(pa.array([value] * (6 * table.num_rows), pa.float32()), 6)


BAD_SHARDS = {
    **{
        f"no {c}": lambda t, c=c: t.drop_columns([c])
        for c in ("question_key", "question_id", "response_index")
    },
    "no letters": lambda t: t.drop_columns(["letter_logprob"]),
    "no vectors": lambda t: t.drop_columns(["mean", "answer_mean", "last", "opinion", "person"]),
    "null keys": lambda t: replaced(t, "question_key", pa.nulls(t.num_rows, pa.string())),
    "null index": lambda t: replaced(t, "response_index", pa.nulls(t.num_rows, pa.int32())),
    "null vectors": lambda t: replaced(t, "mean", pa.nulls(t.num_rows, pa.list_(pa.float32(), 6))),
    "texts for vectors": lambda t: replaced(t, "mean", pa.array(["x"] * t.num_rows)),
    "numbers for vectors": lambda t: replaced(t, "mean", pa.array([1.0] * t.num_rows)),
    "NaN": lambda t: replaced(t, "mean", vectors(t, float("nan"))),
    "infinity": lambda t: replaced(t, "mean", vectors(t, float("inf"))),
    "a missing number": lambda t: replaced(t, "mean", vectors(t, None)),
    "NaN letters": lambda t: replaced(t, "letter_logprob", pa.array([np.nan] * t.num_rows, pa.float32())),
}


@pytest.mark.parametrize("change", BAD_SHARDS.values(), ids=BAD_SHARDS)
def test_shard_of_columns_that_cannot_be_used(tmp_path, change):
    store = shard_with(tmp_path, change)
    for pooling in ("mean", "last+mean"):
        with pytest.raises(EmbeddingError, match=r"shard-.*\.parquet: damaged"):
            store.load(synthetic.survey(count=8), pooling)
    (name,) = store.manifest()["files"]
    assert name in store.contents(FINGERPRINT).damaged  # gpo embed makes it again


def turned(table):
    """The rows of each question but its first in the opposite order, with their ``response_index``."""
    index = np.asarray(table["response_index"])
    parts = np.split(np.arange(len(index)), (index == 0).nonzero()[0][1:])
    return table.take(np.concatenate([np.concatenate([p[:1], p[:0:-1]]) for p in parts]))


DISORDERED = {
    "turned": turned,
    "without the first row": lambda t: t.slice(1),
    "a row twice": lambda t: pa.concat_tables([t, t.slice(t.num_rows - 1)]),
    "a row of another question": lambda t: t.take([*range(t.num_rows - 1), 0]),
    "keys that change within a question": lambda t: replaced(
        t, "question_key", pa.array([f"{k}{i % 2}" for i, k in enumerate(t["question_key"].to_pylist())])
    ),
}


@pytest.mark.parametrize("change", DISORDERED.values(), ids=DISORDERED)
def test_rows_that_are_not_a_questions_responses_in_order_are_never_read_by_place(tmp_path, change):
    store = shard_with(tmp_path, change)
    with pytest.raises(EmbeddingError, match=r"not its responses in their order|lacks \d of 8"):
        store.load(synthetic.survey(count=8), "mean")
